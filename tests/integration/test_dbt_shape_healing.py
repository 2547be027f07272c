"""The daily tables heal: whatever happened before, the next run's tables equal those of a full build on the same loads.

Killed builds, a missed day, late, corrected and deleted rows, a day that loses its last event, changed code: each is
applied to a built warehouse, and the result of the next run is compared, row by row, with a build from scratch. A model
built as a whole is kept until its successor is complete.
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
FIRST_DAY = datetime.fromisoformat("2026-01-01 09:00")  # naive: landed times are UTC
PARTS = ("int_order_days", "int_review_days", "int_sighting_days", "int_case_days")
DAILY_TABLES = (*PARTS, "int_merchant_days")
LONG_TEXTS = ("I could not be happier with what came.", "Comes in a box that has seen better days.")
Shop = dict[str, list[dict[str, Any]]]


def build(home: Path) -> None:
    """Builds the daily tables and everything they depend on."""
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
    """Builds the tables only, over the views of an earlier build, which are still current."""
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
            "load_id": f"reviews-{seed}",  # the load identifies the texts
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


def assert_healed(home: Path, rows: Shop, fresh: Path, base_currency: str = "USD") -> None:
    """Asserts that the home's daily tables equal a full build from the same rows; `fresh` is a copy to build in."""
    with open_warehouse(fresh, read_only=False) as connection:
        for table in ("int_load_days", *DAILY_TABLES):
            connection.execute(f"drop table {table}")
    make_warehouse(fresh, rows, AS_OF, base_currency=base_currency)
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


def refunded_later(rows: Shop) -> None:
    rows["orders"][6] |= {"refunded_at": FIRST_DAY + timedelta(days=25), "refund_reason": "not_as_described"}


def moved_to_another_merchant(rows: Shop) -> None:
    rows["listings"][0]["merchant_id"] = "m1"


def without_a_listing(rows: Shop) -> None:
    rows["listings"].pop()


def with_a_referenced_listing(rows: Shop) -> None:
    if all(listing["listing_id"] != "waited" for listing in rows["listings"]):
        rows["listings"].append(rows["listings"][0] | {"listing_id": "waited", "merchant_id": "m1"})


def with_another_rate(rows: Shop) -> None:
    rows["fx_rates"][7]["rate"] = 1.2


def delivered_at_another_time(rows: Shop) -> None:
    """Changes deliveries of reviewed orders, on days whose reviews are unchanged."""
    of_reviews = {review["order_id"]: review["created_at"] for review in rows["reviews"]}
    for order in rows["orders"]:
        reviewed_at = of_reviews.get(order["order_id"])
        if reviewed_at and order["placed_at"] <= reviewed_at:
            is_early = not order["delivered_at"] or order["delivered_at"] > reviewed_at
            order["delivered_at"] = order["placed_at"] if is_early else None


