"""Spine and features are point in time: what came later changes nothing, and a leak would be seen.

Three warehouses hold the same demo marketplace. `knowing` has all of it. From `unknowing` everything after as_of is
removed: rows that came later, and in the rows that stay each column that was not known yet (the contract says by which
moment each becomes known). Spines and features of both have to be the same, row by row. `earlier` ends at one of the grid
dates and scores there: the training rows of that date have to be what scoring saw on that day. Leaks are then put into
single models of `knowing`, and have to show.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.assets.signals import merchant_rings
from orchestration.landing.pictures import PictureStore
from orchestration.marketplace.generate import generate
from tests.dbt_fixtures import contract_tables, landed_columns, make_warehouse, open_warehouse, run_dbt

AS_OF = date(2026, 6, 7)
GRID_DATE = date(2026, 5, 10)
"""Both are Sundays: on those no rate is published, and the next day's is not known."""
GRID_ROWS = f"purpose = 'train' and as_of_date = '{GRID_DATE}' and label_source is null"
"""Those that nothing labels: what is found out in the case of a label, or on its day, is not in its features."""
LANDED_AT = "2026-06-30 23:59:59"
PICTURES_SHOWN = """
select sha256, min(uri) as uri
from (
    select sha256, uri from landed.listing_images semi join landed.listings using (listing_id)
    union all
    select sha256, uri from landed.brand_logos
)
group by sha256
order by sha256
"""
"""Of listings that are known: what nobody shows yet is not known either."""
COMPARED = ("listing_spine", "merchant_spine", "listing_features", "merchant_features")


def known_by(table: str, name: str) -> str:
    """SQL for the end of the day on which a column of a row becomes known; null for one that always was."""
    known_at = contract_tables()[table]["columns"].get(name, {}).get("known_at")
    return f'cast("{known_at}" as date)' if known_at else "null"


def fill(home: Path, sources: Path, as_of: date, cut: date | None, *, with_training: bool) -> None:
    """Makes a warehouse of the demo's sources; with `cut`, of what was known at the end of that day."""
    make_warehouse(home, {}, as_of, with_training=with_training)
    with open_warehouse(home, read_only=False) as connection:
        for table, declared in contract_tables().items():
            columns = ", ".join(
                f'case when {known_by(table, name)} > $cut then null else cast("{name}" as {sql_type}) end'
                for name, sql_type in landed_columns(table).items()
                if name not in ("load_id", "landed_at")
            )
            event_at = declared.get("event_at")
            condition = f'coalesce(cast("{event_at}" as date) <= $cut, true)' if event_at else "$cut is not null"
            connection.execute(
                f"""insert into landed."{table}" select {columns}, 'load-1', timestamp '{LANDED_AT}'
                from read_parquet('{sources / table}.parquet') where {condition}""",
                {"cut": cut or date(9999, 12, 31)},
            )
            connection.execute(
                "insert into landed.loads"
                " (table_name, load_id, content_digest, landed_at, mode, newest_event_date, is_current)"
                " values (?, 'load-1', ?, ?, 'full', ?, true)",
                [table, f"{table} known by {cut}", LANDED_AT, as_of],
            )
        store = PictureStore(home / "signals" / "pictures", threads=2)
        store.add(connection.sql(PICTURES_SHOWN).to_arrow_table(), sources.parent)
        known, matches = store.known(), store.matches()
        assert known.num_rows
        assert matches.num_rows
        connection.execute("insert into landed.pictures by name from known")
        connection.execute("insert into landed.picture_matches by name from matches")


def build(home: Path) -> None:
    """Builds everything up to the features; the tests of the project have their own turn."""
    run_dbt(home, "build", "--select", "tag:shape", "--exclude-resource-type", "test", "unit_test")
    with open_warehouse(home, read_only=False) as connection:
        as_of, with_training = connection.execute("select as_of, with_training from landed.run").fetchall()[0]
        connection.register("found", merchant_rings(connection, as_of, with_training=with_training))
        connection.execute("insert into landed.merchant_rings by name from found")
    run_dbt(home, "build", "--select", "tag:features", "--exclude-resource-type", "test", "unit_test")


def add_ring(sources: Path) -> None:
    """Lets five merchants share four identifiers: three before the grid date, one more before as_of, one after it."""
    path = sources / "merchant_identifiers.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            """create table borne as
            with members as (
              select merchant_id, row_number() over (order by count(*) desc, merchant_id) as place
              from read_parquet($listings) group by merchant_id order by place limit 5)
            select merchant_id, kind, 'shared ' || kind as value_hash, seen_at::timestamp as first_seen_at, true as is_verified
            from members, (values ('device'), ('key'), ('ip'), ('phone')) as kinds (kind),
              (values (3, '2026-04-01'), (4, '2026-05-20'), (5, '2026-06-20')) as days (last_place, seen_at)
            where last_place = greatest(place, 3)
            union all by name from read_parquet($identifiers)""",
            {"listings": str(sources / "listings.parquet"), "identifiers": str(path)},
        )
        connection.execute(f"copy (from borne order by all) to '{path}' (format parquet)")


@dataclass(frozen=True)
class Homes:
    """The three warehouses' folders."""

    knowing: Path
    unknowing: Path
    earlier: Path


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """Builds the three warehouses."""
    folder = tmp_path_factory.mktemp("point-in-time")
    generate(folder / "market", scale=0.001, seed=5)
    made = Homes(folder / "knowing", folder / "unknowing", folder / "earlier")
    sources = folder / "market" / "sources"
    add_ring(sources)
    fill(made.knowing, sources, AS_OF, None, with_training=True)
    fill(made.unknowing, sources, AS_OF, AS_OF, with_training=True)
    fill(made.earlier, sources, GRID_DATE, GRID_DATE, with_training=False)
    for home in (made.knowing, made.unknowing, made.earlier):
        build(home)
    return made


