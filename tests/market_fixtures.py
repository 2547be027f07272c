"""Shared by the tests that run over a part of the demo's tables: the sources file of a marketplace made of Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml


def write_sources_file(folder: Path, tables: Iterable[str]) -> Path:
    """Writes `sources.yml`, in which each table is the Parquet file of its name in `sources/`.

    Args:
        folder: The marketplace's folder.
        tables: The contract's tables that it has.

    Returns:
        The sources file.
    """
    names = list(tables)
    content = {
        "version": 1,
        "identifiers": "public",
        "name": "part_of_the_demo",
        "inputs": {name: {"connector": "parquet", "path": f"sources/{name}.parquet"} for name in names},
        "tables": {name: {"input": name} for name in names},
    }
    file = folder / "sources.yml"
    file.write_text(yaml.safe_dump(content))
    return file


def listing_counters(as_of: str) -> str:
    """Returns a query that counts orders and reviews per listing, as a marketplace that keeps counters only would.

    Args:
        as_of: The day at whose end everything is counted.
    """
    windows = {"": "true", "7d_": "age < 7", "30d_": "age < 30", "90d_": "age < 90"}
    stars = ("one_star", "two_star", "three_star", "four_star", "five_star")
    orders = ", ".join(
        f"count(*) filter (where moment = 'placed' and {kept}) as order_{window}count, "
        f"coalesce(sum(quantity) filter (where moment = 'placed' and {kept}), 0) as sold_{window}count, "
        f"count(*) filter (where moment = 'refunded' and {kept}) as returned_{window}count, "
        f"count(*) filter (where moment = 'refunded' and refund_reason = 'not_authentic' and {kept}) "
        f"as returned_not_authentic_{window}count"
        for window, kept in windows.items()
    )
    reviews = ", ".join(
        f"count(review_id) filter (where {kept}) as review_{window}count, "
        + ", ".join(
            f"count(review_id) filter (where rating = {stars.index(star) + 1} and {kept}) as {star}_{window}count"
            for star in stars
        )
        for window, kept in windows.items()
    )
    return f"""
        with moments as (
            select 'placed' as moment, listing_id, placed_at as counted_at, quantity, refund_reason from orders
            union all
            select 'refunded', listing_id, refunded_at, quantity, refund_reason from orders where refunded_at is not null
        ),
        order_counts as (
            select listing_id, {orders} from (select *, date '{as_of}' - cast(counted_at as date) as age from moments)
            where age >= 0 group by listing_id
        ),
        review_counts as (
            select listing_id, {reviews} from (select *, date '{as_of}' - cast(created_at as date) as age from reviews)
            where age >= 0 group by listing_id
        )
        select listing_id, timestamp '{as_of} 20:00:00' as observed_at,
            coalesce(columns(order_counts.* exclude (listing_id)), 0), coalesce(columns(review_counts.* exclude (listing_id)), 0)
        from listings
        left join order_counts using (listing_id)
        left join review_counts using (listing_id)
        where listed_at <= timestamp '{as_of} 20:00:00'
    """
