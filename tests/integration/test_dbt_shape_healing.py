"""The daily tables heal: whatever happened before, the next run's tables are those of a full build on the same loads.

Killed in the middle, a missed day, late, corrected and deleted rows, a day that loses its last event, other code: each
is done to a warehouse that was built, and what the next run leaves is compared, row by row, with a build from nothing.
And what is built as a whole stands until its successor is whole, whatever it was before.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import mostly_slow

from tests.dbt_fixtures import REPOSITORY, make_warehouse, open_warehouse, read_rows, run_dbt, table_content

AS_OF = date(2026, 1, 31)
FIRST_DAY = datetime.fromisoformat("2026-01-01 09:00")  # without a zone: what has landed is UTC
PARTS = ("int_order_days", "int_review_days", "int_sighting_days", "int_case_days")
DAILY_TABLES = (*PARTS, "int_merchant_days")
LONG_TEXTS = ("I could not be happier with what came.", "Comes in a box that has seen better days.")
Shop = dict[str, list[dict[str, Any]]]


def build(home: Path) -> None:
    """Builds the daily tables and everything they rest on."""
    run_dbt(
        home,
        "build",
        "--select",
        "+int_merchant_days",
        "+int_listing_days",
        "--exclude-resource-type",
        "test",
        "unit_test",
    )


def run_again(home: Path, *options: str) -> None:
    """Builds what is a table, over views that an earlier build made (which are as good as new)."""
    of_reviews = ("int_authenticity_complaints", "int_review_texts")
    rest_on = ("stg_fx_rates", "int_listing_owners", *of_reviews, "int_load_days", "int_changed_days")
    run_dbt(home, "run", "--select", *rest_on, *DAILY_TABLES, *options)


def shop(seed: int = 1, days: int = 20) -> Shop:
    """A small shop: listings of two merchants with orders, prices, reviews, a notice and snapshots over some days."""
    draw = random.Random(seed)
    listings = [
        {"listing_id": f"l{i}", "merchant_id": f"m{i % 2}", "listed_at": FIRST_DAY, "price": 10, "currency": "USD"}
        for i in range(6)
    ]
    orders, prices = [], []
    for number in range(60):
        placed_at = FIRST_DAY + timedelta(days=draw.randrange(days), hours=draw.randrange(14))
        listing = draw.choice(listings)
        orders.append(
            {
                "order_id": f"o{number}",
                "listing_id": listing["listing_id"],
                "merchant_id": listing["merchant_id"],
                "quantity": draw.randrange(1, 4),
                "amount": f"{draw.randrange(500, 9000) / 100:.2f}",
                "currency": draw.choice(["USD", "EUR"]),
                "placed_at": placed_at,
                "delivered_at": placed_at + timedelta(days=3),
                "refunded_at": placed_at + timedelta(days=5) if number % 9 == 0 else None,
                "refund_reason": "not_authentic" if number % 9 == 0 else None,
            }
        )
    reviews = [
        {
            "load_id": f"reviews-{seed}",  # by which their texts are known, once for all
            "review_id": f"r{number}",
            "listing_id": draw.choice(listings)["listing_id"] if number % 5 else "waited",
            "order_id": f"o{draw.randrange(60)}",
            "rating": draw.randrange(1, 6),
            "text": draw.choice(["fine", "this is a fake", "not a fake", *LONG_TEXTS]),
            "language": "en",
            "created_at": FIRST_DAY + timedelta(days=draw.randrange(days)),
        }
        for number in range(20)
    ]
    for day in range(0, days, 4):
        seen_at = FIRST_DAY + timedelta(days=day)
        prices += [
            {"listing_id": listing["listing_id"], "observed_at": seen_at, "price": 10 + day, "currency": "EUR"}
            for listing in listings
        ]
    return {
        "merchants": [{"merchant_id": f"m{i}", "registered_at": FIRST_DAY} for i in range(2)],
        "listings": listings,
        "orders": orders,
        "reviews": reviews,
        "listing_prices": prices,
        "notices": [
            {
                "notice_id": "n1",
                "listing_id": "l1",
                "kind": "counterfeit",
                "submitted_at": FIRST_DAY + timedelta(days=2),
                "outcome": "upheld",
                "decided_at": FIRST_DAY + timedelta(days=9),
            }
        ],
        "merchant_snapshots": [
            {"merchant_id": "m0", "observed_at": FIRST_DAY + timedelta(days=day), "rating": 4.5, "sales_count": day}
            for day in range(0, days, 5)
        ],
        "fx_rates": [
            {"currency": "EUR", "date": date(2026, 1, 1) + timedelta(days=day), "rate": 1.1} for day in range(31)
        ],
    }


def assert_healed(home: Path, rows: Shop, fresh: Path) -> None:
    """The home's daily tables are those of a full build from the same rows; `fresh` is a copy that never had any."""
    with open_warehouse(fresh, read_only=False) as connection:
        for table in ("int_load_days", *DAILY_TABLES):
            connection.execute(f"drop table {table}")
    make_warehouse(fresh, rows, AS_OF)
    run_again(fresh)
    for table in DAILY_TABLES:
        assert table_content(home, table) == table_content(fresh, table), table
        days = f"select day from {table} group by day having count(*) filter (where is_marker) <> 1"
        assert not read_rows(home, days), "a day has no marker or two"