def differences(one: Path, other: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows that one of two warehouses has in a table and the other has not."""
    with open_warehouse(one) as connection:
        connection.execute(f"attach '{other}/warehouse.duckdb' as other (read_only)")
        here, there = f"from main.{table}", f"from other.main.{table}"
        return connection.execute(f"({here} except {there}) union all ({there} except {here}) order by all").fetchall()


def row_count(home: Path, query: str) -> int:
    """How many rows a query has."""
    with open_warehouse(home) as connection:
        return int(connection.execute(f"select count(*) from ({query})").fetchall()[0][0])


def test_the_marketplace_goes_on_after_as_of(homes: Homes) -> None:
    """Otherwise the tests below would compare the same rows."""
    for table in ("orders", "reviews", "listing_prices", "listings", "notices"):
        query = f"from landed.{table}"
        assert row_count(homes.knowing, query) > row_count(homes.unknowing, query), table
    later = f"from landed.orders where refunded_at::date > '{AS_OF}' and placed_at::date <= '{AS_OF}'"
    assert row_count(homes.knowing, later) > 0
    assert row_count(homes.unknowing, later) == 0


@pytest.mark.parametrize("purpose", ["score", "train", "evaluate", "calibrate"])
def test_every_purpose_has_rows(homes: Homes, purpose: str) -> None:
    for table in COMPARED:
        assert row_count(homes.knowing, f"from {table} where purpose = '{purpose}'") > 0, table


@pytest.mark.parametrize("table", COMPARED)
def test_what_came_later_changes_nothing(homes: Homes, table: str) -> None:
    assert differences(homes.knowing, homes.unknowing, table) == []


@pytest.mark.parametrize("entity", ["listing", "merchant"])
def test_training_sees_of_a_day_what_scoring_saw_on_it(homes: Homes, entity: str) -> None:
    assert row_count(homes.knowing, f"from {entity}_spine where {GRID_ROWS}") > 0
    assert grid_differences(homes.knowing, homes.earlier, entity) == []


def grid_differences(knowing: Path, earlier: Path, entity: str) -> list[tuple[Any, ...]]:
    """How the grid date's training rows differ from what scoring saw on it."""
    with open_warehouse(knowing) as connection:
        connection.execute(f"attach '{earlier}/warehouse.duckdb' as earlier (read_only)")
        rows = f"(select {entity}_id, as_of_date from main.{entity}_spine where {GRID_ROWS})"
        trained, scored = (
            f"select features.* exclude (purpose) from {catalog}.{entity}_features as features"
            f" semi join {rows} using ({entity}_id, as_of_date) where features.purpose = '{purpose}'"
            for catalog, purpose in (("warehouse.main", "train"), ("earlier.main", "score"))
        )
        difference = f"({trained} except {scored}) union all ({scored} except {trained}) order by all"
        return connection.execute(difference).fetchall()


def test_a_ring_grows_with_what_becomes_known(homes: Homes) -> None:
    with open_warehouse(homes.knowing) as connection:
        ring = connection.execute(
            """select min(merchant_id) from landed.merchant_identifiers
            where value_hash = 'shared key' and first_seen_at < timestamp '2026-05-01'"""
        ).fetchall()[0][0]
        found = connection.execute(
            """select as_of_date, count(*) from landed.merchant_rings
            where is_firm and as_of_date in ($grid, $as_of)
              and ring_id in (select ring_id from landed.merchant_rings where is_firm and merchant_id = $ring)
            group by as_of_date order by as_of_date""",
            {"grid": GRID_DATE, "as_of": AS_OF, "ring": ring},
        ).fetchall()
    (first, before), (last, after) = found
    assert (first, last) == (GRID_DATE, AS_OF)
    assert before >= 3  # and whoever one of the three shares a ring of the demo's with
    assert after == before + 1


@pytest.mark.parametrize(
    ("model", "guard"),
    [
        ("listing_windows", "listing_days.day <= places.as_of_date"),
        ("merchant_windows", "merchant_days.day <= places.as_of_date"),
        ("listing_pictures", "merchant_counts.counted_from <= shown.as_of_date"),
        ("listing_states", "copied_titles.copied_from <= priced.as_of_date"),
        ("listing_titles", "shared.shown_from <= places.as_of_date"),
        ("merchant_neighbours", "directed.firm_from <= firm.as_of_date"),
        ("merchant_rings", "members.as_of_date = dates.rating_date"),
        ("merchant_conduct", "pauses.day <= places.as_of_date"),
    ],
)
def test_a_leak_is_seen(homes: Homes, tmp_path: Path, model: str, guard: str) -> None:
    leaking = tmp_path / "leaking"
    shutil.copytree(homes.knowing, leaking)
    leak(leaking, model, guard)
    assert grid_differences(leaking, homes.earlier, "listing")


def leak(home: Path, model: str, guard: str) -> None:
    """Rebuilds one model of a warehouse with a guard that is three weeks late, and what stands on it."""
    compiled = {name: compiled_sql(home, name) for name in (model, "merchant_links", "listing_features")}
    assert guard in compiled[model]
    compiled[model] = compiled[model].replace(guard, f"{guard} + 21")
    with open_warehouse(home, read_only=False) as connection:
        for name, sql in compiled.items():
            connection.execute(f"create or replace table main.{name} as {sql}")


def compiled_sql(home: Path, model: str) -> str:
    """A model's SQL as dbt compiled it for this warehouse."""
    sql = (home / "target" / "compiled" / "touchstone" / "models" / "features" / f"{model}.sql").read_text()
    return sql.replace('"warehouse".', "")
