"""Audits by the real command over a rated home: plans with known probabilities, and the decisions recorded from a sheet."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.conftest import NEXT_DAY, Homes, touchstone

SIZE = 40


@pytest.fixture(scope="module")
def planned(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A rated home with an audit plan of listings; read-only."""
    copy = tmp_path_factory.mktemp("audited") / "home"
    shutil.copytree(homes.undisturbed, copy)
    made = touchstone(copy, "audits", "plan", "--size", str(SIZE))
    assert made.code == 0, made.stderr
    assert f"{SIZE} listings to decide on" in made.stdout
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def home(planned: Path, tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "home"
    shutil.copytree(planned, copy)
    yield copy
    shutil.rmtree(copy)


def plan_folder(home: Path) -> Path:
    (found,) = (home / "audits").iterdir()
    return found


def fill(home: Path, target: Path, verdicts: list[str]) -> list[str]:
    """Fills in the first rows of the plan's sheet; returns their entities."""
    with (plan_folder(home) / "decision_sheet.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, verdict in zip(rows, verdicts, strict=False):
        row |= {"verdict": verdict, "decided_at": f"{NEXT_DAY} 12:00:00"}
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return [row["entity_id"] for row in rows[: len(verdicts)]]


def test_a_plan_has_the_asked_size_known_probabilities_and_at_most_two_listings_of_a_merchant(planned: Path):
    folder = plan_folder(planned)
    picks = pq.read_table(folder / "picks.parquet").to_pylist()
    assert len(picks) == len({pick["entity_id"] for pick in picks}) == SIZE
    assert all(0 < pick["inclusion_probability"] <= 1 for pick in picks)
    assert max(Counter(pick["merchant_id"] for pick in picks).values()) <= 2
    facts = json.loads((folder / "plan.json").read_text())
    assert facts["plan_id"] == folder.name
    # Over all entities the inclusion probabilities add up to the size; the estimate of their number is unbiased.
    estimated = sum(1 / pick["inclusion_probability"] for pick in picks)
    assert estimated == pytest.approx(facts["frame"]["entities"], rel=0.6)


def test_the_same_request_gives_the_existing_plan_and_another_seed_another_one(home: Path):
    before = plan_folder(home).name
    again = touchstone(home, "audits", "plan", "--size", str(SIZE), "--json")
    assert again.json["plan_id"] == before
    other = touchstone(home, "audits", "plan", "--size", str(SIZE), "--seed", "7", "--json")
    assert other.json["plan_id"] != before


def test_merchants_can_be_audited(home: Path):
    planned = touchstone(home, "audits", "plan", "--size", "10", "--list", "merchants", "--json")
    assert planned.code == 0, planned.stderr
    assert len(planned.json["picks"]) == 10


def test_recorded_decisions_are_labels_with_the_probability_that_drew_them(home: Path, tmp_path: Path):
    sheet = tmp_path / "decision_sheet.csv"
    entities = fill(home, sheet, ["fake", "genuine", "genuine"])
    dry = touchstone(home, "audits", "record", str(sheet), "--dry-run")
    assert dry.code == 0, dry.stderr
    recorded = touchstone(home, "audits", "record", str(sheet))
    assert recorded.code == 0, recorded.stderr
    picks = {pick["entity_id"]: pick for pick in pq.read_table(plan_folder(home) / "picks.parquet").to_pylist()}
    newest = max((home / "landing" / "moderation_decisions").iterdir(), key=lambda folder: folder.stat().st_mtime)
    rows = duckdb.execute(
        "select entity_kind, entity_id, violation_type, verdict, inclusion_probability from read_parquet(?)",
        [str(newest / "*.parquet")],
    ).fetchall()
    assert sorted(rows) == sorted(
        ("listing", entity, "counterfeit", verdict, picks[entity]["inclusion_probability"])
        for entity, verdict in zip(entities, ["fake", "genuine", "genuine"], strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "counterfeit"}, "verdict 'counterfeit' is not one of fake, genuine"),
        ({"decided_at": ""}, "the verdict fake has no decided_at"),
        ({"entity_id": "nobody"}, "has no entity 'nobody'"),
        ({"plan_id": "2020-01-01-000000000000"}, "There is no plan 2020-01-01-000000000000"),
        ({"verdict": ""}, "no row has a value in verdict"),
    ],
)
def test_an_invalid_sheet_records_nothing_and_says_what_is_wrong(
    home: Path, tmp_path: Path, change: dict[str, str], message: str
):
    sheet = tmp_path / "decision_sheet.csv"
    fill(home, sheet, ["fake"])
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= change
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    loads = len(list((home / "landing" / "moderation_decisions").iterdir()))
    refused = touchstone(home, "audits", "record", str(sheet))
    assert refused.code == 2
    assert message in " ".join(refused.stderr.split())
    assert len(list((home / "landing" / "moderation_decisions").iterdir())) == loads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "1000000"), "can be drawn. Give a smaller size."),
        (("--as-of", "2020-01-01"), "were not rated as of 2020-01-01"),
    ],
)
def test_a_plan_that_cannot_be_drawn_says_why(planned: Path, arguments: tuple[str, ...], message: str):
    refused = touchstone(planned, "audits", "plan", *arguments)
    assert refused.code == 2
    assert message in " ".join(refused.stderr.split())
