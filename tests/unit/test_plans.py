"""Plans on disk and their completed sheets, without a pipeline."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from touchstone.casework.plans import Row, Sheet, earlier_picks, read_plan, read_sheet, seed_of
from touchstone.core.errors import BadInputError
from touchstone.publishing.candidate import cell_of

SHEET = Sheet("sheet.csv", "entity", "entity_id", ("plan_id", "entity_id", "verdict"), ("verdict",))
PLAN = "2026-06-30-0123456789ab"
IDS = ("=1+1", "l\u200b2", "l3")
"""One that a spreadsheet would run, one with a hidden character, and an ordinary one."""


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    folder = tmp_path / "plans" / PLAN
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"entity_id": IDS}), folder / "picks.parquet")
    (folder / "plan.json").write_text(json.dumps({"size": len(IDS)}))
    return folder.parent


def write(file: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([SHEET.needed, *rows])
    return file


def read(file: Path, plans: Path) -> list[tuple[str | None, str]]:
    def problem(row: Row) -> str | None:
        return None if row["verdict"] in ("fake", "genuine") else f"verdict {row['verdict']!r} is unknown"

    completed = read_sheet(file, SHEET, partial(read_plan, plans, "a command"), problem)
    return [(row["verdict"], pick["entity_id"]) for row, pick, plan in completed if plan.plan_id == PLAN]


def test_rows_are_matched_with_picks_as_the_sheet_and_as_the_source_write_their_ids(tmp_path: Path, plans: Path):
    as_shown = [(PLAN, cell_of(name), "fake") for name in IDS]
    assert as_shown[0][1] != IDS[0]
    assert read(write(tmp_path / "shown.csv", as_shown), plans) == [("fake", name) for name in IDS]
    assert read(write(tmp_path / "plain.csv", [(PLAN, IDS[1], "genuine")]), plans) == [("genuine", IDS[1])]


def test_rows_that_are_not_filled_in_are_ignored(tmp_path: Path, plans: Path):
    assert read(write(tmp_path / "s.csv", [(PLAN, "l3", "fake"), (PLAN, "nobody", "")]), plans) == [("fake", "l3")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(PLAN, "l3", "fake"), (PLAN, "l3", "genuine")], "line 3: entity l3 is in line 2 already"),
        ([(PLAN, "l4", "fake")], f"line 2: plan {PLAN} has no entity 'l4'"),
        ([(PLAN, "l3", "maybe")], "line 2: verdict 'maybe' is unknown"),
        ([(PLAN, "l3", "")], "no row has a value in verdict, so there is nothing to record"),
        ([("2020-01-01-0", "l3", "fake")], f"There is no plan 2020-01-01-0; the newest are {PLAN}"),
    ],
)
def test_an_invalid_sheet_is_an_error_that_names_the_line(
    tmp_path: Path, plans: Path, rows: Sequence[tuple[str, str, str]], message: str
):
    with pytest.raises(BadInputError) as refused:
        read(write(tmp_path / "sheet.csv", rows), plans)
    assert message in str(refused.value)


def test_without_a_plan_the_message_names_the_command_that_creates_one(tmp_path: Path):
    with pytest.raises(BadInputError, match="`touchstone audits plan` creates one"):
        read_plan(tmp_path, "touchstone audits plan")


def test_picks_of_earlier_days_within_the_window_are_not_drawn_again(plans: Path):
    picks = [str(plans / PLAN / "picks.parquet")]
    assert earlier_picks(plans, date(2026, 6, 1), date(2026, 7, 1)) == picks
    assert earlier_picks(plans, date(2026, 6, 1), date(2026, 6, 30)) == []
    assert earlier_picks(plans, date(2026, 7, 1), date(2026, 8, 1)) == []


def test_a_seed_is_that_given_or_depends_on_frame_and_day():
    day = date(2026, 6, 30)
    assert seed_of(7, "digest", day) == 7
    assert seed_of(None, "digest", day) == seed_of(None, "digest", day) != seed_of(None, "another", day)
