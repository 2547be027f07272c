"""Source rows of an entity: the rows of landed loads that concern it, as known at a date.

How rows belong together is read from the contract: the entities that an entity references, those that reference it, and tables by
`entity_kind`. Each table is joined by its shortest path to the entity; for a listing, these are its own orders, not all orders
of its merchant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from expectations.contract import Contract, Table
from touchstone.landing.ledger import PinnedLoads
from touchstone.landing.sql import quoted
from touchstone.landing.views import create_views

BRAND_DISTANCE: Final = 2
"""Distance of a brand: it is matched by name, not by a reference."""

Row = dict[str, Any]


class SourceRows:
    """The source rows of some loads, in a DuckDB connection of its own."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, landing: Path, loads: PinnedLoads, contract: Contract, as_of: date
    ) -> None:
        """Creates views of the loads in the connection.

        Args:
            connection: Receives the schema `landed` and two temporary tables.
            landing: The landing zone.
            loads: The loads, already verified.
            contract: The source contract.
            as_of: Events after this day, and what became known after it, are excluded.
        """
        create_views(connection, landing, loads, contract)
        self.connection = connection
        self.contract = contract
        self.as_of = as_of

    def about(self, ids: Mapping[str, str | None], brand: str | None, *, rows: int) -> dict[str, dict[str, Any]]:
        """Returns the source rows of an entity.

        Args:
            ids: Its ids by column of the contract (`listing_id`); other columns and null ids are ignored.
            brand: The name of its brand, if it has one.
            rows: Maximum number of rows of each table, the newest.

        Returns:
            By table, nearest first: `row_count`, the number of rows, and `rows`. Each has the landed values in `row`, the
            loads that contain them in `load_ids`, oldest first, and in `known_later` the values that became known after the
            day and are null in `row`. A row that changed between loads appears once per version.
        """
        tables = self.contract.tables_by_key()
        own = {tables[column]: value for column, value in ids.items() if column in tables and value is not None}
        distances = self._scope(own, brand)
        return {
            name: self._table_rows(name, self.contract.tables[name], condition, rows)
            for name, condition in self._join_conditions(distances).items()
        }

    def _scope(self, own: Mapping[str, str], brand: str | None) -> dict[str, int]:
        """Collects the entity and what is linked to it in `scope`, and returns the distance of each table."""
        self.connection.execute(
            "create or replace temporary table scope (table_name text, entity text, id text, distance int)"
        )
        distances: dict[str, int] = {}
        for table, entity_id in own.items():
            self._add(distances, table, 0, {entity_id})
        for table in (with_parents := list(own)):
            parents = {column: to for column, to in self.contract.parents(table).items() if to not in distances}
            rows = self._look_up(list(parents), table, self.contract.tables[table].key[0], table)
            for index, parent in enumerate(parents.values()):
                self._add(distances, parent, distances[table] + 1, {row[index] for row in rows})
                with_parents.append(parent)
        entities = {kind: table for name in self.contract.tables for kind, table in self.contract.kinds(name).items()}
        for table in (with_children := list(own)):
            for child in entities.values():
                columns = [column for column, parent in self.contract.parents(child).items() if parent == table]
                if child not in distances and columns:
                    key = self.contract.tables[child].key[0]
                    self._add(
                        distances,
                        child,
                        distances[table] + 1,
                        {row[0] for row in self._look_up([key], child, columns[0], table)},
                    )
                    with_children.append(child)
        if brand is not None and "brands" not in distances:
            brands = self.connection.execute("select brand_id from landed.brands where name = $brand", {"brand": brand})
            self._add(distances, "brands", BRAND_DISTANCE, {row[0] for row in brands.fetchall()})
        return distances

    def _add(self, distances: dict[str, int], table: str, distance: int, ids: Iterable[str | None]) -> None:
        distances[table] = distance
        present = sorted({entity_id for entity_id in ids if entity_id is not None})
        self.connection.execute(
            "insert into scope select $table, $entity, unnest($ids), $distance",
            {"table": table, "entity": _entity(table), "ids": present, "distance": distance},
        )

    def _look_up(self, columns: Sequence[str], table: str, by: str, scoped: str) -> list[tuple[str | None, ...]]:
        """Returns columns of the rows of a table that reference, by one column, an entity of another table in `scope`."""
        if not columns:
            return []
        selected = ", ".join(map(quoted, columns))
        return self.connection.execute(
            f"select distinct {selected} from landed.{quoted(table)} "
            f"where {quoted(by)} in (select id from scope where table_name = $scoped)",
            {"scoped": scoped},
        ).fetchall()

    def _join_conditions(self, distances: Mapping[str, int]) -> dict[str, str]:
        """Returns for each table, nearest first, the SQL condition that joins its rows to `scope`."""
        conditions: list[tuple[int, str, str]] = []
        for name, table in self.contract.tables.items():
            if self.contract.kinds(name):
                conditions.append(
                    (1, name, "scope.entity = landed_rows.entity_kind and scope.id = landed_rows.entity_id")
                )
                continue
            parents = {column: parent for column, parent in self.contract.parents(name).items() if parent in distances}
            if name in distances:
                distance, column, holder = distances[name], table.key[0], name
            elif parents:
                column = min(parents, key=lambda column: distances[parents[column]])
                distance, holder = distances[parents[column]] + 1, parents[column]
            else:
                continue
            conditions.append(
                (distance, name, f"scope.table_name = '{holder}' and scope.id = landed_rows.{quoted(column)}")
            )
        return {name: condition for _, name, condition in sorted(conditions, key=lambda entry: entry[0])}

    def _table_rows(self, name: str, table: Table, condition: str, rows: int) -> dict[str, Any]:
        """Returns the newest rows of a table in all versions; only their keys are read to find them."""
        columns, key = (", ".join(map(quoted, names)) for names in (table.columns, table.key))
        event = quoted(table.event_at) if table.event_at else "cast(null as timestamp)"
        happened = f"({event} is null or cast({event} as date) <= $as_of)"
        self.connection.execute(
            f"""
            create or replace temporary table newest as
            select
                {key}, min(distance) as distance, max({event}) as last_at, min({event}) as first_at,
                count(*) over () as row_count
            from landed.{quoted(name)} as landed_rows inner join scope on {condition}
            where {happened}
            group by {key}
            order by distance, last_at desc nulls last, {key}
            limit $rows
            """,
            {"as_of": self.as_of, "rows": rows},
        )
        row_count, low, high = self.connection.execute(
            "select max(row_count), min(first_at), max(last_at) from newest"
        ).fetchall()[0]
        if row_count is None:
            return {"row_count": 0, "rows": []}
        bounds = {}
        if table.event_at is not None and table.is_needed(table.event_at):
            # Loads are sorted by event time, so a time range reads little of them.
            happened = f"{happened} and {event} between $low and $high"
            bounds = {"low": low, "high": high}
        # In a table whose loads are its history, a later version of a row is known from the day it landed.
        known = f"first_landed_at = min(first_landed_at) over (partition by {key}) or cast(first_landed_at as date) <= $as_of"
        cursor = self.connection.execute(
            f"""
            with matches as (
                select landed_rows.*, newest.distance, newest.last_at
                from (select * from landed.{quoted(name)} where {happened}) as landed_rows inner join newest using ({key})
            )
            select {columns}, list(load_id order by landed_at, load_id) as load_ids, min(landed_at) as first_landed_at
            from matches group by {columns}, distance, last_at
            {f"qualify {known}" if table.keeps_loads else ""}
            order by distance, last_at desc nulls last, {key}, first_landed_at desc
            """,
            {"as_of": self.as_of, **bounds},
        )
        names = [*table.columns, "load_ids"]
        versions = [dict(zip(names, row, strict=False)) for row in cursor.fetchall()]
        return {"row_count": row_count, "rows": [as_known(row, table, self.as_of) for row in versions]}


def as_known(landed: Row, table: Table, as_of: date) -> dict[str, Any]:
    """Returns a row as it was known at the end of a day.

    Args:
        landed: The columns of the table as they landed, and `load_ids`.
        table: The table, which names for a column the time at which its value became known.
        as_of: The day.

    Returns:
        `row`, `load_ids` and `known_later`; see `SourceRows.about`.
    """
    row = {name: landed[name] for name in table.columns}
    later = {
        name: row[name]
        for name, column in table.columns.items()
        if column.known_at and row[name] is not None and _is_after(row[column.known_at], as_of)
    }
    return {"load_ids": landed["load_ids"], "row": {**row, **dict.fromkeys(later)}, "known_later": later}


def _is_after(time: date | datetime | None, as_of: date) -> bool:
    if time is None:
        return False
    return (time.date() if isinstance(time, datetime) else time) > as_of


def _entity(table: str) -> str:
    """Returns the value of `entity_kind` for the entities of a table."""
    return table.removesuffix("s")
