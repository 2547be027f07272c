"""A marketplace's own columns become features: point in time, with reasons and card entries, and without code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from ml.registry import Registry
from ml.score import score
from tests.market_fixtures import write_sources_file
from tests.stage_fixtures import first_run
from touchstone.core.errors import BadInputError, TouchstoneError
from touchstone.core.home import Home
from touchstone.core.settings import Settings
from touchstone.demo.generate import generate

DAY = "2026-06-30"
TABLES = ("merchants", "listings", "brands", "orders", "reviews", "moderation_decisions", "test_buys")
LISTING_EXTRA: dict[str, Any] = {
    "dispute_ratio": {
        "signal": "order",
        "controlled_by": "third_party",
        "direction": "high",
        "unit": "share",
        "words": "{value} of its parcels were disputed",
        "audiences": ["authority"],
        "description": "Share of parcels with a dispute",
    },
    "is_promoted": {
        "signal": "merchant",
        "controlled_by": "subject",
        "type": "boolean",
        "words": "the listing {is|is not} promoted",
    },
    "shipped_by": {
        "signal": "merchant",
        "controlled_by": "subject",
        "type": "category",
        "values": ["seller", "Marketplace (EU)"],
        "words": "shipped by {value}",
    },
}
MERCHANT_EXTRA: dict[str, Any] = {
    "support_hours": {"signal": "merchant", "controlled_by": "subject", "direction": "high", "unit": "hours"}
}
SNAPSHOTS = {
    # Since May, counterfeits are disputed more than other listings.
    "listing_snapshots": """
        select listings.listing_id, observed_at, hash(listing_id) % 3 = 0 as is_promoted,
            if(hash(listing_id) % 2 = 0, 'seller', 'Marketplace (EU)') as shipped_by,
            if(is_counterfeit and month(observed_at) = 5, 0.5, 0.1) + hash(listing_id) % 20 / 100 as dispute_ratio
        from listings
        inner join truth using (listing_id)
        cross join (values (timestamp '2026-03-01 12:00:00'), (timestamp '2026-05-01 12:00:00')) as moments (observed_at)
    """,
    "merchant_snapshots": """
        select merchant_id, timestamp '2026-04-20 20:00:00' as observed_at,
            cast(hash(merchant_id) % 72 as double) as support_hours
        from merchants
    """,
}


@dataclass(frozen=True)
class Market:
    """A marketplace in a folder."""

    folder: Path

    def settings(self, name: str, extra: dict[str, dict[str, Any]]) -> Settings:
        """Returns the settings of a home whose sources file declares columns of tables."""
        file = write_sources_file(self.folder, (*TABLES, *SNAPSHOTS))
        content = yaml.safe_load(file.read_text())
        for table, columns in extra.items():
            content["tables"][table]["extra"] = columns
        file = self.folder / f"{name}.yml"
        file.write_text(yaml.safe_dump(content))
        return Settings(home=self.folder / name, sources=file)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    folder = tmp_path_factory.mktemp("market")
    generate(folder / "demo", scale=0.01, days=90, seed=31, hardness=1.0)
    (folder / "sources").mkdir()
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        for source in sorted((folder / "demo" / "sources").glob("*.parquet")):
            connection.read_parquet(str(source)).create_view(source.stem)
        connection.read_parquet(str(folder / "demo" / "truth" / "listings.parquet")).create_view("truth")
        for table in TABLES:
            connection.table(table).write_parquet(str(folder / "sources" / f"{table}.parquet"))
        for table, query in SNAPSHOTS.items():
            connection.sql(query).write_parquet(str(folder / "sources" / f"{table}.parquet"))
    return Market(folder)


@pytest.fixture(scope="module")
def home(market: Market) -> Path:
    """A home after its first run with all columns declared."""
    settings = market.settings("declared", {"listing_snapshots": LISTING_EXTRA, "merchant_snapshots": MERCHANT_EXTRA})
    assert str(first_run(settings).as_of) == DAY
    return settings.home


def rows(home: Path, path: str, query: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a query over `features`, a file of a home, and the tables of the marketplace."""
    with duckdb.connect(":memory:") as connection:
        connection.read_parquet(str(home / path)).create_view("features")
        for table in ("listing_snapshots", "merchant_snapshots", "listings"):
            connection.read_parquet(str(home.parent / "sources" / f"{table}.parquet")).create_view(table)
        return connection.execute(query).fetchall()


def test_values_are_those_of_the_newest_snapshot(home: Path) -> None:
    found = rows(
        home,
        f"features/listings/as_of={DAY}/features.parquet",
        """select count(*), bool_and(extra_dispute_ratio = now.dispute_ratio),
            bool_and(extra_is_promoted = cast(now.is_promoted as double)),
            bool_and(extra_shipped_by_seller = cast(now.shipped_by = 'seller' as double)),
            bool_and(extra_shipped_by_marketplace_eu = 1 - extra_shipped_by_seller),
            bool_and(merchant_extra_support_hours = support_hours)
        from features
        left join listing_snapshots as now on now.listing_id = features.listing_id and month(now.observed_at) = 5
        left join merchant_snapshots on merchant_snapshots.merchant_id = features.merchant_id""",
    )
    assert found[0][0] > 100
    assert found[0][1:] == (True,) * 5


