"""Extracts one table's rows into DuckDB, with the contract's types and hashed identifiers, and checks them.

A table is read once, because a source may answer differently the second time, into an in-memory table that spills to the working
folder. Identifiers are hashed by the query that reads them, so that none is on disk unhashed. `land` decides whether the rows
land.
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
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import VARCHAR

from expectations.contract import Contract, Table
from touchstone.core.errors import BadInputError, without_secrets
from touchstone.core.retry import ATTEMPTS, retry
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
from touchstone.landing.connectors import SourceFolders, SourceUnavailableError
from touchstone.landing.databases import lost_connection
from touchstone.landing.identifiers import NORMALISED_KINDS, normalise_all
from touchstone.landing.ledger import Person
from touchstone.landing.persons import IDENTIFIERS, Erasure
from touchstone.landing.quarantine import NOTHING, SetAside, set_aside
from touchstone.landing.sources import Sources, TableSource
from touchstone.landing.sql import (
    Hmac,
    Limits,
    connection_with,
    describe_error,
    literal,
    lock,
    masking,
    quoted,
)

EXTRACTED = "extracted:"
"""Prefix of the tables that hold extracted rows; no input or view can have such a name."""

CACHED_ROWS = 1_000_000
"""Rows whose identifiers are hashed in advance; they take at most about 200 MB."""

KEPT_CHARACTERS = 100
"""Characters that are kept of a value that cannot be converted; a refusal shows fewer."""


MAX_VALUE_BYTES = 1_000_000
"""A longer text is refused: marketplaces show none, and every later reader has to hold it in memory."""
CUT_CHARACTERS, MAX_CUT_BYTES = 100_000, 4_000_000
"""Texts that listers or buyers write are cut to so many characters if they have at most so many bytes, so that no lister can
stop a load with one text."""

_TOO_LONG = re.compile(r"Invalid Input Error: too long: (\w+)")


NORMALISE = "normalised_identifier"
"""The SQL function for `normalise_all`; the SQL of a sources file cannot call it."""

SPELLING, COUNTRY = "spelling:", "country:"
"""Columns that exist while identifiers are extracted: a hash of the value as written, and the merchant's country."""

MASKED_COLUMNS = {"listings": ("title", "description", "brand_claimed")}
"""The columns that a sources file may mask, by table: texts that merchants write and features read."""

CURSOR_FAMILIES = ("timestamp", "date", "integer")


@dataclass(frozen=True)
class Watermark:
    """Up to where a table has landed.

    Attributes:
        value: The greatest landed value of the cursor column, as text.
        loads: SQL for the rows of each landed load, oldest first.
    """

    value: str
    loads: tuple[str, ...]

    @property
    def landed(self) -> str:
        """SQL for the rows of all loads, including rows that later ones have replaced."""
        return "(" + " union all by name ".join(f"select * from {load}" for load in self.loads) + ")"

    def present(self, key: str, wanted: str) -> str:
        """Returns SQL for the newest landed row of each key.

        Args:
            key: The key columns.
            wanted: A query for the keys.
        """
        numbered = (f"select *, {index} as load_index from {load}" for index, load in enumerate(self.loads))
        return (
            f"(select * exclude (load_index) from ({' union all by name '.join(numbered)}) "
            f"semi join ({wanted}) as wanted using ({key}) "
            f"qualify row_number() over (partition by {key} order by load_index desc) = 1)"
        )


@dataclass(frozen=True)
class CursorColumn:
    """The column by which a table is extracted incrementally: its `cursor`, or `changed_at`.

    Attributes:
        column: Its name, in the source query and in the extracted rows.
        source_type: Its DuckDB type in the source.
        sql_type: Its DuckDB type in the extracted rows.
        value: SQL for its value over the source query.
    """

    column: str
    source_type: str
    sql_type: str
    value: str


@dataclass(frozen=True)
class Extraction:
    """One extracted table.

    Attributes:
        violations: The broken rules of the contract.
        row_count: Rows that were extracted.
        absent_columns: Optional columns that the source does not have.
        rows: SQL for the rows; empty if they could not be read.
        cursor_value: Greatest value of the cursor column, as text.
        source_rows: How many rows the source had, if the extraction was incremental; otherwise None.
        set_aside: The rows that break the contract and were set aside, if the sources file has a quarantine.
    """

    violations: tuple[Violation, ...]
    row_count: int = 0
    absent_columns: tuple[str, ...] = ()
    rows: str = ""
    cursor_value: str | None = None
    source_rows: int | None = None
    set_aside: SetAside = NOTHING


