"""Landing: the contract's columns, each row once, whatever the order, the thread count or the moment of a kill."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contract import Contract
from tests.landing_fixtures import BUYERS, CONTRACT, KEY, LISTINGS, MERCHANTS, NOW, ORDERS, Market
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.landing import ledger as ledger_module
from touchstone.landing.as_of import default_as_of
from touchstone.landing.checks import CHANGED_AT
from touchstone.landing.land import check, land
from touchstone.landing.ledger import Ledger, LoadRecord, verify_loads
from touchstone.landing.sources import Sources, read_sources
from touchstone.landing.sql import Limits
from touchstone.landing.views import create_views

ROOT = Path(__file__).resolve().parents[2]
LINES = {"merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS, "buyers": BUYERS}


def digest_of(text: str, key: bytes = KEY) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_load_has_the_contract_s_columns_types_and_order(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    record = market.land()["listings"]
    (path,) = record.paths(market.landing)
    assert path == market.landing / "listings" / str(record.load_id) / "part-0.parquet"
    described = duckdb.execute("describe select * from read_parquet($path)", {"path": str(path)}).fetchall()
    assert [(row[0], row[1]) for row in described] == [
        (name, column.sql_type) for name, column in CONTRACT.tables["listings"].columns.items()
    ]
    first = market.rows("listings")[0]
    assert first[:3] == ("l1", "m2", "Watch 1")
    assert Decimal("11.5000") in first
    assert datetime(2026, 3, 2) in first  # noqa: DTZ001  landed times are UTC without a zone
    assert [row[0] for row in market.rows("listings")] == [f"l{i}" for i in range(1, 7)]


def test_the_ledger_records_what_landed_and_from_where(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    record = market.land()["orders"]
    (path,) = record.paths(market.landing)
    assert (record.status, record.mode, record.row_count) == ("accepted", "full", 10)
    assert record.source == "tiny: parquet source/orders.parquet"
    assert record.landed_at == NOW
    assert record.newest_event_date == date(2026, 6, 6)
    assert [file.sha256 for file in record.files] == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert Ledger(market.landing).read()[-1].table in CONTRACT.tables


def test_identifiers_land_as_hmac_and_link_across_tables(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    market.land()
    buyers = [row[0] for row in market.rows("buyers")]
    assert sorted(buyers) == sorted(digest_of(f"b{i}") for i in range(1, 4))
    assert {row[3] for row in market.rows("orders")} == set(buyers)
    assert all(b"device " not in path.read_bytes() for path in market.landing.rglob("*.parquet"))


IDENTIFIED = """
    select * from (values
        ('m1', 'phone', '030 901820', timestamp '2026-02-02', false), ('m1', 'phone', '+49 30 901820', '2026-02-01', true),
        ('m2', 'phone', '(030) 901820', '2026-02-03', false), ('m3', 'phone', '030-901820', '2026-02-04', false),
        ('m1', 'email', 'A.nn@gmail.com', '2026-02-01', null), ('m2', 'email', 'ann+2@GMAIL.com', '2026-02-01', null),
        ('m1', 'device', 'ABC', '2026-02-01', null), ('m2', 'device', 'abc', '2026-02-01', null)
    ) as given (merchant_id, kind, value_hash, first_seen_at, is_verified)
"""
IN_COUNTRIES = f"select *, case merchant_id when 'm3' then 'US' else 'DE' end as country from ({MERCHANTS})"


def identifiers(*rows: tuple[str, str, str, datetime, bool | None]) -> list[tuple[Any, ...]]:
    """Returns rows as they land: the identifier hashed, sorted."""
    return sorted((merchant, kind, digest_of(value), *rest) for merchant, kind, value, *rest in rows)


def test_spellings_of_an_identifier_land_as_one(tmp_path: Path) -> None:
    """A phone number is read by the merchant's country; the first time counts, and one verified spelling verifies it."""
    market = Market(tmp_path, LINES | {"merchants": IN_COUNTRIES, "merchant_identifiers": IDENTIFIED})
    assert not any(report.violations for report in market.check().values())
    market.land()
    february = [datetime(2026, 2, day) for day in range(1, 5)]  # noqa: DTZ001  # landed times have no zone: they are UTC
    assert market.rows("merchant_identifiers") == identifiers(
        ("m1", "phone", "+4930901820", february[0], True),
        ("m2", "phone", "+4930901820", february[2], False),
        ("m3", "phone", "030-901820", february[3], False),
        ("m1", "email", "ann@gmail.com", february[0], None),
        ("m2", "email", "ann@gmail.com", february[0], None),
        ("m1", "device", "ABC", february[0], None),
        ("m2", "device", "abc", february[0], None),
    )
    assert all(b"901820" not in path.read_bytes() for path in market.landing.rglob("*.parquet"))


