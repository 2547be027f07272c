"""Pulling: brings one table's rows into DuckDB, typed by the contract and with identifiers hashed, and checks them.

All that is checked and landed of a table comes from one reading of it, because a source may answer differently the second
time, into an in-memory table that spills to the working folder. Identifiers are hashed in the query that reads them, so
none is on disk before that. Whether the rows then land is for `land`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

import duckdb

from expectations.contract import Contract, Table
from touchstone.core.errors import BadInputError, without_secrets
from touchstone.core.text import visible
from touchstone.landing.allowed_sql import columns_named
from touchstone.landing.checks import (
    CHANGED_AT,
    UNCONVERTED,
    Conversion,
    RowChecks,
    Violation,
    check_columns,
    conversion,
    family_of,
    type_name,
    unconvertible,
)
from touchstone.landing.connectors import ATTEMPTS, Place, SourceUnavailableError
from touchstone.landing.databases import lost_connection, persevering
from touchstone.landing.ledger import Person
from touchstone.landing.persons import Erasure
from touchstone.landing.sources import Sources, TableSource
from touchstone.landing.sql import (
    Hmac,
    Limits,
    connection_with,
    literal,
    lock,
    masking,
    quoted,
    why,
)

PULLED = "pulled:"
"""Prefix of the tables that hold pulled rows; no input or view can have such a name."""

CACHED_ROWS = 1_000_000
"""Rows whose identifiers are hashed in advance: at most some 200 MB of them."""

KEPT_CHARACTERS = 100
"""Characters kept of a value that cannot be converted; a refusal shows fewer."""


MAX_VALUE_BYTES = 1_000_000
CUT_CHARACTERS, MAX_CUT_BYTES = 100_000, 4_000_000
"""What anybody may have written is cut to so many characters, up to so many bytes: no lister can stop a load by one text."""
"""A text may not be longer: nothing that a marketplace shows is, and every reader after this one has to hold it."""

_TOO_LONG = re.compile(r"Invalid Input Error: too long: (\w+)")


MASKED_COLUMNS = {"listings": ("title", "description", "brand_claimed")}
"""The texts of which a sources file may have words cut out, by table: those that features read and merchants write."""

RISING_FAMILIES = ("timestamp", "date", "integer")


@dataclass(frozen=True)
class Since:
    """From where a table is read on.

    Attributes:
        value: The greatest value that has landed of what it is read on by, as text.
        loads: SQL for the rows of each load up to it, oldest first.
    """

    value: str
    loads: tuple[str, ...]

    @property
    def landed(self) -> str:
        """Returns SQL for the rows of all loads, also those that others have taken the place of."""
        return "(" + " union all by name ".join(f"select * from {load}" for load in self.loads) + ")"

    def present(self, key: str, wanted: str) -> str:
        """Returns SQL for the newest row of each `key` among those that `wanted` gives."""
        numbered = (f"select *, {place} as load_place from {load}" for place, load in enumerate(self.loads))
        return (
            f"(select * exclude (load_place) from ({' union all by name '.join(numbered)}) "
            f"semi join ({wanted}) as wanted using ({key}) "
            f"qualify row_number() over (partition by {key} order by load_place desc) = 1)"
        )


@dataclass(frozen=True)
class Rising:
    """What a table is read on by: its cursor, or when its rows changed.

    Attributes:
        column: Its column among the rows that are read and the pulled ones.
        source_type: Its DuckDB type at the source.
        sql_type: Its DuckDB type among the pulled rows.
        value: SQL for it over the rows that are read.
    """

    column: str
    source_type: str
    sql_type: str
    value: str


@dataclass(frozen=True)
class Pulled:
    """One table as it was pulled.

    Attributes:
        violations: What breaks the contract.
        row_count: Rows that were read.
        absent_columns: Optional columns that the source does not have.
        rows: SQL for the rows; empty where none could be read.
        cursor_value: Greatest value of what the table is read on by, as text.
        source_rows: How many rows the source had, of a table that is read on; None where it was pulled whole.
    """

    violations: tuple[Violation, ...]
    row_count: int = 0
    absent_columns: tuple[str, ...] = ()
    rows: str = ""
    cursor_value: str | None = None
    source_rows: int | None = None


def place_of(sources: Sources, name: str) -> str:
    """Returns where a table's entry stands, for a message."""
    return f"{sources.path} under tables.{name}"


def landing_order(sources: Sources, contract: Contract) -> list[str]:
    """Returns the tables that a sources file maps, each after those that it refers to."""
    return [name for name in contract.in_landing_order() if name in sources.tables]


