"""A framed merchant, by the real command: a hundred false notices of one reporter, and appeals against flags.

The reporter's accuracy falls, the merchant stays off the lists; an upheld appeal removes the flag from the next
publication, and the next training uses it as a genuine label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import NEXT_DAY, Homes, Outcome, run

HEADER = "appeal_id,entity_kind,entity_id,violation_type,submitted_at,outcome,reason,decided_by,decided_at\n"
DECIDED = f"{NEXT_DAY} 08:00:00,{{}},seen,Ann,{NEXT_DAY} 12:00:00\n"


def listed(run_touchstone: Callable[..., Outcome]) -> list[str]:
    rows = run_touchstone("lists", "show", "listings", "--limit", "100000", "--json").json["rows"]
    return [row["listing_id"] for row in rows]


def accused(home: Path) -> str:
    """Adds one reporter's hundred rejected and ten pending notices about the listings of a merchant on no list."""
    sources = home / "marketplace" / "sources"
    listed_before = "".join(
        f" and merchant_id not in (select merchant_id from '{file}')"
        for name in ("listings", "merchants")
        for file in (home / "published" / name).glob(f"*/{name}.parquet")
    )
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            f"select merchant_id, list(listing_id order by listing_id) from '{sources}/listings.parquet' "
            f"where listed_at < '2026-04-01' and delisted_at is null {listed_before} group by merchant_id "
            "order by count(*) desc, merchant_id limit 1"
        ).fetchone()
        assert found is not None
        victim, goods = found
        connection.execute(
            f"""copy (
                from '{sources}/notices.parquet' union all by name
                select 'false' || i as notice_id, list_extract($goods, i % len($goods) + 1) as listing_id,
                    'a rival' as reporter_id, 'counterfeit' as kind,
                    timestamptz '2026-05-01 00:00:00+00' + to_hours(i) as submitted_at,
                    case when i < 100 then 'rejected' else 'pending' end as outcome, if(i < 100, 'genuine', null) as reason,
                    if(i < 100, timestamptz '2026-06-01 00:00:00+00', null) as decided_at
                from range(110) as t(i)
            ) to '{sources}/more.parquet' (format parquet)""",
            {"goods": goods},
        )
    (sources / "more.parquet").rename(sources / "notices.parquet")
    return str(victim)


def row(query: str) -> Sequence[Any]:
    found = duckdb.execute(query).fetchone()
    assert found is not None
    return found


@pytest.mark.slow
def test_false_notices_lower_a_reporters_accuracy_and_an_upheld_appeal_unlists_and_labels(
    home: Path, homes: Homes, run_touchstone: Callable[..., Outcome]
) -> None:
    before = listed(run_touchstone)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        labelled = {label[0] for label in warehouse.execute("select entity_id from int_labels").fetchall()}
    victim = accused(home)
    upheld, rejected, elsewhere = [name for name in before if name not in labelled][:3]
    file = home / "appeals.csv"
    file.write_text(
        f"{HEADER}a1,listing,{upheld},counterfeit,{DECIDED.format('upheld')}"
        f"a2,listing,{rejected},counterfeit,{DECIDED.format('rejected')}"
        f"a3,listing,{elsewhere},brushing,{DECIDED.format('upheld')}"
    )
    recorded = run_touchstone("appeals", "record", str(file))
    assert (recorded.code, "3 new" in recorded.stdout) == (0, True), recorded.stderr
    assert listed(run_touchstone) == before  # nothing changes before the next publication
    # The champion rates here, so one run shows both the next publication and the labels of the next training.
    done = run(home, homes.policy, NEXT_DAY, "--train")
    assert done.code == 0, done.stderr
    after = listed(run_touchstone)
    assert upheld not in after
    assert {rejected, elsewhere} <= set(after)
    marts = {name: home / "marts" / name / f"as_of={NEXT_DAY}" / f"{name}.parquet" for name in ("reporters", "notices")}
    accuracy, share, least = row(
        f"select accuracy_share, prior_share, accuracy_share = min(accuracy_share) over () from '{marts['reporters']}' "
        "qualify judged_count = 100"
    )
    assert accuracy < share / 3
    assert least
    assert row(
        f"select count(*) from '{marts['notices']}' where accuracy_share = {accuracy} and outcome = 'pending'"
    ) == (10,)
    for name in ("listings", "merchants"):
        latest = home / "published" / name / (home / "published" / name / "LATEST").read_text().strip()
        assert row(f"select count(*) from '{latest}/{name}.parquet' where merchant_id = '{victim}'") == (0,)

    spine = home / "training" / "listings" / f"as_of={NEXT_DAY}" / "spine.parquet"
    query = f"select distinct label, label_source from '{spine}' where listing_id = $id and label_source is not null"
    found = {name: duckdb.execute(query, {"id": name}).fetchall() for name in (upheld, rejected, elsewhere)}
    assert found == {upheld: [(False, "appeal")], rejected: [], elsewhere: []}
