"""Diagnosing, pruning, erasing and schema checks: on small homes made by landing and publishing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from datetime import date
from pathlib import Path

import pytest
from conftest import touchstone

from tests.integration.test_landing_erase import BUYER
from tests.landing_fixtures import BUYERS, LISTINGS, MERCHANTS, ORDERS, Market
from tests.publishing_fixtures import RATED, Home
from touchstone.core.errors import BadInputError, ExitCode
from touchstone.core.failpoints import VARIABLE
from touchstone.core.files import write_json
from touchstone.core.home import ensure_schema
from touchstone.core.lock import writer_lock
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import Settings, read_settings
from touchstone.landing.ledger import Ledger
from touchstone.maintenance.doctor import Finding, disk, examine, exit_code
from touchstone.maintenance.retention import erase, prune
from touchstone.maintenance.verification import verify_home
from touchstone.publishing.manifest import Loads

OLD, NEW = date(2026, 6, 1), date(2026, 6, 30)
BY_DATE = (
    "features/listings/as_of={}/features.parquet", "scores/listing_counterfeit/as_of={}/scores.parquet",
    "marts/rated_listings/as_of={}/rated_listings.parquet", "gates/{}/landed.json", "training/listings/as_of={}/edges.parquet",
)  # fmt: skip


def publish(market: Market, as_of: date) -> str:
    """Publishes a list based on the market's current loads, with the files that a run leaves for its date."""
    pins = market.pins()
    loads = Loads(digest=pins.digest, tables={name: tuple(ids) for name, ids in pins.as_dict().items()})
    for pattern in BY_DATE:
        path = market.folder / pattern.format(as_of)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    return Home(market.folder, loads=loads).release(RATED, as_of=as_of).version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A home of four landings ten days apart: a version depends on the first, a newer one on the second."""
    folder = tmp_path_factory.mktemp("maintenance")
    market = Market(folder, {"merchants": MERCHANTS, "listings": LISTINGS, "buyers": BUYERS, "orders": ORDERS})
    ensure_schema(read_settings(home=folder))
    for number, as_of in enumerate((OLD, NEW, None, None)):
        market.tables["orders"] = f"{ORDERS} where i > {number}"
        market.tables["listings"] = f"select * replace (title || {number} as title) from ({LISTINGS})"
        market.land(days=10 * number)
        if as_of is not None:
            publish(market, as_of)
    return market


@pytest.fixture
def market(made: Market, tmp_path: Path) -> Market:
    """A copy of it."""
    shutil.copytree(made.folder, tmp_path / "home")
    return Market(tmp_path / "home", dict(made.tables))


@pytest.fixture
def settings(market: Market) -> Settings:
    """The settings of that copy."""
    return read_settings(home=market.folder, lock_wait_seconds=0)


def found(settings: Settings, level: str) -> list[Finding]:
    return [finding for finding in examine(settings) if finding.level == level]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_reports_no_problems_in_an_intact_home_and_changes_nothing(settings: Settings) -> None:
    before = content(settings.home)
    message = touchstone(settings.home, "doctor")
    assert message.code == 0, message.stdout
    assert "No problems in" in message.stdout
    assert "MiB free" in message.stdout
    assert content(settings.home) == before


def change_byte(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("published/listings/*/listings.csv", 4, "was changed"),
        ("published/listings/history.jsonl", 4, "history.jsonl"),
        ("landing/orders/*/part-0.parquet", 4, "was changed after it landed"),
        ("landing/ledger/ledger.jsonl", 4, "ledger.jsonl"),
    ],
)
def test_a_file_that_does_not_match_its_digest_is_broken(
    settings: Settings, file: str, code: int, message: str
) -> None:
    change_byte(min(settings.home.glob(file)))
    findings = examine(settings)
    assert exit_code(findings) == code
    assert findings[0].level == "broken"
    assert message in str(findings[0])


def test_a_model_changed_after_its_approval_is_broken(settings: Settings) -> None:
    log = settings.home / "models" / "log.jsonl"
    log.parent.mkdir()
    log.write_text("{}\n")
    assert exit_code(examine(settings)) == ExitCode.VERIFICATION_FAILED
    assert str(log) in found(settings, "broken")[0].where


def test_a_dead_run_and_its_remains_are_reported_with_instructions(settings: Settings) -> None:
    record = RunRecord.start(settings.home / "runs", "abc")
    write_json(record.path, json.loads(record.path.read_text()) | {"process_started": "1"})
    (settings.home / "features" / ".tmp-1-half").mkdir()
    (settings.home / "landing" / "orders" / "unentered").mkdir()
    assert exit_code(examine(settings)) == ExitCode.BAD_INPUT
    (dead,) = found(settings, "act")
    assert "run abc" in dead.what
    assert "touchstone run" in dead.remedy
    notes = "\n".join(map(str, found(settings, "note")))
    assert "1 partial" in notes
    assert "folders of killed landings, which the ledger does not name" in notes
    assert "touchstone prune" in notes


def test_the_lock_holder_is_named_without_waiting(settings: Settings) -> None:
    with writer_lock(settings.home / "lock", purpose="a test", wait_seconds=0):
        (held, *_) = [str(finding) for finding in examine(settings) if "writes to the home" in finding.what]
    assert f"process {os.getpid()} (a test" in held
    assert "it is running" in held
    assert "a test" not in "".join(map(str, examine(settings))), "a name in the file of a free lock says nothing"


def test_a_missing_home_and_an_unknown_schema_require_action(settings: Settings, tmp_path: Path) -> None:
    assert exit_code(examine(read_settings(home=tmp_path / "nowhere"))) == ExitCode.BAD_INPUT
    (settings.home / "schema_version").write_text("99\n")
    (only,) = examine(settings)
    assert only.level == "act"
    assert "TOUCHSTONE_HOME" in only.remedy


def test_a_disk_without_space_for_the_next_run_requires_action(settings: Settings) -> None:
    assert disk(settings.home, 2**40)[0].level == "note"
    assert disk(settings.home, 10_000)[0].level == "act"


# Pruning -------------------------------------------------------------------------------------------------------------


def orders(market: Market) -> list[str]:
    return [str(load.load_id) for load in Ledger(market.landing).read() if load.table == "orders"]


def test_pruning_keeps_everything_that_a_kept_version_depends_on(settings: Settings, market: Market) -> None:
    first, second, third, fourth = orders(market)
    pins, listings = market.pins(), content(market.landing / "listings")
    pruned = prune(settings, 15)
    assert {item.kind for item in pruned.expired} == {
        "loads", "features", "scores", "marts", "gates", "training", "candidates"
    }  # fmt: skip
    assert [str(item.load.load_id) for item in pruned.expired if item.load] == [first], (
        "the second is named, by the newest"
    )
    assert orders(market) == [second, third, fourth]
    assert {path.name for path in (market.landing / "orders").iterdir()} == {second, third, fourth}
    assert market.pins() == pins
    assert content(market.landing / "listings") == listings, "all its loads are history"
    assert pruned.history_tables == ["listings"]
    for pattern in BY_DATE:
        assert not (settings.home / pattern.format(OLD)).exists()
        assert (settings.home / pattern.format(NEW)).exists()
    assert not list((settings.home / "candidates" / "listings").glob(f"as_of={OLD}*"))
    assert len(list((settings.home / "published" / "listings").glob("20*"))) == 2, "versions stay"
    assert prune(settings, 15).expired == []


def test_the_newest_leads_are_kept_regardless_of_age(settings: Settings) -> None:
    folders = [settings.home / "leads" / f"as_of=2026-05-0{day}" for day in (1, 2)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "leads.parquet").write_bytes(b"x")
    assert "leads" in {item.kind for item in prune(settings, 15).expired}
    assert [folder.exists() for folder in folders] == [False, True]


def test_verify_notes_versions_that_depend_on_pruned_loads(settings: Settings) -> None:
    prune(settings, 15)
    verified = verify_home(settings.home)
    assert verified.problems == []
    (note,) = verified.notes
    assert "was pruned on" in note
    assert str(OLD) in note
    assert exit_code(examine(settings)) == ExitCode.DONE


def test_a_missing_load_without_a_ledger_line_is_broken(settings: Settings, market: Market) -> None:
    shutil.rmtree(market.landing / "orders" / orders(market)[0])
    (problem,) = verify_home(settings.home).problems
    assert "is missing" in problem


def test_a_dry_run_lists_what_would_be_pruned_and_removes_nothing(settings: Settings) -> None:
    before = content(settings.home)
    dry = prune(settings, 15, dry_run=True)
    assert content(settings.home) == before
    assert sum(size for _, size in dry.totals().values()) > 0
    assert prune(settings, 15).expired == dry.expired
    assert not any(item.path.exists() for item in dry.expired)


def test_pruned_content_may_land_again(settings: Settings, market: Market) -> None:
    first = orders(market)[0]
    prune(settings, 15)
    market.tables["orders"] = f"{ORDERS} where i > 0"
    assert market.land(days=40)["orders"].load_id == first
    assert verify_home(settings.home).problems == []


def test_without_a_ledger_pruning_keeps_the_landing_zone(settings: Settings, market: Market) -> None:
    (market.landing / "ledger" / "ledger.jsonl").unlink()
    before = content(market.landing)
    prune(settings, 1)
    assert content(market.landing) == before


def test_pruning_zero_days_or_a_missing_home_is_bad_input(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the newest day is always kept"):
        prune(settings, 0)
    with pytest.raises(BadInputError, match="no home"):
        prune(read_settings(home=tmp_path / "nowhere"), 1)


@pytest.mark.parametrize(
    "armed",
    [
        pytest.param("prune.ledger:before:kill", marks=pytest.mark.slow),
        "prune.ledger:after:kill",
        pytest.param("prune.remove:before:kill:3", marks=pytest.mark.slow),
        pytest.param("prune.remove:after:kill:2", marks=pytest.mark.slow),
    ],
)
def test_a_killed_pruning_is_completed_by_the_next(settings: Settings, market: Market, armed: str) -> None:
    first = orders(market)[0]
    assert touchstone(settings.home, "prune", "--keep-days", "15", **{VARIABLE: armed}).code == -signal.SIGKILL
    assert verify_home(settings.home).problems == []
    prune(settings, 15)
    assert first not in orders(market)
    assert not (market.landing / "orders" / first).exists()
    assert not list(settings.home.glob("features/*/as_of=2026-06-01"))
    assert not list(settings.home.rglob(".tmp-*"))
    assert exit_code(examine(settings)) == ExitCode.DONE


# Erasing -------------------------------------------------------------------------------------------------------------


def test_verify_reports_erased_rows_as_notes_and_not_as_problems(settings: Settings) -> None:
    for name in (
        *("warehouse.duckdb", "pinned/loads.json", "training/listings/as_of=2026-06-30/edges.parquet"),
        "marts/reporters/as_of=2026-06-30/reporters.parquet",
    ):
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / name).write_bytes(b"might hold the person")
    published = content(settings.home / "published")
    done = touchstone(settings.home, "erase", BUYER.kind, BUYER.value_hash, "--who", "an officer", "--json")
    assert done.code == 0, done.stderr
    assert {line["who"] for line in done.json["removals"]} == {"an officer"}
    assert content(settings.home / "published") == published
    for name in ("warehouse.duckdb", "pinned", "training", "marts/reporters"):
        assert not (settings.home / name).exists()
    assert (settings.home / "marts" / "rated_listings").is_dir()
    verified = verify_home(settings.home)
    assert verified.problems == []
    assert all("was erased on" in note for note in verified.notes)
    assert len(verified.notes) == 3, "the orders of both versions, and the one load of buyers"
    assert exit_code(examine(settings)) == ExitCode.DONE


@pytest.mark.slow
def test_an_interrupted_erasure_is_reported_by_the_doctor(settings: Settings) -> None:
    arguments = ("erase", BUYER.kind, BUYER.value_hash)
    assert touchstone(settings.home, *arguments, **{VARIABLE: "erase.ledger:after:kill"}).code == -signal.SIGKILL
    message = "\n".join(map(str, found(settings, "act")))
    assert "still holds rows of an erased person" in message
    assert touchstone(settings.home, *arguments).code == 0
    assert found(settings, "act") == []


def test_an_unknown_kind_is_bad_input_that_lists_the_known_ones(settings: Settings) -> None:
    with pytest.raises(BadInputError, match="buyer"):
        erase(settings, "cousin", "0" * 32, who="an officer", why="x")
    with pytest.raises(BadInputError, match="who"):
        erase(settings, BUYER.kind, BUYER.value_hash, who=" ", why="x")


# The schema ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_home_of_an_earlier_version_is_refused_with_instructions(settings: Settings, version: str) -> None:
    (settings.home / "schema_version").write_text(f"{version}\n")
    before = content(settings.home)
    with pytest.raises(
        BadInputError, match=rf"schema version {version}, of Touchstone 0\.1.*TOUCHSTONE_HOME to a new folder"
    ):
        prune(settings, 1000)
    (finding,) = examine(settings)
    assert (finding.level, exit_code([finding])) == ("act", ExitCode.BAD_INPUT)
    assert "touchstone run --sources FILE" in finding.remedy
    assert content(settings.home) == before


@pytest.mark.parametrize("version", ["99", "0", "", "two"])
def test_any_other_schema_version_is_refused_with_instructions(settings: Settings, version: str) -> None:
    (settings.home / "schema_version").write_text(version)
    before = content(settings.home)
    with pytest.raises(BadInputError, match="TOUCHSTONE_HOME"):
        ensure_schema(settings)
    assert {name: held for name, held in content(settings.home).items() if name != "lock"} == before
