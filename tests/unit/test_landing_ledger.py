"""Which loads are current, the digest of a set of loads, and runs after a refused load."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.landing.ledger import (
    Ledger,
    LoadedFile,
    LoadRecord,
    Removal,
    Replacement,
    current_loads,
    load_statuses,
    loads_in_use,
    pinned_loads,
)

CONTRACT = load_contract()
START = datetime(2026, 6, 1, 5, tzinfo=UTC)


def record(table: str, load_id: str | None, day: int = 0, **facts: Any) -> LoadRecord:
    known: dict[str, Any] = {
        "table": table,
        "load_id": load_id,
        "status": "accepted" if load_id else "refused",
        "mode": "full",
        "row_count": 1,
        "source": "tiny: parquet x",
        "recipe": "r",
        "newest_event_date": date(2026, 5, 31) + timedelta(days=day),
        "landed_at": START + timedelta(days=day),
        "message": f"{table}: refused because" if not load_id else "",
    }
    return LoadRecord.model_validate(known | facts)


def test_the_ledger_round_trips_its_records(tmp_path: Path) -> None:
    lines = [record("orders", "a"), record("orders", None, 1), record("listings", "b", 2, newest_event_date=None)]
    for line in lines:
        Ledger(tmp_path).append(line)
    assert Ledger(tmp_path).read() == lines


def test_a_changed_line_breaks_the_ledger(tmp_path: Path) -> None:
    for line in (record("orders", "a"), record("orders", "b", 1)):
        Ledger(tmp_path).append(line)
    file = tmp_path / "ledger" / "ledger.jsonl"
    file.write_text(file.read_text().replace('"row_count": 1', '"row_count": 2', 1))
    with pytest.raises(VerificationError):
        Ledger(tmp_path).read()


def test_the_newest_full_load_and_its_increments_are_current() -> None:
    lines = [
        record("orders", "a"),
        record("orders", "b", 1, mode="incremental"),
        record("orders", "c", 2),
        record("orders", "d", 3, mode="incremental"),
        record("orders", None, 4, mode="incremental"),
        record("orders", "d", 5, status="unchanged"),
    ]
    pins = pinned_loads(lines, CONTRACT)
    assert pins.as_dict() == {"orders": ["c", "d"]}
    assert [load.load_id for load in pins.current["orders"]] == ["c", "d"]
    assert pins.newest_event_date("orders") == date(2026, 6, 3)


@pytest.mark.parametrize("table", ["listings", "listing_images", "brand_logos"])
def test_tables_with_history_keep_all_loads(table: str) -> None:
    lines = [record(table, "a"), record(table, "b", 1), record(table, "a", 2)]
    pins = pinned_loads(lines, CONTRACT)
    assert pins.as_dict() == {table: ["a", "b", "a"]}
    assert [load.landed_at for load in pins.current[table]] == [START + timedelta(days=2)]


def test_loads_of_a_table_removed_from_the_contract_are_ignored() -> None:
    assert pinned_loads([record("unheard_of", "a")], CONTRACT).as_dict() == {}


def test_the_digest_covers_content_and_the_landing_time_of_later_loads() -> None:
    def digest(*lines: LoadRecord) -> str:
        return pinned_loads(lines, CONTRACT).digest

    assert digest(record("listings", "a")) == digest(record("listings", "a", 9))
    assert digest(record("listings", "a")) != digest(record("listings", "b"))
    assert digest(record("listings", "a"), record("brands", "b")) == digest(
        record("brands", "b"), record("listings", "a")
    )
    history = record("listings", "a")
    assert digest(history, record("listings", "b", 1)) != digest(history, record("listings", "b", 2))


def test_a_refused_load_with_a_fresh_predecessor_lets_the_run_continue() -> None:
    lines = [record("orders", "a"), record("orders", None, 1)]
    found = loads_in_use(lines[1:], pinned_loads(lines, CONTRACT), date(2026, 6, 7), timedelta(days=7))
    assert [(entry.table, entry.load.load_id, entry.age_days, entry.is_stale) for entry in found] == [
        ("orders", "a", 7, False)
    ]
    assert "7 days old" in str(found[0])


def test_a_load_one_day_older_is_stale() -> None:
    lines = [record("orders", "a"), record("orders", None, 1)]
    found = loads_in_use(lines[1:], pinned_loads(lines, CONTRACT), date(2026, 6, 8), timedelta(days=7))
    assert [entry.is_stale for entry in found] == [True]
    assert "too old" in str(found[0])


def test_the_age_of_a_load_without_events_counts_from_its_landing() -> None:
    lines = [record("brands", "a", newest_event_date=None), record("brands", None, 1)]
    found = loads_in_use(lines[1:], pinned_loads(lines, CONTRACT), date(2026, 6, 5), timedelta(days=7))
    assert found[0].age_days == 4


def test_unchanged_content_does_not_make_a_load_fresher() -> None:
    lines = [record("orders", "a"), record("orders", "a", 6, status="unchanged"), record("orders", None, 7)]
    found = loads_in_use(lines[2:], pinned_loads(lines, CONTRACT), date(2026, 6, 10), timedelta(days=7))
    assert found[0].is_stale


def test_refused_loads_without_stand_ins_are_bad_input_with_all_messages() -> None:
    lines = [record("orders", None), record("reviews", None), record("listings", "a")]
    with pytest.raises(BadInputError) as refused:
        loads_in_use(lines, pinned_loads(lines, CONTRACT), date(2026, 6, 5), timedelta(days=7))
    assert "orders: refused because" in str(refused.value)
    assert "reviews: refused because" in str(refused.value)


def removal(load_id: str, replacement: str | None = None) -> Removal:
    file = LoadedFile(name="part-0.parquet", sha256="1" * 64, rows=1)
    return Removal(
        status="erased" if replacement else "pruned",
        table="orders",
        load_id=load_id,
        files=(),
        replacement=Replacement(load_id=replacement, files=(file,)) if replacement else None,
        who="an officer",
        why="asked to",
        at=START,
    )


def test_a_load_without_removals_is_its_own_current_load() -> None:
    lines = [record("orders", "a"), record("orders", "a", 1, status="unchanged"), record("orders", None, 2)]
    assert [(key, status.removals, status.current) for key, status in load_statuses(lines).items()] == [
        (("orders", "a"), (), lines[0])
    ]


def test_the_replacement_of_a_load_is_resolved_through_all_erasures() -> None:
    lines = [record("orders", "a"), removal("a", "b"), removal("b", "c")]
    found = load_statuses(lines)
    assert [status.current and status.current.load_id for status in found.values()] == ["c", "c", "c"]
    assert found["orders", "a"].removals == (lines[1], lines[2])
    assert found["orders", "a"].load.load_id == "a"
    assert found["orders", "b"].removals == (lines[2],)
    assert found["orders", "c"].removals == ()
    assert found["orders", "c"].current == current_loads(lines)[0]


def test_a_pruned_load_has_no_current_load_until_it_lands_again() -> None:
    lines = [record("orders", "a"), removal("a", "b"), removal("b")]
    assert {status.current for status in load_statuses(lines).values()} == {None}
    again = record("orders", "b", 5)
    found = load_statuses([*lines, again])["orders", "b"]
    assert found.removals == ()
    assert found.current is not None
