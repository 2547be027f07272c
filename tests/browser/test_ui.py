"""User actions in Dagster's and MLflow's pages: by clicks, in a real Chromium, on the real servers, over a real home.

A test clicks, polls GraphQL until what it started has ended, and then checks the page. Runs of one home are serialized,
so the long ones are started first and checked last. A screenshot of each page is kept; `make screenshots` updates those
of the documentation.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from attacks import CHANGES, READS, Outcome, ask_raw, attack, open_server, state
from chromium import REBOUND, launch
from conftest import FIRST_DAY, SmallHomes, touchstone
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import Served, serving, until

from ml.run_log import RUNS_COLUMNS
from tests.ml_fixtures import register_again

SCREENSHOTS = "TOUCHSTONE_SCREENSHOTS"
PAGE_SECONDS = 120
JOBS = "/locations/orchestration.definitions/jobs"
SCHEDULE = "/locations/orchestration.definitions/schedules/daily_schedule"
GROUPS = (
    *("stage_1_landing", "stage_2_shape", "stage_2_signals", "stage_3_features", "stage_4_models", "stage_4_scores"),
    *("stage_5_marts", "stage_6_lists", "stage_7_reports"),
)
MODEL = "listing_counterfeit"
PROMOTED = f"approve {MODEL} version {{}} by mlflow-ui, unauthenticated: the alias champion was set on it in MLflow"
DAY, THREE_DAYS = "2026-06-16", "[2026-06-17...2026-06-19]"
# MLflow starts in another mode, with a panel and a promotion; each test uses a new browser context.
MLFLOW_SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "_mlflow_model_registry_promo_modal_dismissed_v1": "true",
}
BACKFILLS = "{ partitionBackfillsOrError(limit: 5) { ... on PartitionBackfills { results { id status } } } }"
LANDED_GATE = """{
  assetCheckExecutions(assetKey: {path: ["landed", "listings"]}, checkName: "gate_landed", limit: 10) { runId status }
}"""
MATERIALIZED = """query($path: [String!]!) {
  assetOrError(assetKey: {path: $path}) { ... on Asset { assetMaterializations(limit: 1) { runId } } }
}"""
TICKS = """{
  scheduleOrError(scheduleSelector: {
    repositoryLocationName: "orchestration.definitions", repositoryName: "__repository__", scheduleName: "daily_schedule"
  }) { ... on Schedule { scheduleState { status ticks(limit: 5) { status runIds } } } }
}"""

# Requests with custom headers: {own} is the server's address without http://, {mlflow} is MLflow's port.
# They only read, so a refusal comes from the guard and not from another check of the server.
REFUSED_HEADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "no host": (),
    "two hosts": (("Host", "{own}"), ("Host", "{own}")),
    "another host": (("Host", "evil.test"),),
    "another host of this port": (("Host", "evil.test:{port}"),),
    "another port": (("Host", "127.0.0.1:1"),),
    "no port": (("Host", "127.0.0.1"),),
    "an address of the local network": (("Host", "192.168.0.7:{port}"),),
    "all addresses": (("Host", "0.0.0.0:{port}"),),
    "IPv6": (("Host", "[::1]:{port}"),),
    "origin null": (("Host", "{own}"), ("Origin", "null")),
    "origin of another site": (("Host", "{own}"), ("Origin", "http://evil.test")),
    "origin of another port": (("Host", "{own}"), ("Origin", "http://127.0.0.1:1")),
    "origin of another name": (("Host", "{own}"), ("Origin", "http://localhost:{port}")),
    "origin of another scheme": (("Host", "{own}"), ("Origin", "https://{own}")),
    "two origins": (("Host", "{own}"), ("Origin", "http://{own}"), ("Origin", "http://evil.test")),
    "a frame on another site": (
        *(("Host", "{own}"), ("Sec-Fetch-Site", "cross-site")),
        *(("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")),
    ),
    "an image on another port": (("Host", "{own}"), ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")),
}
READING_REQUESTS = {  # server, method, path, body
    "Dagster's page": ("dagster", "GET", "/runs", ""),
    "Dagster's version": ("dagster", "GET", "/server_info", ""),
    "Dagster's GraphQL": ("dagster", "POST", "/graphql", '{"query": "{version}"}'),
    "Dagster before a request elsewhere": ("dagster", "OPTIONS", "/graphql", ""),
    "MLflow's page": ("mlflow", "GET", "/", ""),
    "MLflow's health": ("mlflow", "GET", "/health", ""),
    "MLflow's models": ("mlflow", "GET", "/api/2.0/mlflow/registered-models/search", ""),
    "MLflow's experiments": ("mlflow", "POST", "/ajax-api/2.0/mlflow/experiments/search", '{"max_results": 1}'),
    "MLflow before a request elsewhere": ("mlflow", "OPTIONS", "/api/2.0/mlflow/experiments/search", ""),
}
PAUSE = 'mutation { setConcurrencyLimit(concurrencyKey: "raw", limit: 1) }'
REFUSED_CONTENT = {  # server, method, path, content type, body, status
    "query in the address": ("dagster", "POST", f"/graphql?query={quote(PAUSE)}", "text/plain", "", 403),
    "query in the address, and JSON": (
        "dagster",
        "POST",
        f"/graphql?query={quote(PAUSE)}",
        "application/json",
        "",
        403,
    ),
    "query by get": ("dagster", "GET", f"/graphql?query={quote(PAUSE)}", "", "", 403),
    "query after an operation": ("dagster", "GET", f"/graphql?op=a&query={quote(PAUSE)}", "", "", 403),
    "query with its name encoded": ("dagster", "GET", f"/graphql?%71uery={quote(PAUSE)}", "", "", 403),
    "path encoded": ("dagster", "GET", f"/%67raphql?query={quote(PAUSE)}", "", "", 403),
    "path with a newline": ("dagster", "GET", f"/graphql%0A?query={quote(PAUSE)}", "", "", 403),
    "path with two slashes": ("dagster", "GET", f"//graphql?query={quote(PAUSE)}", "", "", 403),
    "path with a slash at its end": ("dagster", "POST", f"/graphql/?query={quote(PAUSE)}", "application/json", "", 403),
    "GraphQL as text": ("dagster", "POST", "/graphql", "application/graphql", PAUSE, 415),
    "JSON as text": ("dagster", "POST", "/graphql", "text/plain", json.dumps({"query": PAUSE}), 415),
    "JSON as text that names JSON": ("dagster", "POST", "/graphql", "text/plain; application/json", PAUSE, 415),
    "a report without a body": ("dagster", "POST", "/report_asset_materialization/raw", "", "", 415),
    "MLflow, as text": ("mlflow", "POST", "/api/2.0/mlflow/experiments/create", "text/plain", '{"name": "raw"}', 415),
    "MLflow, as a form": (
        *("mlflow", "POST", "/ajax-api/2.0/mlflow/experiments/create"),
        *("application/x-www-form-urlencoded", "name=raw", 415),
    ),
    "MLflow, GraphQL by get": ("mlflow", "GET", f"/graphql?query={quote('{test}')}", "", "", 403),
}
OTHER_ORIGINS = {
    "another port of this machine": "http://127.0.0.1:{elsewhere}/",
    "another name of this machine": "http://localhost:{elsewhere}/",
    "no origin": "http://127.0.0.1:{elsewhere}/sandboxed",
    "the servers themselves by another name": "http://localhost:{mlflow}/version",
}

ALONE = {
    "landed/listings": "",
    "shape/stg_appeals": "",
    "signals/pictures": "",
    "features/listing_features": FIRST_DAY,
    "models/merchant_brushing": "",
    "scores/listing_counterfeit": FIRST_DAY,
    "marts/rated_listings": FIRST_DAY,
    "published/listings": FIRST_DAY,
    "reports/outcomes": FIRST_DAY,
}
"""An asset of each group, and its partition if it has days."""
Keep = Callable[[str], None]


@pytest.fixture(scope="module")
def served(small_homes: SmallHomes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Both UIs over a home that was rated as of one day."""
    with serving(small_homes, tmp_path_factory.mktemp("ui")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    expect.set_options(timeout=PAGE_SECONDS * 1000)
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


def open_page(browser: Browser) -> Iterator[Page]:
    """Yields a page of a new browser session, and fails if it requested any address but this machine's."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="UTC", locale="en-GB")
    context.set_default_timeout(PAGE_SECONDS * 1000)
    context.add_init_script(
        f"for (const [key, value] of Object.entries({json.dumps(MLFLOW_SETTINGS)})) localStorage.setItem(key, value)"
    )
    asked: set[str] = set()
    context.on("request", lambda request: asked.add(request.url))
    page = context.new_page()
    page.on("websocket", lambda opened: asked.add(opened.url))
    yield page
    context.close()
    assert asked
    assert [
        url for url in asked if urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).hostname != "127.0.0.1"
    ] == []


page = pytest.fixture(open_page)


@pytest.fixture
def keep(page: Page, tmp_path: Path) -> Keep:
    """Saves a named screenshot in the folder that `TOUCHSTONE_SCREENSHOTS` names, or else in the test's own."""
    folder = Path(os.environ.get(SCREENSHOTS, tmp_path))

    def keep_picture(name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(400)  # animations have finished
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            picture.convert("RGB").quantize(128).save(folder / f"{name}.png", optimize=True)

    return keep_picture


@pytest.fixture(scope="module")
def land_and_shape(served: Served, browser: Browser) -> str:
    """The ID of the run over all unpartitioned assets that a click launched."""
    for page in open_page(browser):
        page.goto(f"{served.dagster}{JOBS}/land_and_shape")
        page.get_by_role("button", name="Materialize all").click()
        launched = served.launched(pipelineName="land_and_shape")  # the page must stay open until then
    return launched


@pytest.fixture(scope="module")
def scheduled(served: Served, browser: Browser, land_and_shape: str) -> str:
    """The ID of the run that the enabled schedule launches; it is the last one with a result of the landed gate."""
    until(lambda: land_and_shape in judged_landed(served), "the gate on what landed has judged the run before")
    for page in open_page(browser):
        page.goto(f"{served.dagster}{SCHEDULE}")
        switch = page.locator("label:has(input[type=checkbox])")
        switch.click()
        runs = until(
            lambda: [run for tick in schedule_state(served)["ticks"] for run in tick["runIds"]], "it has ticked"
        )
        switch.click()
        until(lambda: schedule_state(served)["status"] == "STOPPED", "the schedule is off again")
    return str(runs[0])


def judged_landed(served: Served) -> set[str]:
    """Returns the runs whose loads the landed gate has judged."""
    executions = served.ask(LANDED_GATE)["assetCheckExecutions"]
    return {execution["runId"] for execution in executions if execution["status"] != "IN_PROGRESS"}


def launch_backfill(served: Served, page: Page, days: str, message: str) -> str:
    """Launches a backfill by clicks and returns its ID."""
    known = backfills(served)
    page.goto(f"{served.dagster}{JOBS}/rate")
    choose_days(page, days, message)
    page.get_by_role("button", name="Launch").last.click()
    (launched,) = until(lambda: backfills(served).keys() - known.keys(), "the backfill is there")
    return launched


def backfills(served: Served) -> dict[str, str]:
    """Returns the status of every backfill by ID."""
    found = served.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
    return {backfill["id"]: backfill["status"] for backfill in found}


def ended_backfill(served: Served, backfill: str) -> str:
    """Waits until a backfill has ended, and returns its status."""

    def ended() -> str | None:
        status = backfills(served)[backfill]
        return status if status.startswith(("COMPLETED", "FAILED", "CANCELED")) else None

    return until(ended, "the backfill ends")


def published_days(served: Served) -> set[str]:
    """Returns the days for which a list of listings was published."""
    history = (served.home / "published" / "listings" / "history.jsonl").read_text()
    return {json.loads(line)["version"][:10] for line in history.splitlines()}


def choose_days(page: Page, days: str, message: str) -> None:
    """Opens a job's dialog and chooses the days to materialise."""
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Show all partitions").click()
    field = dialog.locator("input[type=text], input:not([type])").first
    field.fill(days)
    field.press("Enter")
    expect(dialog.get_by_text(message, exact=True)).to_be_visible()


def schedule_state(served: Served) -> Any:
    """Returns the status and the ticks of the daily schedule, newest first."""
    return served.ask(TICKS)["scheduleOrError"]["scheduleState"]


def check_gate_page(page: Page, served: Served, asset: str, gate: str) -> None:
    """Opens a gate's page and checks that it shows a chart of what was judged."""
    page.goto(f"{served.dagster}/assets/{asset}?view=checks&checkDetail={gate}")
    picture = page.get_by_alt_text(f"what the gate {gate.removeprefix('gate_')} judged")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300


def check_plot(page: Page, key: str) -> None:
    """Opens the plot in an asset's metadata with one click."""
    page.get_by_role("row").filter(has_text=key).get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").get_by_role("img").filter(visible=True).last
    expect(picture).to_be_visible()


# The refusal tests come first: nothing has been launched yet, so any later state is an effect of the attempts.
@pytest.mark.parametrize("address", OTHER_ORIGINS.values(), ids=OTHER_ORIGINS)
def test_a_page_of_another_origin_changes_and_reads_nothing(served: Served, browser: Browser, address: str):
    before = state(served)
    with open_server() as elsewhere, browser.new_context() as context:
        page = context.new_page()
        page.goto(address.format(elsewhere=elsewhere.port, mlflow=urlsplit(served.mlflow).port))
        assert attack(page, served.dagster, served.mlflow) == Outcome({}, {})
    assert state(served) == before


def test_each_attempt_leaves_the_browser(browser: Browser):
    """Positive control of the test above: here the server is open, so every attempt arrives and is recorded."""
    with open_server() as elsewhere, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{elsewhere.port}/")
        victim = f"http://localhost:{elsewhere.port}"
        outcome = attack(page, victim, victim)
        assert elsewhere.arrived() == set(CHANGES)
        assert outcome.seen.keys() >= set(READS)
        assert outcome.frames.keys() == {
            *("form-urlencoded", "form-multipart", "form-text", "form-mlflow", "frame", "frame-mlflow")
        }


def test_a_foreign_name_that_resolves_to_this_machine_reads_nothing(served: Served, browser: Browser):
    """DNS rebinding: to the browser, page and server have one origin, so only the Host header distinguishes them."""
    with browser.new_context() as context:
        page = context.new_page()
        for server in (served.dagster, served.mlflow):
            response = page.goto(f"{server.replace('127.0.0.1', REBOUND)}/")
            assert response is not None
            assert response.status == 403
            assert response.text().startswith(f"Refused: this server is to be opened as {server}")
            status = page.evaluate(
                """async () => (await fetch('/graphql', {
                    method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"query": "{version}"}'
                })).status"""
            )
            assert status == 403


def test_links_from_other_sites_and_the_alternative_host_name_open_the_pages(served: Served, browser: Browser):
    with open_server() as elsewhere, browser.new_context() as context:
        page = context.new_page()
        for address, title in ((f"{served.dagster}/runs", "Runs"), (f"{served.mlflow}/", "MLflow")):
            page.goto(f"http://localhost:{elsewhere.port}/")
            page.evaluate("address => { document.body.innerHTML = `<a href=${address}>open</a>` }", address)
            page.get_by_text("open").click()
            expect(page).to_have_title(re.compile(title))
        with page.expect_websocket(lambda socket: socket.url.endswith("/graphql")) as socket:
            page.goto(f"{served.dagster.replace('127.0.0.1', 'localhost')}/runs")
        assert json.loads(str(socket.value.wait_for_event("framereceived")))["type"] == "connection_ack"
        expect(page).to_have_title(re.compile("Runs"))


@pytest.mark.parametrize("headers", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_a_request_of_another_host_or_origin_reads_nothing(served: Served, headers: tuple[tuple[str, str], ...]):
    for server, method, path, body in READING_REQUESTS.values():
        address = getattr(served, server)
        own = urlsplit(address)
        given = [(name, value.format(own=own.netloc, port=own.port)) for name, value in headers]
        answer = ask_raw(address, method, path, [*given, ("Content-Type", "application/json")], body)
        # Without a Host header the HTTP server itself may refuse the request.
        assert answer.status in ({400, 403} if not headers else {403}), (server, method, path)
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)
        assert answer.text.startswith("Refused: ") or answer.status == 400
    handshake = [
        *(("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
        *(("Sec-WebSocket-Key", "dG91Y2hzdG9uZSB0ZXN0IQ=="), ("Sec-WebSocket-Protocol", "graphql-ws")),
    ]
    own = urlsplit(served.dagster)
    given = [(name, value.format(own=own.netloc, port=own.port)) for name, value in headers]
    assert ask_raw(served.dagster, "GET", "/graphql", [*given, *handshake]).status in {400, 403}


@pytest.mark.parametrize("request_", REFUSED_CONTENT.values(), ids=REFUSED_CONTENT)
def test_a_request_without_cors_preflight_changes_nothing(
    served: Served, request_: tuple[str, str, str, str, str, int]
):
    before = state(served)
    server, method, path, content_type, body, status = request_
    address = getattr(served, server)
    given = [("Host", urlsplit(address).netloc), *([("Content-Type", content_type)] if content_type else [])]
    answer = ask_raw(address, method, path, given, body)
    assert answer.status == status
    assert answer.text.startswith("Refused: ")
    assert state(served) == before


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("with_origin", [True, False], ids=["a page", "a script"])
def test_own_pages_and_scripts_are_served(served: Served, name: str, *, with_origin: bool):
    for server, method, path, body in READING_REQUESTS.values():
        if method == "OPTIONS":
            continue
        address = getattr(served, server)
        own = f"{name}:{urlsplit(address).port}"
        given = [("Host", own), ("Content-Type", "application/json"), *([("Origin", f"http://{own}")] * with_origin)]
        answer = ask_raw(address, method, path, given, body)
        assert answer.status == 200, (server, method, path)
        assert answer.headers.get("Access-Control-Allow-Origin") in {None, f"http://{own}"}
        assert "frame-ancestors 'self'" in answer.headers.get_all("Content-Security-Policy", [])


@pytest.mark.parametrize(
    ("asset", "gate"),
    [
        ("candidates/listings", "gate_candidate"),
        ("features/listing_features", "gate_features"),
        ("scores/listing_counterfeit", "gate_scores"),
    ],
)
def test_a_gate_page_shows_what_was_judged(served: Served, page: Page, keep: Keep, asset: str, gate: str):
    """Runs before any launch: a page shows the newest run that includes the gate, even while that has no result yet."""
    check_gate_page(page, served, asset, gate)
    keep(gate)


@pytest.mark.usefixtures("land_and_shape")
def test_the_asset_graph_expands_its_groups(served: Served, page: Page, keep: Keep):
    page.set_viewport_size({"width": 2000, "height": 1500})  # on a smaller viewport Dagster omits the asset names
    page.goto(f"{served.dagster}/asset-groups")
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    page.get_by_role("button", name="Hide navigation").click()
    keep("graph")
    page.keyboard.press("Alt+KeyE")
    page.wait_for_url(lambda url: all(group in url for group in GROUPS))
    # Assets outside the viewport show no name: so check the features first, and then their downstream assets.
    shown = {GROUPS[3:4]: ("listing_features", "merchant_states"), GROUPS[4:]: ("rated_merchants", "strikes")}
    for groups, assets in shown.items():
        opened = ",".join(f"global@global:{group}" for group in groups)
        page.goto(f"{served.dagster}/asset-groups?expanded={opened}")
        for asset in assets:
            expect(page.get_by_text(asset, exact=True)).to_be_visible()
    page.wait_for_timeout(3000)  # the graph is centered
    keep("graph-open")


@pytest.mark.parametrize(
    ("asset", "owner", "described", "plot"),
    [
        ("landed/listings", "data-engineering", "Pulled from the source", None),
        ("models/listing_counterfeit", "model-review", "A new version of the model", "plot_importances"),
        ("scores/listing_counterfeit", "model-review", "Every live listing of a day rated 0 to 100", "plot"),
        ("candidates/listings", "brand-protection", "waiting for its gates", "plot"),
        ("published/listings", "brand-protection", "The list of listings that readers see", "plot"),
        ("reports/outcomes", "brand-protection", "Outcomes of flags, notices, appeals and leads", "plot_notices"),
    ],
    ids=lambda value: value if value and "/" in value else "",
)
def test_an_asset_page_shows_owner_description_and_plot(
    served: Served, page: Page, keep: Keep, asset: str, owner: str, described: str, plot: str | None
):
    page.goto(f"{served.dagster}/assets/{asset}")
    expect(page.get_by_text(owner, exact=True)).to_be_visible()
    expect(page.get_by_text(described).first).to_be_visible()
    keep(f"asset-{asset.replace('/', '-')}")
    if plot:
        check_plot(page, plot)
        keep(f"plot-{asset.replace('/', '-')}")


def test_the_outcomes_report_of_a_day_is_self_contained(served: Served, page: Page, keep: Keep):
    page.route(
        "**/report.html",
        lambda route: route.fulfill(path=served.home / "reports" / f"as_of={FIRST_DAY}" / "report.html"),
    )
    page.goto(f"{served.dagster}/report.html")
    expect(page.get_by_text("Pending decisions")).to_be_visible()
    pictures = page.locator("img")
    assert pictures.count() > 0
    assert all(pictures.nth(at).evaluate("picture => picture.naturalWidth > 0") for at in range(pictures.count()))
    keep("report")


def test_mlflow_shows_the_registry_and_the_run_of_a_version(served: Served, page: Page, keep: Keep):
    page.goto(f"{served.mlflow}/#/models/listing_counterfeit")
    expect(page.get_by_text("champion").first).to_be_visible()
    keep("mlflow-registry")
    page.get_by_role("link", name="Version 1").click()
    expect(page.get_by_text(f"Trained as of {FIRST_DAY}").first).to_be_visible()
    keep("mlflow-version")
    page.get_by_text("Inputs").first.click()
    expect(page.get_by_text("price_msrp_ratio").first).to_be_visible()
    page.locator("a[href*='/runs/']").first.click()
    page.get_by_text("Overview", exact=True).click()
    expect(page.get_by_text("forward_auroc_unseen").first).to_be_visible()
    keep("mlflow-run")


def test_mlflow_shows_a_challenger_compared_with_the_champion_and_its_card(served: Served, page: Page, keep: Keep):
    page.set_viewport_size({"width": 1280, "height": 718})
    page.goto(f"{served.mlflow}/#/models/{MODEL}/versions/2")
    expect(page.get_by_role("columnheader", name="difference")).to_be_visible()
    keep("mlflow-comparison")
    with page.expect_download() as card:
        page.get_by_role("link", name="the model card").click()
    page.set_viewport_size({"width": 1280, "height": 985})
    page.set_content(card.value.path().read_text())
    expect(page.get_by_role("heading", name="Your decision")).to_be_visible()
    keep("card")


def test_the_printed_link_opens_a_models_runs_with_their_main_metrics(served: Served, page: Page, keep: Keep):
    """By default MLflow shows no metric there.

    The champion's run is not listed: it was made before the home was copied.
    """
    page.set_viewport_size({"width": 1840, "height": 480})
    printed = (served.home.parent / "log.txt").read_text()
    (link,) = re.findall(rf"{MODEL} +(http\S+workflowType=machine_learning\S+)", printed)
    page.goto(link)
    page.get_by_role("button", name="Toggle sidebar").click()
    for column in RUNS_COLUMNS:
        name = column.split("`")[1]
        expect(page.get_by_role("columnheader", name=name, exact=True).last).to_be_visible()
    expect(page.get_by_role("gridcell", name=FIRST_DAY, exact=True)).to_have_count(1)
    keep("mlflow-runs")


def test_a_job_over_all_unpartitioned_assets_succeeds(served: Served, page: Page, land_and_shape: str, keep: Keep):
    assert served.ended(land_and_shape) == "SUCCESS"
    page.goto(f"{served.dagster}/runs/{land_and_shape}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    keep("run")


@pytest.mark.slow
def test_the_daily_job_publishes_its_date(served: Served, page: Page, keep: Keep):
    page.goto(f"{served.dagster}{JOBS}/daily")
    choose_days(page, DAY, "1 partition")
    keep("launch-a-day")
    page.get_by_role("button", name="Launch 1 run").click()
    daily = served.launched(pipelineName="daily", tags=[{"key": "dagster/partition", "value": DAY}])
    assert served.ended(daily) == "SUCCESS"
    assert DAY in published_days(served)


def test_the_schedule_ticks_and_a_gate_refuses_its_run_with_the_reason(
    served: Served, page: Page, scheduled: str, keep: Keep
):
    """The demo ends in June 2026: its loads are too old for yesterday, which is the date that a schedule rates."""
    assert served.ended(scheduled) == "FAILURE"
    page.goto(f"{served.dagster}{SCHEDULE}")
    expect(page.get_by_text("1 run requested").first).to_be_visible()
    keep("schedule")
    check_gate_page(page, served, "landed/listings", "gate_landed")
    expect(page.get_by_text("gate landed refused").first).to_be_visible()
    expect(page.get_by_text("tables_that_date_a_run_are_fresh (listings)").first).to_be_visible()
    expect(page.get_by_text("allowed 7 days").first).to_be_visible()
    page.get_by_role("button", name="Show more").click()
    keep("gate_landed")


@pytest.mark.slow
def test_a_backfill_of_three_days_publishes_them(served: Served, page: Page, keep: Keep):
    backfill = launch_backfill(served, page, THREE_DAYS, "3 partitions")
    assert ended_backfill(served, backfill) == "COMPLETED_SUCCESS"
    page.goto(f"{served.dagster}/runs/b/{backfill}")
    expect(page.get_by_text("100% completed")).to_be_visible()
    keep("backfill")
    assert {f"2026-06-{day}" for day in (17, 18, 19)} <= published_days(served)


@pytest.mark.slow
def test_a_backfill_with_a_killed_run_resumes_with_the_missing_days(served: Served, page: Page, keep: Keep):
    """The next process to start marks the killed run as failed; until then the backfill waits for it."""
    days = "[2026-06-22...2026-06-23]"
    first = launch_backfill(served, page, days, "2 partitions")
    tag = [{"key": "dagster/backfill", "value": first}]

    def worker() -> int | None:
        holder = json.loads((served.home / "lock").read_text() or "{}")
        run_id = holder.get("purpose", "").removeprefix("run ")
        return holder["pid"] if run_id in served.runs(tags=tag, statuses=["STARTED"]) else None

    os.kill(until(worker, "a run of the backfill holds the lock"), signal.SIGKILL)
    page.goto(f"{served.dagster}{JOBS}/land")
    page.get_by_role("button", name="Materialize all").click()
    assert ended_backfill(served, first) == "COMPLETED_FAILED"
    (missing,) = {"2026-06-22", "2026-06-23"} - published_days(served)
    known = served.runs()
    page.goto(f"{served.dagster}{JOBS}/rate")
    choose_days(page, days, "2 partitions")
    page.get_by_text("Backfill only failed and missing partitions within selection").click()
    page.get_by_role("button", name="Launch").last.click()
    (run,) = until(lambda: served.runs().keys() - known.keys(), "what is missing is launched, one run")
    assert served.runs(tags=[{"key": "dagster/partition", "value": missing}]).keys() >= {run}
    assert served.ended(run) == "SUCCESS"
    assert missing in published_days(served)
    page.goto(f"{served.dagster}/runs/{run}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    keep("backfill-resumed")


@pytest.mark.slow
def test_a_version_promoted_in_mlflow_rates_at_once_and_a_rollback_restores_the_list(
    served: Served, page: Page, keep: Keep
):
    """As a reviewer does it: 'Edit aliases' on the version's page; then `touchstone models rollback`."""
    version = register_again(served.home, MODEL, raised_by=0.001)
    (newest,) = {Path(file).parent.name[:10] for file in newest_list(served.home)}
    page.goto(f"{served.dagster}{JOBS}/rate")
    # Rated once more, because a manifest names the previous day's list, and that day may have been published since.
    choose_days(page, newest, "1 partition")
    page.get_by_role("button", name="Launch 1 run").click()
    assert served.ended(served.launched(pipelineName="rate", statuses=["QUEUED", "STARTING", "STARTED"])) == "SUCCESS"
    former = newest_list(served.home)
    page.goto(f"{served.mlflow}/#/models/{MODEL}/versions/{version}")
    page.get_by_role("button", name=re.compile("(Edit|Add) aliases")).first.click()
    page.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    keep("mlflow-edit-aliases")
    moved = time.monotonic()
    page.get_by_role("button", name="Save aliases").click()
    run = served.launched(
        pipelineName="rate", tags=[{"key": "touchstone/promotion", "value": PROMOTED.format(version)}]
    )
    assert time.monotonic() - moved < 10
    assert served.ended(run) == "SUCCESS"
    assert time.monotonic() - moved < 70
    receipt = json.loads(newest_receipt(served.home).read_bytes())
    assert receipt["run"]["approval"]["version"] == version
    assert receipt["run"]["approval"]["who"] == "mlflow-ui, unauthenticated"
    assert newest_list(served.home).keys() != former.keys()
    page.goto(f"{served.dagster}/runs/{run}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    keep("promotion-run")
    back = touchstone(served.home, "models", "rollback", MODEL, "--who", "Ada", "--why", "appeals have doubled")
    assert back.code == 0, back.stderr
    why = f"rollback {MODEL} version 1 by Ada: appeals have doubled"
    run = served.launched(pipelineName="rate", tags=[{"key": "touchstone/promotion", "value": why}])
    assert served.ended(run) == "SUCCESS"
    assert newest_list(served.home) == former


def newest_list(home: Path) -> dict[str, bytes]:
    """Returns the path and bytes of each file of the list in force."""
    folder = home / "published" / "listings"
    version = (folder / "LATEST").read_text().strip()
    files = [folder / version / name for name in ("listings.parquet", "listings.csv", "manifest.json")]
    return {str(file): file.read_bytes() for file in files}


def newest_receipt(home: Path) -> Path:
    """Returns the most recent receipt of the list in force."""
    folder = home / "published" / "listings"
    version = (folder / "LATEST").read_text().strip()
    return max((folder / version).glob("receipt*.json"), key=lambda file: file.stat().st_mtime)


@pytest.mark.slow
def test_one_asset_of_each_group_can_be_materialised_alone(served: Served, page: Page):
    assert len(ALONE) == len(GROUPS)
    for asset, day in ALONE.items():
        known = served.runs()
        page.goto(f"{served.dagster}/assets/{asset}")
        page.get_by_role("button", name="Materialize").first.click()
        if day:
            dialog = page.get_by_role("dialog")
            dialog.get_by_text("Show all partitions").click()
            field = dialog.locator("input[type=text], input:not([type])").first
            field.fill(day)
            field.press("Enter")
            expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
            dialog.get_by_role("button", name="Launch 1 run").click()
        (run,) = until(lambda known=known: served.runs().keys() - known.keys(), f"a run of {asset} is launched")
        assert served.ended(run) == "SUCCESS", asset
        made = served.ask(MATERIALIZED, path=asset.split("/"))["assetOrError"]["assetMaterializations"]
        assert [event["runId"] for event in made] == [run], asset
