"""An appeal that was upheld: its flag goes with the next publication, and the next training holds it as genuine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from tests.conftest import NEXT_DAY, Homes, Outcome, run

HEADER = "appeal_id,entity_kind,entity_id,matter,submitted_at,outcome,reason,decided_by,decided_at\n"
DECIDED = f"{NEXT_DAY} 08:00:00,{{}},seen,Ann,{NEXT_DAY} 12:00:00\n"


def listed(run_touchstone: Callable[..., Outcome]) -> list[str]:
    rows = run_touchstone("lists", "show", "listings", "--limit", "100000", "--json").json["rows"]
    return [row["listing_id"] for row in rows]


def test_an_upheld_appeal_lifts_its_flag_at_once_and_teaches_that_it_is_genuine(
    home: Path, homes: Homes, run_touchstone: Callable[..., Outcome]
) -> None:
    before = listed(run_touchstone)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        labelled = {row[0] for row in warehouse.execute("select entity_id from int_labels").fetchall()}
    upheld, rejected, elsewhere = [name for name in before if name not in labelled][:3]
    file = home / "appeals.csv"
    file.write_text(
        f"{HEADER}a1,listing,{upheld},counterfeit,{DECIDED.format('upheld')}"
        f"a2,listing,{rejected},counterfeit,{DECIDED.format('rejected')}"
        f"a3,listing,{elsewhere},brushing,{DECIDED.format('upheld')}"
    )
    recorded = run_touchstone("appeals", "record", str(file))
    assert (recorded.code, "3 new" in recorded.stdout) == (0, True), recorded.stderr
    assert listed(run_touchstone) == before  # nothing changes until it is published
    done = run(home, homes.policy, NEXT_DAY)
    assert done.code == 0, done.stderr
    assert set(before) - set(listed(run_touchstone)) == {upheld}

    limits = {"TOUCHSTONE_THRESHOLDS": str(homes.policy.parent / "thresholds.yml")}
    trained = run_touchstone("run", "--as-of", NEXT_DAY, "--train", **limits)
    assert trained.code == 0, trained.stderr
    spine = home / "training" / "listings" / f"as_of={NEXT_DAY}" / "spine.parquet"
    query = f"select distinct label, label_source from '{spine}' where listing_id = $id and label_source is not null"
    found = {name: duckdb.execute(query, {"id": name}).fetchall() for name in (upheld, rejected, elsewhere)}
    assert found == {upheld: [(False, "appeal")], rejected: [], elsewhere: []}
