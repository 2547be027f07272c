"""Sums over neighbours: the query of the macros, compared with an explicit graph walk."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from tests.dbt_fixtures import PROJECT

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
SHOPS = "abcdef"
TABLES = {"goods": {"price_sum": "decimal(38, 2)", "price_count": "bigint"}, "past": {"order_count": "bigint"}}
Values = Mapping[tuple[str, str], int | None]

shops, days = st.sampled_from(SHOPS), st.sampled_from(DAYS)
values = st.dictionaries(st.tuples(shops, days), st.none() | st.integers(0, 9))


@settings(max_examples=60)
@given(
    pairs=st.lists(st.tuples(shops, shops, days, days), max_size=12),
    places=st.sets(st.tuples(shops, days), min_size=1),
    prices=values,
    orders=values,
)
def test_sums_equal_those_of_a_graph_walk(
    pairs: list[tuple[str, str, str, str]], places: set[tuple[str, str]], prices: Values, orders: Values
) -> None:
    """Over edges that end, duplicate edges and self-loops, and neighbours without values."""
    edges = pairs + [(other, one, start, end) for one, other, start, end in pairs]
    assert summed(edges, places, prices, orders) == {place: walked(edges, place, prices, orders) for place in places}


def test_sums_are_null_without_neighbours() -> None:
    assert summed([], {("a", DAYS[0])}, {("a", DAYS[0]): 7}, {}) == {("a", DAYS[0]): (None,) * 6}


def test_a_neighbour_reached_over_two_paths_counts_once() -> None:
    square = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "d")]
    edges = [(*pair, DAYS[0], DAYS[2]) for one, other in square for pair in ((one, other), (other, one))]
    prices = {(shop, DAYS[0]): price for shop, price in zip("abcd", (1, 10, 100, 1000), strict=True)}
    sums = summed(edges, {("a", DAYS[0])}, prices, {})
    assert sums == {("a", DAYS[0]): (Decimal(110), 2, None, Decimal(1000), 1, None)}


def walked(
    edges: list[tuple[str, str, str, str]], place: tuple[str, str], prices: Values, orders: Values
) -> tuple[Any, ...]:
    """The sums over one shop's neighbours on a day, and over their neighbours."""
    shop, day = place
    near = {there for here, there, start, end in edges if here == shop and start <= day < end} - {shop}
    far = {there for here, there, start, end in edges if here in near and start <= day < end} - near - {shop}
    sums: list[Any] = []
    for those in (near, far):
        of_goods = [prices[(other, day)] for other in those if (other, day) in prices]
        known = [price for price in of_goods if price is not None]
        of_past = [orders[(other, day)] for other in those if orders.get((other, day)) is not None]
        sums += [Decimal(sum(known)) if known else None, len(known) if of_goods else None]
        sums += [sum(count or 0 for count in of_past) if of_past else None]
    return tuple(sums)


def summed(
    edges: list[tuple[str, str, str, str]], places: set[tuple[str, str]], prices: Values, orders: Values
) -> dict[tuple[str, str], tuple[Any, ...]]:
    """The same by the query, for all shops and days."""
    macros: Any = Environment(autoescape=True).from_string((PROJECT / "macros" / "neighbours.sql").read_text()).module
    columns = [f"{prefix}{column}" for prefix in ("", "second_") for names in TABLES.values() for column in names]
    query = f"""
        with
        {macros.hops("places", "links", "shop_id")}
        dated as (select *, as_of_date as state_date from hops),
        sums as ({macros.neighbour_sums("dated", TABLES, "shop_id")})
        select shop_id, cast(as_of_date as varchar), {", ".join(columns)} from places left join sums using (shop_id, as_of_date)
    """
    with duckdb.connect() as connection:
        connection.execute(
            """create table links (shop_id varchar, neighbour_id varchar, known_from date, known_until date);
            create table places (shop_id varchar, as_of_date date);
            create table goods (shop_id varchar, as_of_date date, price_sum decimal(18, 2), price_count integer);
            create table past (shop_id varchar, as_of_date date, order_count bigint)"""
        )
        rows = {
            "links": edges,
            "places": list(places),
            "goods": [(*place, price, int(price is not None)) for place, price in prices.items()],
            "past": [(*place, count) for place, count in orders.items()],
        }
        for table, content in rows.items():
            if content:
                marks = ", ".join("?" * len(content[0]))
                connection.executemany(f"insert into {table} values ({marks})", content)
        return {(shop, day): tuple(found) for shop, day, *found in connection.execute(query).fetchall()}
