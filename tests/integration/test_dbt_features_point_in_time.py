"""Spines and features are point-in-time correct: later data changes nothing, and a leak would be detected.

Three warehouses hold the same demo marketplace. `complete` has all of it. From `truncated` everything after as_of is
removed: rows that came later, loads that landed later, and in the remaining rows each column that was not known yet
(the contract declares by which moment each becomes known). Spines and features of both have to be the same, row by row.
`earlier` ends at one of the grid dates and scores there: the training rows of that date have to equal the scored
features of that day. Leaks are then introduced into single models of `complete`, through late rows, late columns and
late loads, and have to be detected. Finally `complete` gets late, corrected and deleted rows: its next run must leave
what a build from scratch produces from them.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import mostly_slow

from orchestration.assets.signals import merchant_rings
from orchestration.dbt_runner import show_previous
from tests.dbt_fixtures import (
    LOAD_COLUMNS,
    contract_tables,
    landed_columns,
    list_nodes,
    make_warehouse,
    open_warehouse,
    run_dbt,
)
from touchstone.demo.generate import generate
from touchstone.landing.images import PictureStore

AS_OF = date(2026, 6, 7)
GRID_DATE = date(2026, 5, 10)
"""Both are Sundays: no exchange rate is published on them, and the next day's is not known."""
GRID_ROWS = f"purpose = 'train' and as_of_date = '{GRID_DATE}' and label_source is null"
"""Unlabelled rows: findings from the case of a label, or of its day, are excluded from its features."""
FIRST_LANDED_AT = "2026-05-01 23:59:59"
LANDED_AT = "2026-06-30 23:59:59"
PICTURES_SHOWN = """
select sha256, case when min(uri) is null then [] else [min(uri)] end as uris, true as in_use
from (
    select sha256, uri from landed.listing_images semi join landed.listings using (listing_id)
    union all
    select sha256, uri from landed.brand_logos
)
group by sha256
order by sha256
"""
"""Images of known listings: an image that no listing shows yet is not known either."""
KEYS = {"listing": "listing_id", "merchant": "merchant_id", "review": "review_key", "brushing_merchant": "merchant_id"}
"""Keys of the rated entities, by the prefix of their spine and features."""
RATED = tuple(f"{entity}_{table}" for table in ("spine", "features") for entity in KEYS)
COMPARED = (*RATED, "listing_discrepancies")
LATER = {
    "listings": {"delisted_at": [], "last_seen_at": []},
    "orders": {"shipped_at": ["parcel_weight_g"], "delivered_at": [], "refunded_at": ["refund_reason"]},
    "brand_products": {"valid_to": []},
    "authorised_merchants": {"valid_to": []},
    "notices": {"decided_at": ["outcome", "reason"]},
    "test_buys": {"decided_at": ["verdict"]},
    "appeals": {"decided_at": ["outcome", "reason", "decided_by"]},
}
"""Moments after a row's creation, and the columns that become known at each."""
KNOWN_WITH_ROW = {
    "listings": "listing_id merchant_id title description brand_claimed category condition price currency ships_from"
    " ships_to specs gtin stock url listed_at",
    "orders": "order_id listing_id merchant_id buyer_id quantity amount currency placed_at payer_hash",
    "brand_products": "brand_id model_ref category msrp floor_price currency specs gtin valid_from",
    "authorised_merchants": "brand_id merchant_id valid_from",
    "notices": "notice_id listing_id reporter_id brand_id kind submitted_at",
    "test_buys": "test_buy_id listing_id plan_id arm inclusion_probability ordered_at cost currency evidence_uri",
    "appeals": "appeal_id entity_kind entity_id violation_type submitted_at",
}
"""Columns of the same tables that are known as soon as the row is."""
KNOWN_IN_ADVANCE = {("suppressions", "expires_at")}
"""Moments that are known in advance."""

