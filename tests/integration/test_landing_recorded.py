"""Rows recorded by command: atomically, once, and merged with the source's rows, whatever lands in between."""

from __future__ import annotations

import csv
import hashlib
import hmac
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contract import LANDED_COLUMNS
from tests.landing_fixtures import CONTRACT, KEY, LISTINGS, MERCHANTS, NOW, Market
from touchstone.core import failpoints as faults
from touchstone.core.errors import BadInputError
from touchstone.landing.land import Recorded, record
from touchstone.landing.ledger import Ledger, pinned_loads
from touchstone.landing.views import create_views

SOURCE_APPEAL = """
    '{name}' as appeal_id, 'listing' as entity_kind, 'l1' as entity_id, 'counterfeit' as violation_type,
    timestamp '2026-06-01 10:00:00' as submitted_at, '{why}' as reason
"""


def appeal(name: str, **facts: str) -> dict[str, str]:
    known = {
        "entity_kind": "listing",
        "entity_id": "l1",
        "violation_type": "counterfeit",
        "submitted_at": "2026-06-01 10:00:00",
    }
    return {"appeal_id": name, **known, **facts}


def give(market: Market, table: str, rows: list[dict[str, str]], days: float = 0, **options: Any) -> Recorded:
    """Records rows from a CSV file, `days` after `NOW`."""
    file = market.folder / f"{table}-given.csv"
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    now = NOW + timedelta(days=days)
    return record(table, file, CONTRACT, market.landing, hmac_key=KEY, now=now, **options)


def present(market: Market, table: str) -> list[dict[str, Any]]:
    """Returns a table's rows as dbt reads them: the newest of each key in the view over the pinned loads."""
    key = ", ".join(CONTRACT.tables[table].key)
    with duckdb.connect() as connection:
        create_views(connection, market.landing, market.pins(), CONTRACT)
        excluded = ", ".join(LANDED_COLUMNS)
        newest = f"qualify row_number() over (partition by {key} order by landed_at desc) = 1"
        query = f"select * exclude ({excluded}) from (select * from landed.{table} {newest}) order by {key}"
        return connection.execute(query).to_arrow_table().to_pylist()


@pytest.fixture
def market(tmp_path: Path) -> Market:
    found = Market(tmp_path)
    found.land()
    return found


def test_recorded_rows_are_the_content_of_a_table_without_a_source(market: Market) -> None:
    recorded_result = give(
        market, "appeals", [appeal("a1"), appeal("a2", outcome="upheld", decided_at="2026-06-03", decided_by="Ann")]
    )
    assert (recorded_result.given, recorded_result.new, recorded_result.changed) == (2, 2, 0)
    rows = present(market, "appeals")
    assert [row["appeal_id"] for row in rows] == ["a1", "a2"]
    assert rows[1]["decided_by"] == hmac.new(KEY, b"Ann", hashlib.sha256).hexdigest()[:32]
    line = Ledger(market.landing).read()[-1]
    assert (line.is_recorded, line.mode, line.row_count, line.source) == (True, "full", 2, "given: appeals-given.csv")


def test_repeated_rows_land_nothing_and_a_changed_row_replaces_its_predecessor(market: Market) -> None:
    give(market, "appeals", [appeal("a1"), appeal("a2")])
    before = Ledger(market.landing).read()
    assert give(market, "appeals", [appeal("a2"), appeal("a1")], days=1).load is None
    assert Ledger(market.landing).read() == before
    recorded_result = give(
        market, "appeals", [appeal("a1"), appeal("a2", outcome="rejected", decided_at="2026-06-09")], days=1
    )
    assert (recorded_result.new, recorded_result.changed) == (0, 1)
    assert [row["outcome"] for row in present(market, "appeals")] == [None, "rejected"]
    give(market, "appeals", [appeal("a2")], days=2)
    assert [row["outcome"] for row in present(market, "appeals")] == [None, None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([appeal("a1"), appeal("a2", entity_kind="shop")], "entity_kind"),
        ([appeal("a1"), appeal("a1", reason="again")], "appeal_id"),
        ([appeal("a1", submitted_at="yesterday")], "submitted_at"),
        ([appeal("a1", submitted_at="1931-01-01")], "submitted_at"),
        ([appeal("a1", verdict="fake")], "verdict"),
        ([appeal("a1", outcome="overturned")], "outcome"),
    ],
)
def test_an_invalid_row_refuses_the_whole_file_and_lands_nothing(
    market: Market, rows: list[dict[str, str]], message: str
) -> None:
    before = Ledger(market.landing).read()
    with pytest.raises(BadInputError) as refused:
        give(market, "appeals", rows)
    assert "appeals-given.csv: appeals: this load was refused" in str(refused.value)
    assert message in str(refused.value)
    assert "give the complete file again" in str(refused.value)
    assert Ledger(market.landing).read() == before
    assert not (market.landing / "appeals").exists()


