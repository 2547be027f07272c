"""The contest's rule as a policy finds exactly the matching orders and buyers, checked against plain Python over the table."""

from __future__ import annotations

import csv
import random
import shutil
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.conftest import touchstone
from tests.landing_fixtures import CONTRACT, KEY
from tests.source_fixtures import CONNECTORS, ENVIRONMENT, NOW
from touchstone.landing.land import land
from touchstone.landing.sources import read_sources
from touchstone.landing.sql import Limits

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "order_brushing"
HOUR = 3600
START = datetime(2019, 1, 1)  # noqa: DTZ001  # the table's times have no zone
Order = tuple[str, str, str, datetime]


def orders_of(table: Path) -> list[Order]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [(order, shop, buyer, datetime.fromisoformat(moment)) for order, shop, buyer, moment in rows]


def named_by_the_rule(orders: list[Order], at_least: int) -> set[tuple[str, str]]:
    """Shop and order of every order in an hour whose orders are at least so many times its distinct buyers.

    An hour is tried from every second, and both its ends belong to it.
    """
    named: set[tuple[str, str]] = set()
    shops: dict[str, list[Order]] = {}
    for order in orders:
        shops.setdefault(order[1], []).append(order)
    for shop, unsorted in shops.items():
        own = sorted(unsorted, key=lambda order: order[3])
        seconds = [int((order[3] - START).total_seconds()) for order in own]
        starts = {start for second in seconds for start in range(second - HOUR, second + 1)}
        for low, high in {(bisect_left(seconds, start), bisect_right(seconds, start + HOUR)) for start in starts}:
            within = own[low:high]
            if len(within) >= at_least * len({order[2] for order in within}):
                named |= {(shop, order[0]) for order in within}
    return named


def most_frequent_buyers(orders: list[Order], named: set[tuple[str, str]]) -> set[tuple[str, str, int]]:
    """Shop, buyer and number of orders of the buyers with the most of the named orders of each shop."""
    buyer_of = {order[0]: order[2] for order in orders}
    counts = Counter((shop, buyer_of[order]) for shop, order in named)
    return {
        (shop, buyer, count)
        for (shop, buyer), count in counts.items()
        if count == max(other for (owner, _), other in counts.items() if owner == shop)
    }


def random_orders(seed: int) -> Iterator[list[str]]:
    """Shops with few buyers and busy days, so that hours fall on either side of the rule, many right at its limit."""
    rng, number = random.Random(seed), 0
    for shop in range(1000, 1040):
        buyers = rng.randint(1, 6)
        for _ in range(rng.randint(1, 40)):
            number += 1
            moment = datetime.fromisoformat("2020-01-03") + timedelta(minutes=10 * rng.randint(0, 6 * 24 * 2))
            yield [f"{number}", f"{shop}", f"{shop * 10 + rng.randint(1, buyers)}", moment.isoformat(" ")]


def rows_of(home: Path, mart: str) -> list[dict[str, Any]]:
    found = duckdb.sql(f"select * from '{home}/marts/{mart}/*/{mart}.parquet'")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("kind", CONNECTORS)
def test_the_table_may_come_from_any_connector(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Whether its ids and times are text, numbers or timestamps, the same rows land."""
    market, folder = tmp_path / "market", tmp_path / "example"
    market.mkdir()
    shutil.copytree(EXAMPLE, folder)
    duckdb.sql(f"copy (from read_csv('{EXAMPLE / 'orders.csv'}')) to '{market / 'orders.parquet'}' (format parquet)")
    options = CONNECTORS[kind](market, folder, request)["orders"]
    if kind == "jsonl":
        options["columns"] = ["orderid", "shopid", "userid", "event_time"]
    content = yaml.safe_load((folder / "sources.yml").read_text())
    digests = []
    for name, given in (("given", content), ("other", content | {"inputs": {"orders": options}})):
        (folder / "sources.yml").write_text(yaml.safe_dump(given))
        sources = read_sources(folder / "sources.yml", ENVIRONMENT)
        loads = land(
            sources, CONTRACT, tmp_path / name, hmac_key=KEY, now=NOW, limits=Limits(threads=2, memory="500MB")
        )
        assert {load.table: load.message for load in loads if load.status != "accepted"} == {}
        digests.append({load.table: load.content_digest for load in loads})
    assert digests[0] == digests[1]


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
    rows = rows_of(home, "rule_findings")
    named = named_by_the_rule(orders, at_least=3)
    assert {shop for shop, _ in named} & {"201", "202", "203", "204", "205", "206"} == {"201", "202", "205"}
    assert len({shop for shop, _ in named}) > 10, "the random shops try the rule, too"
    assert {(row["merchant_id"], row["order_id"]) for row in rows} == named
    assert {(row["rule"], row["action"]) for row in rows} == {("orders_within_an_hour", "restrict")}
    buyer_of = {order[0]: order[2] for order in orders}
    pairs = {(buyer_of[row["order_id"]], row["buyer_id"]) for row in rows}
    assert len(pairs) == len({buyer for buyer, _ in pairs}) == len({hashed for _, hashed in pairs}), "a hash a buyer"
    hash_of = dict(pairs)
    expected = {(shop, hash_of[buyer], count) for shop, buyer, count in most_frequent_buyers(orders, named)}
    buyers = rows_of(home, "rule_buyers")
    assert {(row["merchant_id"], row["buyer_id"], row["transaction_count"]) for row in buyers} == expected
    assert len(expected) > len({shop for shop, _, _ in expected}), "some shops have ties"