def entry_location(sources: Sources, name: str) -> str:
    """Returns the location of a table's entry in the sources file, for a message."""
    return f"{sources.path} under tables.{name}"


def landing_order(sources: Sources, contract: Contract) -> list[str]:
    """Returns the tables that a sources file maps, each after the tables that it refers to."""
    return [name for name in contract.in_landing_order() if name in sources.tables]


def check_mapping(sources: Sources, contract: Contract) -> None:
    """Checks that a sources file maps only tables and columns of the contract, and every required table.

    Raises:
        BadInputError: It does not; the message names all problems.
    """
    problems = [
        f"tables.{name} is required, and the file does not map it. Add an entry for it."
        for name, table in contract.tables.items()
        if table.required and name not in sources.tables
    ]
    for name, source in sources.tables.items():
        if name not in contract.tables:
            problems.append(f"tables.{name} is not a table of the contract{_closest(name, contract.tables)}")
        else:
            problems += _mapping_problems(name, source, contract.tables[name])
    if problems:
        lines = [f"  {visible(problem)}" for problem in problems]
        raise BadInputError("\n".join([f"{sources.path} does not match the contract:", *lines]))


def _mapping_problems(name: str, source: TableSource, table: Table) -> list[str]:
    problems = [
        f"tables.{name}.columns.{column} is not a column of the contract{_closest(column, table.columns)}"
        for column in source.columns
        if column not in table.columns
    ]
    if source.changed_at:
        hidden = {column for column in table.columns if table.columns[column].personal == "hash"}
        hidden |= {read for column in hidden & set(source.columns) for read in columns_named(source.columns[column])}
        if read := sorted(hidden & columns_named(source.changed_at)):
            problems.append(
                f"tables.{name}.changed_at reads {', '.join(read)}, which is personal, and its values are stored in the ledger. "
                "Use the time of a row's last change."
            )
    cursor = source.cursor
    if cursor and cursor not in table.columns:
        problems.append(
            f"tables.{name}.cursor: {cursor} is not a column of the contract{_closest(cursor, table.columns)}"
        )
    elif cursor and table.columns[cursor].type not in CURSOR_FAMILIES:
        problems.append(f"tables.{name}.cursor: {cursor} must be a timestamp, a date or an integer.")
    return problems