def test_the_same_spelling_twice_is_a_duplicate_key(tmp_path: Path) -> None:
    twice = f"from ({IDENTIFIED}) union all (from ({IDENTIFIED}) where kind = 'email')"
    market = Market(tmp_path, LINES | {"merchants": IN_COUNTRIES, "merchant_identifiers": twice})
    (violation,) = market.check()["merchant_identifiers"].violations
    assert (violation.rule, violation.count) == ("key", 4)


@pytest.mark.parametrize("how", ["cursor", "changed_at"])
def test_a_later_spelling_of_a_landed_identifier_is_not_refused(tmp_path: Path, how: str) -> None:
    entry = {"merchant_identifiers": {how: "first_seen_at"}}
    first = f"from ({IDENTIFIED}) where merchant_id <> 'm2'"
    market = Market(tmp_path, LINES | {"merchants": IN_COUNTRIES, "merchant_identifiers": first}, entry)
    market.land()
    market.tables["merchant_identifiers"] = f"""
        from ({IDENTIFIED}) union all
        select 'm1', 'email', 'ANN@googlemail.com', timestamp '2026-03-01', true
    """
    assert {record.status for record in market.land(days=1).values()} <= {"accepted", "unchanged"}
    emails = [row for row in market.present_rows("merchant_identifiers") if row[1] == "email" and row[0] == "m1"]
    assert len(emails) == 1
    market.land(days=2)
    assert [
        row for row in market.present_rows("merchant_identifiers") if row[1] == "email" and row[0] == "m1"
    ] == emails


def test_another_normalisation_pulls_identifiers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"merchant_identifiers": {"cursor": "first_seen_at"}}
    market = Market(tmp_path, LINES | {"merchants": IN_COUNTRIES, "merchant_identifiers": IDENTIFIED}, entry)
    monkeypatch.setattr("touchstone.landing.extract.NORMALISED_KINDS", ("email",))
    monkeypatch.setattr("touchstone.landing.land.NORMALISATION", "0")
    market.land()
    monkeypatch.undo()
    record = market.land(days=1)["merchant_identifiers"]
    assert (record.status, record.mode) == ("accepted", "full")
    assert market.land(days=2)["merchant_identifiers"].status == "unchanged"


def test_identifiers_beyond_the_cache_land_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(tmp_path / "a", LINES | {"merchants": IN_COUNTRIES, "merchant_identifiers": IDENTIFIED})
    market.land()
    monkeypatch.setattr("touchstone.landing.extract.CACHED_ROWS", 1)
    other = Market(tmp_path / "b", dict(market.tables))
    other.land()
    assert other.rows("merchant_identifiers") == market.rows("merchant_identifiers")


def test_an_empty_identifier_creates_no_link(tmp_path: Path) -> None:
    tables = LINES | {"orders": f"select *, if(order_id = 'o1', 'p', ' ') as payer_hash from ({ORDERS})"}
    market = Market(tmp_path, tables)
    market.land()
    place = list(CONTRACT.tables["orders"].columns).index("payer_hash")
    assert sorted((row[place] for row in market.rows("orders")), key=str) == sorted(
        [digest_of("p"), *[None] * 9], key=str
    )


