"""Checks extracted rows against the contract, with set-based SQL, and formats refusals.

First each column is converted to the contract's type; values that cannot be converted are kept as text in an extra column, so
that a refusal can show them. Then one pass counts the rows that break each rule, and only broken rules are queried for sample
rows. Values of personal columns never appear in messages. Whether the rows are plausible as a whole (volume, freshness,
distribution) is checked by the suites.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb

from expectations.contract import Column, Contract, Table
from touchstone.core.errors import format_count
from touchstone.core.secrets import hide
from touchstone.core.text import list_some, visible
from touchstone.landing.sql import literal, quoted

FIRST_DAY, LAST_DAY = "1970-01-01", "2100-12-31"
SAMPLE_ROWS = 3
SHOWN_CHARACTERS = 60
LONGEST_AHEAD = timedelta(days=1)
"""Tolerance for clocks that are ahead."""
CHANGED_AT = "changed_at"
"""The extracted column with the time of a row's last change; it does not land, and no contract column has its name."""

UNCONVERTED = "unconverted:"
"""Prefix of the extracted columns that hold, as text, values that could not be converted."""

Family = Literal["text", "integer", "floating", "decimal", "boolean", "date", "timestamp", "nested", "nothing", "other"]

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("VARCHAR", "JSON", "UUID", "ENUM"), "text"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "integer"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "floating"),
    "DECIMAL": "decimal",
    "BOOLEAN": "boolean",
    "DATE": "date",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "timestamp"),
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    **dict.fromkeys(("STRUCT", "MAP", "UNION"), "nested"),
    '"NULL"': "nothing",
}
_TAKES: dict[str, tuple[Family, ...]] = {
    "string": ("text", "integer", "boolean"),
    "integer": ("integer", "text", "floating", "decimal"),
    "decimal": ("decimal", "integer", "floating", "text"),
    "double": ("floating", "decimal", "integer", "text"),
    "boolean": ("boolean", "integer", "text"),
    "date": ("date", "timestamp", "text"),
    "timestamp": ("timestamp", "date", "text"),
    "json": ("text", "nested"),
}


@dataclass(frozen=True)
class Violation:
    """One rule of the contract that a load breaks.

    Attributes:
        rule: Short name of the rule.
        columns: The columns that the rule checks.
        text: The problem, without the names of table and columns.
        count: How many rows break the rule; None if it does not check rows.
        samples: Up to three rows that break the rule, as `key=value` text without personal values.
        condition: SQL that is true in the rows that break the rule; empty if the load as a whole breaks it.
    """

    rule: str
    columns: tuple[str, ...]
    text: str
    count: int | None = None
    samples: tuple[str, ...] = ()
    condition: str = ""

    def __post_init__(self) -> None:
        """Redacts secrets: violations appear in messages, the ledger and run records."""
        object.__setattr__(self, "text", hide(self.text))
        object.__setattr__(self, "samples", tuple(map(hide, self.samples)))

    def __str__(self) -> str:
        """Returns the lines of a refusal about this rule."""
        head = f"{list_some(self.columns)}: {self.text} [{self.rule}]" if self.columns else f"{self.text} [{self.rule}]"
        return "\n".join([head, *(f"    e.g. {sample}" for sample in self.samples)])