def test_training_rows_know_only_what_was_observed_by_their_date(home: Path) -> None:
    found = rows(
        home,
        f"training/listings/as_of={DAY}/features.parquet",
        """select as_of_date >= date '2026-05-01' as is_may, count(*),
            bool_and(extra_dispute_ratio = seen.dispute_ratio),
            bool_and((as_of_date >= date '2026-04-20') = (merchant_extra_support_hours is not null))
        from features
        left join listing_snapshots as seen
            on seen.listing_id = features.listing_id and (month(seen.observed_at) = 5) = (as_of_date >= date '2026-05-01')
        group by all order by all""",
    )
    assert {row[0] for row in found} == {False, True}
    assert all(row[2:] == (True, True) for row in found)


def test_a_merchants_features_are_its_own_and_means_of_its_active_listings(home: Path) -> None:
    found = rows(
        home,
        f"features/merchants/as_of={DAY}/features.parquet",
        f"""with active as (
            from read_parquet('{home}/features/listings/as_of={DAY}/features.parquet')
        )
        select count(*), max(abs(listing_extra_dispute_ratio - disputes)), max(abs(listing_extra_is_promoted - promoted)),
            bool_and(extra_support_hours = support_hours)
        from features
        inner join (
            select merchant_id, avg(extra_dispute_ratio) as disputes, avg(extra_is_promoted) as promoted from active group by all
        ) using (merchant_id)
        inner join merchant_snapshots using (merchant_id)""",
    )
    assert found[0][0] > 10
    assert found[0][1] < 1e-12
    assert found[0][2] < 1e-12
    assert found[0][3]


def test_reasons_and_the_model_card_speak_of_them_to_those_who_may_read_them(home: Path) -> None:
    reasons = str(Home(home).reasons("listing_counterfeit", date.fromisoformat(DAY)))
    given = [
        reason
        for (text,) in duckdb.execute("select reasons from read_parquet(?)", [reasons]).fetchall()
        for reason in json.loads(text)
    ]
    disputed = [reason for reason in given if "of its parcels were disputed" in reason["text"]]
    assert disputed
    assert all(reason["signal"] == "order" and reason["audiences"] == ["authority"] for reason in disputed)
    champion = Registry(home).champion("listing_counterfeit")
    assert champion is not None
    page = (champion.folder.parent / "card.html").read_text()
    assert "extra_dispute_ratio" in page
    assert "Share of parcels with a dispute" in page


def test_a_model_that_learned_from_them_does_not_rate_without_them(home: Path, tmp_path: Path) -> None:
    champion = Registry(home).champion("listing_counterfeit")
    assert champion is not None
    lacking = tmp_path / "features.parquet"
    with duckdb.connect(":memory:") as connection:
        features = connection.read_parquet(str(home / "features" / "listings" / f"as_of={DAY}" / "features.parquet"))
        features.select("* exclude (extra_dispute_ratio)").write_parquet(str(lacking))
    with pytest.raises(BadInputError, match="declare it again"):
        score(champion, lacking, tmp_path / "scores.parquet", None)


PRICE = {"signal": "price", "controlled_by": "subject"}


@pytest.mark.parametrize(
    ("table", "name", "declared", "message"),
    [
        ("listing_snapshots", "rating", PRICE, "is a column of listing_snapshots already"),
        ("orders", "weight", PRICE, "Put them into merchant_snapshots"),
        ("listing_snapshots", "a", PRICE | {"signal": "smell"}, "tables.listing_snapshots.extra.a.signal"),
        ("listing_snapshots", "a", {"signal": "price"}, "tables.listing_snapshots.extra.a.controlled_by"),
        ("listing_snapshots", "a", PRICE | {"words": "no value"}, "one placeholder"),
        ("listing_snapshots", "a", PRICE | {"type": "category"}, "`values`"),
        ("listing_snapshots", "a", PRICE | {"type": "category", "values": ["+", "-"]}, "no feature name"),
    ],
)
def test_a_wrong_declaration_is_refused(
    market: Market, table: str, name: str, declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        first_run(market.settings(f"wrong_{name}", {table: {name: declared}}))


def test_two_columns_with_one_feature_are_refused(market: Market) -> None:
    columns = {"by": PRICE | {"type": "category", "values": ["x"]}, "by_x": PRICE}
    with pytest.raises(BadInputError, match="give the feature by_x"):
        first_run(market.settings("twice", {"listing_snapshots": columns}))


@pytest.mark.parametrize(
    ("name", "declared", "message"),
    [
        ("shipped_by", PRICE, "shipped_by: .* cannot be read as double"),
        ("is_promoted", PRICE, "is_promoted: is BOOLEAN, must be double"),
        ("shipped_by", PRICE | {"type": "category", "values": ["seller"]}, r"Marketplace \(EU\)"),
        ("missing", PRICE, r"missing: .*`extra`.*no such column"),
    ],
)
def test_values_that_do_not_fit_are_refused(market: Market, name: str, declared: dict[str, Any], message: str) -> None:
    with pytest.raises(TouchstoneError, match=message):
        extra = {"listing_snapshots": LISTING_EXTRA | {name: declared}, "merchant_snapshots": MERCHANT_EXTRA}
        first_run(market.settings(f"refused_{name}_{len(declared)}", extra))