def test_a_row_about_an_unknown_entity_is_refused(market: Market) -> None:
    bought = {"test_buy_id": "t1", "listing_id": "l99", "ordered_at": "2026-06-01"}
    with pytest.raises(BadInputError, match="l99"):
        give(market, "test_buys", [bought])
    assert give(market, "test_buys", [bought | {"listing_id": "l1"}]).new == 1


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty|column|line"), (b"appeal_id\n\xff\xfe\n", "UTF-8|utf-8|unicode")]
)
def test_an_unreadable_file_is_refused_with_the_reason(market: Market, content: bytes, message: str) -> None:
    file = market.folder / "broken.csv"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        record("appeals", file, CONTRACT, market.landing, hmac_key=KEY, now=NOW)
    with pytest.raises(BadInputError, match="there is no file"):
        record("appeals", market.folder / "absent.csv", CONTRACT, market.landing, hmac_key=KEY, now=NOW)


def test_a_dry_run_counts_and_lands_nothing(market: Market) -> None:
    give(market, "appeals", [appeal("a1")])
    recorded_result = give(market, "appeals", [appeal("a1", reason="new"), appeal("a2")], days=1, is_dry=True)
    assert (recorded_result.given, recorded_result.new, recorded_result.changed, recorded_result.load) == (
        2,
        1,
        1,
        None,
    )
    assert len(present(market, "appeals")) == 1


def test_recorded_rows_survive_the_next_full_load_unless_it_has_the_same_key(tmp_path: Path) -> None:
    suppression = """
        select 'listing' as entity_kind, 'l{n}' as entity_id, timestamp '2026-06-01' as created_at, '{why}' as reason
    """
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})
    market.tables["suppressions"] = suppression.format(n=1, why="source")
    market.land()
    kept = {"entity_kind": "listing", "created_at": "2026-06-01"}
    give(market, "suppressions", [kept | {"entity_id": name, "reason": "analyst"} for name in ("l2", "l3")], days=1)
    market.tables["suppressions"] += " union all " + suppression.format(n=3, why="source")
    market.land(days=2)
    expected = [("l1", "source"), ("l2", "analyst"), ("l3", "source")]
    assert [(row["entity_id"], row["reason"]) for row in present(market, "suppressions")] == expected
    lines = len(Ledger(market.landing).read())
    assert market.land(days=3)["suppressions"].status == "unchanged"
    assert len(Ledger(market.landing).read()) == lines + 3  # exactly one line for each table of the source
    give(market, "suppressions", [kept | {"entity_id": "l3", "reason": "analyst"}], days=4)
    expected[2] = ("l3", "analyst")
    assert [(row["entity_id"], row["reason"]) for row in present(market, "suppressions")] == expected


def test_a_failure_before_the_carried_over_line_is_repaired_by_the_next_landing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market(tmp_path)
    market.land()
    give(market, "appeals", [appeal("a1")])
    market.tables["appeals"] = f"select {SOURCE_APPEAL.format(name='a9', why='source')}"
    faults._reached.clear()
    monkeypatch.setenv(
        faults.VARIABLE, "landing.ledger:before:enospc:4"
    )  # after the lines of the source's three tables
    with pytest.raises(OSError, match="No space left"):
        market.land(days=1)
    monkeypatch.delenv(faults.VARIABLE)
    assert [row["appeal_id"] for row in present(market, "appeals")] == ["a9"]
    market.land(days=2)
    assert [row["appeal_id"] for row in present(market, "appeals")] == ["a1", "a9"]


steps = st.lists(
    st.tuples(st.sampled_from(["record", "land"]), st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))),
    max_size=6,
)


@given(steps)
@settings(max_examples=25)
def test_a_key_has_its_latest_row_and_a_full_load_drops_only_source_rows(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, dict[str, str]]]
) -> None:
    market = Market(tmp_path_factory.mktemp("market"))
    market.land()
    pulled: dict[str, str] = {}
    recorded: dict[str, str] = {}
    newer: dict[str, str] = {}
    for day, (kind, rows) in enumerate(history, start=1):
        if not rows:
            continue
        if kind == "record":
            give(market, "appeals", [appeal(name, reason=why) for name, why in rows.items()], days=day)
            recorded |= rows
            newer |= rows
        else:
            selects = [f"select {SOURCE_APPEAL.format(name=name, why=why)}" for name, why in rows.items()]
            market.tables["appeals"] = " union all ".join(selects)
            if market.land(days=day)["appeals"].status == "accepted":
                pulled, newer = dict(rows), {}
    expected = recorded | pulled | newer
    assert {row["appeal_id"]: row["reason"] for row in present(market, "appeals")} == expected
    assert pinned_loads(Ledger(market.landing).read(), CONTRACT).digest == market.pins().digest