@dataclass(frozen=True)
class TableReport:
    """The result of checking one table.

    Attributes:
        table: The contract's table.
        row_count: Rows that were extracted.
        absent_columns: Optional columns that the source does not have; they are null in the load.
        violations: The broken rules; empty if the load would be accepted.
        source: Description of the source.
        message: The refusal, or a sentence about what would land.
        filled_columns: Columns with a value; none if the load would be refused.
    """

    table: str
    row_count: int
    absent_columns: tuple[str, ...]
    violations: tuple[Violation, ...]
    source: str
    message: str = field(default="")
    filled_columns: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the load would be accepted."""
        return not self.violations


@dataclass(frozen=True)
class Conversion:
    """The conversion of a source column to a contract column: SQL for the value, and for whether the conversion fails."""

    value: str
    fails: str | None


def family_of(sql_type: str) -> Family:
    """Returns the family of a DuckDB type."""
    if sql_type.endswith("]"):
        return "nested"
    return _FAMILIES.get(sql_type.partition("(")[0], "other")


def conversion(column: Column, source_type: str, value: str) -> Conversion | None:
    """Returns the conversion of `value`, of DuckDB type `source_type`, to the contract's type; None if there is none.

    Lossy conversions fail: of a fraction to an integer, of a time to a date, of 2 to a boolean. Decimals are rounded to the
    contract's four places.

    Args:
        column: The contract's column.
        source_type: DuckDB type of the value.
        value: SQL for the value.
    """
    family = family_of(source_type)
    if family == "nothing":
        return Conversion(f"cast({value} as {column.sql_type})", None)
    if family not in _TAKES[column.type]:
        return None
    if column.type == "string":
        return Conversion(f"cast({value} as varchar)", None)
    if column.type == "json":
        if family == "nested":
            return Conversion(f"cast(to_json({value}) as varchar)", None)
        return Conversion(f"cast({value} as varchar)", f"not json_valid(cast({value} as varchar))")
    cast = f"try_cast({value} as {column.sql_type})"
    if column.type == "timestamp" and family == "text":
        cast = f"cast(try_cast({value} as timestamptz) as timestamp)"
    return Conversion(cast, f"({cast} is null{_lossy(column, family, value, cast)})")


def _has_odd_zone(text: str) -> str:
    """Returns SQL for whether a time as text has an ambiguous zone (EST, BST): not UTC, an offset or a place name."""
    ends = r"^\s*\d.*[A-Za-z]\s*$"
    known = r"(\d\s*Z|\b(UTC|GMT)|[A-Za-z_]+(/[A-Za-z_+-]+)+)\s*$"
    far = r":\d\d(\.\d+)?\s*[+-](1[6-9]|[2-9]\d)(:?\d\d)*\s*$"
    return (
        f"(regexp_matches({text}, '{ends}') and not regexp_matches({text}, '{known}', 'i') "
        f"or regexp_matches({text}, '{far}'))"
    )


def _lossy(column: Column, family: Family, value: str, cast: str) -> str:
    if column.type in ("integer", "decimal", "double") and family == "text":
        # DuckDB also accepts the notations 0x10 and 1_000.
        odd = f" or regexp_matches({value}, '[xXbB_]')"
        return f" or try_cast({value} as double) <> {cast}{odd}" if column.type == "integer" else odd
    if column.type == "integer" and family != "integer":
        return f" or try_cast({value} as double) <> {cast}"
    if column.type == "timestamp" and family == "text":
        return f" or {_has_odd_zone(value)}"
    if column.type == "date" and family in ("timestamp", "text"):
        return f" or cast({cast} as timestamp) <> try_cast({value} as timestamp)"
    if column.type == "boolean" and family == "integer":
        return f" or {value} not in (0, 1)"
    return ""


def check_columns(
    table: Table, types: dict[str, str], mapped: Iterable[str], *, tolerate_unknown: bool
) -> list[Violation]:
    """Checks which columns a source has, before any row is read.

    Args:
        table: The contract's table.
        types: DuckDB types of the source's columns by name.
        mapped: The contract columns for which the sources file has an expression.
        tolerate_unknown: Whether to ignore columns that the contract does not have.

    Returns:
        The violations: missing columns that are needed, and columns that the contract does not have.
    """
    given = {name.lower() for name in types} | set(mapped)
    violations = [
        Violation("missing column", (name,), "the source has no such column, and it is required")
        for name in table.columns
        if table.is_needed(name) and name not in given
    ]
    unknown = [name for name in types if name.lower() not in table.columns]
    if unknown and not tolerate_unknown:
        known = list_some([name for name in table.columns if name not in given]) or "none"
        text = f"not a column of the contract. Columns of the contract that the source lacks: {known}"
        if table.takes_extra:
            text += ". A column of your own becomes a feature if you declare it under `extra`"
        if len(unknown) == len(types):
            # The first line of a file without a header is a row, and its values may be personal.
            unknown = []
            text = f"none of the {len(types)} columns is in the contract (is there a header?). Its columns: {known}"
        violations.append(Violation("unknown column", tuple(unknown), text))
    return violations


def unconvertible(name: str, column: Column, source_type: str) -> Violation:
    """Returns the violation of a column whose type cannot be converted to the contract's."""
    text = f"is {type_name(source_type)}, must be {column.type}; convert it with an expression under `columns`"
    return Violation("type", (name,), text)


def type_name(sql_type: str) -> str:
    """Returns a DuckDB type for a message, without the members of an ENUM or STRUCT, which may be values."""
    return sql_type if re.fullmatch(r"[A-Z_ ]+(\(\d+(,\d+)?\))?(\[\d*\])*", sql_type) else sql_type.partition("(")[0]


