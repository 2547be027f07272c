"""Counters of snapshots give the features that the events give which they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.market_fixtures import listing_counters, write_sources_file
from tests.stage_fixtures import landed_run
from touchstone.core.settings import Settings
from touchstone.demo.generate import generate

DAY = "2026-06-30"
LISTING_FEATURES = (
    *("order_count", "order_90d_count", "order_30d_count", "refund_share", "refund_90d_share"),
    *("refund_not_authentic_share", "review_count", "review_90d_count", "review_30d_count", "rating_ratio"),
    *(
        "polarised_rating_share",
        "merchant_refund_share",
        "merchant_refund_not_authentic_share",
        "merchant_rating_ratio",
    ),
    *("merchant_brand_refund_not_authentic_share", "merchant_brand_rating_ratio"),
)
MERCHANT_FEATURES = (
    *("order_count", "order_30d_count", "refund_share", "refund_90d_share", "refund_not_authentic_share"),
    *("review_count", "review_30d_count", "rating_ratio", "one_star_share", "polarised_rating_share"),
)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two homes of one marketplace: one with its orders and reviews, and one with counters of them."""
    folder = tmp_path_factory.mktemp("counters")
    generate(folder / "demo", scale=0.003, days=60, seed=31, hardness=1.0)
    found = {}
    for name, tables in (
        ("events", ("merchants", "listings", "brands", "orders", "reviews")),
        ("counters", ("merchants", "listings", "brands", "listing_snapshots")),
    ):
        (folder / name / "sources").mkdir(parents=True)
        with duckdb.connect(":memory:") as connection:
            connection.execute("set TimeZone = 'UTC'")
            for source in sorted((folder / "demo" / "sources").glob("*.parquet")):
                connection.read_parquet(str(source)).create_view(source.stem)
            connection.execute(f"create view listing_snapshots as {listing_counters(DAY)}")
            for table in tables:
                connection.table(table).write_parquet(str(folder / name / "sources" / f"{table}.parquet"))
        settings = Settings(home=folder / f"{name}_home", sources=write_sources_file(folder / name, tables))
        run = landed_run(settings)
        assert str(run.as_of) == DAY
        run.shape_and_features()
        found[name] = settings.home
    return found


def features(home: Path, name: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Returns the features of the active entities of a list, by id."""
    file = home / "features" / name / f"as_of={DAY}" / "features.parquet"
    key = name.removesuffix("s") + "_id"
    return duckdb.execute(
        f"select {key}, {', '.join(columns)} from read_parquet(?) order by all", [str(file)]
    ).fetchall()


@pytest.mark.parametrize(("name", "columns"), [("listings", LISTING_FEATURES), ("merchants", MERCHANT_FEATURES)])
def test_features_from_counters_are_those_from_events(
    homes: dict[str, Path], name: str, columns: tuple[str, ...]
) -> None:
    events, counters = (features(homes[kind], name, columns) for kind in ("events", "counters"))
    assert len(events) > 20
    for position, column in enumerate(columns, start=1):
        expected = {row[0]: row[position] for row in events}
        assert len(set(expected.values())) > 1, column
        assert {row[0]: row[position] for row in counters} == expected, column
