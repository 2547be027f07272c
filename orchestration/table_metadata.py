"""Row counts, columns and column lineage of the warehouse's tables, as Dagster's pages show them.

Lineage is read off the compiled SQL. That takes about 0.1 s a table, so it is kept next to dbt's manifest for as long as a
table's SQL and columns stay the same: a run after a change of the project pays for it once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from orchestration.dbt_runner import CACHE
from orchestration.resources import Warehouse
from touchstone.core.files import canonical_json, sha256_bytes, write_bytes

logger = logging.getLogger("touchstone")
LINEAGE_FILE = CACHE / "column_lineage.json"
Relation = tuple[str, str]
"""Schema and name of a table or view."""
Lineage = dict[str, list[list[str]]]
"""By column, the columns that it is made of: schema, table, column."""


def table_metadata(
    warehouse: Warehouse,
    nodes: Iterable[Mapping[str, Any]],
    keys: Mapping[Relation, dg.AssetKey],
    compiled: Path,
) -> dict[str, dict[str, Any]]:
    """Returns Dagster's metadata of tables and views by their dbt id.

    Args:
        warehouse: The warehouse that holds them.
        nodes: Models and seeds of dbt's manifest.
        keys: The asset of each relation; what reads of any other is no part of the lineage.
        compiled: The folder into which dbt writes compiled SQL.
    """
    schema = _schema(warehouse)
    described = [node for node in nodes if node["name"] in schema.get(node["schema"], {})]
    counts = _row_counts(warehouse, [node for node in described if node["config"]["materialized"] != "view"])
    lineages = _lineages(described, schema, compiled)
    metadata: dict[str, dict[str, Any]] = {}
    for node in described:
        columns = schema[node["schema"]][node["name"]]
        found: dict[str, Any] = {"dagster/column_schema": _column_schema(node, columns)}
        if node["name"] in counts:
            found["dagster/row_count"] = counts[node["name"]]
        if node["unique_id"] in lineages:
            found["dagster/column_lineage"] = _column_lineage(lineages[node["unique_id"]], keys)
        metadata[node["unique_id"]] = found
    return metadata


def column_lineage(sql: str, columns: Iterable[str], schema: Mapping[str, Any]) -> Lineage:
    """Returns which columns of tables each column of a query is made of.

    Args:
        sql: A query in DuckDB's dialect.
        columns: The query's columns.
        schema: The type of each column, by schema, table and column; needed where a query selects `*`.

    Raises:
        sqlglot.errors.SqlglotError: The query cannot be read.
    """
    catalog: dict[str, object] = {"warehouse": schema}
    query = qualify(
        parse_one(sql, dialect="duckdb"),
        dialect="duckdb",
        schema=catalog,
        catalog="warehouse",
        db="main",
        validate_qualify_columns=False,
    )
    scope = build_scope(query)
    found: Lineage = {}
    for column in columns:
        root = lineage(column, query, schema=catalog, scope=scope, dialect="duckdb", trim_selects=False, copy=False)
        sources = {
            (node.expression.db, node.expression.name, exp.to_column(node.name).name)
            for node in root.walk()
            if isinstance(node.expression, exp.Table)
        }
        found[column] = [list(source) for source in sorted(sources)]
    return found


def _schema(warehouse: Warehouse) -> dict[str, dict[str, dict[str, str]]]:
    with warehouse.connect() as connection:
        rows = connection.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() "
            "where database_name = current_database() and not internal order by all"
        ).fetchall()
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for name, table, column, kind in rows:
        schema.setdefault(name, {}).setdefault(table, {})[column] = kind
    return schema


def _row_counts(warehouse: Warehouse, tables: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Counts tables alone: DuckDB knows how many rows a table has, and would have to compute those of a view."""
    counts = [f"select '{node['name']}', count(*) from {node['schema']}.{node['name']}" for node in tables]
    if not counts:
        return {}
    with warehouse.connect() as connection:
        return dict(connection.execute(" union all ".join(counts)).fetchall())


def _column_schema(node: Mapping[str, Any], columns: Mapping[str, str]) -> dg.TableSchema:
    documented = node["columns"]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, kind, description=documented.get(name, {}).get("description") or None)
            for name, kind in columns.items()
        ]
    )


def _column_lineage(columns: Lineage, keys: Mapping[Relation, dg.AssetKey]) -> dg.TableColumnLineage:
    # One asset may make several relations with a column of that name, and Dagster takes each dependency once.
    sources_by_column = {
        column: dict.fromkeys((keys[schema, table], name) for schema, table, name in sources if (schema, table) in keys)
        for column, sources in columns.items()
    }
    return dg.TableColumnLineage(
        deps_by_column={
            column: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in sources]
            for column, sources in sources_by_column.items()
        }
    )


def _lineages(nodes: Iterable[Mapping[str, Any]], schema: Mapping[str, Any], compiled: Path) -> dict[str, Lineage]:
    """Returns the lineage of each model by its dbt id, from the file of those that are known where their SQL is the same."""
    known: dict[str, dict[str, Any]] = json.loads(LINEAGE_FILE.read_bytes()) if LINEAGE_FILE.exists() else {}
    found: dict[str, Lineage] = {}
    changed: dict[str, dict[str, Any]] = {}
    for node in nodes:
        file = compiled / node["package_name"] / node["original_file_path"]
        if node["resource_type"] != "model" or not file.exists():
            continue
        sql, columns = file.read_text(), list(schema[node["schema"]][node["name"]])
        digest = sha256_bytes(canonical_json([sql, columns]))
        kept = known.get(node["unique_id"], {})
        if kept.get("digest") != digest:
            try:
                kept = {"digest": digest, "columns": column_lineage(sql, columns, schema)}
            except SqlglotError as error:
                logger.warning("The column lineage of %s is unknown: %s", node["name"], error)
                continue
            changed[node["unique_id"]] = kept
        found[node["unique_id"]] = kept["columns"]
    if changed:
        write_bytes(LINEAGE_FILE, canonical_json(known | changed))
    return found
