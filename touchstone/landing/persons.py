"""Defines which rows belong to a person, and how they are erased.

A person is identified by the kind of an identifier and its hash.

- The person's own rows are removed: a buyer's account, orders and reviews, a merchant's identifier.
- A row about somebody else loses only the value that identifies the person: a decision remains valid whoever took it, and a
  suppression must not end because its author left.
- A row that refers to a removed row, by the contract's references, is removed with it.

Landing applies the same rules to extracted rows, so that an erased person does not return with the next load.
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
    """Returns the kinds of merchant identifiers."""
    values = contract.tables[IDENTIFIERS].columns["kind"].values
    return tuple(str(value) for value in values or ())


def kinds(contract: Contract) -> tuple[str, ...]:
    """Returns every kind of person, sorted."""
    return tuple(sorted({*OWN_ROWS, *NAMED_IN, *identifier_kinds(contract)}))


def person(contract: Contract, kind: str, value_hash: str) -> Person:
    """Returns the person with an identifier.

    Args:
        contract: The contract.
        kind: Kind of the identifier.
        value_hash: Its hash.

    Raises:
        BadInputError: There is no such kind, or the value is not a hash.
    """
    if kind not in kinds(contract):
        raise BadInputError(f"There is no kind {kind!r} of identifier. The kinds are {', '.join(kinds(contract))}.")
    if len(value_hash) != HMAC_DIGITS or set(value_hash) - set("0123456789abcdef"):
        raise BadInputError(
            f"The second argument is not a hash of {HMAC_DIGITS} hexadecimal digits (0-9, a-f). It must be the HMAC of the "
            "identifier with TOUCHSTONE_HMAC_KEY; docs/data-engineer.md explains how to compute it."
        )
    return Person(kind=kind, value_hash=value_hash)


def erased_persons(removals: Iterable[Removal]) -> list[Person]:
    """Returns all erased persons, each once."""
    persons = {(line.person.kind, line.person.value_hash): line.person for line in removals if line.person is not None}
    return [persons[key] for key in sorted(persons)]


class Erasure:
    """Removes persons from tables of one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contract: Contract, persons: Sequence[Person]) -> None:
        """Creates temporary tables with the persons.

        Args:
            connection: Gets two temporary tables.
            contract: Defines which columns refer to which.
            persons: The erased persons.
        """
        self.connection = connection
        self.contract = contract
        self.kinds = {person.kind for person in persons}
        connection.execute("create or replace temporary table erased_persons (kind varchar, value_hash varchar)")
        connection.execute("create or replace temporary table erased_keys (table_name varchar, key varchar)")
        if persons:
            rows = [[person.kind, person.value_hash] for person in persons]
            connection.executemany("insert into erased_persons values (?, ?)", rows)

    def may_contain(self, table: str) -> bool:
        """Returns whether the table may hold data of these persons."""
        columns = list(self.contract.tables[table].columns)
        return bool(self._conditions(table, columns) or self._cleared(table, columns))

    def is_removed(self, table: str, columns: Iterable[str]) -> str:
        """Returns the SQL condition, never null, for rows of the table that are removed."""
        return " or ".join(f"coalesce({test}, false)" for test in self._conditions(table, list(columns))) or "false"

    def is_cleared(self, table: str, columns: Iterable[str]) -> str:
        """Returns the SQL condition, never null, for rows of the table that lose a value."""
        cleared = self._cleared(table, list(columns))
        return " or ".join(f"coalesce({test}, false)" for test in cleared.values()) or "false"

    @staticmethod
    def is_erased_identifier(kind: str, value_hash: str) -> str:
        """Returns the SQL condition for a merchant's identifier that was erased.

        Args:
            kind: SQL for its kind.
            value_hash: SQL for its hash.
        """
        return f"row({kind}, {value_hash}) in (select row(kind, value_hash) from erased_persons)"

    def select(self, table: str, columns: Sequence[str], rows: str) -> str:
        """Returns the query for the rows that remain, without the cleared values.

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
        return f"select {selected} from {rows} where not ({self.is_removed(table, columns)})"

    def collect(self, table: str, columns: Sequence[str], rows: str) -> None:
        """Stores the keys of the removed rows, for tables that refer to them. Call it for referred tables first."""
        for key in sorted(self._referred(table) & set(columns)):
            self.connection.execute(
                f"insert into erased_keys select distinct {literal(f'{table}.{key}')}, cast({quoted(key)} as varchar) "
                f"from {rows} where {self.is_removed(table, columns)}"
            )

    def apply(self, table: str, rows: str) -> None:
        """Removes the persons from a table of this connection that has the contract's columns."""
        columns = list(self.contract.tables[table].columns)
        self.collect(table, columns, rows)
        if self._conditions(table, columns):
            self.connection.execute(f"delete from {rows} where {self.is_removed(table, columns)}")
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
            own.append(self.is_erased_identifier("kind", "value_hash"))
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
        """Returns the columns of a table that others refer to, if rows of it may be removed."""
        if not self._has_own_rows(table):
            return set()
        columns = (column for other in self.contract.tables.values() for column in other.columns.values())
        return {reference[1] for column in columns if (reference := column.reference) and reference[0] == table}