def _closest(word: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f". It has: {', '.join(known)}."


@contextmanager
def open_extractor(
    sources: Sources,
    contract: Contract,
    hmac: Hmac,
    folder: Path,
    work: Path,
    limits: Limits,
    *,
    now: datetime,
    erased: Sequence[Person] = (),
) -> Iterator[Extractor]:
    """Opens DuckDB over the inputs. Inputs that cannot be read are stored with the reason.

    Args:
        sources: The sources file.
        contract: The contract.
        hmac: Hashes personal identifiers.
        folder: Absolute directory that may be read and written: the landing zone, or `work` itself.
        work: Directory below it, for data that does not fit into memory.
        limits: Threads and memory for DuckDB.
        now: The time of the landing.
        erased: Persons whose rows must not land.
    """
    folders = SourceFolders(sources.path.absolute().parent, work)
    readable: list[Path] = []
    unavailable: dict[str, str] = {}
    with without_secrets(), _enough_memory(limits), connection_with(limits, work) as connection:
        for name, connector in sources.inputs.items():
            try:
                readable += connector.attach(connection, name, folders)
            except SourceUnavailableError as error:
                unavailable[name] = f"input {name}: {error}"
        lock(connection, readable, folder)
        yield Extractor(connection, sources, contract, hmac, unavailable, now, erased)


@contextmanager
def _enough_memory(limits: Limits) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise BadInputError(
            f"Landing needs more memory than its limit of {limits.memory}, although it spills to disk. "
            "Increase TOUCHSTONE_MEMORY_LIMIT, or decrease TOUCHSTONE_THREADS."
        ) from error


class _RefusedError(Exception):
    """Violations that were found before rows could be checked."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__()
        self.violations = violations


class Extractor:
    """Extracts tables into DuckDB and checks them there."""

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
        """Creates the file's views; one that cannot be created is unavailable, like an input.

        Args:
            connection: Has a view for every input that can be read.
            sources: The sources file.
            contract: The contract.
            hmac: Hashes personal identifiers.
            unavailable: Why an input cannot be read, by its name.
            now: The time of the landing.
            erased: Persons whose rows are removed.
        """
        self.connection = connection
        self.sources = sources
        self.contract = contract
        self.hmac = hmac
        self.unavailable = unavailable
        self.now = now
        self.erasure = Erasure(connection, contract, erased) if erased else None
        connection.create_function(
            NORMALISE,
            normalise_all,
            [VARCHAR, VARCHAR, VARCHAR],
            VARCHAR,
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
        for name, query in sources.views.items():
            try:
                connection.execute(f"create view {quoted(name)} as {query}")
            except duckdb.Error as error:
                self.unavailable[name] = f"view {name}: {describe_error(error)}"

    def extract(self, name: str, watermark: Watermark | None, parents: Mapping[str, str]) -> Extraction:
        """Extracts and checks one table.

        Args:
            name: The contract's table.
            watermark: Up to where the table has landed, for an incremental extraction.
            parents: SQL for the tables that it may refer to.
        """
        source = self.sources.tables[name]
        try:
            expressions = self._expressions(name)
            conversions = self._conversions(name, expressions)
            cursor_column = self._cursor_column(name, expressions, conversions)
            merchants = parents.get("merchants")
            rows, source_rows = self._copy(name, expressions, conversions, cursor_column, watermark, merchants)
        except _RefusedError as refused:
            return Extraction(refused.violations)
        if self.erasure is not None:
            self.erasure.apply(name, rows)
        unconverted = [column for column, converted in conversions.items() if converted.fails]
        checks = RowChecks(self.connection, name, self.contract, rows)
        landed = watermark.landed if watermark and source.cursor else None
        cursor = (cursor_column.column, cursor_column.sql_type) if cursor_column else None
        violations = checks.run(unconverted, cursor, self.now, parents, landed, source_rows)
        aside = set_aside(self.connection, rows, self.contract.tables[name], violations, self.sources.quarantine)
        if aside.rows:
            violations = checks.run(unconverted, cursor, self.now, parents, landed, source_rows)
        greatest = f"cast(max({quoted(cursor_column.column)}) as varchar)" if cursor_column else "null"
        query = f"select count(*), {greatest} from {rows}"
        count, cursor_value = self.connection.execute(query).fetchall()[0]
        absent = tuple(column for column in self.contract.tables[name].columns if column not in expressions)
        return Extraction(tuple(violations), count, absent, rows, cursor_value, source_rows, aside)

    def masks(self, name: str) -> dict[str, tuple[str, ...]]:
        """Returns the masked patterns by column of a table."""
        return dict.fromkeys(MASKED_COLUMNS.get(name, ()), self.sources.masked) if self.sources.masked else {}

    def _expressions(self, name: str) -> dict[str, tuple[str, str]]:
        """Returns the SQL and the DuckDB type of each contract column that the source has, in the contract's order."""
        table, source = self.contract.tables[name], self.sources.tables[name]
        missing = [relation for relation in self.sources.relations_of(name) if relation in self.unavailable]
        causes = [relation for relation in missing if relation in self.sources.inputs] or missing
        if causes:
            raise _RefusedError(*(Violation("source", (), self.unavailable[relation]) for relation in causes))
        types = self._types(f"select * from {source.relation}", "query" if source.query else "input")
        if source.changed_at:
            extra = columns_named(source.changed_at) - set(table.columns)
            types = {column: sql_type for column, sql_type in types.items() if column.lower() not in extra}
        tolerate = bool(source.columns) and source.query is None
        violations = check_columns(table, types, source.columns, tolerate_unknown=tolerate)
        given = {column.lower() for column in types} | set(source.columns)
        violations += [
            Violation(
                "missing column",
                (column,),
                "is declared under `extra`, and the source has no such column; map it in `columns`",
            )
            for column in source.extra
            if column not in given
        ]
        if violations:
            raise _RefusedError(*violations)
        by_name = {column.lower(): (quoted(column), sql_type) for column, sql_type in types.items()}
        mapped = {column: self._mapped(source, f"columns.{column}") for column in source.columns}
        return {column: sql for column in table.columns if (sql := mapped.get(column) or by_name.get(column))}

    def _mapped(self, source: TableSource, location: str) -> tuple[str, str]:
        sql = f"(\n{source.expressions[location]}\n)"
        types = self._types(f"select {sql} as mapped from {source.relation}{_where(source)}", location)
        return sql, types["mapped"]

    def _types(self, query: str, location: str) -> dict[str, str]:
        try:
            return {row[0]: row[1] for row in self.connection.execute(f"describe {query}").fetchall()}
        except duckdb.Error as error:
            raise _RefusedError(Violation("sql", (location,), describe_error(error))) from error

    def _conversions(self, name: str, expressions: Mapping[str, tuple[str, str]]) -> dict[str, Conversion]:
        columns = self.contract.tables[name].columns
        conversions: dict[str, Conversion] = {}
        violations = []
        for column, (_, source_type) in expressions.items():
            converted = conversion(columns[column], source_type, quoted(column))
            if converted is None:
                violations.append(unconvertible(column, columns[column], source_type))
            else:
                conversions[column] = converted
        if violations:
            raise _RefusedError(*violations)
        return conversions

    def _cursor_column(
        self, name: str, expressions: Mapping[str, tuple[str, str]], conversions: Mapping[str, Conversion]
    ) -> CursorColumn | None:
        """Returns the column by which a table is extracted incrementally, if it is."""
        table, source = self.contract.tables[name], self.sources.tables[name]
        if source.cursor and source.cursor in expressions:
            sql_type = table.columns[source.cursor].sql_type
            value = conversions[source.cursor].value
            return CursorColumn(source.cursor, expressions[source.cursor][1], sql_type, value)
        if source.changed_at:
            _, sql_type = self._mapped(source, CHANGED_AT)
            if family_of(sql_type) not in CURSOR_FAMILIES:
                text = f"is {type_name(sql_type)}, must be a timestamp, a date or an integer; convert it"
                raise _RefusedError(Violation("type", (CHANGED_AT,), text))
            return CursorColumn(CHANGED_AT, sql_type, sql_type, quoted(CHANGED_AT))
        return None

    def _copy(
        self,
        name: str,
        expressions: Mapping[str, tuple[str, str]],
        conversions: Mapping[str, Conversion],
        cursor_column: CursorColumn | None,
        watermark: Watermark | None,
        merchants: str | None,
    ) -> tuple[str, int | None]:
        """Reads the source, once, into a table of this DuckDB.

        Returns:
            The table's quoted name, and how many rows the source has if only the newer ones were read.
        """
        table, source = self.contract.tables[name], self.sources.tables[name]
        read = {column: sql for column, (sql, _) in expressions.items()}
        selected = [*_select_columns(table, conversions, self.masks(name))]
        if source.changed_at:
            read[CHANGED_AT] = f"(\n{source.changed_at}\n)"
            selected.append(quoted(CHANGED_AT))
        expressions_sql = ", ".join(f"{sql} as {quoted(column)}" for column, sql in read.items())
        query = f"select {expressions_sql} from {source.relation}{_where(source)}"
        parameters: dict[str, object] = {}
        newer, source_rows = "", None
        if watermark and cursor_column:
            try:
                source_rows, nulls = self._count_source_rows(name, query, cursor_column.column)
                query = self.push_down(query, cursor_column.column, cursor_column.source_type, has_nulls=nulls > 0)
            except duckdb.Error as error:
                raise _RefusedError(*self._failing_expressions(name, error)) from error
            value = cursor_column.value
            newer = f" where {value} >= cast($watermark as {cursor_column.sql_type}) or {value} is null"
            parameters["watermark"] = watermark.value
        query = f"select {', '.join(selected)} from (\n{query}\n){newer}"
        hashed = [column for column in conversions if table.columns[column].personal == "hash"]
        rows = quoted(f"{EXTRACTED}{name}")
        try:
            if hashed:
                if name == IDENTIFIERS:
                    query = self._hashing_identifiers(query, parameters, merchants, is_changing=bool(source.changed_at))
                else:
                    query = self._hashing(name, query, hashed, parameters)
                parameters |= self.hmac.parameters
            self._create(name, rows, query, parameters)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise _RefusedError(*self._failing_expressions(name, error)) from error
        if watermark and cursor_column:
            rows = self._without_landed(name, rows, cursor_column, watermark)
        return rows, source_rows

    def _count_source_rows(self, name: str, query: str, column: str) -> tuple[int, int]:
        """Returns how many rows a source has, and in how many of them a column is null. Only that column is read."""
        counts = f"select count(*), count(*) - count({quoted(column)}) from (\n{query}\n)"
        row = retry(self._action(name), lambda: self.connection.execute(counts).fetchone(), lost_connection)
        return row or (0, 0)

    @staticmethod
    def push_down(query: str, column: str, source_type: str, *, has_nulls: bool) -> str:
        """Returns a query with a filter for newer rows that the source can evaluate, if its type allows that.

        Rows without a value, which the checks refuse, are queried only if there are any: a database sends all its rows for that
        condition.

        Args:
            query: The query.
            column: The cursor column.
            source_type: Its DuckDB type in the source.
            has_nulls: Whether rows without a value are selected, too.
        """
        if family_of(source_type) not in CURSOR_FAMILIES:
            return query
        newer = f"select * from (\n{query}\n) where {quoted(column)} >= cast($watermark as {source_type})"
        return f"{newer} union all select * from (\n{query}\n) where {quoted(column)} is null" if has_nulls else newer

    def _hashing(self, name: str, query: str, columns: Sequence[str], parameters: Mapping[str, object]) -> str:
        """Returns the query with `columns` hashed, after hashing the identifiers of its first rows into a cache.

        A hash takes 2.4 µs, and the buyer of an order occurs five times on average: on 400,000 orders, hashing each identifier
        once took 0.8 s of processor time, and hashing row by row 2.8 s (November 2026). An identifier that is not in the cache
        is hashed row by row. The cache is bounded, so that identifiers that are not hashed yet do not spill to disk.
        """
        digests = quoted(f"{EXTRACTED}digests")
        some = f"select {', '.join(map(quoted, columns))} from ({query}) limit {CACHED_ROWS}"
        each = f"select distinct unnest([{', '.join(map(quoted, columns))}]) as identifier from ({some})"
        cache = f"select identifier, {self.hmac.sql('identifier')} as digest from ({each})"
        self._create(name, digests, cache, {**parameters, **self.hmac.parameters})
        digested = ", ".join(
            f"coalesce(d{index}.digest, {self.hmac.sql(f'r.{quoted(column)}')}) as {quoted(column)}"
            for index, column in enumerate(columns)
        )
        joins = " ".join(
            f"left join {digests} as d{index} on d{index}.identifier = r.{quoted(column)}"
            for index, column in enumerate(columns)
        )
        return f"select r.* replace ({digested}) from ({query}) as r {joins}"

    def _hashing_identifiers(
        self, query: str, parameters: Mapping[str, object], merchants: str | None, *, is_changing: bool
    ) -> str:
        """Returns the query of merchants' identifiers with each normalised and hashed, and one row for all its spellings.

        The row has the time of the first spelling, and is verified if one of them is. A value that occurs twice as written is
        not merged: the checks refuse it. An erased person's identifier keeps the hash by which it was erased, so that its row
        is removed.

        Args:
            query: The rows.
            parameters: The values bound in the query.
            merchants: SQL for the merchants, if any landed.
            is_changing: Whether the rows have the time of their last change.
        """
        join, country = "", "cast(null as varchar)"
        if merchants:
            # The country decides how a phone number is read, and nothing else.
            countries = f"(select merchant_id, max(country) as country from {merchants} group by merchant_id)"
            join, country = (
                f"left join {countries} as m using (merchant_id)",
                "case when r.kind = 'phone' then m.country end",
            )
        rows = f"select r.*, {country} as {quoted(COUNTRY)} from ({query}) as r {join}"
        digests = quoted(f"{EXTRACTED}digests")
        some = f"select kind, value_hash, {quoted(COUNTRY)} from ({rows}) limit {CACHED_ROWS}"
        cache = f"select *, {self._identifier_digest()} as digest from (select distinct * from ({some})) as r"
        self._create(IDENTIFIERS, digests, cache, {**parameters, **self.hmac.parameters})
        hashed = (
            f"select r.* replace (coalesce(d.digest, {self._identifier_digest()}) as value_hash), "
            f"hash(r.value_hash) as {quoted(SPELLING)} from ({rows}) as r left join {digests} as d on d.kind = r.kind "
            f"and d.value_hash = r.value_hash and d.{quoted(COUNTRY)} is not distinct from r.{quoted(COUNTRY)}"
        )
        spellings = "over (partition by merchant_id, kind, value_hash"
        merged = [
            f"case when first_seen_at is not null then min(first_seen_at) {spellings}) end as first_seen_at",
            f"bool_or(is_verified) {spellings}) as is_verified",
        ]
        if is_changing:
            merged.append(f"max({quoted(CHANGED_AT)}) {spellings}) as {quoted(CHANGED_AT)}")
        first = (
            f"first_value({quoted(SPELLING)}) {spellings} order by first_seen_at asc nulls first, {quoted(SPELLING)})"
        )
        return (
            f"select * exclude ({quoted(SPELLING)}, {quoted(COUNTRY)}) replace ({', '.join(merged)}) from ({hashed}) "
            f"qualify value_hash is null or {quoted(SPELLING)} = {first}"
        )

    def _identifier_digest(self) -> str:
        """Returns SQL for the hash of a merchant's identifier in a row `r`."""
        kinds = ", ".join(map(literal, NORMALISED_KINDS))
        canonical = f"{NORMALISE}(r.kind, r.value_hash, r.{quoted(COUNTRY)})"
        digest = self.hmac.sql(f"case when r.kind in ({kinds}) then {canonical} else r.value_hash end")
        if self.erasure is None:
            return digest
        written = self.hmac.sql("r.value_hash")
        return f"case when {self.erasure.is_erased_identifier('r.kind', written)} then {written} else {digest} end"

    def _without_landed(self, name: str, rows: str, cursor_column: CursorColumn, watermark: Watermark) -> str:
        """Leaves out the rows at the last value that landed which are as they landed, and returns the new table.

        Under a cursor, a row at that value that differs from the landed one stays, and the checks refuse its key.
        """
        table, source = self.contract.tables[name], self.sources.tables[name]
        is_at_watermark = f"{quoted(cursor_column.column)} = cast($watermark as {cursor_column.sql_type})"
        own = ", ".join(map(quoted, table.columns))
        if source.changed_at:
            key = ", ".join(map(quoted, table.key))
            landed = f"select {own} from {watermark.present(key, f'select {key} from {rows} where {is_at_watermark}')}"
        else:
            landed = f"select {own} from {watermark.landed} where {is_at_watermark}"
        known = f"select row({own}) from ({landed})"
        kept = f"select * from {rows} where not coalesce({is_at_watermark}, false) or row({own}) not in ({known})"
        if name == IDENTIFIERS and source.cursor:
            # A later spelling of an identifier that has landed changes nothing.
            same = " and ".join(f"new.{quoted(column)} = old.{quoted(column)}" for column in table.key)
            kept = (
                f"select new.* from ({kept}) as new anti join {watermark.landed} as old "
                f"on {same} and old.first_seen_at < new.first_seen_at"
            )
        newer = quoted(f"{EXTRACTED}{name}:newer")
        self._create(name, newer, kept, {"watermark": watermark.value})
        self.connection.execute(f"drop table {rows}")
        return newer

    def _create(self, name: str, table: str, query: str, parameters: Mapping[str, object]) -> None:
        """Creates a table from a query; retries it from the start if a source's connection is lost."""
        create = f"create or replace table {table} as {query}"
        retry(self._action(name), lambda: self.connection.execute(create, parameters), lost_connection)

    def _action(self, name: str) -> str:
        return f"reading {self.sources.origin_of(name)}, for table {name}"

    def drop(self, extraction: Extraction) -> None:
        """Drops an extracted table."""
        if extraction.rows:
            self.connection.execute(f"drop table {extraction.rows}")

    def _failing_expressions(self, name: str, error: duckdb.Error) -> list[Violation]:
        """Returns the violations of a table whose rows could not be read: the failing expressions, if any."""
        source = self.sources.tables[name]
        if lost := lost_connection(error):
            text = f"{self._action(name)}: {ATTEMPTS} attempts failed ({lost}). Is the server up, and does it let a read finish?"
            return [Violation("source", (), text)]
        long = _TOO_LONG.fullmatch(str(error).strip()) if isinstance(error, duckdb.InvalidInputException) else None
        columns = self.contract.tables[name].columns
        if long and (column := long.group(1)) in columns:  # an expression may call error() with any other word
            most = MAX_CUT_BYTES if columns[column].by_anybody else MAX_VALUE_BYTES
            text = f"a value has more than {most:,} bytes; shorten such values, or filter such rows"
            return [Violation("length", (column,), text)]
        violations = []
        for location, sql in source.expressions.items():
            try:
                query = f"select (\n{sql}\n) as value from {source.relation}{_where(source)}"
                self.connection.execute(f"select count(value) from ({query})")
            except duckdb.Error as cause:
                text = f"{describe_error(cause)}; use try_cast, or filter such rows"
                violations.append(Violation("sql", (location,), text))
        return violations or [Violation("sql", (), f"the rows cannot be read: {describe_error(error)}")]


def _where(source: TableSource) -> str:
    return f" where (\n{source.where}\n)" if source.where else ""


def _select_columns(
    table: Table, conversions: Mapping[str, Conversion], masks: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yields SQL for every column of the contract, and for the values that cannot be converted, as text."""
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
