"""A small warehouse for tests of the dbt project: typed `landed` tables from the source contract, filled from dicts.

Scope: making such a warehouse, running dbt on it in process, and reading a table back. The expected results of models
belong in the tests. Real runs have views over Parquet in place of these tables; dbt cannot distinguish them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import yaml

from expectations.contract import LANDED_COLUMNS, load_contract
from orchestration.dbt_runner import read_project, show_previous
from touchstone.core.words import register

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = REPOSITORY / "dbt_project"
WAREHOUSE_SOURCES = REPOSITORY / "expectations" / "warehouse_sources.yml"

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]

SQL_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DECIMAL(18,4)",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "json": "VARCHAR",
}
LOAD_COLUMNS = {name: sql_type for name, (sql_type, _) in LANDED_COLUMNS.items()}


@cache
def contract_tables() -> dict[str, dict[str, Any]]:
    """Returns the source contract's tables as plain data."""
    return {name: table.model_dump(exclude_defaults=True) for name, table in load_contract().tables.items()}


@cache
def run_tables() -> dict[str, dict[str, str]]:
    """Returns the tables that orchestration adds to the contract's for dbt: their columns with DuckDB types."""
    tables = yaml.safe_load(WAREHOUSE_SOURCES.read_text())["tables"]
    return {table["name"]: {column["name"]: column["data_type"] for column in table["columns"]} for table in tables}


def landed_columns(table: str) -> dict[str, str]:
    """Returns the columns of `landed.<table>` with their DuckDB types."""
    if table in run_tables():
        return run_tables()[table]
    columns = contract_tables()[table]["columns"]
    added = {name: sql_type for name, (sql_type, _) in load_contract().tables[table].added_columns.items()}
    return {name: SQL_TYPES[column["type"]] for name, column in columns.items()} | added


def make_warehouse(
    home: Path,
    rows: Rows,
    as_of: date | str,
    *,
    with_training: bool = False,
    label_horizon_days: int = 14,
    sighting_days: int = 14,
    project_digest: str = "project",
    landed_at: str | None = None,
    base_currency: str = "USD",
) -> Path:
    """Makes (or refills) `home`/warehouse.duckdb with a typed `landed` table for every source.

    A row may leave columns out (null). Rows of contract tables get `load_id` 'load-1' and `landed_at` (by default the
    end of as_of) unless they set their own; `landed.loads` is derived from them, every load being full unless one of
    its rows sets `mode: incremental`. Other tables of the warehouse are kept, so that a second call with other rows is
    the next day's landing.

    Args:
        home: folder of the warehouse; made if absent.
        rows: rows by table name, contract tables and those of run_tables().
        as_of: the date to rate as of.
        with_training: whether the features step also makes training rows.
        label_horizon_days: H, days.
        sighting_days: days for which a sighting keeps a listing active.
        project_digest: stands in for the digest of the dbt project.
        landed_at: when load-1 landed, UTC.
        base_currency: the currency that amounts are converted to.

    Returns:
        The warehouse's path.
    """
    home.mkdir(parents=True, exist_ok=True)
    landed_at = landed_at or f"{as_of} 23:59:59"
    defaults = {"load_id": "load-1", "landed_at": landed_at}
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("create schema if not exists landed")
        loads: dict[tuple[str, str], Row] = {}
        for table in [*contract_tables(), *run_tables()]:
            table_rows = [dict(row) for row in rows.get(table, ())]
            if table in contract_tables():
                table_rows = [defaults | row for row in table_rows]
                for row in table_rows:
                    loads[(table, row["load_id"])] = _load_row(table, row)
                for load_id in {row["load_id"] for row in table_rows}:
                    content = sorted(repr(sorted(row.items())) for row in table_rows if row["load_id"] == load_id)
                    digest = hashlib.sha256("".join(content).encode()).hexdigest()
                    loads[(table, load_id)] = {**loads[(table, load_id)], "content_digest": digest}
            _fill(connection, table, table_rows)
        run = {
            "as_of": as_of,
            "with_training": with_training,
            "label_horizon_days": label_horizon_days,
            "sighting_days": sighting_days,
            "base_currency": base_currency,
            "loads_digest": "loads",
            "project_digest": project_digest,
        }
        _fill(connection, "run", [run])
        if "loads" not in rows:
            _fill(connection, "loads", [loads[key] for key in sorted(loads)])
            _complete_loads(connection)
    return home / "warehouse.duckdb"


