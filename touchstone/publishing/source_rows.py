"""Which rows of landed loads are about an entity, as they were known at a date.

How rows belong together is read from the contract: what an entity refers to, what refers to it, and what is said of kinds of
entities (`entity_kind`). Of each table those rows are told that are the nearest to it by that; of a listing, its own orders and
not all of its merchant's. What else a list says of an entity, and where it came from, is in `trace`.
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
"""How far a row's brand is from it: the list names it, no reference does."""

Row = dict[str, Any]


class SourceRows:
    """The rows of some loads, in a DuckDB connection that this has to itself."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, landing: Path, loads: PinnedLoads, contract: Contract, as_of: date
    ) -> None:
        """Shows the loads to the connection.

        Args:
            connection: Gets the schema `landed` and two temporary tables.
            landing: The landing zone.
            loads: The loads, whose digests were checked.
            contract: How rows belong together.
            as_of: What happened, or became known, after this day is not told.
        """
        create_views(connection, landing, loads, contract)
        self.connection = connection
        self.contract = contract
        self.as_of = as_of

    def about(self, ids: Mapping[str, str | None], brand: str | None, *, rows: int) -> dict[str, dict[str, Any]]:
        """Returns the rows that are about an entity.

        Args:
            ids: Its ids, by the contract's columns (`listing_id`); others, and those that it does not have, do not count.
            brand: Its brand's name, if it has one.
            rows: Of each table at most so many, the newest.

        Returns:
            By table, the nearest first: `row_count`, how many rows there are, and `rows`. Each has the values as they landed
            in `row`, the loads that hold them in `load_ids`, oldest first, and in `known_later` what landed in a column that
            came true after the day, and is null in `row`. A row that changed from load to load is there once a version.
        """
        tables = self.contract.tables_by_key()
        own = {tables[column]: value for column, value in ids.items() if column in tables and value is not None}
        near = self._scope(own, brand)
        return {
            name: self._of_table(name, self.contract.tables[name], on, rows)
            for name, on in self._belonging(near).items()
        }

    def _scope(self, own: Mapping[str, str], brand: str | None) -> dict[str, int]:
        """Collects in `scope` the entity, what it refers to, what refers to it, and its brand; tells how far each table is."""
        self.connection.execute(
            "create or replace temporary table scope (table_name text, entity text, id text, distance int)"
        )
        near: dict[str, int] = {}
        for table, entity_id in own.items():
            self._add(near, table, 0, {entity_id})
        for table in (rising := list(own)):
            parents = {column: to for column, to in self.contract.parents(table).items() if to not in near}
            rows = self._looked_up(list(parents), table, self.contract.tables[table].key[0], table)
            for place, parent in enumerate(parents.values()):
                self._add(near, parent, near[table] + 1, {row[place] for row in rows})
                rising.append(parent)
        entities = {kind: table for name in self.contract.tables for kind, table in self.contract.kinds(name).items()}
        for table in (falling := list(own)):
            for child in entities.values():
                columns = [column for column, parent in self.contract.parents(child).items() if parent == table]
                if child not in near and columns:
                    key = self.contract.tables[child].key[0]
                    self._add(
                        near,
                        child,
                        near[table] + 1,
                        {row[0] for row in self._looked_up([key], child, columns[0], table)},
                    )
                    falling.append(child)
        if brand is not None and "brands" not in near:
            named = self.connection.execute("select brand_id from landed.brands where name = $brand", {"brand": brand})
            self._add(near, "brands", BRAND_DISTANCE, {row[0] for row in named.fetchall()})
        return near

    def _add(self, near: dict[str, int], table: str, distance: int, ids: Iterable[str | None]) -> None:
        near[table] = distance
        known = sorted({one for one in ids if one is not None})
        self.connection.execute(
            "insert into scope select $table, $entity, unnest($ids), $distance",
            {"table": table, "entity": _entity(table), "ids": known, "distance": distance},
        )

    def _looked_up(self, columns: Sequence[str], table: str, by: str, scoped: str) -> list[tuple[str | None, ...]]:
        """Returns some columns of a table's rows that name by one of their columns what of another table is in `scope`."""
        if not columns:
            return []
        wanted = ", ".join(map(quoted, columns))
        return self.connection.execute(
            f"select distinct {wanted} from landed.{quoted(table)} "
            f"where {quoted(by)} in (select id from scope where table_name = $scoped)",
            {"scoped": scoped},
        ).fetchall()

    def _belonging(self, near: Mapping[str, int]) -> dict[str, str]:
        """Returns, by table, the nearest first, the SQL condition under which a row of it belongs to one of `scope`."""
        found: list[tuple[int, str, str]] = []
        for name, table in self.contract.tables.items():
            if self.contract.kinds(name):
                found.append((1, name, "scope.entity = landed_rows.entity_kind and scope.id = landed_rows.entity_id"))
                continue
            parents = {column: parent for column, parent in self.contract.parents(name).items() if parent in near}
            if name in near:
                away, column, holder = near[name], table.key[0], name
            elif parents:
                column = min(parents, key=lambda one: near[parents[one]])
                away, holder = near[parents[column]] + 1, parents[column]
            else:
                continue
            found.append((away, name, f"scope.table_name = '{holder}' and scope.id = landed_rows.{quoted(column)}"))
        return {name: on for _, name, on in sorted(found, key=lambda one: one[0])}

    def _of_table(self, name: str, table: Table, on: str, rows: int) -> dict[str, Any]:
        """Returns a table's newest rows, each version that the loads hold of them; to find them, only their keys are read."""
        columns, key = (", ".join(map(quoted, names)) for names in (table.columns, table.key))
        event = quoted(table.event_at) if table.event_at else "cast(null as timestamp)"
        happened = f"({event} is null or cast({event} as date) <= $as_of)"
        self.connection.execute(
            f"""
            create or replace temporary table newest as
            select
                {key}, min(distance) as distance, max({event}) as last_at, min({event}) as first_at,
                count(*) over () as row_count
            from landed.{quoted(name)} as landed_rows inner join scope on {on}
            where {happened}
            group by {key}
            order by distance, last_at desc nulls last, {key}
            limit $rows
            """,
            {"as_of": self.as_of, "rows": rows},
        )
        counted = self.connection.execute("select max(row_count), min(first_at), max(last_at) from newest").fetchall()
        row_count, low, high = counted[0]
        if row_count is None:
            return {"row_count": 0, "rows": []}
        bounds = {}
        if table.event_at is not None and table.is_needed(table.event_at):
            # Loads are sorted by their events, so that between two of them little has to be read.
            happened = f"{happened} and {event} between $low and $high"
            bounds = {"low": low, "high": high}
        # Of a table whose loads are its history, a later version of a row counts from the day on which it landed.
        known = f"first_landed_at = min(first_landed_at) over (partition by {key}) or cast(first_landed_at as date) <= $as_of"
        told = self.connection.execute(
            f"""
            with found as (
                select landed_rows.*, newest.distance, newest.last_at
                from (select * from landed.{quoted(name)} where {happened}) as landed_rows inner join newest using ({key})
            )
            select {columns}, list(load_id order by landed_at, load_id) as load_ids, min(landed_at) as first_landed_at
            from found group by {columns}, distance, last_at
            {f"qualify {known}" if table.keeps_loads else ""}
            order by distance, last_at desc nulls last, {key}, first_landed_at desc
            """,
            {"as_of": self.as_of, **bounds},
        )
        names = [*table.columns, "load_ids"]
        found = [dict(zip(names, row, strict=False)) for row in told.fetchall()]
        return {"row_count": row_count, "rows": [as_known(row, table, self.as_of) for row in found]}


def as_known(found: Row, table: Table, as_of: date) -> dict[str, Any]:
    """Returns a row as it was known at the end of a day.

    Args:
        found: The table's columns as they landed, and `load_ids`.
        table: Says by which column's moment another one came true.
        as_of: The day.

    Returns:
        `row`, `load_ids` and `known_later`; see `SourceRows.about`.
    """
    row = {name: found[name] for name in table.columns}
    later = {
        name: row[name]
        for name, column in table.columns.items()
        if column.known_at and row[name] is not None and _is_after(row[column.known_at], as_of)
    }
    return {"load_ids": found["load_ids"], "row": {**row, **dict.fromkeys(later)}, "known_later": later}


def _is_after(moment: date | datetime | None, as_of: date) -> bool:
    if moment is None:
        return False
    return (moment.date() if isinstance(moment, datetime) else moment) > as_of


def _entity(table: str) -> str:
    """Returns the kind of entity that a table holds, as `entity_kind` spells it."""
    return table.removesuffix("s")