def test_no_temporary_files_are_left_behind(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    market.land()
    assert not [path for path in market.landing.rglob("*") if path.name.startswith(".tmp")]
    assert {path.name for path in market.landing.iterdir()} == {*LINES, "ledger"}


def test_identical_content_is_one_load(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    first = market.land()
    before = tree(market.landing / "orders")
    pins = market.pins()
    second = market.land(days=1)
    assert {record.status for record in second.values()} == {"unchanged"}
    assert [record.load_id for record in second.values()] == [record.load_id for record in first.values()]
    assert tree(market.landing / "orders") == before
    assert market.pins() == pins
    assert len(Ledger(market.landing).read()) == 2 * len(LINES)


def test_returning_content_becomes_current_again_without_a_second_copy(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    first = market.land()["listings"]
    market.tables["listings"] = f"select * replace (title || '!' as title) from ({LISTINGS})"
    second = market.land(days=1)["listings"]
    market.tables["listings"] = LISTINGS
    third = market.land(days=2)["listings"]
    assert (third.status, third.load_id) == ("accepted", first.load_id)
    assert market.pins().as_dict()["listings"] == [first.load_id, second.load_id, first.load_id]
    assert len(list((market.landing / "listings").iterdir())) == 2
    assert market.rows("listings")[0][2] == "Watch 1"


def test_a_refused_load_leaves_the_previous_one_in_use(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    market.land()
    before, files = market.pins(), tree(market.landing / "orders")
    market.tables["orders"] = f"select * replace (-1 as quantity) from ({ORDERS})"
    assert market.land(days=1)["orders"].status == "refused"
    assert market.pins() == before
    assert tree(market.landing / "orders") == files
    market.tables["orders"] = ORDERS
    assert market.land(days=2)["orders"].status == "unchanged"


def test_children_are_checked_against_the_parent_load_in_use(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    market.land()
    market.tables["listings"] = (
        f"select * replace (-1 as price), from ({LISTINGS}) union all select 'l7', 'm1', 'x', 1, 'USD', now()"
    )
    market.tables["orders"] = f"select * replace ('l7' as listing_id) from ({ORDERS})"
    records = market.land(days=1)
    assert records["listings"].status == "refused"
    assert "not in listings" in records["orders"].message


def test_a_landing_that_fails_before_its_ledger_line_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market(tmp_path, dict(LINES))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ledger_module.ChainedLog, "append", die)
        market.land()
    assert market.pins().as_dict() == {}
    orphans = list((market.landing / "merchants").iterdir())
    assert len(orphans) == 1
    (orphans[0] / "part-0.parquet").write_bytes(b"half of it")
    record = market.land(days=1)["merchants"]
    assert record.status == "accepted"
    verify_loads(market.landing, market.pins())
    assert len(market.rows("merchants")) == 3


KILLED = """
import sys
from pathlib import Path
from tests.landing_fixtures import *
from tests.integration.test_landing_loads import LINES
market = Market(Path(sys.argv[1]), dict(LINES))
print("ready", flush=True)
for day in range(1000):
    market.tables["orders"] = f"select * replace ({day} as quantity) from ({ORDERS})"
    market.land(days=day)
"""


@pytest.mark.parametrize("milliseconds", [30, 170, 410])
def test_a_killed_landing_leaves_only_complete_loads(milliseconds: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(milliseconds / 1000)
        os.kill(process.pid, signal.SIGKILL)
    market = Market(tmp_path, dict(LINES))
    verify_loads(market.landing, market.pins())
    market.land(days=2000)
    fresh = Market(tmp_path / "fresh", dict(LINES))
    fresh.land()
    assert [market.rows(name) for name in LINES] == [fresh.rows(name) for name in LINES]
    assert not [path for path in market.landing.rglob("*") if path.name.startswith(".tmp")]


def test_a_changed_byte_in_the_landing_zone_is_detected(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    (path,) = market.land()["orders"].paths(market.landing)
    verify_loads(market.landing, market.pins())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError, match=r"orders.*was changed after it landed"):
        verify_loads(market.landing, market.pins())
    path.unlink()
    with pytest.raises(VerificationError, match=r"orders.*is missing"):
        verify_loads(market.landing, market.pins())


ROWS = st.lists(
    st.tuples(st.integers(0, 10_000), st.text(max_size=12), st.one_of(st.none(), st.integers(0, 10**9))),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[0],
)


@settings(max_examples=8)
@given(rows=ROWS, seed=st.randoms(use_true_random=False))
def test_the_load_id_depends_only_on_content(
    rows: list[tuple[int, str, int | None]], seed: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same rows in any order, at any thread count, from any kind of file, are the same load."""
    shuffled = list(rows)
    seed.shuffle(shuffled)
    found = set()
    for order, threads in ((rows, 1), (shuffled, 2), (shuffled[::-1], 4)):
        market = Market(tmp_path_factory.mktemp("market"), dict(LINES))
        market.tables["listings"] = listings_of(order)
        found.add(market.land(threads=threads)["listings"].load_id)
    assert len(found) == 1
    assert None not in found


def listings_of(rows: list[tuple[int, str, int | None]]) -> str:
    values = ", ".join(
        f"('l{number}', decode(unhex('{title.encode().hex()}')), {'null' if cents is None else cents / 100})"
        for number, title, cents in rows
    )
    return f"""
        select listing_id, 'm1' as merchant_id, title, price::decimal(18,4) as price, date '2026-03-01' as listed_at
        from (values {values}) as v(listing_id, title, price)
    """


def test_a_large_load_has_the_same_bytes_at_any_thread_count_and_memory(tmp_path: Path) -> None:
    """More rows than a row group holds, so that effects of threads and spilling could show."""
    many = """
        select 'm' || i as merchant_id, 'name ' || md5(i::varchar) as name, date '2026-01-01' as registered_at
        from range(300000) as r(i) order by md5(i::varchar)
    """
    found = []
    for threads, place in ((1, "a"), (2, "b"), (4, "c")):
        market = Market(tmp_path / place, {"merchants": many, "listings": LISTINGS})
        found.append(market.land(threads=threads)["merchants"])
    assert len({record.load_id for record in found}) == 1
    assert pq.ParquetFile(found[0].paths(tmp_path / "a" / "landing")[0]).num_row_groups > 1


@settings(max_examples=10)
@given(
    days=st.lists(st.integers(0, 12), min_size=1, max_size=30).map(sorted),
    pull_points=st.lists(st.integers(0, 30), min_size=1, max_size=3).map(sorted),
)
def test_pulling_by_cursor_equals_a_full_pull(
    days: list[int], pull_points: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The table grows; rows share cursor values, also across two pulls."""
    folder = tmp_path_factory.mktemp("market")
    step = Market(folder / "step", dict(LINES), {"orders": {"cursor": "placed_at"}})
    whole = Market(folder / "whole", dict(LINES))
    for place, count in enumerate([*pull_points, len(days)]):
        step.tables["orders"] = orders_on(days[:count])
        record = step.land(days=place)["orders"]
        assert record.status in ("accepted", "unchanged")
    whole.tables["orders"] = orders_on(days)
    whole.land()
    assert step.rows("orders") == whole.rows("orders")


def orders_on(days: list[int]) -> str:
    values = ", ".join(f"('o{place}', {day}, {'null' if place % 3 else place})" for place, day in enumerate(days))
    return f"""
        select order_id, 'l1' as listing_id, 'm1' as merchant_id, 'b' || (day % 3) as buyer_id, quantity,
            timestamp '2026-06-01' + interval (day) day as placed_at
        from (values {values or "('o', 0, 0)"}) as v(order_id, day, quantity)
        where {bool(values)}
    """


def test_a_second_pull_resumes_from_the_cursor(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"cursor": "placed_at"}})
    market.tables["orders"] = orders_on([1, 2, 2])
    first = market.land()["orders"]
    market.tables["orders"] = orders_on([1, 2, 2, 2, 3])
    second = market.land(days=1)["orders"]
    third = market.land(days=2)["orders"]
    assert (first.mode, first.cursor_value) == ("full", "2026-06-03 00:00:00")
    assert (second.mode, second.status, second.row_count) == ("incremental", "accepted", 2)
    assert second.cursor_value == "2026-06-04 00:00:00"
    assert (third.mode, third.status, third.row_count) == ("incremental", "unchanged", 0)
    assert third.cursor_value == second.cursor_value
    assert market.pins().as_dict()["orders"] == [first.load_id, second.load_id]


def test_a_changed_row_at_the_cursor_is_refused_and_not_lost(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"cursor": "placed_at"}})
    market.land()
    market.tables["orders"] = f"select * replace (if(order_id = 'o10', 5, quantity) as quantity) from ({ORDERS})"
    record = market.land(days=1)["orders"]
    assert record.status == "refused"
    assert "order_id='o10'" in record.message
    assert "remove its `cursor`" in record.message


def test_a_row_without_a_cursor_value_is_refused_and_not_lost(tmp_path: Path) -> None:
    nothing = (
        f"select * replace (if(listing_id = 'l2', null, stock) as stock) from (select *, 3 as stock from ({LISTINGS}))"
    )
    market = Market(tmp_path, LINES | {"listings": nothing}, {"listings": {"cursor": "stock"}})
    assert "stock: 1 of 6 rows must have a value" in market.land()["listings"].message


def test_a_new_row_without_a_cursor_value_is_refused_and_not_lost(tmp_path: Path) -> None:
    """On the second pull, the condition on the cursor would silently drop such a row."""
    market = Market(tmp_path, dict(LINES), {"orders": {"cursor": "placed_at"}})
    assert market.land()["orders"].status == "accepted"
    market.tables["orders"] = f"{ORDERS} union all select 'o99', 'l1', 'm1', 'b1', 1, 1, 'USD', null"
    record = market.land(days=1)["orders"]
    assert (record.mode, record.status) == ("incremental", "refused")
    assert "placed_at: 1 of 1 rows must have a value" in record.message
    assert "order_id='o99'" in record.message


def orders_with(rows: dict[int, tuple[int | None, int]]) -> str:
    """Returns SQL for orders by number: the minute of each order's last change, and its quantity."""
    values = ", ".join(
        f"({number}, {'null' if tick is None else tick}, {quantity})" for number, (tick, quantity) in rows.items()
    )
    return f"""
        select 'o' || number as order_id, 'l1' as listing_id, 'm1' as merchant_id, 'b1' as buyer_id, quantity,
            timestamp '2026-06-01' as placed_at, timestamp '2026-06-01' + interval (tick) minute as updated_at
        from (values {values}) as v(number, tick, quantity)
    """


@settings(max_examples=8)
@given(
    ticks=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.booleans()), max_size=5), min_size=2, max_size=5
    )
)
def test_pulling_changed_rows_equals_a_full_pull(
    ticks: list[list[tuple[int, int, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Orders are added and changed; several changes share a timestamp, also across two pulls, and may be reverted."""
    folder = tmp_path_factory.mktemp("market")
    entry = {"orders": {"changed_at": "updated_at"}}
    step, whole = Market(folder / "step", dict(LINES), dict(entry)), Market(folder / "whole", dict(LINES), dict(entry))
    rows: dict[int, tuple[int | None, int]] = {0: (0, 1)}
    day = 0
    for tick, changes in enumerate(ticks):
        for number, quantity, is_pulled in changes:
            rows[number] = (tick, quantity)
            if is_pulled:
                step.tables["orders"] = orders_with(rows)
                day += 1
                assert step.land(days=day)["orders"].status in ("accepted", "unchanged")
    step.tables["orders"] = whole.tables["orders"] = orders_with(rows)
    last = step.land(days=day + 1)["orders"]
    assert last.mode == ("incremental" if day else "full")
    whole.land()
    assert step.present_rows("orders") == whole.rows("orders")
    assert step.land(days=day + 2)["orders"].status == "unchanged"


def test_only_changed_rows_are_pulled(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": "updated_at"}})
    market.tables["orders"] = orders_with({1: (1, 1), 2: (2, 1), 3: (3, 1)})
    first = market.land()["orders"]
    market.tables["orders"] = orders_with({1: (4, 2), 2: (2, 1), 3: (3, 1), 4: (4, 1)})
    second = market.land(days=1)["orders"]
    assert (first.mode, first.row_count, first.cursor_value) == ("full", 3, "2026-06-01 00:03:00")
    assert (second.mode, second.row_count, second.cursor_value) == ("incremental", 2, "2026-06-01 00:04:00")
    assert (first.source_rows, second.source_rows) == (None, 4)
    (path,) = second.paths(market.landing)
    assert pq.read_schema(path).names == list(CONTRACT.tables["orders"].columns), "when a row changed does not land"


@pytest.mark.parametrize("entry", [{"cursor": "listed_at"}, {"changed_at": "listed_at"}])
def test_a_required_table_without_new_rows_keeps_its_load(entry: dict[str, str], tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"listings": entry})
    market.land()
    record = market.land(days=1)["listings"]
    assert (record.mode, record.status, record.message) == (
        *("incremental", "unchanged", "nothing new: the previous load stays in use"),
    )
    market.tables["listings"] = f"select * from ({LISTINGS}) where false"
    assert "the source has no row" in market.land(days=2)["listings"].message


def test_changed_at_may_combine_several_columns(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": "greatest(placed_at, refunded_at)"}})
    market.tables["orders"] = f"select *, null::timestamp as refunded_at from ({ORDERS})"
    market.land()
    refunded = "if(order_id = 'o2', timestamp '2026-06-30', null) as refunded_at"
    market.tables["orders"] = f"select *, {refunded} from ({ORDERS})"
    record = market.land(days=1)["orders"]
    assert (record.mode, record.status, record.row_count) == ("incremental", "accepted", 1)


def test_changed_at_may_use_a_text_column_outside_the_contract(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": "updated_at::timestamp"}})
    for day, ticks in enumerate(((1, 1), (1, 2))):
        orders = orders_with({number: (tick, 1) for number, tick in enumerate(ticks)})
        market.tables["orders"] = f"select * replace (updated_at::varchar as updated_at) from ({orders})"
        record = market.land(days=day)["orders"]
        assert (record.mode, record.row_count) == (("full", 2), ("incremental", 1))[day], record.message


def test_a_row_without_changed_at_is_refused_and_not_lost(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": "updated_at"}})
    market.tables["orders"] = orders_with({1: (1, 1)})
    assert market.land()["orders"].status == "accepted"
    market.tables["orders"] = orders_with({1: (1, 1), 2: (None, 1)})
    record = market.land(days=1)["orders"]
    assert (record.mode, record.status) == ("incremental", "refused")
    assert "changed_at: 1 of 1 rows must have a value" in record.message
    assert "order_id='o2'" in record.message


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("listing_id", "changed_at: is VARCHAR, must be a timestamp, a date or an integer; convert it"),
        ("no_such_column", "changed_at: "),
        ("listing_id::timestamp", "changed_at: Conversion error"),
    ],
)
def test_an_invalid_changed_at_expression_is_refused(expression: str, printed: str, tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": expression}})
    message = market.land()["orders"].message
    assert printed in message
    assert "under tables.orders" in message


@pytest.mark.parametrize("columns", [{}, {"buyer_id": "quantity"}])
def test_changed_at_must_not_read_personal_columns(columns: dict[str, str], tmp_path: Path) -> None:
    entry = {"changed_at": "buyer_id::bigint + quantity", "columns": columns}
    with pytest.raises(BadInputError, match=r"tables\.orders\.changed_at reads .*, which is personal"):
        Market(tmp_path, dict(LINES), {"orders": entry}).land()


@pytest.mark.parametrize("when", ["timestamp 'infinity'", "timestamp '9999-12-31'", "timestamp '2026-07-03'"])
@pytest.mark.parametrize("how", ["cursor", "changed_at"])
def test_a_row_dated_in_the_future_is_refused_so_that_later_rows_are_pulled(
    how: str, when: str, tmp_path: Path
) -> None:
    rows = f"select * replace (if(order_id = 'o3', {when}, placed_at) as placed_at) from ({LINES['orders']})"
    market = Market(tmp_path, LINES | {"orders": rows}, {"orders": {how: "placed_at"}})
    record = market.land()["orders"]
    assert record.status == "refused"
    assert "1 of 10 rows are more than a day in the future" in record.message
    assert "order_id='o3'" in record.message


def test_an_extra_column_next_to_changed_at_is_still_reported_as_unknown(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"changed_at": "updated_at"}})
    market.tables["orders"] = f"select *, 1 as colour from ({orders_with({1: (1, 1)})})"
    message = market.land()["orders"].message
    assert "colour: not a column of the contract" in message
    assert "updated_at" not in message


def test_no_contract_column_is_named_changed_at() -> None:
    assert not [name for name, table in CONTRACT.tables.items() if CHANGED_AT in table.columns]


@pytest.mark.parametrize("changed", ["key", "where", "columns", "cursor", "changed_at"])
def test_a_changed_mapping_key_or_cursor_makes_the_next_pull_full(changed: str, tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"cursor": "placed_at"}})
    market.land()
    entry = {
        "where": {"where": "quantity > 0"},
        "columns": {"columns": {"quantity": "2"}},
        "cursor": {"cursor": "quantity"},
        "changed_at": {"cursor": None, "changed_at": "placed_at"},
    }
    market.entries["orders"] |= entry.get(changed, {})
    record = market.land(days=1, key=b"another key" if changed == "key" else KEY)["orders"]
    assert record.mode == "full"
    assert len(market.rows("orders")) == 10


def test_older_loads_are_read_with_the_current_contract(tmp_path: Path) -> None:
    """A column that the contract gained after a load is null in the load's rows."""
    market = Market(tmp_path, dict(LINES))
    market.land()
    content = CONTRACT.model_dump()
    content["tables"]["listings"]["columns"]["colour"] = {"type": "string", "description": "Colour."}
    with duckdb.connect(":memory:") as warehouse:
        create_views(warehouse, market.landing, market.pins(), Contract.model_validate(content))
        assert warehouse.execute("select count(*), count(colour) from landed.listings").fetchall() == [(6, 0)]


def test_dbt_views_show_the_pinned_loads_and_empty_tables(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES), {"orders": {"cursor": "placed_at"}})
    first = market.land()
    market.tables["listings"] = f"select * replace (title || '!' as title) from ({LISTINGS})"
    market.tables["orders"] = f"{ORDERS} union all select 'o99', 'l1', 'm1', 'b1', 1, 1, 'USD', timestamp '2026-06-20'"
    second = market.land(days=1)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        create_views(warehouse, market.landing, market.pins(), CONTRACT)
        create_views(warehouse, market.landing, market.pins(), CONTRACT)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as warehouse:
        for name, table in CONTRACT.tables.items():
            described = [row[:2] for row in warehouse.execute(f"describe landed.{name}").fetchall()]
            expected = [(column, spec.sql_type) for column, spec in table.columns.items()]
            added = ((column, sql_type) for column, (sql_type, _) in table.added_columns.items())
            assert described == [*expected, *added]
        assert warehouse.execute("select count(*) from landed.reviews").fetchall() == [(0,)]
        assert warehouse.execute("select count(*) from landed.orders").fetchall() == [(11,)]
        shown = warehouse.execute(
            "select load_id, count(*) from landed.listings group by all order by min(landed_at)"
        ).fetchall()
        assert shown == [(first["listings"].load_id, 6), (second["listings"].load_id, 6)]
        loads = warehouse.execute(
            "select table_name, load_id, mode, is_current from landed.loads order by landed_at, 1"
        ).fetchall()
    assert ("listings", first["listings"].load_id, "full", False) in loads
    assert ("listings", second["listings"].load_id, "full", True) in loads
    assert ("orders", first["orders"].load_id, "full", True) in loads
    assert ("orders", second["orders"].load_id, "incremental", True) in loads


def test_an_empty_landing_zone_still_has_every_view(tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as warehouse:
        create_views(warehouse, tmp_path, Market(tmp_path).pins(), CONTRACT)
        assert warehouse.execute("select count(*) from landed.loads").fetchall() == [(0,)]
        assert warehouse.execute("select count(*) from landed.merchants").fetchall() == [(0,)]


def as_of_on(landing_day: str, tmp_path: Path) -> date:
    market = Market(tmp_path, dict(LINES))
    market.tables["orders"] = f"select * replace (timestamp '2026-06-25 15:00:00' as placed_at) from ({ORDERS})"
    market.land(days=(datetime.fromisoformat(f"{landing_day}T06:00:00+00:00") - NOW).days)
    return default_as_of(market.landing, market.pins())


@pytest.mark.parametrize(
    ("landing_day", "as_of"), [("2026-07-09", "2026-06-25"), ("2026-06-26", "2026-06-25"), ("2026-06-25", "2026-03-07")]
)
def test_the_default_as_of_is_the_last_complete_day(landing_day: str, as_of: str, tmp_path: Path) -> None:
    """Events on or after the landing day do not make a day complete."""
    assert as_of_on(landing_day, tmp_path) == date.fromisoformat(as_of)


def test_without_a_complete_day_nothing_can_be_rated(tmp_path: Path) -> None:
    market = Market(
        tmp_path, {"merchants": MERCHANTS, "listings": f"select * replace (now() as listed_at) from ({LISTINGS})"}
    )
    market.land(days=-100)
    with pytest.raises(BadInputError, match="--as-of"):
        default_as_of(market.landing, market.pins())


def test_an_event_dated_in_the_future_does_not_make_a_load_fresh(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    market.tables["orders"] = (
        f"select * replace (if(order_id = 'o1', timestamp '2099-01-01', placed_at) as placed_at) from ({ORDERS})"
    )
    record: LoadRecord = market.land()["orders"]
    assert record.newest_event_date == date(2026, 6, 6)


def csv_merchants(market: Market, content: bytes, name: str = "merchants.csv", **options: Any) -> Sources:
    """Returns the market's sources with merchants as a CSV of these bytes."""
    market.write()
    (market.folder / "source" / name).write_bytes(content)
    path = market.folder / "sources.yml"
    written = yaml.safe_load(path.read_text())
    written["inputs"]["merchants"] = {"connector": "csv", "path": f"source/{name}"} | options
    path.write_text(yaml.safe_dump(written))
    return read_sources(path, {})


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"merchant_id,name\n007,Ann\n08,NULL\n", {}),
        (b"merchant_id;name\r\n007;Ann\r\n08;NULL", {"delimiter": ";"}),
        (b"\xef\xbb\xbfname,merchant_id\nAnn,007\nNULL,08\n", {}),
        ("merchant_id,name\n007,Ann\n08,NULL\n".encode("utf-16"), {"encoding": "utf-16"}),
        (b"'merchant_id',name\n'007',Ann\n08,NULL\n", {"quote": "'"}),
    ],
)
def test_csv_text_is_unchanged(content: bytes, options: dict[str, Any], tmp_path: Path) -> None:
    market = Market(tmp_path, LINES | {"listings": f"select * replace ('007' as merchant_id) from ({LISTINGS})"})
    sources = csv_merchants(market, content, null=["", "NULL"], **options)
    records = land(sources, CONTRACT, market.landing, hmac_key=KEY, now=NOW)
    assert [record.status for record in records if record.table in ("merchants", "listings")] == ["accepted"] * 2
    assert [row[:2] for row in market.rows("merchants")] == [("007", "Ann"), ("08", None)]


def test_several_csv_files_are_one_table_by_column_name(tmp_path: Path) -> None:
    market = Market(tmp_path, dict(LINES))
    csv_merchants(market, b"merchant_id,name\nm1,Ann\n", "m-1.csv")
    csv_merchants(market, gzip.compress(b'name,merchant_id\n"Bo, b",m2\n'), "m-2.csv.gz")
    sources = csv_merchants(market, b"merchant_id\nm3\n", "m-3.csv", path="source/m-*")
    land(sources, CONTRACT, market.landing, hmac_key=KEY, now=NOW)
    assert [row[:2] for row in market.rows("merchants")] == [("m1", "Ann"), ("m2", "Bo, b"), ("m3", None)]


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        (b"merchant_id,name\nm1,Ann\nm2,Bob,extra Carol\n", "Line: 3"),
        (b"merchant_id,name\nm1,Ann\nm2,Carol \xff\n", "cannot be read as utf-8"),
        (b'merchant_id,name\nm1,"Carol\n', "CSV Error"),
        (b"", "the first line must be a header"),
        (b"merchant_id,merchant_id\nm1,Carol\n", "the first line must be a header with unique"),
        (b"\xff\xfe\x00", "cannot be read as utf-8"),
    ],
)
def test_an_invalid_csv_is_refused_without_showing_its_values(content: bytes, printed: str, tmp_path: Path) -> None:
    sources = csv_merchants(Market(tmp_path, dict(LINES)), content)
    report = next(report for report in check(sources, CONTRACT, hmac_key=KEY) if report.table == "merchants")
    assert not report.accepted
    assert printed in report.message
    assert "Carol" not in report.message


