"""Quarantine: sets aside the rows of a load that break the contract, where the sources file allows some.

    landing/quarantine/<table>.csv    the rows that the newest load of a table set aside: their keys, and every rule they break

Without `quarantine` in the sources file, or with more such rows than its share, a load is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from expectations.contract import Table
from touchstone.core.errors import format_count
from touchstone.core.files import replacing
from touchstone.landing.checks import Violation
from touchstone.landing.sql import literal, quoted

FOLDER: Final = "quarantine"
ASIDE: Final = "set aside"
"""Prefix of the tables that hold what was set aside of an extraction."""


@dataclass(frozen=True)
class SetAside:
    """The rows of one extraction that were set aside.

    Attributes:
        rows: How many.
        rules: Their number by rule and columns, as `column: rule`; a row can break several.
        listed: SQL for the list of them.
    """

    rows: int = 0
    rules: tuple[tuple[str, int], ...] = ()
    listed: str = ""

    def __str__(self) -> str:
        """Returns a sentence without its end; empty if nothing was set aside."""
        counts = ", ".join(f"{rule} {count:,}" for rule, count in self.rules)
        return f"{format_count(self.rows, 'row')} set aside ({counts})" if self.rows else ""


NOTHING: Final = SetAside()


def set_aside(
    connection: duckdb.DuckDBPyConnection, rows: str, table: Table, violations: Sequence[Violation], share: float
) -> SetAside:
    """Moves the rows that break a rule out of an extraction, if they are few enough and each rule is about single rows.

    Of a repeated key all rows are set aside, since nothing says which is right.

    Args:
        connection: Holds the extraction.
        rows: The table with the extracted rows, quoted.
        table: The contract's table.
        violations: What the rows break.
        share: The share of them that may be set aside.

    Returns:
        What was set aside: all rows that break a rule, or none.
    """
    if not share or not violations or not all(violation.condition for violation in violations):
        return NOTHING
    bad = " or ".join(f"({violation.condition})" for violation in violations)
    counts = f"select count(*) filter (where {bad}), count(*) from {rows}"
    found, total = connection.execute(counts).fetchall()[0]
    if not found or found > share * total:
        return NOTHING
    # A key may be personal, and is hashed then. Other values are not listed: they may be anything.
    key = ", ".join(f"cast({quoted(name)} as varchar) as {quoted(name)}" for name in table.key)
    parts = [
        f"select {key}, {literal(', '.join(violation.columns))} as columns, {literal(violation.rule)} as rule "
        f"from {rows} where {violation.condition}"
        for violation in violations
    ]
    listed = quoted(f"{ASIDE}:{rows}")
    connection.execute(f"create or replace temporary table {listed} as {' union all '.join(parts)}")
    # Conditions may look at the whole table, as for repeated keys, so the rows are found before the first is deleted.
    connection.execute(f"delete from {rows} where rowid in (select rowid from {rows} where {bad})")
    by_rule = connection.execute(f"select columns, rule, count(*) from {listed} group by all order by all").fetchall()
    return SetAside(found, tuple((f"{columns}: {rule}", count) for columns, rule, count in by_rule), listed)


def write_quarantine(connection: duckdb.DuckDBPyConnection, landing: Path, table: str, aside: SetAside) -> None:
    """Lists what the newest load of a table set aside; removes the list of an earlier load."""
    file = landing / FOLDER / f"{table}.csv"
    if not aside.rows:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        connection.execute(
            f"copy (select * from {aside.listed} order by all) to {literal(str(temporary))} (format csv, header)"
        )
    connection.execute(f"drop table {aside.listed}")
