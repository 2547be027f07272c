"""An appeal that was upheld: its flag goes with the next publication, and the next training holds it as genuine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.conftest import NEXT_DAY, Homes, Outcome, run

HEADER = "appeal_id,entity_kind,entity_id,matter,submitted_at,outcome,reason,decided_by,decided_at\n"


def listed(run_touchstone: Callable[..., Outcome]) -> list[str]:
    rows = run_touchstone("lists", "show", "listings", "--limit", "100000", "--json").json["rows"]
    return [row["listing_id"] for row in rows]


def rows_of(home: Path, query: str) -> list[tuple[object, ...]]:
    return duckdb.execute(query.format(home=home)).fetchall()


@pytest.mark.parametrize("outcome", ["upheld", "rejected"])
def test_an_upheld_appeal_lifts_its_flag_at_once_and_teaches_that_it_is_genuine(
    home: Path, homes: Homes, run_touchstone: Callable[..., Outcome], outcome: str
) -> None:
    before = listed(run_touchstone)
    labelled = {
        row[0]
        for row in rows_of(
            home, "select listing_id from '{home}/training/listings/*/spine.parquet' where label is not null"
        )
    }
    mine = next(name for name in before if name not in labelled)
    file = home / "appeals.csv"
    file.write_text(
        f"{HEADER}a1,listing,{mine},counterfeit,{NEXT_DAY} 08:00:00,{outcome},invoice from the brand,Ann,{NEXT_DAY} 12:00:00\n"
        f"a2,listing,{before[-1]},brushing,{NEXT_DAY} 08:00:00,upheld,another matter,Ann,{NEXT_DAY} 12:00:00\n"
    )
    recorded = run_touchstone("appeals", "record", str(file))
    assert (recorded.code, "2 new" in recorded.stdout) == (0, True), recorded.stderr
    assert listed(run_touchstone) == before  # nothing changes until it is published
    done = run(home, homes.policy, NEXT_DAY)
    assert done.code == 0, done.stderr
    after = listed(run_touchstone)
    assert set(before) - set(after) == ({mine} if outcome == "upheld" else set())
    mart = "'{home}/marts/rated_listings/as_of=" + NEXT_DAY + "/rated_listings.parquet'"
    marked = rows_of(home, f"select listing_id from {mart} where is_flagged and is_suppressed")
    assert ((mine,) in marked) == (outcome == "upheld")

    trained = run_touchstone(
        "run", "--as-of", NEXT_DAY, "--train", TOUCHSTONE_THRESHOLDS=str(homes.policy.parent / "thresholds.yml")
    )
    assert trained.code == 0, trained.stderr
    spine = "'{home}/training/listings/as_of=" + NEXT_DAY + "/spine.parquet'"
    labels = rows_of(
        home, f"select distinct label, label_source from {spine} where listing_id = '{mine}' and label is not null"
    )
    assert labels == ([(False, "appeal")] if outcome == "upheld" else [])