def contents(home: Path) -> list[list[tuple[Any, ...]]]:
    return [table_content(home, table) for table in DAILY_TABLES]


def late(rows: Shop) -> None:
    rows["orders"].append(rows["orders"][0] | {"order_id": "late", "placed_at": FIRST_DAY + timedelta(days=1)})


def corrected(rows: Shop) -> None:
    rows["orders"][3]["amount"] = "123.45"


def corrected_day(rows: Shop) -> None:
    rows["orders"][4]["placed_at"] += timedelta(days=1)


def deleted(rows: Shop) -> None:
    del rows["orders"][5]


def told_later(rows: Shop) -> None:
    rows["orders"][6] |= {"refunded_at": FIRST_DAY + timedelta(days=25), "refund_reason": "not_as_described"}


def of_another_merchant(rows: Shop) -> None:
    rows["listings"][0]["merchant_id"] = "m1"


def without_a_listing(rows: Shop) -> None:
    rows["listings"].pop()


def with_a_listing_that_was_waited_for(rows: Shop) -> None:
    if all(listing["listing_id"] != "waited" for listing in rows["listings"]):
        rows["listings"].append(rows["listings"][0] | {"listing_id": "waited", "merchant_id": "m1"})


def at_another_rate(rows: Shop) -> None:
    rows["fx_rates"][7]["rate"] = 1.2


def delivered_otherwise(rows: Shop) -> None:
    """Of an order that a review follows, on days whose reviews stay what they are."""
    of_reviews = {review["order_id"]: review["created_at"] for review in rows["reviews"]}
    for order in rows["orders"]:
        reviewed_at = of_reviews.get(order["order_id"])
        if reviewed_at and order["placed_at"] <= reviewed_at:
            is_early = not order["delivered_at"] or order["delivered_at"] > reviewed_at
            order["delivered_at"] = order["placed_at"] if is_early else None


def written_before(rows: Shop) -> None:
    """Late reviews, a load of their own, that make later ones repeat their texts."""
    load = {"load_id": "late", "landed_at": "2026-02-01 01:00:00", "mode": "incremental"}
    if not any(review["load_id"] == "late" for review in rows["reviews"]):
        rows["reviews"] += [
            rows["reviews"][1] | load | {"review_id": f"before-{number}", "text": text, "created_at": FIRST_DAY}
            for number, text in enumerate(LONG_TEXTS)
        ]


def emptied_day(rows: Shop) -> None:
    last = max(order["delivered_at"] for order in rows["orders"] if order["delivered_at"]).date()
    for order in rows["orders"]:
        for moment in ("placed_at", "delivered_at", "refunded_at"):
            if order[moment] and order[moment].date() >= last:
                order[moment] = None if moment != "placed_at" else FIRST_DAY
    assert not any(str(moment)[:10] == str(last) for order in rows["orders"] for moment in order.values())


