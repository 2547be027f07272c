"""Test buys by the real command over a rated home: plans, recorded verdicts, and estimates for all listings."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.conftest import NEXT_DAY, Homes, Outcome, touchstone
from touchstone.core.failpoints import VARIABLE

BUDGET = 6000.0


@pytest.fixture(scope="module")
def planned(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A rated home with one plan; read-only."""
    copy = tmp_path_factory.mktemp("planned") / "home"
    shutil.copytree(homes.undisturbed, copy)
    made = touchstone(copy, "test-buys", "plan", "--budget", str(BUDGET))
    assert made.code == 0, made.stderr
    assert "buys in" in made.stdout
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def home(planned: Path, tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "home"
    shutil.copytree(planned, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def run_touchstone(home: Path) -> Callable[..., Outcome]:
    return lambda *arguments, **environment: touchstone(home, *arguments, **environment)


def plan_folder(home: Path) -> Path:
    (found,) = (home / "test_buys").iterdir()
    return found


def picks_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "picks.parquet").to_pylist()
    return found


def active_listings(home: Path) -> dict[str, tuple[str, float, float]]:
    """Returns merchant, price in the base currency and score of each rated listing."""
    rows = duckdb.execute(
        f"""
        select listing_id, merchant_id, round(price_base, 2), score
        from '{home}/features/listings/as_of={NEXT_DAY}/features.parquet' as features
        inner join '{home}/scores/listing_counterfeit/as_of={NEXT_DAY}/scores.parquet' as scores
            using (listing_id)
        """
    ).fetchall()
    return {listing: (merchant, price, score) for listing, merchant, price, score in rows}


def recently_bought(home: Path) -> set[str]:
    query = f"""
        select distinct listing_id from '{home}/landing/test_buys/*/*.parquet'
        where cast(ordered_at as date) between date '{NEXT_DAY}' - 90 and date '{NEXT_DAY}'
    """
    return {row[0] for row in duckdb.execute(query).fetchall()}


def test_a_plan_respects_budget_caps_window_and_active_listings(planned: Path) -> None:
    folder, goods = plan_folder(planned), active_listings(planned)
    picks = picks_of(folder)
    assert len(picks) > 10
    assert len({pick["listing_id"] for pick in picks}) == len(picks)
    assert sum(pick["cost"] for pick in picks) <= BUDGET
    assert max(Counter(pick["merchant_id"] for pick in picks).values()) <= 2
    assert not {pick["listing_id"] for pick in picks} & recently_bought(planned)
    for pick in picks:
        assert (pick["merchant_id"], pick["cost"], pytest.approx(100 * pick["risk"])) == goods[pick["listing_id"]]
        assert 0 < pick["inclusion_probability"] <= 1
        assert pick["arm"] in {"risk", "random"}
    facts = json.loads((folder / "plan.json").read_text())
    assert sum(stratum["buys"] * stratum["upper_cost"] for stratum in facts["strata"]) <= BUDGET
    assert Counter(pick["stratum"] for pick in picks) == {row["stratum"]: row["buys"] for row in facts["strata"]}
    assert facts["frame"]["listings"] == len(goods.keys() - recently_bought(planned))
    assert folder.name == facts["plan_id"]


def test_a_plan_is_deterministic_and_another_seed_gives_another_plan(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    folder = plan_folder(home)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run_touchstone("test-buys", "plan", "--budget", str(BUDGET), "--json").json
    assert result["plan_id"] == folder.name
    assert result["budget"] == BUDGET
    names = ("listing_id", "stratum", "arm", "cost", "inclusion_probability")
    assert result["picks"] == [{name: pick[name] for name in names} for pick in picks_of(folder)]
    shutil.rmtree(folder)
    assert run_touchstone("test-buys", "plan", "--budget", str(BUDGET), "--json").json == result
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = run_touchstone("test-buys", "plan", "--budget", str(BUDGET), "--seed", "5", "--json").json
    assert other["plan_id"] != result["plan_id"]
    assert {pick["listing_id"] for pick in other["picks"]} != {pick["listing_id"] for pick in result["picks"]}
    assert {pick["stratum"] for pick in other["picks"]} == {pick["stratum"] for pick in result["picks"]}


def test_certain_buys_have_inclusion_probability_one(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    goods, recent = active_listings(home), recently_bought(home)
    wanted = [min(goods.keys() - recent), min(recent & goods.keys())]
    file = home / "certain.csv"
    file.write_text("listing_id\n" + "\n".join(wanted) + "\n")
    result = run_touchstone("test-buys", "plan", "--budget", str(BUDGET), "--certain", str(file), "--json").json
    certain_picks = {pick["listing_id"]: pick for pick in result["picks"] if pick["arm"] == "certain"}
    assert sorted(certain_picks) == sorted(wanted)
    assert {(pick["stratum"], pick["inclusion_probability"]) for pick in certain_picks.values()} == {("certain", 1.0)}
    assert sum(pick["cost"] for pick in result["picks"]) <= BUDGET


def test_costs_are_in_the_currency_of_the_budget(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    rates = (
        f"select rate from '{home}/landing/fx_rates/*/*.parquet' where currency = 'EUR' and date = date '{NEXT_DAY}'"
    )
    ((rate,),) = duckdb.execute(rates).fetchall()
    result = run_touchstone("test-buys", "plan", "--budget", "5000", "--currency", "EUR", "--json").json
    goods = active_listings(home)
    assert all(
        pick["cost"] == pytest.approx(goods[pick["listing_id"]][1] / rate, abs=0.011) for pick in result["picks"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "1"), "does not buy 2"),
        (("--budget", "0"), "does not buy 2"),
        (("--budget", "100", "--as-of", "2020-01-01"), "was not rated"),
        (("--budget", "100", "--currency", "XAU"), "no rate"),
        (("--budget", "2000", "--certain", "{file}"), "not active"),
        (("--budget", "2000", "--certain", "{file}.absent"), "cannot be read"),
        (("--budget", "2000", "--merchant-cap", "0"), "merchant-cap"),
        (("--budget", "much"), "budget"),
    ],
)
def test_an_infeasible_or_invalid_plan_is_refused(
    planned: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "certain.txt"
    file.write_text("no such listing\n")
    before = sorted((planned / "test_buys").rglob("*"))
    done = touchstone(planned, "test-buys", "plan", *(argument.format(file=file) for argument in arguments))
    assert (done.code, message in done.stderr) == (2, True), done.stderr
    assert sorted((planned / "test_buys").rglob("*")) == before


def test_the_sheets_can_be_printed_and_open_safely(planned: Path) -> None:
    folder = plan_folder(planned)
    page = (folder / "buy_sheet.html").read_text()
    picks = picks_of(folder)
    assert all(pick["listing_id"] in page for pick in picks)
    assert "default-src 'none'" in page
    assert "<script" not in page
    with (folder / "buy_sheet.csv").open() as file:
        assert [row["listing_id"] for row in csv.DictReader(file)] == [pick["listing_id"] for pick in picks]


def filled(home: Path, verdicts: dict[str, str], **facts: str) -> Path:
    """Fills in the buy sheet: a verdict for some listings."""
    known = {"ordered_at": f"{NEXT_DAY} 09:00:00", "decided_at": f"{NEXT_DAY} 18:00:00"} | facts
    with (plan_folder(home) / "buy_sheet.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["listing_id"] in verdicts:
            row |= {"verdict": verdicts[row["listing_id"]], **known}
    target = home / "filled.csv"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_verdicts_land_once_with_the_plans_fields_and_can_be_corrected(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    folder = plan_folder(home)
    picks = {pick["listing_id"]: pick for pick in picks_of(folder)}
    one, two, three = sorted(picks)[:3]
    first = {one: "counterfeit", two: "genuine", three: "delisted"}
    done = run_touchstone("test-buys", "record", str(filled(home, first)))
    assert (done.code, "3 rows given, 3 new" in done.stdout) == (0, True), done.stderr
    query = f"select * from '{home}/landing/test_buys/*/*.parquet' where plan_id = '{folder.name}' order by listing_id, verdict"
    rows = duckdb.execute(query).to_arrow_table().to_pylist()
    assert [(row["listing_id"], row["verdict"]) for row in rows] == sorted(first.items())
    for row in rows:
        pick = picks[row["listing_id"]]
        assert (row["inclusion_probability"], row["arm"]) == (pick["inclusion_probability"], pick["arm"])
        paid = None if row["verdict"] == "delisted" else pytest.approx(pick["cost"])
        assert (row["cost"] if row["cost"] is None else float(row["cost"])) == paid
    again = run_touchstone("test-buys", "record", str(filled(home, first)))
    assert "nothing new" in again.stdout
    changed = run_touchstone("test-buys", "record", str(filled(home, first | {two: "inconclusive"})))
    assert "0 new, 1 replaced" in changed.stdout
    result = run_touchstone("test-buys", "report", "--json").json
    assert result["verdicts"] == {"genuine": 0, "counterfeit": 1, "inconclusive": 1, "delisted": 1}
    assert (result["bought"], result["pending"], result["picks"]) == (2, len(picks) - 3, len(picks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "fake"}, "not one of genuine, counterfeit"),
        ({"verdict": "genuine", "decided_at": ""}, "no decided_at"),
        ({"verdict": "genuine", "ordered_at": ""}, "no ordered_at"),
        ({"listing_id": "another"}, "has no listing 'another'"),
        ({"plan_id": "2026-01-01-000000000000", "verdict": "genuine"}, "There is no plan"),
        ({"verdict": "genuine", "decided_at": "yesterday"}, "decided_at"),
        ({"verdict": "genuine", "paid": "-3"}, "cost"),
        ({"verdict": "genuine", "paid": "a lot"}, "cost"),
    ],
)
def test_a_sheet_with_an_invalid_row_is_refused_atomically(
    home: Path, run_touchstone: Callable[..., Outcome], change: dict[str, str], message: str
) -> None:
    picks = picks_of(plan_folder(home))
    sheet = filled(home, {pick["listing_id"]: "genuine" for pick in picks[:3]})
    rows = list(csv.DictReader(sheet.read_text().splitlines()))
    rows[1] |= change
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    before = (home / "landing" / "ledger" / "ledger.jsonl").read_bytes()
    done = run_touchstone("test-buys", "record", str(sheet))
    assert (done.code, message in done.stderr) == (2, True), done.stderr
    assert (home / "landing" / "ledger" / "ledger.jsonl").read_bytes() == before


def test_a_sheet_with_a_duplicate_listing_or_no_verdict_is_refused(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    picks = picks_of(plan_folder(home))
    sheet = filled(home, {picks[0]["listing_id"]: "genuine"})
    lines = sheet.read_text().splitlines()
    sheet.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert "is in line 2 already" in run_touchstone("test-buys", "record", str(sheet)).stderr
    assert "nothing to record" in run_touchstone("test-buys", "record", str(plan_folder(home) / "buy_sheet.csv")).stderr
    sheet.write_text("listing_id,verdict\na,genuine\n")
    assert "no column plan_id, ordered_at" in run_touchstone("test-buys", "record", str(sheet)).stderr


def test_bought_listings_are_not_picked_again_and_the_report_matches_the_verdicts(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    picks = picks_of(plan_folder(home))
    verdicts = {
        pick["listing_id"]: "counterfeit" if number % 3 == 0 else "genuine" for number, pick in enumerate(picks)
    }
    assert run_touchstone("test-buys", "record", str(filled(home, verdicts))).code == 0
    result = run_touchstone("test-buys", "report", "--json").json
    weights = {pick["listing_id"]: 1 / pick["inclusion_probability"] for pick in picks}
    hits = sum(weight for name, weight in weights.items() if verdicts[name] == "counterfeit")
    # Minus the bias of a ratio, which is far smaller than the interval.
    most = 0.1 * (result["prevalence"]["high"] - result["prevalence"]["low"])
    assert result["prevalence"]["share"] == pytest.approx(hits / sum(weights.values()), abs=most)
    assert result["prevalence"]["low"] < result["prevalence"]["share"] < result["prevalence"]["high"]
    by_category = result["prevalence_by_category"]
    assert sorted(by_category) == sorted({pick["category"] for pick in picks})
    counted = sum(rate["verdicts"] for rate in result["hit_rate_by_arm"].values())
    assert counted == sum(rate["verdicts"] for rate in result["hit_rate_by_band"].values()) == len(picks)
    assert result["paid"] == pytest.approx(sum(pick["cost"] for pick in picks), abs=0.01)
    found = sum(verdict == "counterfeit" for verdict in verdicts.values())
    assert result["paid_per_counterfeit"] == pytest.approx(result["paid"] / found, abs=0.01)
    assert result["budget_for_half_the_interval"] > 2 * BUDGET
    words = run_touchstone("test-buys", "report").stdout
    assert f"{100 * result['prevalence']['share']:.2f} %" in words
    assert "not the prevalence" in words
    again = run_touchstone("test-buys", "plan", "--budget", str(BUDGET), "--json").json
    assert not {pick["listing_id"] for pick in again["picks"]} & set(verdicts)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_plan_is_written_atomically_and_a_repeat_gives_the_same_plan(
    home: Path, run_touchstone: Callable[..., Outcome], moment: str
) -> None:
    folder = plan_folder(home)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    command = ("test-buys", "plan", "--budget", str(BUDGET))
    killed = run_touchstone(*command, **{VARIABLE: f"test_buys.plan:{moment}:kill"})
    assert killed.code == -signal.SIGKILL
    assert folder.exists() == (moment == "after")
    assert run_touchstone(*command).code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "fault", ["landing.commit:before:kill", "landing.ledger:before:enospc", "landing.ledger:after:kill"]
)
def test_verdicts_count_once_when_an_interrupted_recording_is_repeated(
    home: Path, run_touchstone: Callable[..., Outcome], fault: str
) -> None:
    sheet = filled(home, {picks_of(plan_folder(home))[0]["listing_id"]: "counterfeit"})
    interrupted = run_touchstone("test-buys", "record", str(sheet), **{VARIABLE: fault})
    assert interrupted.code == (2 if "enospc" in fault else -signal.SIGKILL), interrupted.stderr
    is_in = run_touchstone("test-buys", "report", "--json").json["verdicts"]["counterfeit"] == 1
    assert is_in == ("after" in fault)
    again = run_touchstone("test-buys", "record", str(sheet))
    assert ("nothing new" in again.stdout) == is_in
    assert run_touchstone("test-buys", "report", "--json").json["verdicts"]["counterfeit"] == 1


def test_missing_plan_or_run_is_reported_with_what_to_do(homes: Homes, tmp_path: Path) -> None:
    done = touchstone(homes.undisturbed, "test-buys", "report")
    assert (done.code, "touchstone test-buys plan" in done.stderr) == (2, True)
    done = touchstone(tmp_path / "new", "test-buys", "plan", "--budget", "100")
    assert (done.code, "touchstone run" in done.stderr) == (2, True)