def reviewed_earlier(rows: Shop) -> None:
    """Adds late reviews, in a load of their own, whose texts later reviews repeat."""
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
    *(late, corrected, corrected_day, deleted, refunded_later, with_another_rate, emptied_day),
    *(moved_to_another_merchant, without_a_listing, with_a_referenced_listing),
    *(delivered_at_another_time, reviewed_earlier),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with the shop as of yesterday; read-only."""
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
    """A copy of that warehouse that a test may change."""
    return copy_built("home")


@pytest.mark.parametrize(
    "change", mostly_slow([*ROW_CHANGES, without_events], quick=4), ids=lambda change: change.__name__
)
def test_daily_tables_heal_after_changed_rows(
    change: Callable[[Shop], None], built: Path, home: Path, copy_built: Callable[[str], Path]
) -> None:
    rows = shop()
    change(rows)
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    assert contents(home) != contents(built), "the change changed nothing"
    assert_healed(home, rows, copy_built("fresh"))


@pytest.mark.parametrize(
    ("change", "measure"),
    [(delivered_at_another_time, "early_review_count"), (reviewed_earlier, "repeated_review_count")],
)
def test_review_days_are_rebuilt_when_their_dependencies_change(
    change: Callable[[Shop], None], measure: str, built: Path, home: Path
) -> None:
    """On days whose own reviews are unchanged."""
    rows = shop()
    change(rows)
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    counted = f"select day, sum({measure}) as n from int_review_days where day > '{FIRST_DAY.date()}' group by day"
    assert sorted(map(str, read_rows(home, counted))) != sorted(map(str, read_rows(built, counted)))


def test_a_listing_added_removed_and_added_again_is_detected_each_time(
    home: Path, copy_built: Callable[[str], Path]
) -> None:
    rows = shop()
    for change in (with_a_referenced_listing, without_a_listing, with_a_referenced_listing):
        change(rows)
        make_warehouse(home, rows, AS_OF)
        run_again(home)
        waited = read_rows(home, "select distinct merchant_id from int_review_days where listing_id = 'waited'")
        offered = any(listing["listing_id"] == "waited" for listing in rows["listings"])
        assert waited == [{"merchant_id": "m1" if offered else None}]
    assert_healed(home, rows, copy_built("fresh"))


def test_a_change_of_owners_is_detected_after_their_table_was_lost(
    home: Path, copy_built: Callable[[str], Path]
) -> None:
    """Its change numbers restart, at or below those that the daily tables have recorded."""
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
def test_daily_tables_heal_after_any_sequence_of_changes(
    seed: int, home: Path, copy_built: Callable[[str], Path]
) -> None:
    """Several rounds of random changes, a run after each."""
    draw, rows = random.Random(seed), shop(seed)
    for _ in range(3):
        for change in draw.sample(ROW_CHANGES, 3):
            change(rows)
        make_warehouse(home, rows, AS_OF)
        run_again(home)
    assert_healed(home, rows, copy_built("fresh"))


def test_daily_tables_are_in_the_new_base_currency_when_it_changes(
    home: Path, copy_built: Callable[[str], Path]
) -> None:
    rows, before = shop(), contents(home)
    make_warehouse(home, rows, AS_OF, base_currency="EUR")
    run_again(home)
    assert contents(home) != before
    assert_healed(home, rows, copy_built("fresh"), "EUR")


def in_loads(rows: Shop, changed: Shop, number: int, *, mode: str) -> Shop:
    """Returns the landed rows after `changed` followed `rows`: all of them, or an increment of new and changed rows."""
    load = {"load_id": f"load-{number}", "landed_at": f"2026-01-31 0{number}:00:00", "mode": mode}
    landed: Shop = {}
    for table in changed:
        before = rows.get(table, [])
        bare = [{k: v for k, v in row.items() if k not in load} for row in before]
        given = [row for row in changed[table] if mode == "full" or row not in bare]
        landed[table] = ([] if mode == "full" and table != "listings" else before) + [row | load for row in given]
    return landed


@pytest.mark.parametrize("modes", [("incremental", "incremental"), ("incremental", "full", "incremental")])
def test_daily_tables_heal_after_corrections_in_increments(
    modes: tuple[str, ...], tmp_path: Path, copy_built: Callable[[str], Path]
) -> None:
    """An increment's row replaces an earlier one, on whatever day that was, and may be reverted again."""
    home = copy_built("home")
    rows = shop()
    landed = in_loads({}, rows, 0, mode="full")
    make_warehouse(home, landed, AS_OF)
    build(home)
    original = rows["orders"][4]["placed_at"]
    for number, mode in enumerate(modes, start=1):
        change = (late, corrected, refunded_later)[number % 3]
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
    """One run lands the state of day 9, none runs on day 10, the next lands day 11: all days are built."""
    whole = shop()
    for last_day in (9, 11):
        until = FIRST_DAY + timedelta(days=last_day)
        rows = whole | {"orders": [order for order in whole["orders"] if order["placed_at"] < until]}
        make_warehouse(home, rows, AS_OF)
        run_again(home)
    assert_healed(home, rows, copy_built("fresh"))


def test_an_unchanged_day_is_not_rebuilt(home: Path) -> None:
    """The digest decides: a day with an unchanged digest is not rebuilt, the others are."""
    rows = shop()
    corrected(rows)
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("update int_order_days set unit_count = 77")
    make_warehouse(home, rows, AS_OF)
    run_again(home)
    rebuilt = read_rows(home, "select distinct day from int_order_days where unit_count <> 77")
    assert [row["day"] for row in rebuilt] == [rows["orders"][3]["placed_at"].date()]


def test_a_changed_order_rebuilds_the_review_days_that_follow(home: Path) -> None:
    """Review days from the changed order's day on are rebuilt, and no day before it."""
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
def test_lost_rows_and_tables_are_restored(loss: str, built: Path, home: Path) -> None:
    with open_warehouse(home, read_only=False) as connection:
        connection.execute(loss)
    run_again(home)
    for table in DAILY_TABLES:
        assert table_content(home, table) == table_content(built, table), table


def test_changed_code_rebuilds_every_day(built: Path, home: Path) -> None:
    """Also into a table of an older code version that lacks columns: a full refresh, as a run requests it."""
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
    """Makes a warehouse with so many orders that a build can be killed in time."""
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
sys.path.append("tests")  # of conftest, as pytest has it
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
    """A process that builds in killable child processes; it parses the project once for all of them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )

    def kill_build(self, home: Path, model: str, wait_seconds: float) -> None:
        """Starts a build and kills it a given time after `model` has started."""
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
    """The building process, terminated after the test."""
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
    """Builds the daily tables in a copy of `home` without any."""
    shutil.copy(home / "warehouse.duckdb", fresh)
    with open_warehouse(fresh, read_only=False) as connection:
        for table in ("int_load_days", *DAILY_TABLES):
            connection.execute(f"drop table {table}")
    run_again(fresh)


@pytest.mark.slow
def test_daily_tables_heal_after_a_killed_build(builder: Builder, tmp_path: Path) -> None:
    """Killed at three moments of the first build and at one of a rebuild; what was complete before a kill still is."""
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


def test_a_failing_model_leaves_its_previous_table(tmp_path: Path) -> None:
    """A model that fails only while its rows are computed must not have dropped its previous table."""
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


def test_a_view_is_replaced_by_a_table_and_vice_versa(tmp_path: Path) -> None:
    """An older release may have declared a model with the other materialization."""
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