def _load_row(table: str, row: dict[str, Any]) -> Row:
    """The row of landed.loads implied by a row; removes `mode` from the row."""
    return {
        "table_name": table,
        "load_id": row["load_id"],
        "landed_at": row["landed_at"],
        "mode": row.pop("mode", "full"),
    }


def _fill(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    columns = landed_columns(table)
    unknown = {name for row in rows for name in row} - set(columns)
    if unknown:
        raise KeyError(f"landed.{table} has no columns {sorted(unknown)}")
    typed = ", ".join(f'"{name}" {sql_type}' for name, sql_type in columns.items())
    connection.execute(f'create or replace table landed."{table}" ({typed})')
    if rows:
        values = ", ".join(f"cast(? as {sql_type})" for sql_type in columns.values())
        parameters = [row.get(name) for row in rows for name in columns]
        connection.execute(f'insert into landed."{table}" values {", ".join([f"({values})"] * len(rows))}', parameters)


def _complete_loads(connection: duckdb.DuckDBPyConnection) -> None:
    """Computes which loads are current (the newest full one and its increments) and each one's newest event day."""
    connection.execute(
        """update landed.loads set is_current = loads.landed_at >= newest.landed_at
        from (select table_name, max(landed_at) as landed_at from landed.loads where mode = 'full' group by table_name)
        as newest where loads.table_name = newest.table_name"""
    )
    events = {
        table: contract_tables()[table].get("event_at")
        for (table,) in connection.execute("select distinct table_name from landed.loads order by all").fetchall()
    }
    for table, event_at in events.items():
        if event_at:
            connection.execute(
                f"""update landed.loads set newest_event_date = newest.event_date
                from (
                    select load_id, max("{event_at}"::date) as event_date from landed."{table}"
                    where "{event_at}"::date <= landed_at::date group by load_id
                ) as newest
                where loads.load_id = newest.load_id and loads.table_name = ?""",
                [table],
            )


def mark_loads(connection: duckdb.DuckDBPyConnection) -> None:
    """Fills in the load columns of landed rows as the views of a real run do; `is_new` comes from int_load_days."""
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    known = "int_load_days" if "int_load_days" in tables else "(select *, '' as recipe from landed.loads where false)"
    # A test may have put a view in a table's place; that view then defines its load columns itself.
    landed = connection.execute("select table_name from duckdb_tables() where schema_name = 'landed'").fetchall()
    for table in sorted(contract_tables().keys() & {name for (name,) in landed}):
        connection.execute(
            f"""update landed."{table}" as landed_rows set
                is_current = coalesce(loads.is_current, true),
                is_increment = loads.mode = 'incremental',
                is_only_load = loads.load_count = 1,
                is_new = not loads.is_known
            from (
                select *, count(*) over () as load_count, exists (
                    select 1 from {known} as known
                    inner join landed.run on known.recipe = run.project_digest || ':duckdb ' || version()
                    where known.table_name = loads.table_name
                        and known.content_digest = loads.content_digest and known.landed_at = loads.landed_at
                ) as is_known
                from landed.loads where table_name = '{table}'
            ) as loads
            where loads.load_id = landed_rows.load_id and loads.landed_at = landed_rows.landed_at"""
        )


@contextmanager
def open_warehouse(home: Path, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the warehouse of a home and closes it again; UTC, two threads."""
    connection = duckdb.connect(str(home / "warehouse.duckdb"), read_only=read_only)
    try:
        connection.execute("set TimeZone = 'UTC'")
        register(connection)
        yield connection
    finally:
        connection.close()


def read_rows(home: Path, query: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Returns the rows of a query over the warehouse of a home, as dicts."""
    with open_warehouse(home) as connection:
        cursor = connection.execute(query, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def table_content(home: Path, table: str) -> list[tuple[Any, ...]]:
    """Returns all rows of a table in a total order, to compare two warehouses.

    Excludes a marker's record of the owners' state in which a day was built, and the markers of days that lost all
    their events, which a table built from nothing never had.
    """
    with open_warehouse(home) as connection:
        columns = {row[0] for row in connection.execute(f'describe "{table}"').fetchall()}
        condition = "where day_digest is not null or not is_marker" if "is_marker" in columns else ""
        return connection.execute(
            f"select columns(name -> name not in ('day_digest', 'owner_change')) from \"{table}\" {condition} order by all"
        ).fetchall()


def run_dbt(home: Path, *arguments: str, expect_success: bool = True) -> dict[str, str]:
    """Runs dbt in process on the warehouse of a home and closes its connections.

    Args:
        home: folder of the warehouse.
        arguments: dbt's own, as ("build", "--select", "tag:shape").
        expect_success: whether anything but success fails the test.

    Returns:
        Status ('success', 'pass', 'fail', 'error', 'skipped') by node name.

    Raises:
        AssertionError: dbt failed and success was expected; the message names the nodes and their messages.
    """
    with open_warehouse(home, read_only=False) as connection:
        mark_loads(connection)
        show_previous(connection, full_refresh="--full-refresh" in arguments)
    with _dbt_environment(home):
        outcome = _runner(_manifest()).invoke([*arguments, *project_arguments(home)])
        _close_connections()
    if outcome.exception is not None:
        raise outcome.exception
    results = list(getattr(outcome.result, "results", []))
    if expect_success and not outcome.success:
        failures = [
            f"{result.node.name}: {result.message}" for result in results if result.status not in ("success", "pass")
        ]
        raise AssertionError("dbt failed:\n" + "\n".join(failures))
    return {result.node.name: str(result.status) for result in results}


def compile_data_tests(home: Path, names: Iterable[str]) -> dict[str, str]:
    """Returns the compiled SQL of data tests by name; it selects the failing rows.

    Args:
        home: Folder of a warehouse.
        names: The tests' full names.
    """
    with _dbt_environment(home):
        outcome = _runner(_manifest()).invoke(["compile", "--select", *names, *project_arguments(home)])
        _close_connections()
    assert outcome.success, outcome.exception
    nodes = [result.node for result in outcome.result]
    assert {(node.config.severity, node.config.fail_calc, node.config.error_if) for node in nodes} == {
        ("ERROR", "count(*)", "!= 0")
    }, "whether a test fails depends on more than whether it has rows"
    return {node.name: node.compiled_code for node in nodes}


def compile_models(selection: str) -> list[Any]:
    """Returns the compiled nodes of models in dependency order; their SQL does not depend on a warehouse.

    Args:
        selection: dbt's selection.
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        make_warehouse(home, {}, "2026-01-31")
        with _dbt_environment(home):
            outcome = _runner(_manifest()).invoke(["compile", "--select", selection, *project_arguments(home)])
            _close_connections()
    assert outcome.success, outcome.exception
    return [result.node for result in outcome.result if result.node.resource_type == "model"]


def build_models(connection: duckdb.DuckDBPyConnection, nodes: Sequence[Any]) -> None:
    """Builds compiled models as tables of an in-memory warehouse, with the types of their contracts.

    Args:
        connection: Its database has dbt's database name; it has the sources.
        nodes: The models, in dependency order.
    """
    for node in nodes:
        if node.config.contract.enforced:
            columns = ", ".join(f"{column.name} {column.data_type}" for column in node.columns.values())
            connection.execute(f"create or replace table main.{node.name} ({columns})")
            connection.execute(f"insert into main.{node.name} by name {node.compiled_code}")
        else:
            connection.execute(f"create or replace table main.{node.name} as {node.compiled_code}")


def fails_after(connection: duckdb.DuckDBPyConnection, change: Callable[[], None], test: str) -> bool:
    """Returns whether a data test fails after a change, which is rolled back: whether its SQL returns rows, as in dbt.

    Args:
        connection: A warehouse, open for writing.
        change: Makes the change through this connection.
        test: The test's compiled SQL.
    """
    connection.begin()
    try:
        change()
        return connection.execute(f"select 1 from ({test}) as failing limit 1").fetchone() is not None
    finally:
        connection.rollback()


def project_arguments(home: Path) -> list[str]:
    """Returns dbt's arguments that set the project's location and where it may write: below `home` only."""
    target = ["--target-path", str(home / "target"), "--log-path", str(home / "logs")]
    return ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--quiet", "--no-write-json", *target]


@contextmanager
def _dbt_environment(home: Path) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {"TOUCHSTONE_HOME": str(home), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _manifest() -> Any:
    """A copy of the parsed project, because a run modifies the manifest that it is given."""
    manifest = read_project().deepcopy()
    manifest.build_parent_and_child_maps()
    return manifest


def _runner(manifest: Any) -> Any:
    from dbt.cli.main import dbtRunner

    return dbtRunner(manifest=manifest)


def _close_connections() -> None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()


def list_nodes(resource_type: str) -> list[Any]:
    """Returns the nodes of the parsed project of one type ('model', 'test', 'seed', 'unit_test'), by unique id."""
    manifest = read_project()
    nodes = manifest.unit_tests if resource_type == "unit_test" else manifest.nodes
    return [node for _, node in sorted(nodes.items()) if node.resource_type == resource_type]