TODAY = date(2026, 7, 1)
INCREMENTS = ("listing_prices", "merchant_snapshots", "notices")
LATE_KEYS = {
    "listing_prices": {"observed_at": "observed_at - interval 1 hour"},
    "merchant_snapshots": {"observed_at": "observed_at - interval 1 hour"},
    "merchant_identifiers": {
        "merchant_id": "lead(merchant_id) over (order by first_seen_at, merchant_id, kind, value_hash)"
    },
    "moderation_decisions": {"entity_id": "lead(entity_id) over (order by decided_at, entity_id)"},
}
"""Expressions that give a late row a key of its own, where another ID does not."""
BOOKKEEPING = ("int_load_days", "int_listing_owners", "int_changed_days")
"""Tables of superseded loads, removed listings and days to rebuild: they are not compared."""
FILLED_WITH_TRAINING = {
    f"main.spine_{rows}"
    for rows in ("verdicts", "known_positives", "calibration_rows", "unlabelled_rows", "labelled_rows")
}
"""Empty if a run does not train, like the healing run."""
READ = ("picture_readings", "picture_texts", "picture_contacts", "picture_logos")
SIGNALS = ("pictures", "picture_matches", *READ, "merchant_rings")
READINGS = """
create or replace temporary table drawn as
select
    pictures.sha256,
    cast('0x' || left(pictures.sha256, 6) as integer) % 8 as draw,
    shops.name,
    logos.sha256 as logo_sha256
from landed.pictures as pictures
left join (select name, row_number() over (order by name) % 16 as number from read_parquet($merchants)) as shops
    on shops.number = cast('0x' || left(pictures.sha256, 6) as integer) % 16
left join (select distinct sha256, cast('0x' || left(sha256, 6) as integer) % 16 as number from read_parquet($logos)) as logos
    on logos.number = cast('0x' || left(pictures.sha256, 6) as integer) % 16;
create or replace temporary table readings as select sha256, cast(null as varchar) as reason from drawn where draw < 7;
create or replace temporary table texts as
select
    sha256,
    draw as line,
    case when draw = 1 then 'Top 1:1' when draw < 5 and name is not null then name else 'No. ' || left(sha256, 4) end as text,
    'box' as region,
    0.9 as confidence
from drawn
where draw < 7;
create or replace temporary table contacts as
select sha256, 9 as line, 'phone' as kind, left(sha256, 9) as value, 'box' as region from drawn where draw = 5;
create or replace temporary table logos as
select sha256, 0 as place, logo_sha256, 'box' || left(logo_sha256, 4) as region, 0.8 + draw / 100 as score
from drawn
where draw < 6 and logo_sha256 is not null;
"""
"""What is found in pictures, made up from their digests: so it depends on their content alone, whenever they are read."""
WRITTEN = {
    "listings": ["title", "description", "brand_claimed", "category", "condition", "specs", "gtin"],
    "listing_images": ["uri"],
}
"""Columns known with their row, but valid from the load of a later change."""


def known_by(table: str, name: str) -> str:
    """SQL for the end of the day on which a column of a row becomes known; null for one that always was."""
    known_at = contract_tables()[table]["columns"].get(name, {}).get("known_at")
    return f'cast("{known_at}" as date)' if known_at else "null"


def unknown(table: str, name: str) -> str:
    """SQL for the value of a column before it is known."""
    return "'pending'" if "pending" in contract_tables()[table]["columns"].get(name, {}).get("values", ()) else "null"


def kept_in_loads(table: str) -> list[str]:
    """Columns whose history is read from earlier loads; the second load has another row's values in them."""
    columns: dict[str, dict[str, Any]] = contract_tables()[table]["columns"]
    names = [name for name in columns if columns[name].get("history") == "loads"]
    return [name for name in names if name not in contract_tables()[table]["key"]] + WRITTEN.get(table, [])


def fill(home: Path, sources: Path, as_of: date, cutoff_date: date | None, *, with_training: bool) -> None:
    """Makes a warehouse of the demo's sources; with `cutoff_date`, of what was known at the end of that day."""
    make_warehouse(home, {}, as_of, with_training=with_training)
    with open_warehouse(home, read_only=False) as connection:
        for table, declared in contract_tables().items():
            if not (sources / f"{table}.parquet").exists():
                continue
            present = connection.read_parquet(str(sources / f"{table}.parquet")).columns
            columns = ", ".join(
                f'''case when {known_by(table, name)} > $cutoff_date then {unknown(table, name)}
                else cast("{name}" as {sql_type}) end as "{name}"'''
                for name, sql_type in landed_columns(table).items()
                if name in present and name not in LOAD_COLUMNS
            )
            event_at = declared.get("event_at")
            condition = (
                f'coalesce(cast("{event_at}" as date) <= $cutoff_date, true)'
                if event_at
                else "$cutoff_date is not null"
            )
            later = kept_in_loads(table)
            connection.execute(
                f"""insert into landed."{table}" by name select {columns}, 'load-1' as load_id,
                timestamp '{FIRST_LANDED_AT if later else LANDED_AT}' as landed_at
                from read_parquet('{sources / table}.parquet') where {condition}""",
                {"cutoff_date": cutoff_date or date(9999, 12, 31)},
            )
            if later and not cutoff_date:
                key = ", ".join(declared["key"])
                others = ", ".join(f'lead("{name}") over (order by {key}) as "{name}"' for name in later)
                connection.execute(
                    f"""insert into landed."{table}" select * replace (
                    {others}, 'load-2' as load_id, timestamp '{LANDED_AT}' as landed_at) from landed."{table}" """
                )
            add_loads(connection, table, as_of, f"{table} known by {cutoff_date}")
        register_pictures(connection, home, sources)


def add_loads(connection: duckdb.DuckDBPyConnection, table: str, as_of: date, content: str) -> None:
    """Writes the ledger of a landed table: its loads by landing time, each of them full."""
    connection.execute(
        f"""insert into landed.loads (table_name, load_id, content_digest, landed_at, mode, newest_event_date, is_current)
        select $table, load_id, $content || load_id, landed_at, 'full', $as_of, landed_at = max(landed_at) over ()
        from (select distinct load_id, landed_at from landed."{table}")""",
        {"table": table, "content": content, "as_of": as_of},
    )


