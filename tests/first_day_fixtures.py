"""Shared by the tests of docs/first-day.md: five CSV files as a shop might export them, written from the demo's tables."""

from __future__ import annotations

from pathlib import Path

import duckdb

EXPORTS = {
    "sellers": "select merchant_id as seller_no, name as shop_name, registered_at as signup_date, country from merchants",
    "products": """
        select listing_id as item_id, merchant_id as seller_no, title as product_name, description, brand_claimed as brand,
            category, price as list_price, currency, listed_at as created, last_seen_at as last_online
        from listings
    """,
    "prices": "select listing_id as item_id, observed_at as recorded, price, currency from listing_prices",
    "orders": """
        select order_id as order_no, listing_id as item_id, merchant_id as seller_no, buyer_id as customer_no, quantity as qty,
            amount as total, currency, placed_at as ordered_on, refunded_at as returned_on
        from orders
    """,
    "reviews": """
        select review_id as review_no, listing_id as item_id, buyer_id as customer_no, rating as stars, text as comment,
            language, created_at as written_on
        from reviews
    """,
}
"""The query of each file over the demo's tables."""


def write_exports(sources: Path, folder: Path) -> None:
    """Writes the five CSV files.

    Args:
        sources: The demo's Parquet files.
        folder: Where the CSV files go.
    """
    folder.mkdir(parents=True)
    with duckdb.connect(":memory:") as connection:
        for table in ("merchants", "listings", "listing_prices", "orders", "reviews"):
            connection.read_parquet(str(sources / f"{table}.parquet")).create_view(table)
        for name, query in EXPORTS.items():
            connection.sql(f"select * from ({query}) order by 1, 2").write_csv(str(folder / f"{name}.csv"))