class RowChecks:
    """Checks one table's extracted rows against the contract's rules."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, contract: Contract, rows: str) -> None:
        """Sets the rows to check.

        Args:
            connection: Can read `rows`.
            name: The contract's table.
            contract: The contract.
            rows: SQL for the extracted rows: the contract's columns, and the `unconverted:` columns.
        """
        self.connection = connection
        self.name = name
        self.contract = contract
        self.table = contract.tables[name]
        self.rows = rows

    def run(
        self,
        unconverted: Iterable[str],
        cursor: tuple[str, str] | None,
        now: datetime,
        parents: Mapping[str, str],
        landed: str | None,
        source_rows: int | None,
    ) -> list[Violation]:
        """Returns every broken rule, in the order of the columns; keys and references last.

        Args:
            unconverted: Contract columns that have an `unconverted:` column.
            cursor: The cursor column and its DuckDB type, of a table that is extracted incrementally. It must have a value in
                every row, and none in the future: rows that come before such a value would never be extracted.
            now: The time of the landing.
            parents: SQL for the tables that this one may refer to; references to other tables are not checked.
            landed: SQL for the rows that an incremental load adds to, if their keys must not occur again.
            source_rows: How many rows the source has, if only the new ones (possibly none) were extracted.
        """
        rules = list(self._row_rules(set(unconverted), cursor[0] if cursor else None))
        if cursor and family_of(cursor[1]) in ("timestamp", "date"):
            rules += _cursor_rules(cursor[0], now)
        violations = [
            self._violation(rule, column, text, condition, count)
            for (rule, column, text, condition), count in zip(rules, self._counts(rules), strict=True)
            if count and not self._is_stray(rule, column, count)
        ]
        violations += self._empty(source_rows)
        return [*violations, *self._repeated_keys(), *self._landed_keys(landed), *self._dangling(parents)]

    def _row_rules(self, unconverted: set[str], cursor: str | None) -> Iterable[tuple[str, str, str, str]]:
        for name, column in self.table.columns.items():
            value = quoted(name)
            failed = f"{quoted(UNCONVERTED + name)} is not null" if name in unconverted else "false"
            if name in unconverted:
                yield "type", name, f"cannot be read as {column.type}", failed
            if self.table.is_needed(name) or name == cursor:
                empty = f" or {value} = ''" if name in self.table.key and column.sql_type == "VARCHAR" else ""
                yield "required", name, "must have a value and has none", f"({value} is null{empty}) and not ({failed})"
            for rule, text, condition in _value_rules(column, value):
                yield rule, name, text, condition
        if cursor == CHANGED_AT:
            yield "required", cursor, "must have a value and has none", f"{quoted(cursor)} is null"

    def _counts(self, rules: list[tuple[str, str, str, str]]) -> list[int]:
        if not rules:
            return []
        counts = ", ".join(f"count(*) filter (where {condition})" for _, _, _, condition in rules)
        return [int(count) for count in self._one(f"select {counts} from {self.rows}")]

    def _is_stray(self, rule: str, column: str, count: int) -> bool:
        """Returns whether unconverted values may come from single listers: in at most half of the rows that have a value."""
        if rule != "type" or not self.table.columns[column].by_anybody:
            return False
        return 2 * count <= int(self._one(f"select count({quoted(column)}) from {self.rows}")[0])

    def _violation(self, rule: str, column: str, text: str, condition: str, count: int) -> Violation:
        total = self._one(f"select count(*) from {self.rows}")[0]
        shown = quoted(UNCONVERTED + column) if rule == "type" else ""
        samples = self._samples(f"select * from {self.rows} where {condition}", column, shown)
        return Violation(rule, (column,), f"{count:,} of {total:,} rows {text}", count, samples, condition)

    def _empty(self, source_rows: int | None) -> list[Violation]:
        if not self.table.required or source_rows or self._one(f"select count(*) from {self.rows}")[0]:
            return []
        return [Violation("rows", (), "the source has no rows, and the table is required", 0)]

    def _repeated_keys(self) -> list[Violation]:
        key = ", ".join(map(quoted, self.table.key))
        some = " and ".join(f"{quoted(column)} is not null" for column in self.table.key)
        repeated = f"select {key}, count(*) as times from {self.rows} where {some} group by {key} having count(*) > 1"
        keys, rows = self._one(f"select count(*), coalesce(sum(times), 0) from ({repeated})")
        if not keys:
            return []
        text = f"{format_count(int(keys), 'key')} in {format_count(int(rows), 'row')}; a key may occur in one row only"
        condition = f"({key}) in (select ({key}) from ({repeated}))"
        return [Violation("key", self.table.key, text, int(rows), self._samples(repeated, "times"), condition)]

    def _landed_keys(self, landed: str | None) -> list[Violation]:
        if landed is None:
            return []
        key = ", ".join(map(quoted, self.table.key))
        query = f"select new.* from {self.rows} as new semi join {landed} as old using ({key})"
        count = self._one(f"select count(*) from ({query})")[0]
        if not count:
            return []
        text = (
            f"changed after it had landed, in {format_count(int(count), 'row')}, so the table is not append-only; "
            "remove its `cursor` to extract it in full, or use `changed_at` with the time of each row's last change"
        )
        return [Violation("cursor", self.table.key, text, int(count), self._samples(query, self.table.key[0]))]

    def _dangling(self, parents: Mapping[str, str]) -> Iterable[Violation]:
        for name, column in self.table.columns.items():
            if column.reference is None or column.reference[0] not in parents:
                continue
            parent, referred = column.reference
            known = f"select {quoted(referred)} from {parents[parent]}"
            value = quoted(name)
            condition = f"{value} is not null and {value} not in ({known})"
            query = f"select * from {self.rows} where {condition}"
            count = self._one(f"select count(*) from ({query})")[0]
            if count:
                text = f"not in {parent}, in {format_count(int(count), 'row')}"
                yield Violation("reference", (name,), text, int(count), self._samples(query, name), condition)

    def _samples(self, query: str, column: str, shown: str = "") -> tuple[str, ...]:
        """Returns up to three rows of a query as text, in the order of the key; personal values are not read.

        Args:
            query: Returns the key's columns and `column`.
            column: The column that is shown with the key.
            shown: SQL for its value, if that is not the column itself.
        """
        names = [name for name in self.table.key if name != column]
        parts = [(name, quoted(name)) for name in names] + [(column, shown or quoted(column))]
        public = [(name, sql) for name, sql in parts if not self._is_personal(name)]
        hidden = [f"{name} is personal and not shown" for name, _ in parts if self._is_personal(name)]
        order = ", ".join(map(quoted, self.table.key))
        select = ", ".join(f"cast({sql} as varchar)" for _, sql in public) or "null"
        rows = self.connection.execute(
            f"select {select} from ({query}) order by {order} limit {SAMPLE_ROWS}"
        ).fetchall()
        if not public:
            return tuple(hidden)
        return tuple(
            ", ".join([*(f"{name}={_short(value)}" for (name, _), value in zip(public, row, strict=True)), *hidden])
            for row in rows
        )

    def _is_personal(self, column: str) -> bool:
        return column in self.table.columns and self.table.columns[column].personal is not None

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self.connection.execute(query).fetchone()
        if row is None:
            raise AssertionError("an aggregate without group by always has one row")
        return row


def _cursor_rules(name: str, now: datetime) -> Iterable[tuple[str, str, str, str]]:
    value, latest = quoted(name), literal((now.astimezone(UTC) + LONGEST_AHEAD).replace(tzinfo=None).isoformat(" "))
    if name == CHANGED_AT:
        yield "date", name, f"are before {FIRST_DAY}", f"{value} < date '{FIRST_DAY}'"
    text = "are more than a day in the future; until then, changed rows would not be extracted"
    yield "date", name, text, f"{value} > timestamp {latest}"


def _value_rules(column: Column, value: str) -> Iterable[tuple[str, str, str]]:
    if column.type == "double":
        yield "finite", "are infinite or not a number", f"not isfinite({value})"
    if column.min is not None:
        yield "range", f"are below {column.min:g}", f"{value} < {column.min!r}"
    if column.max is not None:
        number = f"isfinite({value}) and " if column.type == "double" else ""
        yield "range", f"are above {column.max:g}", f"{number}{value} > {column.max!r}"
    if column.values:
        known = ", ".join(map(literal, column.values))
        yield "values", f"are none of {', '.join(column.values)}", f"{value} not in ({known})"
    if column.type in ("date", "timestamp"):
        outside = f"{value} < date '{FIRST_DAY}' or {value} >= date '{LAST_DAY}' + 1"
        yield "date", f"are outside {FIRST_DAY} to {LAST_DAY}", outside


def _short(value: str | None) -> str:
    if value is None:
        return "null"
    cut = value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…"
    return visible(repr(cut))


def refusal(table: str, violations: Sequence[Violation], what_to_do: str) -> str:
    """Returns the message of a refused load.

    Args:
        table: The contract's table.
        violations: The broken rules, at least one.
        what_to_do: The last sentence of the message.
    """
    lines = [f"  {line}" for violation in violations for line in str(violation).splitlines()]
    return "\n".join([f"{table}: this load was refused; none of its rows landed.", *lines, f"  {what_to_do}"])


def describe_remedy(location: str, violations: Sequence[Violation] = ()) -> str:
    """Returns what to do about a refused load.

    Args:
        location: The table's entry: the sources file and the key in it.
        violations: The broken rules. If all are about single rows, the rows can be set aside.
    """
    remedy = (
        f"Correct the data at the source, or map or filter such rows in {location}. Then run again; "
        "`touchstone sources check` tests it without landing."
    )
    if violations and all(violation.condition for violation in violations):
        remedy += "\n  `quarantine: SHARE` at the top of the sources file sets aside up to that share of a load's rows."
    return remedy