def without_events(rows: Shop) -> None:
    for table in ("orders", "reviews", "listing_prices", "notices", "merchant_snapshots"):
        rows[table].clear()


ROW_CHANGES = (
    *(late, corrected, corrected_day, deleted, told_later, at_another_rate, emptied_day),
    *(of_another_merchant, without_a_listing, with_a_listing_that_was_waited_for),
    *(delivered_otherwise, written_before),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with the shop as it was yesterday; not to be changed."""
    home = tmp_path_factory.mktemp("built")
    make_warehouse(home, shop(), AS_OF)
    build(home)
    return home


@pytest.fixture
def copy_built(built: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of that warehouse under a name."""

    def copy(name: str) -> Path:
        (tmp_path / name).mkdir()
        shutil.copy(built / "warehouse.duckdb", tmp_path / name)
        return tmp_path / name

    return copy


@pytest.fixture
def home(copy_built: Callable[[str], Path]) -> Path:
    """A copy of that warehouse, to change."""
    return copy_built("home")


@pytest.mark.parametrize(
    "change", mostly_slow([*ROW_CHANGES, without_events], quick=4), ids=lambda change: change.__name__
)
def test_rows_that_change_heal(
    change: Callable[[Shop], None], built: Path, home: Path, copy_built: Callable[[str], Path]
) -> None:
    rows = shop()
    change(rows)
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    assert contents(home) != contents(built), "the change changed nothing"
    assert_healed(home, rows, copy_built("fresh"))


@pytest.mark.parametrize(
    ("change", "measure"), [(delivered_otherwise, "early_review_count"), (written_before, "repeated_review_count")]
)
def test_reviews_are_told_anew_where_what_they_rest_on_changes(
    change: Callable[[Shop], None], measure: str, built: Path, home: Path
) -> None:
    """On days whose own reviews are as they were."""
    rows = shop()
    change(rows)
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    counted = f"select day, sum({measure}) as n from int_review_days where day > '{FIRST_DAY.date()}' group by day"
    assert sorted(map(str, read_rows(home, counted))) != sorted(map(str, read_rows(built, counted)))


def test_a_listing_that_comes_goes_and_comes_back_is_seen_each_time(
    home: Path, copy_built: Callable[[str], Path]
) -> None:
    rows = shop()
    for change in (with_a_listing_that_was_waited_for, without_a_listing, with_a_listing_that_was_waited_for):
        change(rows)
        make_warehouse(home, rows, AS_OF)
        run_again(home)
        waited = read_rows(home, "select distinct merchant_id from int_review_days where listing_id = 'waited'")
        offered = any(listing["listing_id"] == "waited" for listing in rows["listings"])
        assert waited == [{"merchant_id": "m1" if offered else None}]
    assert_healed(home, rows, copy_built("fresh"))


def test_a_change_of_owners_is_seen_once_their_table_was_lost(home: Path, copy_built: Callable[[str], Path]) -> None:
    """Its numbers begin again, at or below those that the daily tables have seen."""
    rows = shop()
    for merchant, is_lost in (("m1", False), ("m0", True), ("m1", False)):
        rows["listings"][0]["merchant_id"] = merchant
        make_warehouse(home, rows, AS_OF)
        if is_lost:
            with open_warehouse(home, read_only=False) as connection:
                connection.execute("drop table int_listing_owners")
        run_again(home)
    assert_healed(home, rows, copy_built("fresh"))


@pytest.mark.parametrize("seed", [21, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (22, 23, 24))])
def test_any_sequence_of_changes_heals(seed: int, home: Path, copy_built: Callable[[str], Path]) -> None:
    """Days of random changes on top of each other, a run after each."""
    draw, rows = random.Random(seed), shop(seed)
    for _ in range(3):
        for change in draw.sample(ROW_CHANGES, 3):
            change(rows)
        make_warehouse(home, rows, AS_OF)
        run_again(home)
    assert_healed(home, rows, copy_built("fresh"))