def register_pictures(connection: duckdb.DuckDBPyConnection, home: Path, sources: Path) -> None:
    """Hashes the new images and registers all of them for dbt."""
    store = PictureStore(home / "signals" / "pictures", threads=2)
    store.add(connection.sql(PICTURES_SHOWN).to_arrow_table(), sources.parent)
    for table, found in (("pictures", store.known()), ("picture_matches", store.matches())):
        assert found.num_rows, table
        connection.execute(f"delete from landed.{table}")
        connection.execute(f"insert into landed.{table} by name from found")
    files = {
        name: str(sources / f"{table}.parquet")
        for name, table in (("merchants", "merchants"), ("logos", "brand_logos"))
    }
    for statement in READINGS.split(";")[:-1]:
        connection.execute(statement, {name: path for name, path in files.items() if f"${name}" in statement})
    for table in READ:
        connection.execute(f"delete from landed.{table}")
        connection.execute(f"insert into landed.{table} by name from {table.removeprefix('picture_')}")


def build(home: Path) -> None:
    """Builds everything up to the features; the project's own tests run separately."""
    run_dbt(home, "build", "--select", "tag:shape", "--exclude-resource-type", "test", "unit_test")
    with open_warehouse(home, read_only=False) as connection:
        as_of, with_training = connection.execute("select as_of, with_training from landed.run").fetchall()[0]
        connection.register("found", merchant_rings(connection, as_of, with_training=with_training))
        connection.execute("delete from landed.merchant_rings")
        connection.execute("insert into landed.merchant_rings by name from found")
    run_dbt(home, "build", "--select", "tag:features", "--exclude-resource-type", "test", "unit_test")


def add_ring(sources: Path) -> None:
    """Makes five merchants share four identifiers: three before the grid date, one more before as_of, one after it."""
    path = sources / "merchant_identifiers.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            """create table assigned as
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
        connection.execute(f"copy (from assigned order by all) to '{path}' (format parquet)")


