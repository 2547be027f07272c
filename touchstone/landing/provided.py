"""What a marketplace provides of the source contract: the tables with rows, and their columns with values."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import duckdb

from touchstone.landing.ledger import PinnedLoads
from touchstone.landing.sql import file_list, quoted


def provided_inputs(landing: Path, pins: PinnedLoads) -> set[str]:
    """Returns the tables (`orders`) and columns (`orders.buyer_id`) of which the current loads have values.

    Only the files' metadata are read.

    Args:
        landing: The landing zone.
        pins: The loads that count.
    """
    provided: set[str] = set()
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        for table, loads in pins.current.items():
            paths = [path for load in loads if load.row_count for path in load.existing_paths(landing)]
            if paths:
                filled = connection.execute(
                    "select path_in_schema from parquet_metadata(" + file_list(paths) + ") group by path_in_schema "
                    "having sum(num_values) > sum(coalesce(stats_null_count, 0))"
                ).fetchall()
                provided |= {table, *(f"{table}.{name}" for (name,) in filled)}
    return provided


def filled_columns(connection: duckdb.DuckDBPyConnection, rows: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Returns the columns of extracted rows that have a value.

    Args:
        connection: The extractor's.
        rows: SQL for the rows.
        columns: The columns to look at.
    """
    names = list(columns)
    counts = ", ".join(f"count({quoted(name)}) > 0" for name in names)
    (filled,) = connection.execute(f"select {counts} from {rows}").fetchall()
    return tuple(name for name, has_values in zip(names, filled, strict=True) if has_values)


def as_inputs(table: str, row_count: int, columns: Collection[str]) -> set[str]:
    """Returns a table with rows and its columns with values as `provided_inputs` names them."""
    return {table, *(f"{table}.{name}" for name in columns)} if row_count else set()
