"""The landing zone as dbt sees it: one view a contract table over the pinned loads, in schema `landed`.

A table that never landed is an empty view of the same shape, so that no model has to know which tables a marketplace
has. Nothing here writes to the landing zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from expectations.contract import Contract, Table
from touchstone.core.errors import BadInputError
from touchstone.core.home import Home
from touchstone.landing.ledger import Ledger, LoadRecord, PinnedLoads, pinned_loads
from touchstone.landing.sql import literal, parquet, quoted

SCHEMA = "landed"
AS_OF_EVENTS = {"listings": "listed_at", "listing_prices": "observed_at", "orders": "placed_at"}
"""The tables whose newest events say which day is complete, with the column that says the event's day."""


def create_views(connection: duckdb.DuckDBPyConnection, landing: Path, pins: PinnedLoads, contract: Contract) -> None:
    """Makes or replaces schema `landed`: a view a contract table, and `landed.loads`.

    Args:
        connection: The warehouse, open for writing.
        landing: The landing zone; views name its files by absolute path, so a home that moved needs them made again.
        pins: The loads that count.
        contract: Gives each view its columns; one that a load was made without is null in its rows.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    for name, table in contract.tables.items():
        loads = pins.by_table.get(name, ())
        selects = [_load_select(connection, landing.resolve(), table, load) for load in loads]
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


def _load_select(connection: duckdb.DuckDBPyConnection, landing: Path, table: Table, load: LoadRecord) -> str:
    reader = parquet(load.existing_paths(landing))
    there = {row[0] for row in connection.execute(f"describe select * from {reader}").fetchall()}
    columns = [
        f"cast({quoted(name) if name in there else 'null'} as {column.sql_type}) as {quoted(name)}"
        for name, column in table.columns.items()
    ]
    columns += [f"{literal(str(load.load_id))} as load_id", f"{_timestamp(load.landed_at)} as landed_at"]
    return f"select {', '.join(columns)} from {reader}"


def _empty_select(table: Table) -> str:
    columns = [f"cast(null as {column.sql_type}) as {quoted(name)}" for name, column in table.columns.items()]
    columns += ["cast(null as varchar) as load_id", "cast(null as timestamp) as landed_at"]
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
    return f"timestamp {literal(moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' '))}"


def default_as_of(landing: Path, pins: PinnedLoads) -> date:
    """Returns the last complete day: the newest event day of listings, prices and orders before the day of its load.

    Args:
        landing: The landing zone.
        pins: The loads that count.

    Raises:
        BadInputError: No event lies before the day on which it landed.
    """
    days = [
        day
        for name, event_at in AS_OF_EVENTS.items()
        for load in pins.current.get(name, ())
        if (day := _newest_complete_day(landing, load, event_at)) is not None
    ]
    if not days:
        raise BadInputError(
            f"No row of {', '.join(AS_OF_EVENTS)} lies on a day before the one on which it landed, so there is no "
            "complete day to rate. Check the tables' times, or name a day with --as-of."
        )
    return max(days)


def _newest_complete_day(landing: Path, load: LoadRecord, event_at: str) -> date | None:
    landed_on = load.landed_at.astimezone(UTC).date()
    if load.newest_event_date is None or load.newest_event_date < landed_on:
        return load.newest_event_date
    day = f"cast({quoted(event_at)} as date)"
    with duckdb.connect(":memory:") as connection:
        row = connection.execute(
            f"select max({day}) filter (where {day} < $landed_on) from {parquet(load.existing_paths(landing))}",
            {"landed_on": landed_on},
        ).fetchone()
    return row[0] if row else None
