"""Which rows are a person's, and what becomes of them when the person is erased.

A person is known by the kind of an identifier and its hash. A row that is the person's own goes: a buyer's account, orders
and reviews, a merchant's identifier. A row that says something of somebody else stays without the value that names the
person: a decision stands whoever took it, and a suppression must not end because its author left. A row that refers
to one that goes, by the contract's references, goes with it. Landing applies the same to what it pulls, so that a person
who is erased does not come back with the next load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from expectations.contract import Contract
from touchstone.core.errors import BadInputError
from touchstone.landing.ledger import Person, Removal
from touchstone.landing.sql import HMAC_DIGITS, literal, quoted

IDENTIFIERS = "merchant_identifiers"
OWN_ROWS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "buyer": (("buyers", "buyer_id"), ("orders", "buyer_id"), ("reviews", "buyer_id")),
}
NAMED_IN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "payer": (("orders", "payer_hash"),),
    "device": (("buyers", "device_hash"),),
    "reporter": (("notices", "reporter_id"),),
    "moderator": (
        ("moderation_decisions", "decided_by"),
        ("suppressions", "author"),
        ("appeals", "decided_by"),
    ),
}


def identifier_kinds(contract: Contract) -> tuple[str, ...]:
    """Returns the kinds of identifiers that a merchant may bear."""
    values = contract.tables[IDENTIFIERS].columns["kind"].values
    return tuple(str(value) for value in values or ())


def kinds(contract: Contract) -> tuple[str, ...]:
    """Returns every kind of person, sorted."""
    return tuple(sorted({*OWN_ROWS, *NAMED_IN, *identifier_kinds(contract)}))


def person(contract: Contract, kind: str, value_hash: str) -> Person:
    """Returns a person as the command line names one.

    Raises:
        BadInputError: There is no such kind, or the hash is none that landing makes.
    """
    if kind not in kinds(contract):
        raise BadInputError(f"There is no kind {kind!r} of person; there are {', '.join(kinds(contract))}.")
    if len(value_hash) != HMAC_DIGITS or set(value_hash) - set("0123456789abcdef"):
        raise BadInputError(
            f"The second argument is no hash as landing makes them: {HMAC_DIGITS} digits of 0-9 and a-f. It is the HMAC of the "
            "identifier under TOUCHSTONE_HMAC_KEY; docs/data-engineer.md says how to compute it."
        )
    return Person(kind=kind, value_hash=value_hash)


def erased_persons(removals: Iterable[Removal]) -> list[Person]:
    """Returns everybody who was erased, each once."""
    found = {(line.person.kind, line.person.value_hash): line.person for line in removals if line.person is not None}
    return [found[key] for key in sorted(found)]


class Erasure:
    """Leaves persons out of tables, in one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contract: Contract, persons: Sequence[Person]) -> None:
        """Shows the persons to the connection.

        Args:
            connection: Gets two temporary tables.
            contract: Says which columns refer to which.
            persons: Who is left out.
        """
        self.connection = connection
        self.contract = contract
        self.kinds = {person.kind for person in persons}
        connection.execute("create or replace temporary table erased_persons (kind varchar, value_hash varchar)")
        connection.execute("create or replace temporary table erased_keys (table_name varchar, key varchar)")
        if persons:
            rows = [[person.kind, person.value_hash] for person in persons]
            connection.executemany("insert into erased_persons values (?, ?)", rows)

    def touches(self, table: str) -> bool:
        """Tells whether the table may hold something of these persons."""
        columns = list(self.contract.tables[table].columns)
        return bool(self._conditions(table, columns) or self._cleared(table, columns))

    def goes(self, table: str, columns: Iterable[str]) -> str:
        """Returns the SQL condition, never null, under which a row of the table goes."""
        return " or ".join(f"coalesce({one}, false)" for one in self._conditions(table, list(columns))) or "false"

    def is_cleared(self, table: str, columns: Iterable[str]) -> str:
        """Returns the SQL condition, never null, under which a row loses a value."""
        cleared = self._cleared(table, list(columns))
        return " or ".join(f"coalesce({one}, false)" for one in cleared.values()) or "false"

    def select(self, table: str, columns: Sequence[str], rows: str) -> str:
        """Returns the query for what is left of some rows.

        Args:
            table: The contract's table.
            columns: The columns to select.
            rows: SQL for the rows.
        """
        cleared = self._cleared(table, columns)
        selected = ", ".join(
            f"case when {cleared[name]} then null else {quoted(name)} end as {quoted(name)}"
            if name in cleared
            else quoted(name)
            for name in columns
        )
        return f"select {selected} from {rows} where not ({self.goes(table, columns)})"

    def collect(self, table: str, columns: Sequence[str], rows: str) -> None:
        """Remembers the keys of the rows that go, for what refers to them; the table's own references come first."""
        for key in sorted(self._referred(table) & set(columns)):
            self.connection.execute(
                f"insert into erased_keys select distinct {literal(f'{table}.{key}')}, cast({quoted(key)} as varchar) "
                f"from {rows} where {self.goes(table, columns)}"
            )

    def apply(self, table: str, rows: str) -> None:
        """Leaves the persons out of a table of this connection that holds the contract's columns."""
        columns = list(self.contract.tables[table].columns)
        self.collect(table, columns, rows)
        if self._conditions(table, columns):
            self.connection.execute(f"delete from {rows} where {self.goes(table, columns)}")
        for column, condition in self._cleared(table, columns).items():
            self.connection.execute(f"update {rows} set {quoted(column)} = null where {condition}")

    def _conditions(self, table: str, columns: Sequence[str]) -> list[str]:
        own = [
            f"{quoted(column)} in (select value_hash from erased_persons where kind = {literal(kind)})"
            for kind in sorted(self.kinds & set(OWN_ROWS))
            for owner, column in OWN_ROWS[kind]
            if owner == table and column in columns
        ]
        if table == IDENTIFIERS and self.kinds & set(identifier_kinds(self.contract)):
            own.append("row(kind, value_hash) in (select row(kind, value_hash) from erased_persons)")
        return own + [
            f"cast({quoted(name)} as varchar) in (select key from erased_keys where table_name = "
            f"{literal(f'{reference[0]}.{reference[1]}')})"
            for name, column in self.contract.tables[table].columns.items()
            if name in columns and (reference := column.reference) and self._has_own_rows(reference[0])
        ]

    def _cleared(self, table: str, columns: Sequence[str]) -> dict[str, str]:
        return {
            column: f"{quoted(column)} in (select value_hash from erased_persons where kind = {literal(kind)})"
            for kind in sorted(self.kinds & set(NAMED_IN))
            for owner, column in NAMED_IN[kind]
            if owner == table and column in columns
        }

    def _has_own_rows(self, table: str) -> bool:
        return any(owner == table for kind in self.kinds & set(OWN_ROWS) for owner, _ in OWN_ROWS[kind])

    def _referred(self, table: str) -> set[str]:
        """Returns the columns of a table that others refer to, where rows of it may go."""
        if not self._has_own_rows(table):
            return set()
        columns = (column for other in self.contract.tables.values() for column in other.columns.values())
        return {found[1] for column in columns if (found := column.reference) and found[0] == table}