ADDED = """
create table chosen as
select listing_id, merchant_id, brand_claimed, json_extract_string(specs, 'model_ref') as model_ref, place
from (
    select *, row_number() over (order by listing_id) as place
    from (from listings select distinct on (merchant_id) * order by merchant_id, listing_id)
    where
        listed_at < timestamp '2026-04-01'
        and coalesce(delisted_at, last_seen_at) >= timestamp '2026-06-25'
        and brand_claimed is not null
        and json_extract_string(specs, 'model_ref') is not null
);

-- Brands: recognised by a product that is announced later, and by one that another brand also has later.
update listings set
    brand_claimed = null,
    specs = case when place = 1 then '{"model_ref": "announced"}' else specs end
from chosen where chosen.listing_id = listings.listing_id and place <= 2;
insert into brand_products by name
select * replace (
    'announced' as model_ref, timestamp '2026-06-15 12:00:00' as valid_from, cast(null as timestamp) as valid_to)
from brand_products order by brand_id, model_ref, valid_from limit 1;
insert into brand_products by name
select brand_products.* replace (
    (select max(brand_id) from brands where brands.brand_id <> brand_products.brand_id) as brand_id,
    timestamp '2026-06-15 12:00:00' as valid_from, cast(null as timestamp) as valid_to)
from brand_products inner join chosen using (model_ref) where place = 2 order by valid_from limit 1;

-- Titles with a quantity.
update listings set title = title || ' 65 W' where listing_id like '%7';

-- Models: matched by letters and digits, until the brand has one that is spelled like in the listing; prices of
-- another are in a currency whose rate changes every day.
update listings set specs = json_object('model_ref', chosen.model_ref || '.')
from chosen where chosen.listing_id = listings.listing_id and place = 21;
insert into brand_products by name
select brand_products.* replace (
    chosen.model_ref || '.' as model_ref, timestamp '2026-06-15 12:00:00' as valid_from, cast(null as timestamp) as valid_to)
from brand_products inner join chosen using (model_ref) where place = 21 order by valid_from limit 1;
update brand_products set currency = 'EUR'
from chosen where chosen.model_ref = brand_products.model_ref and place between 22 and 30;

-- Catalogues and authorisations that end; a merchant that joined after its listings were listed.
update brand_products set valid_to = timestamp '2026-06-20 12:00:00' where valid_to is null;
update authorised_merchants set valid_to = timestamp '2026-06-20 12:00:00' where valid_to is null;
update merchants set registered_at = timestamp '2026-06-20 12:00:00', is_default_storefront = true
from chosen where chosen.merchant_id = merchants.merchant_id and place = 3;

-- Listings not seen for weeks; prices in a currency without a rate for as long.
delete from listing_prices using chosen
where chosen.listing_id = listing_prices.listing_id and place between 4 and 8 and observed_at > timestamp '2026-05-05';
update listings set last_seen_at = timestamp '2026-06-20 12:00:00', delisted_at = null
from chosen where chosen.listing_id = listings.listing_id and place between 4 and 8;
delete from fx_rates where currency = 'EUR' and date between '2026-05-24' and '2026-06-14';

-- Notices, a test buy and appeals that are decided weeks after their submission.
insert into notices by name
select
    'late ' || place as notice_id, listing_id, 'counterfeit' as kind, timestamp '2026-05-15 12:00:00' as submitted_at,
    case when place % 2 = 0 then 'upheld' else 'rejected' end as outcome, case when place = 9 then 'genuine' end as reason,
    timestamp '2026-06-15 12:00:00' as decided_at
from chosen where place between 9 and 16;
-- Enough positives before the first evaluation date: otherwise no date evaluates.
insert into notices by name
select
    'early ' || listing_id as notice_id, listing_id, 'counterfeit' as kind, timestamp '2026-04-20 12:00:00' as submitted_at,
    'upheld' as outcome, timestamp '2026-04-25 12:00:00' as decided_at
from listings anti join chosen using (merchant_id)
where listed_at < timestamp '2026-04-01'
order by listing_id limit 20;
insert into test_buys by name
select
    'late' as test_buy_id, listing_id, timestamp '2026-05-15 12:00:00' as ordered_at, 'counterfeit' as verdict,
    timestamp '2026-06-15 12:00:00' as decided_at
from chosen where place = 17;

insert into appeals by name
select
    'late ' || place as appeal_id, 'listing' as entity_kind, listing_id as entity_id, 'counterfeit' as violation_type,
    timestamp '2026-05-15 12:00:00' as submitted_at, case when place = 31 then 'upheld' else 'rejected' end as outcome,
    'looked into' as reason, 'somebody' as decided_by, timestamp '2026-06-15 12:00:00' as decided_at
from chosen where place between 31 and 32;

-- Takedowns whose listings are relisted, and that are reinstated later.
insert into listings by name
select listings.* replace (
    'relisted ' || listing_id as listing_id, timestamp '2026-04-20 12:00:00' as listed_at)
from listings semi join (from chosen where place between 18 and 20) as removed using (listing_id);
insert into platform_actions by name
select
    kind || place as action_id, 'listing' as entity_kind, listing_id as entity_id, kind, occurred_at
from chosen, (values ('takedown', timestamp '2026-04-15 12:00:00'), ('reinstatement', timestamp '2026-06-15 12:00:00'))
    as actions (kind, occurred_at)
where place between 18 and 20;

-- Merchants with common buyers, all from one device: five buy from the first two and the fourth, and from the third only later,
-- from whom another had bought before; one buys from the second only later. The fourth joins later, as do one of the buyers and
-- another on the device; the device turns out to be the first's own, and an order is placed that had been reviewed.
insert into merchants by name
select
    'tied ' || place as merchant_id, 'Tied ' || place as name,
    case when place = 4 then timestamp '2026-06-15 12:00:00' else timestamp '2026-01-05' end as registered_at
from generate_series(1, 4) as places (place);
insert into listings by name
select listings.* replace ('tied ' || places.place as listing_id, 'tied ' || places.place as merchant_id)
from listings inner join chosen using (listing_id), generate_series(1, 4) as places (place) where chosen.place = 40;
insert into buyers by name
select
    'round ' || buyer as buyer_id, 'US' as country, 'round device' as device_hash,
    case when buyer < 8 then timestamp '2026-01-05' else timestamp '2026-06-15 12:00:00' end as registered_at
from generate_series(1, 9) as buyers (buyer);
insert into orders by name
select
    concat_ws(' ', 'round', buyer, place) as order_id, 'tied ' || place as listing_id, 'tied ' || place as merchant_id,
    'round ' || buyer as buyer_id, 1 as quantity, 10 as amount, 'USD' as currency,
    cast(day as timestamp) + to_minutes(buyer) as placed_at
from (values
    (1, 8, 1, '2026-04-15'), (1, 5, 2, '2026-04-15'), (1, 5, 4, '2026-04-15'), (6, 6, 3, '2026-04-15'),
    (1, 5, 3, '2026-06-15'), (7, 7, 2, '2026-06-15')
) as rounds (first, last, place, day), unnest(generate_series(first, last)) as buyers (buyer);
insert into merchant_identifiers by name
select 'tied 1' as merchant_id, 'device' as kind, 'round device' as value_hash, timestamp '2026-06-15 12:00:00' as first_seen_at;
insert into reviews by name
select
    'before its order' as review_id, 'tied 2' as listing_id, 'round 7' as buyer_id, 'round 7 2' as order_id, 5 as rating,
    timestamp '2026-05-20 12:00:00' as created_at;
"""
"""Rows that the demo lacks: moments of every kind after as_of."""


def add_to(sources: Path) -> None:
    """Appends the additional rows to the demo's files."""
    with duckdb.connect() as connection:
        tables = [table for table in contract_tables() if (sources / f"{table}.parquet").exists()]
        for table in tables:
            connection.execute(f"create table {table} as from read_parquet('{sources / table}.parquet')")
        connection.execute(ADDED)
        for table in tables:
            connection.execute(f"copy (from {table} order by all) to '{sources / table}.parquet' (format parquet)")