def in_loads(rows: Shop, changed: Shop, number: int, *, mode: str) -> Shop:
    """Returns what has landed once `changed` came after `rows`: whole, or the rows that are new or other as an increment."""
    load = {"load_id": f"load-{number}", "landed_at": f"2026-01-31 0{number}:00:00", "mode": mode}
    landed: Shop = {}
    for table in changed:
        before = rows.get(table, [])
        bare = [{k: v for k, v in row.items() if k not in load} for row in before]
        given = [row for row in changed[table] if mode == "full" or row not in bare]
        landed[table] = ([] if mode == "full" and table != "listings" else before) + [row | load for row in given]
    return landed


@pytest.mark.parametrize("modes", [("incremental", "incremental"), ("incremental", "full", "incremental")])
def test_corrections_that_come_as_increments_heal(
    modes: tuple[str, ...], tmp_path: Path, copy_built: Callable[[str], Path]
) -> None:
    """An increment's row takes the place of an earlier one, on whatever day that was, and may be taken back again."""
    home = copy_built("home")
    rows = shop()
    landed = in_loads({}, rows, 0, mode="full")
    make_warehouse(home, landed, AS_OF)
    build(home)
    original = rows["orders"][4]["placed_at"]
    for number, mode in enumerate(modes, start=1):
        change = (late, corrected, told_later)[number % 3]
        change(rows)
        rows["orders"][4]["placed_at"] = original + timedelta(days=number % 2)
        rows["reviews"][number]["rating"] = 1 + rows["reviews"][number]["rating"] % 5
        rows["reviews"][number + 3]["text"] = LONG_TEXTS[number % 2]
        rows["listings"][number]["last_seen_at"] = FIRST_DAY + timedelta(days=12 + number)
        if mode == "full":
            deleted(rows)
        landed = in_loads(landed, rows, number, mode=mode)
        make_warehouse(home, landed, AS_OF)
        build(home)
    fresh = tmp_path / "from-nothing"
    make_warehouse(fresh, landed, AS_OF)
    build(fresh)
    for table in DAILY_TABLES:
        assert table_content(home, table) == table_content(fresh, table), table


def test_a_missed_day_is_caught_up(home: Path, copy_built: Callable[[str], Path]) -> None:
    """One run lands what there was on day 9, none runs on day 10, the next lands day 11: all days are there."""
    whole = shop()
    for last_day in (9, 11):
        until = FIRST_DAY + timedelta(days=last_day)
        rows = whole | {"orders": [order for order in whole["orders"] if order["placed_at"] < until]}
        make_warehouse(home, rows, AS_OF)
        run_again(home)
    assert_healed(home, rows, copy_built("fresh"))


def test_an_unchanged_day_is_left_alone(home: Path) -> None:
    """The digest decides: a day whose digest is the kept one is not built again, the others are."""
    rows = shop()
    corrected(rows)
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("update int_order_days set unit_count = 77")
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    rebuilt = read_rows(home, "select distinct day from int_order_days where unit_count <> 77")
    assert [row["day"] for row in rebuilt] == [rows["orders"][3]["placed_at"].date()]


def test_what_a_day_of_reviews_rests_on_reaches_a_month_on(home: Path) -> None:
    """A day is built again where an order of the month before it has changed, and no day before that order is."""
    rows = shop()
    late(rows)
    placed_on = rows["orders"][-1]["placed_at"].date()
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("update int_review_days set text_review_count = 77")
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    days = (
        "select day, bool_or(text_review_count <> 77) as rebuilt from int_review_days where not is_marker group by day"
    )
    found = {row["day"]: row["rebuilt"] for row in read_rows(home, days)}
    assert {True, False} == set(found.values())
    assert found == {day: day >= placed_on for day in found}


