"""Column lineage from compiled SQL: through common table expressions, stars, aggregates and unions."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlglot.errors import SqlglotError

from orchestration.table_metadata import _column_lineage, column_lineage

SCHEMA = {
    "landed": {"orders": {"order_id": "VARCHAR", "amount": "DECIMAL(18, 4)", "placed_at": "TIMESTAMP WITH TIME ZONE"}},
    "main": {"refunds": {"order_id": "VARCHAR", "amount": "DECIMAL(18, 4)"}},
}
SQL = """
with orders as (select * from "warehouse"."landed"."orders"),
both_sides as (
    select order_id, amount from orders
    union all
    select order_id, -amount from "warehouse"."main"."refunds"
)
select order_id, sum(amount) as amount, count(*) as row_count from both_sides group by order_id
"""


def test_each_column_has_its_upstream_columns():
    assert column_lineage(SQL, ["order_id", "amount", "row_count"], SCHEMA) == {
        "order_id": [["landed", "orders", "order_id"], ["main", "refunds", "order_id"]],
        "amount": [["landed", "orders", "amount"], ["main", "refunds", "amount"]],
        "row_count": [],
    }


def test_invalid_sql_raises():
    with pytest.raises(SqlglotError):
        column_lineage("select from where", ["a"], SCHEMA)


def test_a_source_is_stated_once_where_one_asset_makes_several_relations_with_the_column() -> None:
    keys = {("landed", name): dg.AssetKey(["signals", "pictures"]) for name in ("picture_texts", "picture_logos")}
    found = _column_lineage({"sha256": [("landed", name, "sha256") for _, name in keys]}, keys)
    assert [(dep.asset_key.path, dep.column_name) for dep in found.deps_by_column["sha256"]] == [
        (["signals", "pictures"], "sha256")
    ]