def check_mapping(sources: Sources, contract: Contract) -> None:
    """Checks that a sources file maps to the contract's tables and columns, and to every required table.

    Raises:
        BadInputError: It does not; names everything that is wrong.
    """
    problems = [
        f"tables.{name} is required, and the file does not map it. Say where its rows come from."
        for name, table in contract.tables.items()
        if table.required and name not in sources.tables
    ]
    for name, source in sources.tables.items():
        if name not in contract.tables:
            problems.append(f"tables.{name} is no table of the contract{_closest(name, contract.tables)}")
        else:
            problems += _mapping_problems(name, source, contract.tables[name])
    if problems:
        lines = [f"  {visible(problem)}" for problem in problems]
        raise BadInputError("\n".join([f"{sources.path} does not fit the contract:", *lines]))


def _mapping_problems(name: str, source: TableSource, table: Table) -> list[str]:
    problems = [
        f"tables.{name}.columns.{column} is no column of the contract{_closest(column, table.columns)}"
        for column in source.columns
        if column not in table.columns
    ]
    if source.changed_at:
        hidden = {column for column in table.columns if table.columns[column].personal == "hash"}
        hidden |= {read for column in hidden & set(source.columns) for read in columns_named(source.columns[column])}
        if read := sorted(hidden & columns_named(source.changed_at)):
            problems.append(
                f"tables.{name}.changed_at reads {', '.join(read)}, which is personal, and what it gives stands in the ledger. "
                "Give the time of a row's last change."
            )
    cursor = source.cursor
    if cursor and cursor not in table.columns:
        problems.append(f"tables.{name}.cursor: {cursor} is no column of the contract{_closest(cursor, table.columns)}")
    elif cursor and table.columns[cursor].type not in RISING_FAMILIES:
        problems.append(f"tables.{name}.cursor: {cursor} must be a timestamp, a date or an integer, to grow by.")
    return problems


