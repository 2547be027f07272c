"""The busiest hour around each order, compared with a brute force over every second at which an hour may start."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.dbt_fixtures import build_models, compile_models

HOUR = 3600
START = datetime(2026, 3, 10, 9, 30)  # noqa: DTZ001  # times in the warehouse have no zone: they are UTC
Orders = list[tuple[int, int]]
"""Second and buyer of each order of one merchant."""


@functools.cache
def busiest_hours() -> list[Any]:
    """Returns the compiled model, once a process."""
    return compile_models("busiest_hours")


def computed(orders: Orders) -> list[tuple[int, float]]:
    """Returns the greatest number of orders and the greatest ratio of each order by the model."""
    rows = [
        ("2026-03-31", number, 1, buyer, START + timedelta(seconds=second), True)
        for number, (second, buyer) in enumerate(orders)
    ]
    with duckdb.connect(":memory:") as connection:
        connection.execute("attach ':memory:' as warehouse; use warehouse")
        connection.execute(
            "create table brushing_transactions (as_of_date date, transaction_hash ubigint, merchant_hash ubigint, "
            "buyer_hash ubigint, occurred_at timestamp, is_order boolean)"
        )
        connection.executemany("insert into brushing_transactions values (?, ?, ?, ?, ?, ?)", rows)
        build_models(connection, busiest_hours())
        return connection.execute(
            "select hour_order_count, hour_order_buyer_ratio from busiest_hours order by transaction_hash"
        ).fetchall()


def by_brute_force(orders: Orders) -> list[tuple[int, float]]:
    """Returns the same by trying an hour from every second; both ends of an hour belong to it."""
    greatest = [(1, 1.0)] * len(orders)
    for first in range(-HOUR, max((second for second, _ in orders), default=0) + 1):
        inside = [number for number, (second, _) in enumerate(orders) if first <= second <= first + HOUR]
        if inside:
            ratio = len(inside) / len({orders[number][1] for number in inside})
            for number in inside:
                count, best = greatest[number]
                greatest[number] = (max(count, len(inside)), max(best, ratio))
    return greatest


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * HOUR // 60).map(lambda minute: 60 * minute), st.integers(1, 3)),
        min_size=1,
        max_size=9,
    )
)
@example([(0, 1), (60, 2), (120, 2), (180, 2), (240, 3), (300, 4)])  # a neighbour on each side within the hour
@example(
    [(0, 2), (60, 1), (1800, 1), (3600, 1), (3630, 2)]
)  # only an hour from between two orders leaves out both neighbours
def test_an_hour_may_start_at_any_second(orders: Orders) -> None:
    assert computed(orders) == [(count, pytest.approx(ratio)) for count, ratio in by_brute_force(orders)]


def test_an_hour_that_leaves_out_a_neighbour_counts() -> None:
    """Any hour from an order on contains another buyer: only hours from between two orders have one buyer alone."""
    orders = [(0, 2), (60, 1), (1800, 1), (3600, 1), (3630, 2)]
    assert [ratio for _, ratio in computed(orders)] == pytest.approx([2, 3, 3, 3, 2])