@pytest.mark.parametrize(
    "loss",
    [
        "delete from int_order_days where day = '2026-01-05'",
        "drop table int_order_days",
        "drop table int_load_days",
        "drop table int_listing_owners",
        "drop table int_merchant_days",
    ],
)
def test_what_a_table_lost_comes_back(loss: str, built: Path, home: Path) -> None:
    with open_warehouse(home, read_only=False) as connection:
        connection.execute(loss)
    run_again(home)
    for table in DAILY_TABLES:
        assert table_content(home, table) == table_content(built, table), table


def test_other_code_builds_every_day_again(built: Path, home: Path) -> None:
    """Also into a table that an older version of the code made, with columns missing: a full refresh, as a run asks for."""
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("alter table int_case_days drop column takedown_count")
        connection.execute("alter table int_merchant_days drop column enforcement_count")
    make_warehouse(home, shop(), AS_OF, project_digest="other code")
    run_again(home, "--full-refresh")
    for table in DAILY_TABLES:
        digests = f"select day_digest from {table} where is_marker"
        assert not {row["day_digest"] for row in read_rows(home, digests)} & {
            row["day_digest"] for row in read_rows(built, digests)
        }
        columns = ", ".join(
            sorted(set(read_rows(built, f"from {table}")[0]) - {"day_digest", "events_digest", "owner_change"})
        )
        content = f"select {columns} from {table} order by all"
        assert read_rows(home, content) == read_rows(built, content)


def make_large_warehouse(home: Path, amount: int) -> None:
    """Makes a warehouse with so many orders that there is time to kill a build."""
    make_warehouse(home, shop(), AS_OF)
    with open_warehouse(home, read_only=False) as connection:
        connection.execute(
            """insert into landed.orders by name
            select 'b' || i as order_id, 'l' || (i % 5000) as listing_id, 'm' || (i % 97) as merchant_id,
                1 as quantity, ? as amount, 'USD' as currency, 'load-1' as load_id,
                timestamp '2026-01-31 23:59:59' as landed_at,
                timestamp '2026-01-01' + to_minutes(cast(i % 86400 as integer)) as placed_at,
                timestamp '2026-01-03' + to_minutes(cast(i % 86400 as integer)) as delivered_at
            from range(100000) as numbers(i)""",
            [amount],
        )
        connection.execute(
            "update landed.loads set content_digest = 'large, ' || ? where table_name = 'orders'", [amount]
        )