def _closest(word: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f". It has: {', '.join(known)}."


@contextmanager
def open_puller(
    sources: Sources,
    contract: Contract,
    hmac: Hmac,
    folder: Path,
    work: Path,
    limits: Limits,
    *,
    now: datetime,
    erased: Sequence[Person] = (),
) -> Iterator[Puller]:
    """Opens DuckDB over the inputs; those that cannot be read are remembered with the reason.

    Args:
        sources: The sources file.
        contract: The contract.
        hmac: Hashes personal identifiers.
        folder: Absolute directory that may be read and written: the landing zone, or `work` itself.
        work: Directory in it, for what does not fit into memory.
        limits: Threads and memory for DuckDB.
        now: The time of the landing.
        erased: Persons whose rows do not land any more.

    Raises:
        BadInputError: The memory does not suffice, on opening or while the puller is used.
    """
    place = Place(sources.path.absolute().parent, work)
    readable: list[Path] = []
    unavailable: dict[str, str] = {}
    with without_secrets(), _enough_memory(limits), connection_with(limits, work) as connection:
        for name, connector in sources.inputs.items():
            try:
                readable += connector.attach(connection, name, place)
            except SourceUnavailableError as error:
                unavailable[name] = f"input {name}: {error}"
        lock(connection, readable, folder)
        yield Puller(connection, sources, contract, hmac, unavailable, now, erased)


@contextmanager
def _enough_memory(limits: Limits) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BadInputError(
            f"Landing needs more than the {limits.memory} of memory that it may use, although it spills to disk. "
            "Raise TOUCHSTONE_MEMORY_LIMIT, or lower TOUCHSTONE_THREADS."
        ) from error


class _RefusedError(Exception):
    """Something is wrong that was found before rows could be checked."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__()
        self.violations = violations


class Puller:
    """Brings tables into DuckDB and checks them there."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sources,
        contract: Contract,
        hmac: Hmac,
        unavailable: dict[str, str],
        now: datetime,
        erased: Sequence[Person] = (),
    ) -> None:
        """Makes the file's views; one that cannot be made is as unavailable as an input.

        Args:
            connection: Has a view for every input that can be read.
            sources: The sources file.
            contract: The contract.
            hmac: Hashes personal identifiers.
            unavailable: Why an input cannot be read, by its name.
            now: The time of the landing.
            erased: Persons whose rows are left out.
        """
        self.connection = connection
        self.sources = sources
        self.contract = contract
        self.hmac = hmac
        self.unavailable = unavailable
        self.now = now
        self.erasure = Erasure(connection, contract, erased) if erased else None
        for name, query in sources.views.items():
            try:
                connection.execute(f"create view {quoted(name)} as {query}")
            except duckdb.Error as error:
                self.unavailable[name] = f"view {name}: {why(error)}"

    def pull(self, name: str, since: Since | None, parents: Mapping[str, str]) -> Pulled:
        """Pulls and checks one table.

        Args:
            name: The contract's table.
            since: From where to read on, for a table that is not pulled whole.
            parents: SQL for the tables that it may refer to.
        """
        source = self.sources.tables[name]
        try:
            expressions = self._expressions(name)
            conversions = self._conversions(name, expressions)
            rising = self._rising(name, expressions, conversions)
            rows, source_rows = self._copy(name, expressions, conversions, rising, since)
        except _RefusedError as refused:
            return Pulled(refused.violations)
        if self.erasure is not None:
            self.erasure.apply(name, rows)
        unconverted = [column for column, converted in conversions.items() if converted.fails]
        checks = RowChecks(self.connection, name, self.contract, rows)
        may_not_come_again = since.landed if since and source.cursor else None
        rises = (rising.column, rising.sql_type) if rising else None
        violations = checks.run(unconverted, rises, self.now, parents, may_not_come_again, source_rows)
        greatest = f"cast(max({quoted(rising.column)}) as varchar)" if rising else "null"
        facts = f"select count(*), {greatest} from {rows}"
        count, cursor_value = self.connection.execute(facts).fetchall()[0]
        absent = tuple(column for column in self.contract.tables[name].columns if column not in expressions)
        return Pulled(tuple(violations), count, absent, rows, cursor_value, source_rows)

    def masks(self, name: str) -> dict[str, tuple[str, ...]]:
        """Returns, by column of a table, the patterns of what is cut out of its texts."""
        return dict.fromkeys(MASKED_COLUMNS.get(name, ()), self.sources.masked) if self.sources.masked else {}

    def _expressions(self, name: str) -> dict[str, tuple[str, str]]:
        """Returns SQL and DuckDB type of each contract column that the source has, in the contract's order."""
        table, source = self.contract.tables[name], self.sources.tables[name]
        missing = [read for read in self.sources.relations_of(name) if read in self.unavailable]
        causes = [read for read in missing if read in self.sources.inputs] or missing
        if causes:
            raise _RefusedError(*(Violation("source", (), self.unavailable[read]) for read in causes))
        types = self._types(f"select * from {source.relation}", "query" if source.query else "input")
        if source.changed_at:
            besides = columns_named(source.changed_at) - set(table.columns)
            types = {column: sql_type for column, sql_type in types.items() if column.lower() not in besides}
        tolerate = bool(source.columns) and source.query is None
        violations = check_columns(table, types, source.columns, tolerate_unknown=tolerate)
        if violations:
            raise _RefusedError(*violations)
        by_name = {column.lower(): (quoted(column), sql_type) for column, sql_type in types.items()}
        mapped = {column: self._mapped(source, f"columns.{column}") for column in source.columns}
        return {column: made for column in table.columns if (made := mapped.get(column) or by_name.get(column))}

    def _mapped(self, source: TableSource, place: str) -> tuple[str, str]:
        sql = f"(\n{source.expressions[place]}\n)"
        types = self._types(f"select {sql} as mapped from {source.relation}{_where(source)}", place)
        return sql, types["mapped"]

    def _types(self, query: str, place: str) -> dict[str, str]:
        try:
            return {row[0]: row[1] for row in self.connection.execute(f"describe {query}").fetchall()}
        except duckdb.Error as error:
            raise _RefusedError(Violation("sql", (place,), why(error))) from error

    def _conversions(self, name: str, expressions: Mapping[str, tuple[str, str]]) -> dict[str, Conversion]:
        columns = self.contract.tables[name].columns
        found: dict[str, Conversion] = {}
        wrong = []
        for column, (_, source_type) in expressions.items():
            converted = conversion(columns[column], source_type, quoted(column))
            if converted is None:
                wrong.append(unconvertible(column, columns[column], source_type))
            else:
                found[column] = converted
        if wrong:
            raise _RefusedError(*wrong)
        return found

    def _rising(
        self, name: str, expressions: Mapping[str, tuple[str, str]], conversions: Mapping[str, Conversion]
    ) -> Rising | None:
        """Returns what a table is read on by, if it is not pulled whole every time."""
        table, source = self.contract.tables[name], self.sources.tables[name]
        if source.cursor and source.cursor in expressions:
            sql_type = table.columns[source.cursor].sql_type
            return Rising(source.cursor, expressions[source.cursor][1], sql_type, conversions[source.cursor].value)
        if source.changed_at:
            _, sql_type = self._mapped(source, CHANGED_AT)
            if family_of(sql_type) not in RISING_FAMILIES:
                given = type_name(sql_type)
                text = f"is {given}, must be a timestamp, a date or an integer; write an expression that makes it one"
                raise _RefusedError(Violation("type", (CHANGED_AT,), text))
            return Rising(CHANGED_AT, sql_type, sql_type, quoted(CHANGED_AT))
        return None

    def _copy(
        self,
        name: str,
        expressions: Mapping[str, tuple[str, str]],
        conversions: Mapping[str, Conversion],
        rising: Rising | None,
        since: Since | None,
    ) -> tuple[str, int | None]:
        """Reads the source, once, into a table of this DuckDB.

        Returns:
            The table's name in quotes, and how many rows the source has where only the newer ones were read.
        """
        table, source = self.contract.tables[name], self.sources.tables[name]
        read = {column: sql for column, (sql, _) in expressions.items()}
        shaped = [*_shaped(table, conversions, self.masks(name))]
        if source.changed_at:
            read[CHANGED_AT] = f"(\n{source.changed_at}\n)"
            shaped.append(quoted(CHANGED_AT))
        given = ", ".join(f"{sql} as {quoted(column)}" for column, sql in read.items())
        query = f"select {given} from {source.relation}{_where(source)}"
        parameters: dict[str, object] = {}
        newer, source_rows = "", None
        if since and rising:
            try:
                source_rows, without = self._counted(name, query, rising.column)
                query = self.pushed(query, rising.column, rising.source_type, has_nulls=without > 0)
            except duckdb.Error as error:
                raise _RefusedError(*self._blamed(name, error)) from error
            newer = f" where {rising.value} >= cast($since as {rising.sql_type}) or {rising.value} is null"
            parameters["since"] = since.value
        query = f"select {', '.join(shaped)} from (\n{query}\n){newer}"
        hashed = [column for column in conversions if table.columns[column].personal == "hash"]
        rows = quoted(f"{PULLED}{name}")
        try:
            if hashed:
                query = self._hashing(name, query, hashed, parameters)
                parameters |= self.hmac.parameters
            self._create(name, rows, query, parameters)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise _RefusedError(*self._blamed(name, error)) from error
        if since and rising:
            rows = self._without_landed(name, rows, rising, since)
        return rows, source_rows

    def _counted(self, name: str, query: str, column: str) -> tuple[int, int]:
        """Returns how many rows a source has, and how many of them have no value in a column, which alone is read."""
        counts = f"select count(*), count(*) - count({quoted(column)}) from (\n{query}\n)"
        row = persevering(self._reading(name), lambda: self.connection.execute(counts).fetchone())
        return row or (0, 0)

    @staticmethod
    def pushed(query: str, column: str, source_type: str, *, has_nulls: bool) -> str:
        """Asks a source for the newer rows alone, in a comparison that it can do itself, where its type allows that.

        Rows without a value, which the checks refuse, are asked for too where there are any: a database sends every row
        for that question.
        """
        if family_of(source_type) not in RISING_FAMILIES:
            return query
        newer = f"select * from (\n{query}\n) where {quoted(column)} >= cast($since as {source_type})"
        return f"{newer} union all select * from (\n{query}\n) where {quoted(column)} is null" if has_nulls else newer

    def _hashing(self, name: str, query: str, columns: Sequence[str], parameters: Mapping[str, object]) -> str:
        """Returns the query with `columns` hashed, after hashing in advance the identifiers of some of its rows.

        A hash takes 2.4 µs, and an order's buyer comes back five times: on 400,000 orders, hashing each identifier once
        took 0.8 s of processor time and hashing row by row 2.8 s (November 2026). What was hashed in advance is a cache
        and nothing else: an identifier that it lacks is hashed where it comes. It is bounded, so that identifiers that
        are not hashed yet do not spill to disk.
        """
        digests = quoted(f"{PULLED}digests")
        some = f"select {', '.join(map(quoted, columns))} from ({query}) limit {CACHED_ROWS}"
        each = f"select distinct unnest([{', '.join(map(quoted, columns))}]) as identifier from ({some})"
        cache = f"select identifier, {self.hmac.sql('identifier')} as digest from ({each})"
        self._create(name, digests, cache, {**parameters, **self.hmac.parameters})
        digested = ", ".join(
            f"coalesce(d{place}.digest, {self.hmac.sql(f'r.{quoted(column)}')}) as {quoted(column)}"
            for place, column in enumerate(columns)
        )
        joins = " ".join(
            f"left join {digests} as d{place} on d{place}.identifier = r.{quoted(column)}"
            for place, column in enumerate(columns)
        )
        return f"select r.* replace ({digested}) from ({query}) as r {joins}"

    def _without_landed(self, name: str, rows: str, rising: Rising, since: Since) -> str:
        """Leaves out the rows at the last value that landed which are as they landed, and returns the new table.

        Under a cursor, a row at that value that differs from the landed one stays, and the checks refuse its key.
        """
        table, source = self.contract.tables[name], self.sources.tables[name]
        at = f"{quoted(rising.column)} = cast($since as {rising.sql_type})"
        own = ", ".join(map(quoted, table.columns))
        if source.changed_at:
            key = ", ".join(map(quoted, table.key))
            landed = f"select {own} from {since.present(key, f'select {key} from {rows} where {at}')}"
        else:
            landed = f"select {own} from {since.landed} where {at}"
        known = f"select row({own}) from ({landed})"
        kept = f"select * from {rows} where not coalesce({at}, false) or row({own}) not in ({known})"
        newer = quoted(f"{PULLED}{name}:newer")
        self._create(name, newer, kept, {"since": since.value})
        self.connection.execute(f"drop table {rows}")
        return newer

    def _create(self, name: str, table: str, query: str, parameters: Mapping[str, object]) -> None:
        """Makes a table of a query's rows; when a source's connection breaks meanwhile, once more from the start."""
        create = f"create or replace table {table} as {query}"
        persevering(self._reading(name), lambda: self.connection.execute(create, parameters))

    def _reading(self, name: str) -> str:
        return f"reading {self.sources.origin_of(name)}, for table {name}"

    def drop(self, pulled: Pulled) -> None:
        """Frees what a pulled table holds."""
        if pulled.rows:
            self.connection.execute(f"drop table {pulled.rows}")

    def _blamed(self, name: str, error: duckdb.Error) -> list[Violation]:
        """Returns what is wrong with a table whose rows could not be read: the expressions that fail, if any do."""
        source = self.sources.tables[name]
        if lost := lost_connection(error):
            text = f"{self._reading(name)}: {ATTEMPTS} tries failed ({lost}). Is the server up, and does it let a read finish?"
            return [Violation("source", (), text)]
        long = _TOO_LONG.fullmatch(str(error).strip()) if isinstance(error, duckdb.InvalidInputException) else None
        columns = self.contract.tables[name].columns
        if long and (column := long.group(1)) in columns:  # an expression may call error() with any other word
            most = MAX_CUT_BYTES if columns[column].by_anybody else MAX_VALUE_BYTES
            text = f"a value has more than {most:,} bytes; cut such values, or leave such rows out"
            return [Violation("length", (column,), text)]
        blamed = []
        for place, sql in source.expressions.items():
            try:
                given = f"select (\n{sql}\n) as given from {source.relation}{_where(source)}"
                self.connection.execute(f"select count(given) from ({given})")
            except duckdb.Error as cause:
                blamed.append(Violation("sql", (place,), f"{why(cause)}; use try_cast, or leave such rows out"))
        return blamed or [Violation("sql", (), f"the rows cannot be read: {why(error)}")]


def _where(source: TableSource) -> str:
    return f" where (\n{source.where}\n)" if source.where else ""


def _shaped(table: Table, conversions: Mapping[str, Conversion], masks: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Gives SQL for every column of the contract, and beside it for what cannot be converted, as text."""
    for name, column in table.columns.items():
        converted = conversions.get(name)
        value = converted.value if converted else f"cast(null as {column.sql_type})"
        if converted and column.sql_type == "VARCHAR":
            refused = f"error({literal(f'too long: {name}')})"
            text = masking(value, masks[name]) if name in masks else value
            if column.by_anybody:
                refused = f"case when strlen({value}) > {MAX_CUT_BYTES} then {refused} else left({text}, {CUT_CHARACTERS}) end"
            value = f"case when strlen({value}) > {MAX_VALUE_BYTES} then {refused} else {text} end"
        yield f"{value} as {quoted(name)}"
        if converted and converted.fails:
            kept = f"left(cast({quoted(name)} as varchar), {KEPT_CHARACTERS})"
            fails = f"{quoted(name)} is not null and {converted.fails}"
            yield f"case when {fails} then {kept} end as {quoted(UNCONVERTED + name)}"