def test_insufficient_memory_is_reported_and_lands_nothing(tmp_path: Path) -> None:
    many = "select 'm' || i as merchant_id, md5(i::varchar) as name from range(400000) as r(i)"
    market = Market(tmp_path, {"merchants": many, "listings": LISTINGS})
    with pytest.raises(BadInputError, match="TOUCHSTONE_MEMORY_LIMIT"):
        land(market.write(), CONTRACT, market.landing, hmac_key=KEY, now=NOW, limits=Limits(threads=2, memory="5MB"))
    assert market.pins().as_dict() == {}
    assert not list(market.landing.glob(".tmp-*"))


def labelled_goods(word: str) -> str:
    """Listings of which the odd-numbered contain a word in title, description and brand."""
    words = f"case when i % 2 = 1 then '{word}' else '' end"
    return LISTINGS.replace(
        "'Watch ' || i as title,",
        f"""'Watch ' || i || {words} as title, {words} || ' of steel' as description, 'Vupeom ' || {words} as brand_claimed,""",
    )


def test_a_listing_that_differs_only_by_masked_words_lands_like_any_other(tmp_path: Path) -> None:
    """So no feature, model or list, all of which derive from landed rows, can depend on the word."""
    loads = {}
    for name, word in (("marked", " - [AAA replica]"), ("unmarked", "")):
        market = Market(tmp_path / name, {"merchants": MERCHANTS, "listings": labelled_goods(word)})
        assert market.land()["listings"].status == "accepted"
        plain = {row[2] for row in market.rows("listings")}
        market.masked = [r"\baaa\b", "replicas?"]
        loads[name] = market.land(days=1)["listings"]
        assert {row[2] for row in market.rows("listings")} == {f"Watch {i}" for i in range(1, 7)}
        assert (plain == {f"Watch {i}" for i in range(1, 7)}) == (name == "unmarked")
    assert loads["marked"].load_id == loads["unmarked"].load_id