def add_snapshots(sources: Path) -> None:
    """Writes counters of every listing and merchant, which the demo lacks: up to five snapshots each, since it exists."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for table, entities, since in (
            ("listing_snapshots", "listings", "listed_at"),
            ("merchant_snapshots", "merchants", "registered_at"),
        ):
            columns = contract_tables()[table]["columns"]
            key = contract_tables()[table]["key"][0]
            drawn = {name: f"hash({key}, week, '{name}')" for name in columns}
            values = {
                name: f"{drawn[name]} % 40"
                if column["type"] == "integer"
                else f"cast({drawn[name]} % 500 as double) / 100"
                for name, column in columns.items()
            } | {
                key: key,
                "observed_at": f"timestamp '{GRID_DATE} 15:00:00' + to_days(cast(week * 9 + hash({key}) % 7 as integer))",
                "currency": "'USD'",
            }
            select = ", ".join(f"{value} as {name}" for name, value in values.items())
            connection.read_parquet(str(sources / f"{entities}.parquet")).create_view(entities)
            weeks = f"select {select} from {entities} cross join range(-1, 4) as weeks (week)"
            rows = f"{weeks} where {values['observed_at']} > {since}"
            connection.sql(rows).write_parquet(str(sources / f"{table}.parquet"))


@dataclass(frozen=True)
class Homes:
    """The three warehouses' folders."""

    complete: Path
    truncated: Path
    earlier: Path


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """Builds the three warehouses."""
    folder = tmp_path_factory.mktemp("point-in-time")
    generate(folder / "market", scale=0.001, seed=9)
    made = Homes(folder / "complete", folder / "truncated", folder / "earlier")
    sources = folder / "market" / "sources"
    add_ring(sources)
    add_snapshots(sources)
    add_to(sources)
    fill(made.complete, sources, AS_OF, None, with_training=True)
    fill(made.truncated, sources, AS_OF, AS_OF, with_training=True)
    fill(made.earlier, sources, GRID_DATE, GRID_DATE, with_training=False)
    for home in (made.complete, made.truncated, made.earlier):
        build(home)
    return made


