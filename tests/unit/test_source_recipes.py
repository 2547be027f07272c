"""The recipes in docs/sources.md: their SQL is allowed, and those with several steps give the rows that they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from expectations.contract import load_contract
from touchstone.landing.allowed_sql import problem_with_expression, problem_with_query
from touchstone.landing.land import check
from touchstone.landing.sources import read_sources

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
RECIPES = PAGE.partition("## Recipes")[2].partition("\n## Connectors")[0]
BLOCKS: list[Any] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", RECIPES, re.DOTALL)]


def block_with(key: str) -> Any:
    return next(block for block in BLOCKS if key in block)


def every_sql() -> list[tuple[str, str]]:
    found = [(sql, "query") for block in BLOCKS for sql in block.get("views", {}).values()]
    for block in BLOCKS:
        entries = {key: value for key, value in block.items() if key not in ("views", "tables")}
        for value in [*entries.values(), *block.get("tables", {}).values()]:
            if isinstance(value, str):
                found.append((value, "expression"))
            else:
                found += [(value["query"], "query")] if "query" in value else []
                found += [(sql, "expression") for sql in value.get("columns", {}).values()]
    return found


@pytest.mark.parametrize(("sql", "kind"), every_sql())
def test_sql_of_recipes_is_allowed(sql: str, kind: str) -> None:
    assert (problem_with_query if kind == "query" else problem_with_expression)(sql) is None


def rows_of(folder: Path, inputs: dict[str, str], **content: Any) -> dict[str, int]:
    for name, text in inputs.items():
        (folder / f"{name}.csv").write_text(text)
    file = folder / "sources.yml"
    connectors = {name: {"connector": "csv", "path": f"{name}.csv"} for name in inputs}
    file.write_text(yaml.safe_dump({"version": 1, "name": "shop", "inputs": connectors, **content}))
    reports = check(read_sources(file, {}), load_contract(), hmac_key=b"key")
    assert not [report.message for report in reports if not report.accepted]
    return {report.table: report.row_count for report in reports}


def test_a_crawl_gives_merchants_listings_and_prices(tmp_path: Path) -> None:
    pages = (
        "page_id,seller,title,price,currency,seen_at,stars,review_count,seller_stars,sold_count\n"
        "p1,s1,Red,10,EUR,2026-01-01,4,1,4.5,9\np1,s1,Red,11,EUR,2026-01-02,4,1,4.5,10\n"
        "p2,s1,Blue,,,2026-01-02,5,2,4.5,10\np1,s1,Red,11,EUR,2026-01-02,4,1,4.5,10\n"
    )
    tables = {**block_with("listing_prices"), **block_with("merchant_snapshots")}
    rows = rows_of(tmp_path, {"pages": pages}, tables=tables)
    assert rows == {
        "merchants": 1,
        "listings": 2,
        "listing_prices": 2,
        "listing_snapshots": 3,
        "merchant_snapshots": 2,
    }


def test_counters_of_a_day_are_known_at_its_end(tmp_path: Path) -> None:
    figures = (
        "sku,figures_day,orders_total,orders_30,returns_total,returns_fake,turnover,units,stars_1\n"
        "l1,2026-01-01,9,3,1,0,90.5,10,0\nl1,2026-01-02,10,4,1,1,99.5,11,1\n"
    )
    inputs = {"daily_figures": figures, "shop": "listing_id,merchant_id,listed_at\nl1,m1,2025-12-01\n"}
    tables = {"merchants": {"query": "select merchant_id from shop"}, "listings": {"input": "shop"}}
    rows = rows_of(tmp_path, inputs, tables={**tables, **block_with("listing_snapshots")})
    assert rows == {"merchants": 1, "listings": 1, "listing_snapshots": 2}


def test_columns_of_ones_own_land_next_to_the_contracts(tmp_path: Path) -> None:
    figures = (
        "sku,figures_day,disputes,parcels,is_promoted,shipped_by\nl1,2026-01-01,1,10,true,seller\nl2,2026-01-01,0,0,,\n"
    )
    inputs = {
        "daily_figures": figures,
        "shop": "listing_id,merchant_id,listed_at\nl1,m1,2025-12-01\nl2,m1,2025-12-01\n",
    }
    tables = {"merchants": {"query": "select distinct merchant_id from shop"}, "listings": {"input": "shop"}}
    own = next(block for block in BLOCKS if "extra" in block.get("listing_snapshots", {}))
    rows = rows_of(tmp_path, inputs, tables={**tables, **own})
    assert rows == {"merchants": 1, "listings": 2, "listing_snapshots": 2}


def test_a_basket_gives_an_order_for_each_line(tmp_path: Path) -> None:
    inputs = {
        "order_lines": "order_no,item_no,quantity,unit_price\n1,i1,2,10\n1,i2,1,5\n2,i1,1,10\n",
        "baskets": "order_no,customer_no,currency,placed_at\n1,c1,EUR,2026-01-02\n2,c2,EUR,2026-01-03\n",
        "items": "item_no,seller_no,listed_at\ni1,s1,2026-01-01\ni2,s1,2026-01-01\n",
    }
    tables = {
        "merchants": {"query": "select distinct seller_no as merchant_id from items"},
        "listings": {"input": "items", "columns": {"listing_id": "item_no", "merchant_id": "seller_no"}},
    }
    rows = rows_of(tmp_path, inputs, tables={**tables, **block_with("orders")})
    assert rows == {"merchants": 1, "listings": 2, "orders": 3}


def test_platforms_are_stacked_with_ids_of_their_own(tmp_path: Path) -> None:
    inputs = {
        "offers_a": "offer_no,seller_no,title,created_at\n1,1,Red,2026-01-01\n",
        "offers_b": "sku,vendor,name,online_since\n1,1,Blue,2026-01-01\n",
    }
    block = block_with("views")
    merchants = {"query": "select distinct merchant_id from all_offers"}
    rows = rows_of(tmp_path, inputs, views=block["views"], tables={**block["tables"], "merchants": merchants})
    assert rows == {"merchants": 2, "listings": 2}
