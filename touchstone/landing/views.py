"""The landing zone as dbt sees it: one view a contract table over the pinned loads, in schema `landed`.

A table that never landed is an empty view of the same shape, so that no model has to know which tables a marketplace
has. Nothing here writes to the landing zone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from expectations.contract import EXTRA_COLUMN, Contract, Table
from ml.extra import ExtraColumn
from touchstone.core.home import Home
from touchstone.landing.extra import extra_values
from touchstone.landing.ledger import Ledger, LoadRecord, PinnedLoads, pinned_loads
from touchstone.landing.sql import literal, parquet, quoted

SCHEMA = "landed"
LoadKey = tuple[str, str, datetime]
"""A load as `int_load_days` knows it: table, digest of its content, and when it landed (UTC, without a zone)."""


def create_views(
    connection: duckdb.DuckDBPyConnection,
    landing: Path,
    pins: PinnedLoads,
    contract: Contract,
    *,
    known_loads: Collection[LoadKey] = (),
) -> None:
    """Creates or replaces schema `landed`: one view per contract table, and `landed.loads`.

    Each load's rows carry constants that describe the load (`is_current` and so on). DuckDB evaluates a condition on them
    when it plans a query, so a model that asks for current or new rows does not read the files of the other loads.

    Args:
        connection: The warehouse, open for writing.
        landing: The landing zone; views name its files by absolute path, so a home that moved needs them created again.
        pins: The loads that count.
        contract: Gives each view its columns; one that a load was made without is null in its rows.
        known_loads: The loads whose daily sums the warehouse already contains; all others are marked as new.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    for name, table in contract.tables.items():
        loads = pins.by_table.get(name, ())
        selects = [
            _load_select(
                connection,
                landing.resolve(),
                table,
                load,
                pins.extra.get(name, {}),
                {
                    "is_current": load in pins.current[name],
                    "is_increment": load.mode == "incremental",
                    "is_only_load": len(loads) == 1,
                    "is_new": (name, load.content_digest, _utc(load.landed_at)) not in known_loads,
                },
            )
            for load in loads
        ]
        query = "\nunion all\n".join(selects or [_empty_select(table)])
        connection.execute(f"create or replace view {SCHEMA}.{quoted(name)} as {query}")
    connection.execute(f"create or replace view {SCHEMA}.loads as {_loads_select(pins)}")


def open_landed_views(connection: duckdb.DuckDBPyConnection, home: Path, contract: Contract) -> PinnedLoads:
    """Creates schema `landed` over the loads that are in use in a home.

    Args:
        connection: The database that gets the views.
        home: The home.
        contract: The contract.

    Returns:
        The loads in use.

    Raises:
        VerificationError: The ledger is damaged, or a file of a load is missing.
    """
    landing = Home(home).landing
    pins = pinned_loads(Ledger(landing).read(), contract)
    create_views(connection, landing, pins, contract)
    return pins


def _load_select(
    connection: duckdb.DuckDBPyConnection,
    landing: Path,
    table: Table,
    load: LoadRecord,
    extra: Mapping[str, ExtraColumn],
    flags: Mapping[str, bool],
) -> str:
    reader = parquet(load.existing_paths(landing))
    there = {row[0] for row in connection.execute(f"describe select * from {reader}").fetchall()}
    columns = [
        f"cast({quoted(name) if name in there else 'null'} as {column.sql_type}) as {quoted(name)}"
        for name, column in table.columns.items()
    ]
    columns += [f"{extra_values(extra, there)} as {EXTRA_COLUMN}"] if table.takes_extra else []
    columns += [f"{literal(str(load.load_id))} as load_id", f"{_timestamp(load.landed_at)} as landed_at"]
    columns += [f"{str(value).lower()} as {name}" for name, value in flags.items()]
    return f"select {', '.join(columns)} from {reader}"


def _empty_select(table: Table) -> str:
    columns = [f"cast(null as {column.sql_type}) as {quoted(name)}" for name, column in table.columns.items()]
    columns += [f"cast(null as {sql_type}) as {name}" for name, (sql_type, _) in table.added_columns.items()]
    return f"select {', '.join(columns)} where false"


def _loads_select(pins: PinnedLoads) -> str:
    head = "select * from (values {}) as l(table_name, load_id, content_digest, landed_at, mode, newest_event_date, is_current)"
    rows = list(_loads_rows(pins))
    if rows:
        return head.format(", ".join(rows))
    empty = "(null::varchar, null::varchar, null::varchar, null::timestamp, null::varchar, null::date, null::boolean)"
    return head.format(empty) + " where false"


def _loads_rows(pins: PinnedLoads) -> Iterator[str]:
    for table, loads in sorted(pins.by_table.items()):
        for load in loads:
            day = f"date {literal(load.newest_event_date.isoformat())}" if load.newest_event_date else "null::date"
            names = ", ".join(map(literal, (table, str(load.load_id), load.content_digest)))
            is_current = str(load in pins.current[table]).lower()
            yield f"({names}, {_timestamp(load.landed_at)}, {literal(load.mode)}, {day}, {is_current})"


def _timestamp(moment: datetime) -> str:
    return f"timestamp {literal(_utc(moment).isoformat(sep=' '))}"


def _utc(moment: datetime) -> datetime:
    """Returns a moment as DuckDB's TIMESTAMP has it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