def differences(one: Path, other: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows that only one of two warehouses has in a table."""
    with open_warehouse(one) as connection:
        connection.execute(f"attach '{other}/warehouse.duckdb' as other (read_only)")
        return differing(connection, table)


def differing(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[Any, ...]]:
    """The same, of an open warehouse and another one attached to it as `other`."""
    here, there = f"from warehouse.main.{table}", f"from other.main.{table}"
    return connection.execute(f"({here} except {there}) union all ({there} except {here}) order by all").fetchall()


def row_count(home: Path, query: str) -> int:
    """The number of rows of a query."""
    with open_warehouse(home) as connection:
        return int(connection.execute(f"select count(*) from ({query})").fetchall()[0][0])


def test_every_column_declares_when_it_becomes_known() -> None:
    """New columns of the contract have to be listed here, and those filled later must declare the moment."""
    for table, declared in contract_tables().items():
        columns = declared["columns"]
        moments = {name for name, column in columns.items() if column["type"] in ("timestamp", "date")}
        ahead = {name for name in moments if (table, name) in KNOWN_IN_ADVANCE}
        assert moments - ahead <= {declared.get("event_at"), *LATER.get(table, ())}, table
        assert {name: column["known_at"] for name, column in columns.items() if "known_at" in column} == {
            name: moment for moment, names in LATER.get(table, {}).items() for name in (moment, *names)
        }, table
        if table in LATER:
            later = {name for moment, names in LATER[table].items() for name in (moment, *names)}
            assert set(columns) == later | set(KNOWN_WITH_ROW[table].split()), table


@pytest.mark.parametrize("table", LATER)
def test_columns_that_were_not_known_are_removed_at_the_cutoff(homes: Homes, table: str) -> None:
    """Some rows have a later moment after as_of; without the cutoff the columns that depend on it would leak."""
    event_at = contract_tables()[table]["event_at"]
    for moment, names in LATER[table].items():
        later = (
            f"from landed.{table} where cast({event_at} as date) <= '{AS_OF}' and cast({moment} as date) > '{AS_OF}'"
        )
        assert row_count(homes.complete, later) > 0, moment
        assert row_count(homes.truncated, later) == 0, moment
        for name in names:
            result = f"{name} is not null and {name} is distinct from {unknown(table, name)}"
            assert row_count(homes.complete, f"{later} and {result}") > 0, name
            assert row_count(homes.truncated, f"from landed.{table} where {moment} is null and {result}") == 0, name


def test_the_marketplace_continues_after_as_of(homes: Homes) -> None:
    """Otherwise the tests below would compare identical rows."""
    for table in ("orders", "reviews", "listing_prices", "listings", "notices", "brand_products", "platform_actions"):
        query = f"from landed.{table}"
        assert row_count(homes.complete, query) > row_count(homes.truncated, query), table


@pytest.mark.parametrize("purpose", ["score", "train", "evaluate", "calibrate", "known_positive"])
def test_every_purpose_has_rows(homes: Homes, purpose: str) -> None:
    for table in RATED:
        assert row_count(homes.complete, f"from {table} where purpose = '{purpose}'") > 0, table


@pytest.mark.parametrize("table", COMPARED)
def test_later_data_changes_nothing(homes: Homes, table: str) -> None:
    assert differences(homes.complete, homes.truncated, table) == []


@pytest.mark.parametrize("entity", KEYS)
def test_training_features_equal_the_scored_features_of_the_same_day(homes: Homes, entity: str) -> None:
    assert row_count(homes.complete, f"from {entity}_spine where {GRID_ROWS}") > 0
    assert grid_differences(homes.complete, homes.earlier, entity) == []


def grid_differences(complete: Path, earlier: Path, entity: str) -> list[tuple[Any, ...]]:
    """The differences between the grid date's training rows and the rows scored on it."""
    with open_warehouse(complete) as connection:
        connection.execute(f"attach '{earlier}/warehouse.duckdb' as earlier (read_only)")
        return differing_on_grid(connection, entity)


def differing_on_grid(connection: duckdb.DuckDBPyConnection, entity: str) -> list[tuple[Any, ...]]:
    """The same, of an open warehouse and the earlier one attached to it."""
    key = KEYS[entity]
    rows = f"(select {key}, as_of_date from warehouse.main.{entity}_spine where {GRID_ROWS})"
    trained, scored = (
        f"select features.* exclude (purpose) from {catalog}.main.{entity}_features as features"
        f" semi join {rows} using ({key}, as_of_date) where features.purpose = '{purpose}'"
        for catalog, purpose in (("warehouse", "train"), ("earlier", "score"))
    )
    return connection.execute(
        f"({trained} except {scored}) union all ({scored} except {trained}) order by all"
    ).fetchall()


def test_a_ring_grows_as_identifiers_become_known(homes: Homes) -> None:
    with open_warehouse(homes.complete) as connection:
        ring = connection.execute(
            """select min(merchant_id) from landed.merchant_identifiers
            where value_hash = 'shared key' and first_seen_at < timestamp '2026-05-01'"""
        ).fetchall()[0][0]
        found = connection.execute(
            """select as_of_date, count(*) from landed.merchant_rings
            where is_verified and as_of_date in ($grid, $as_of)
              and ring_id in (select ring_id from landed.merchant_rings where is_verified and merchant_id = $ring)
            group by as_of_date order by as_of_date""",
            {"grid": GRID_DATE, "as_of": AS_OF, "ring": ring},
        ).fetchall()
    (first, before), (last, after) = found
    assert (first, last) == (GRID_DATE, AS_OF)
    assert before >= 3  # and everyone with whom one of the three shares a ring of the demo's
    assert after == before + 1


@pytest.mark.parametrize(
    ("model", "guard"),
    mostly_slow(
        [
            ("listing_windows", "listing_days.day <= places.as_of_date"),
            ("merchant_windows", "merchant_days.day <= places.as_of_date"),
            ("listing_pictures", "merchant_counts.counted_from <= shown.as_of_date"),
            ("listing_picture_findings", "read_spans.shown_from <= states.as_of_date"),
            ("listing_picture_findings", "findings.shown_from <= read_states.as_of_date"),
            ("listing_picture_findings", "unnamed_logos.unnamed_from <= read_states.as_of_date"),
            ("listing_states", "copied_titles.copied_from <= priced.as_of_date"),
            ("listing_titles", "shared.shown_from <= places.as_of_date"),
            ("merchant_neighbours", "verified_edges.known_from <= first_hop.as_of_date"),
            ("merchant_rings", "members.as_of_date = dates.rating_date"),
            ("listing_test_buys", "bought.decided_date <= places.as_of_date"),
            ("listing_findings", "findings.decided_date <= places.known_date"),
            ("linked_findings", "findings.decided_date <= neighbours.known_date"),
            ("merchant_conduct", "pauses.day <= places.as_of_date"),
            ("brushing_places", "cast(merchants.registered_at as date) <= spine_dates.as_of_date"),
            ("brushing_transactions", "cast(transactions.occurred_at as date) <= places.as_of_date"),
            ("co_purchases", "first_transactions.first_date <= dates.as_of_date"),
            ("transaction_indicators", "cast(all_transactions.occurred_at as date) <= buyers.as_of_date"),
            ("transaction_indicators", "cast(history.registered_at as date) <= devices.as_of_date"),
            ("transaction_indicators", "cast(all_transactions.occurred_at as date) <= payers.as_of_date"),
            ("transaction_indicators", "own_devices.first_seen_date <= transactions.as_of_date"),
            ("transaction_indicators", "looks.look_date <= days.as_of_date"),
            ("transaction_indicators", "cast(all_transactions.reviewed_at as date) <= texts.as_of_date"),
            ("transaction_indicators", "purchases.first_date <= buyer_transactions.as_of_date"),
            ("transaction_indicators", "cast(history.registered_at as date) <= buyers.as_of_date"),
            ("co_purchases", "cast(other_names.registered_at as date) <= tied.as_of_date"),
            ("int_transactions", "cast(orders.placed_at as date) <= cast(reviews.created_at as date)"),
        ],
        quick=7,
    ),
)
def test_a_leak_through_late_rows_is_detected(homes: Homes, model: str, guard: str) -> None:
    assert is_detected(homes, {model: lambda sql: sql.replace(guard, f"{guard} + 28")})


def test_no_leak_is_detected_without_one(homes: Homes) -> None:
    """Models rebuilt to introduce a leak equal dbt's build, apart from the leak."""
    shape = {
        name: str for name, node in models().items() if "shape" in node.tags and compiled_sql(homes.complete, name)
    }
    assert not is_detected(homes, shape)


@pytest.mark.parametrize(
    ("table", "moment"),
    mostly_slow(((table, moment) for table, moments in LATER.items() for moment in moments), quick=3),
)
def test_a_leak_through_a_late_column_is_detected(homes: Homes, table: str, moment: str) -> None:
    """A moment after as_of, and its dependent columns, are read as if it had come four weeks earlier."""
    event_at, landed = contract_tables()[table]["event_at"], f'"warehouse"."landed"."{table}"'
    early = f"greatest({moment} - interval 28 day, {event_at})"
    early = f"case when cast({moment} as date) > date '{AS_OF}' then {early} else {moment} end"
    leaking = f"(select * replace ({early} as {moment}) from {landed})"
    readers = {
        name: (lambda sql: sql.replace(landed, leaking))
        for name in models()
        if landed in compiled_sql(homes.complete, name)
    }
    assert is_detected(homes, readers)


@pytest.mark.parametrize("table", mostly_slow((table for table in contract_tables() if kept_in_loads(table)), quick=2))
def test_a_leak_through_a_late_load_is_detected(homes: Homes, table: str) -> None:
    """The changes of a load after as_of are read as if it had landed four weeks earlier."""
    landed, guard = f'"warehouse"."landed"."{table}"', "cast(landed_at as date)"
    readers = {
        name: (lambda sql: sql.replace(guard, f"{guard} - 28"))
        for name in models()
        if landed in compiled_sql(homes.complete, name) and guard in compiled_sql(homes.complete, name)
    }
    assert is_detected(homes, readers)


def is_detected(homes: Homes, leaks: Mapping[str, Callable[[str], str]]) -> bool:
    """Returns whether the comparisons above fail once models of `complete` and their dependents have a leak."""
    assert leaks
    with tempfile.TemporaryDirectory() as folder:
        # A copy, because within a transaction DuckDB plans by a table's former row count.
        shutil.copy(homes.complete / "warehouse.duckdb", folder)
        with open_warehouse(Path(folder), read_only=False) as connection:
            for name, home in (("other", homes.truncated), ("earlier", homes.earlier)):
                connection.execute(f"attach '{home}/warehouse.duckdb' as {name} (read_only)")
            # Like a full refresh: the incremental models rebuild all rows, not only those of changed days.
            show_previous(connection, full_refresh=True)
            for table in contract_tables():
                connection.execute(f"update landed.{table} set is_new = true")
            return any(
                is_different_with(connection, homes.complete, node, leaks) for node in dependents_within(leaks).values()
            )


def is_different_with(
    connection: duckdb.DuckDBPyConnection, home: Path, node: Any, leaks: Mapping[str, Callable[[str], str]]
) -> bool:
    """Builds a model, with its leak if it has one, and returns whether a comparison of it now fails."""
    sql = leaks.get(node.name, str)(compiled_sql(home, node.name))
    if node.config.materialized != "view":
        connection.execute(f"delete from warehouse.main.{node.name}")
        connection.execute(f"insert into warehouse.main.{node.name} by name {sql}")
    elif node.name in leaks:
        connection.execute(f"create or replace view warehouse.main.{node.name} as {sql}")
    return (node.name in COMPARED and bool(differing(connection, node.name))) or any(
        node.name == f"{entity}_features" and bool(differing_on_grid(connection, entity))
        for entity in ("listing", "review")
    )


def test_late_corrected_and_deleted_rows_heal(homes: Homes, tmp_path: Path) -> None:
    """Daily tables, texts, images, rings and features equal a build from scratch of the same loads."""
    healed, fresh, sources = tmp_path / "healed", tmp_path / "fresh", homes.complete.parent / "market" / "sources"
    shutil.copytree(homes.complete, healed)
    fresh.mkdir()
    with open_warehouse(healed, read_only=False) as connection:
        for table in contract_tables():
            land_again(connection, table)
        add_new_content(connection, sources)
        connection.execute(f"update landed.run set as_of = date '{TODAY}', with_training = false")
        connection.execute(f"attach '{fresh}/warehouse.duckdb' as fresh")
        connection.execute("create schema fresh.landed")
        landed = "select table_name from duckdb_tables() where schema_name = 'landed'"
        for (table,) in connection.execute(landed).fetchall():
            connection.execute(f"create table fresh.landed.{table} as from warehouse.landed.{table}")
    for home in (healed, fresh):
        with open_warehouse(home, read_only=False) as connection:
            register_pictures(connection, home, sources)
        build(home)
    built = [
        name
        for name, node in models().items()
        if compiled_sql(fresh, name) and node.config.materialized != "view" and name not in BOOKKEEPING
    ]
    with open_warehouse(healed) as connection:
        for name, home in (("fresh", fresh), ("before", homes.complete)):
            connection.execute(f"attach '{home}/warehouse.duckdb' as {name} (read_only)")
        as_before = set()
        for table in [f"main.{name}" for name in built] + [f"landed.{name}" for name in SIGNALS]:
            columns = "columns(name -> name not in ('day_digest', 'owner_change', 'is_new'))"
            names = {row[0] for row in connection.execute(f"describe warehouse.{table}").fetchall()}
            # A day that lost all its events keeps a marker without a digest or other content.
            rows = "not (is_marker and day_digest is null)" if {"is_marker", "day_digest"} <= names else "true"
            ours, theirs, before = (
                f"select {columns} from {name}.{table} where {rows}" for name in ("warehouse", "fresh", "before")
            )
            difference = f"({ours} except all {theirs}) union all ({theirs} except all {ours}) limit 3"
            assert connection.execute(difference).fetchall() == [], table
            if not connection.execute(f"{ours} except {before} limit 1").fetchall():
                as_before.add(table)
    assert as_before <= {"main.int_brand_names", "main.relistings"} | FILLED_WITH_TRAINING, (
        "nothing that came late, was corrected or deleted shows there"
    )


def land_again(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Lands a table a day after its last load: with corrected rows, late rows, and without deleted ones.

    An incremental load has only the first two.
    """
    columns, key = contract_tables()[table]["columns"], contract_tables()[table]["key"]
    mode = "incremental" if table in INCREMENTS else "full"
    drawn = f"hash({', '.join(key)}) % 20"
    kept = {*key, "uri"} if "sha256" in key else set(key)  # an image's address determines its bytes
    corrected = ", ".join(
        name
        if name in kept
        else f"case when {drawn} = 1 then lead({name}) over (order by {', '.join(key)}) else {name} end as {name}"
        for name in columns
    )
    late = ", ".join(f"{sql} as {name}" for name, sql in LATE_KEYS.get(table, {key[0]: f"'late ' || {key[0]}"}).items())
    load = f"'load-3' as load_id, timestamp '{TODAY} 12:00:00' as landed_at"
    connection.execute(
        f"""create or replace temporary table present as
        from landed.{table} where landed_at = (select max(landed_at) from landed.{table});
        insert into landed.{table} by name
        select {corrected}, {load} from present where {drawn} = 1 or ({drawn} <> 0 and '{mode}' = 'full')
        union all by name
        select * replace ({late}, {load}) from present where {drawn} = 2;
        update landed.loads set is_current = false where table_name = '{table}' and '{mode}' = 'full';
        insert into landed.loads (table_name, load_id, content_digest, landed_at, mode, newest_event_date, is_current)
        select distinct '{table}', load_id, '{table} changed', landed_at, '{mode}', date '{TODAY}', true
        from landed.{table} where load_id = 'load-3'"""
    )


def add_new_content(connection: duckdb.DuckDBPyConnection, sources: Path) -> None:
    """Gives late listings and images new content: words, numbers, a known image in other bytes."""
    connection.execute(
        """update landed.listings set title = title || ' R0lex', specs = '{"case": "' || hash(listing_id) % 99 || ' mm"}'
        where starts_with(listing_id, 'late')"""
    )
    (uri,) = connection.execute("select min(uri) from landed.listing_images").fetchall()[0]
    picture = (sources.parent / uri).read_bytes() + b" "
    (sources.parent / "late").write_bytes(picture)
    connection.execute(
        "update landed.listing_images set uri = 'late', sha256 = $sha256 where starts_with(image_id, 'late')",
        {"sha256": hashlib.sha256(picture).hexdigest()},
    )


@cache
def models() -> dict[str, Any]:
    """The project's models by name, in dependency order."""
    nodes = {node.unique_id: node for node in list_nodes("model")}
    order = TopologicalSorter(
        {name: [on for on in node.depends_on.nodes if on in nodes] for name, node in nodes.items()}
    )
    return {nodes[name].name: nodes[name] for name in order.static_order()}


def dependents_within(names: Iterable[str]) -> dict[str, Any]:
    """Models, and their dependents between them and the compared tables, in order."""
    # A mart may have the name of a landed table, so only models count.
    reading = {
        name: {on.split(".")[-1] for on in node.depends_on.nodes if on.startswith("model.")}
        for name, node in models().items()
    }
    above, below = set(names), set(COMPARED)
    for name in models():
        above |= {name} if reading[name] & above else set()
    for name in reversed(models()):
        below |= reading[name] if name in below else set()
    return {name: node for name, node in models().items() if name in above & below}


@cache
def compiled_sql(home: Path, model: str) -> str:
    """A model's compiled SQL for this warehouse."""
    path = home / "target" / "compiled" / "touchstone" / "models" / models()[model].path
    return path.read_text() if path.exists() else ""