def test_a_changed_mask_applies_to_all_rows_and_other_tables_stay_incremental(tmp_path: Path) -> None:
    entries = {name: {"cursor": at} for name, at in (("listings", "listed_at"), ("orders", "placed_at"))}
    market = Market(tmp_path, dict(LINES), entries)
    market.land()
    market.masked = ["watch"]
    again = market.land(days=1)
    assert (again["listings"].mode, again["orders"].mode) == ("full", "incremental")
    assert {row[2] for row in market.rows("listings")} == {str(i) for i in range(1, 7)}
    assert market.land(days=2)["listings"].mode == "incremental"


@pytest.mark.parametrize("what", ["gone", "changed"])
@pytest.mark.parametrize("table", ["merchants", "listings"])
def test_a_landing_refuses_to_check_new_rows_against_a_damaged_load(tmp_path: Path, table: str, what: str) -> None:
    """Listings refer to merchants; nothing refers to listings here."""
    market = Market(tmp_path)
    (path,) = market.land()[table].paths(market.landing)
    if what == "gone":
        shutil.rmtree(path.parent)
    else:
        path.write_bytes(path.read_bytes()[:-20])
    ledger = Ledger(market.landing).log.path.read_bytes()
    with pytest.raises(VerificationError, match=str(path)) as refused:
        market.land(days=1)
    assert "Restore" in str(refused.value)
    assert Ledger(market.landing).log.path.read_bytes() == ledger
    if what == "gone":
        with duckdb.connect(":memory:") as connection, pytest.raises(VerificationError, match=str(path)):
            create_views(connection, market.landing, market.pins(), CONTRACT)
