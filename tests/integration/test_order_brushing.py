"""The contest's rule as a policy finds exactly the matching orders, checked against plain Python over the table."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from tests.conftest import touchstone

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "order_brushing"
HOUR = timedelta(hours=1)
Order = tuple[str, str, str, datetime]


def orders_of(table: Path) -> list[Order]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [(order, shop, buyer, datetime.fromisoformat(moment)) for order, shop, buyer, moment in rows]


def named_by_the_rule(orders: list[Order], at_least: int) -> set[tuple[str, str]]:
    """Shop and order of every order in an hour whose orders are at least so many times its distinct buyers."""
    named: set[tuple[str, str]] = set()
    shops: dict[str, list[Order]] = {}
    for order in orders:
        shops.setdefault(order[1], []).append(order)
    for shop, own in shops.items():
        for start in {order[3] for order in own}:
            within = [order for order in own if start <= order[3] <= start + HOUR]
            if len(within) >= at_least * len({order[2] for order in within}):
                named |= {(shop, order[0]) for order in within}
    return named


def random_orders(seed: int) -> Iterator[list[str]]:
    """Shops with few buyers and busy days, so that hours fall on either side of the rule, many right at its limit."""
    rng, number = random.Random(seed), 0
    for shop in range(1000, 1040):
        buyers = rng.randint(1, 6)
        for _ in range(rng.randint(1, 40)):
            number += 1
            moment = datetime.fromisoformat("2020-01-03") + timedelta(minutes=10 * rng.randint(0, 6 * 24 * 2))
            yield [f"{number}", f"{shop}", f"{shop * 10 + rng.randint(1, buyers)}", moment.isoformat(" ")]


def test_the_rule_finds_exactly_the_shops_and_buyers_of_its_hours(tmp_path: Path) -> None:
    example = shutil.copytree(EXAMPLE, tmp_path / "example")
    with (example / "orders.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(random_orders(seed=5))
    orders = orders_of(example / "orders.csv")
    home = tmp_path / "home"
    outcome = touchstone(
        home, "run", "--sources", str(example / "sources.yml"), TOUCHSTONE_POLICY=str(example / "policy.yml")
    )
    assert outcome.code == 0, outcome.stderr
    found = duckdb.sql(f"select * from '{home}/marts/rule_findings/*/rule_findings.parquet'")
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    named = named_by_the_rule(orders, at_least=3)
    assert {shop for shop, _ in named} & {"201", "202", "203", "204", "205", "206"} == {"201", "202", "205"}
    assert len({shop for shop, _ in named}) > 10, "the random shops try the rule, too"
    assert {(row["merchant_id"], row["order_id"]) for row in rows} == named
    assert {(row["rule"], row["action"]) for row in rows} == {("orders_within_an_hour", "restrict")}
    buyer_of = {order[0]: order[2] for order in orders}
    pairs = {(buyer_of[row["order_id"]], row["buyer_id"]) for row in rows}
    assert len(pairs) == len({buyer for buyer, _ in pairs}) == len({hashed for _, hashed in pairs}), "a hash a buyer"