BUILDER = """
import os, sys
from pathlib import Path
from tests import dbt_fixtures
from tests.integration.test_dbt_shape_healing import build

dbt_fixtures.read_project()
for line in sys.stdin:
    child = os.fork()
    if not child:
        build(Path(line.strip()))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Builder:
    """A process that builds in children of its own, to be killed; it reads the project once for all of them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )

    def kill_build(self, home: Path, model: str, wait_seconds: float) -> None:
        """Starts a build and kills it, so long after it has begun with `model`."""
        log = home / "logs" / "dbt.log"
        log.unlink(missing_ok=True)
        assert self.process.stdin
        assert self.process.stdout
        print(home, file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        try:
            deadline = time.monotonic() + 300
            while not (log.exists() and f"START sql incremental model main.{model}" in log.read_text()):
                assert time.monotonic() < deadline, f"the build did not come to {model}"
                time.sleep(0.002)
            time.sleep(wait_seconds)
        finally:
            os.kill(child, signal.SIGKILL)
        assert int(self.process.stdout.readline()) == -signal.SIGKILL, "the build ended before it could be killed"


@pytest.fixture
def builder() -> Iterator[Builder]:
    """The process that builds, ended with the test."""
    builder = Builder()
    with builder.process:
        yield builder


def table_names(home: Path) -> set[str]:
    return {row["table_name"] for row in read_rows(home, "select table_name from duckdb_tables()")}


def assert_same_tables(home: Path, other: Path) -> None:
    with open_warehouse(home) as connection:
        connection.execute(f"attach '{other / 'warehouse.duckdb'}' as other (read_only)")
        for table in DAILY_TABLES:
            columns = "columns(name -> name not in ('day_digest', 'owner_change'))"
            ours, theirs = (f"select {columns} from {database}main.{table}" for database in ("", "other."))
            difference = connection.execute(
                f"select count(*) from ((({ours}) except all ({theirs})) union all (({theirs}) except all ({ours})))"
            ).fetchone()
            assert difference == (0,), table


def build_from_nothing(home: Path, fresh: Path) -> None:
    """Builds the daily tables of a copy of `home` that has none."""
    shutil.copy(home / "warehouse.duckdb", fresh)
    with open_warehouse(fresh, read_only=False) as connection:
        for table in ("int_load_days", *DAILY_TABLES):
            connection.execute(f"drop table {table}")
    run_again(fresh)


@pytest.mark.slow
def test_a_build_that_is_killed_heals(builder: Builder, tmp_path: Path) -> None:
    """Killed at three moments of the first build and at one of a rebuild; what was whole before a kill still is."""
    home, fresh = tmp_path / "home", tmp_path / "fresh"
    fresh.mkdir()
    make_large_warehouse(home, amount=5)
    for model, wait_seconds in (("int_order_days", 0.0), ("int_order_days", 0.1), ("int_merchant_days", 0.0)):
        builder.kill_build(home, model, wait_seconds)
        assert (DAILY_TABLES[0] in table_names(home)) == (model == "int_merchant_days")
    build(home)
    build_from_nothing(home, fresh)
    assert_same_tables(home, fresh)

    make_large_warehouse(home, amount=6)
    builder.kill_build(home, "int_order_days", 0.1)
    assert_same_tables(home, fresh)
    build(home)
    build_from_nothing(home, fresh)
    assert_same_tables(home, fresh)


def relation_kinds(home: Path) -> dict[str, str]:
    query = "select table_name, table_type from information_schema.tables where table_schema = 'main'"
    return {row["table_name"]: row["table_type"] for row in read_rows(home, query)}


def test_a_model_that_fails_leaves_what_it_was(tmp_path: Path) -> None:
    """What fails only when its rows are made, after the old table was dropped, drops nothing."""
    make_warehouse(tmp_path, shop(), AS_OF)
    run_dbt(tmp_path, "run", "--select", "stg_fx_rates")
    before = table_content(tmp_path, "stg_fx_rates")
    with open_warehouse(tmp_path, read_only=False) as connection:
        connection.execute("alter table landed.fx_rates rename to sound_rates")
        connection.execute(
            "create view landed.fx_rates as select * replace "
            "(case when rate > 0 then error('no such currency') else currency end as currency) from landed.sound_rates"
        )
    assert run_dbt(tmp_path, "run", "--select", "stg_fx_rates", expect_success=False) == {"stg_fx_rates": "error"}
    gc.collect()  # dbt's error holds a cursor, which keeps the warehouse open
    assert before
    assert table_content(tmp_path, "stg_fx_rates") == before


def test_a_view_becomes_a_table_and_a_table_a_view(tmp_path: Path) -> None:
    """An older release may have declared a model as the other."""
    make_warehouse(tmp_path, shop(), AS_OF)
    run_dbt(tmp_path, "run", "--select", "stg_fx_rates", "stg_reviews")
    rates, reviews = table_content(tmp_path, "stg_fx_rates"), table_content(tmp_path, "stg_reviews")
    with open_warehouse(tmp_path, read_only=False) as connection:
        connection.execute("drop table stg_fx_rates")
        connection.execute("create view stg_fx_rates as select 1 as one")
        connection.execute("drop view stg_reviews")
        connection.execute("create table stg_reviews as select 1 as one")
    run_dbt(tmp_path, "run", "--select", "stg_fx_rates", "stg_reviews")
    assert relation_kinds(tmp_path) == {"stg_fx_rates": "BASE TABLE", "stg_reviews": "VIEW"}
    assert rates
    assert table_content(tmp_path, "stg_fx_rates") == rates
    assert table_content(tmp_path, "stg_reviews") == reviews
