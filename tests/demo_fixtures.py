"""Shared fixtures of the marketplace's tests: marketplaces, generated once a session, and queries over their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from expectations.contract import COUNTER_WINDOWS, load_contract, windowed_name

DUCKDB_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DECIMAL(18,4)",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "json": "VARCHAR",
}


def contract_tables() -> dict[str, dict[str, Any]]:
    """Returns the contract's tables as plain data, without the columns that the demo does not have: counters of events."""
    contract = load_contract()
    tables = {name: table.model_dump(exclude_defaults=True) for name, table in contract.tables.items()}
    counters = {
        *contract.counters,
        *(windowed_name(name, days) for name in contract.counters for days in COUNTER_WINDOWS),
    }
    snapshots = tables["merchant_snapshots"]
    snapshots["columns"] = {
        name: column for name, column in snapshots["columns"].items() if name not in {*counters, "currency"}
    }
    return tables


def connect(directory: Path) -> duckdb.DuckDBPyConnection:
    """Opens views on a marketplace: one for each source table, and `truth_<entity>`."""
    connection = duckdb.connect(":memory:")
    connection.execute("set timezone = 'UTC'")
    for path in sorted(directory.glob("sources/*.parquet")):
        connection.read_parquet(str(path)).create_view(path.stem)
    for path in sorted(directory.glob("truth/*.parquet")):
        connection.read_parquet(str(path)).create_view(f"truth_{path.stem}")
    return connection


def violations(connection: duckdb.DuckDBPyConnection, table: str, rules: dict[str, Any]) -> list[str]:
    """Returns the contract violations of a table, one line per rule."""
    columns = rules["columns"]
    described = {row[0]: row[1] for row in connection.execute(f'describe "{table}"').fetchall()}
    wanted = {name: DUCKDB_TYPES[column["type"]] for name, column in columns.items()}
    found = [] if described == wanted else [f"{table}: columns are {described}, the contract has {wanted}"]
    key = ", ".join(f'"{name}"' for name in rules["key"])
    checks = {f"key {key} is unique": f'select {key} from "{table}" group by all having count(*) > 1'}
    for name, column in columns.items():
        for rule, condition in _conditions(name, column, is_key=name in rules["key"]).items():
            checks[f"{name} {rule}"] = f'select 1 from "{table}" where {condition}'
    for rule, query in checks.items():
        count = connection.execute(f"select count(*) from ({query})").fetchall()[0][0]
        found += [f"{table}: {rule}: {count} rows break it"] if count else []
    return found


def _conditions(name: str, column: dict[str, Any], *, is_key: bool) -> dict[str, str]:
    """Returns the SQL condition under which a row violates each rule of a column."""
    conditions = {}
    if is_key or column.get("required"):
        conditions["is required"] = f'"{name}" is null'
    if "min" in column:
        conditions[f"is at least {column['min']}"] = f'"{name}" < {column["min"]}'
    if "max" in column:
        conditions[f"is at most {column['max']}"] = f'"{name}" > {column["max"]}'
    if "values" in column:
        known = ", ".join(f"'{value}'" for value in column["values"])
        conditions["is a known value"] = f'"{name}" not in ({known})'
    if "references" in column:
        table, target = column["references"].split(".")
        conditions[f"references {table}"] = (
            f'"{name}" is not null and "{name}" not in (select "{target}" from "{table}")'
        )
    if column["type"] == "json":
        conditions["is JSON"] = f'"{name}" is not null and not json_valid("{name}")'
    if column["type"] == "timestamp" and name != "expires_at":
        conditions["is not after the history"] = f"\"{name}\" >= '2026-07-01'"
    return conditions
