"""Whatever a source and its sources file contain, a load lands completely and unchanged, or is refused with a message.

Each example offers one table of the contract by one kind of source: valid or invalid values, columns that are missing,
renamed, extra or of another type, damaged files, and a mapping that may be invalid. The expected outcome is drawn with
the example: every value comes with its landed value, or the fact that no load may hold it. Personal values carry a
marker, which no message, log line or ledger may show; nor may a password.
"""

from __future__ import annotations

import csv
import hmac
import io
import json
import logging
import math
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from expectations.contract import Column
from tests.landing_fixtures import CONTRACT, KEY, LISTINGS, MERCHANTS
from tests.source_fixtures import ENVIRONMENT, NOW, Options, Postgres, bucket, in_storage
from touchstone.core.errors import BadInputError
from touchstone.landing.databases import load_extension
from touchstone.landing.land import check, land
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads, verify_loads
from touchstone.landing.sources import read_sources
from touchstone.landing.sql import Limits

SEED = int(os.environ.get("FUZZ_SEED", "1"))
"""The same examples each time; another seed draws others."""

MARK = "1390-MARK"
REFUSED = object()
"""The expected outcome of a value that no load may hold."""

VICTIMS = ("merchants", "listings", "buyers", "reviews", "fx_rates", "listing_prices")
FILES = ("parquet", "csv", "jsonl")
KINDS = ("parquet",) * 4 + ("csv",) * 4 + ("jsonl",) * 4 + ("sqlite",) * 3 + ("duckdb",) * 3 + ("postgres", "s3")
AS_TEXT = ("csv", "jsonl", "sqlite")
"""Kinds of sources in which each value is read as text."""

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  times without a zone count as UTC
Value = tuple[Any, Any]
"""A value in the source and its landed value."""


# Values with their expected landed values --------------------------------------------------------------------------

TEXT = st.text(max_size=12) | st.sampled_from(
    ["NULL", "007", "nan", "'; drop table x; --", '"', "a,b", "a\nb", "a\r\nb"]
)
LONG = st.sampled_from(["long " * 20_000, "\N{PILE OF POO}" * 5_000])
TIMES = st.datetimes(EPOCH, datetime(2100, 12, 31, 23, 59, 59)).map(lambda time: time.replace(fold=0))  # noqa: DTZ001
NO_TIMES = st.datetimes(max_value=datetime(1969, 12, 31)) | st.datetimes(min_value=datetime(2101, 1, 1))  # noqa: DTZ001
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MONEY = st.decimals(0, 10**13, places=4, allow_nan=False)


def same(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    """Values that land unchanged."""
    return strategy.map(lambda value: (value, value))


def none_of(*values: Any) -> st.SearchStrategy[Value]:
    """Values that no load may hold."""
    return st.sampled_from([(value, REFUSED) for value in values])


def written(value: Value) -> Value:
    """Returns a value as text, for a source without types."""
    return (value[0] if value[0] is None else str(value[0]), value[1])


@dataclass(frozen=True)
class Way:
    """One representation of a column in a source: its type, and valid and invalid values."""

    type: pa.DataType
    fit: st.SearchStrategy[Value]
    unfit: st.SearchStrategy[Value]


def in_text(way: Way, *unfit: str) -> Way:
    """Returns the same values as text, with others that only text can hold."""
    return Way(pa.string(), way.fit.map(written), way.unfit.map(written) | none_of("soon", "\x00", *unfit))


@cache
def ways(column: Column) -> list[Way]:  # noqa: PLR0911  one a type
    """Returns the possible representations of a contract column in a source."""
    if column.type == "string":
        unfit = none_of(*["no such value"] * bool(column.values), "x" * 1_000_001)
        return [Way(pa.string(), strings(column), st.nothing() if column.by_anybody else unfit)]
    if column.type == "json":
        fit = DOCUMENTS.map(json.dumps).map(lambda text: (text, text))
        unfit = none_of("{", "", "nan nan", "[" * 10_000)
        return [Way(pa.string(), fit, st.nothing() if column.by_anybody else unfit)]
    if column.type == "integer":
        greatest = int(column.max or 2**63 - 1)
        whole = Way(pa.int64(), same(st.integers(0, greatest)), none_of(-1, -(2**63)))
        halves = Way(pa.float64(), st.just((1.0, 1)), none_of(0.5, float("nan"), float("inf"), 1e300, -1.0))
        wide = Way(pa.decimal128(38, 2), st.just((Decimal("3.00"), 3)), none_of(Decimal("0.50"), Decimal("9e30")))
        return [whole, halves, wide, in_text(whole, "1.5", "9" * 40, str(2**63), "9007199254740992.5")]
    if column.type == "decimal":
        money = Way(pa.decimal128(18, 4), same(MONEY), none_of(Decimal("-0.0001")))
        binary = Way(pa.float64(), st.just((0.25, Decimal("0.25"))), none_of(float("nan"), float("-inf"), 1e15, -0.01))
        return [money, binary, in_text(money, "1,50", "9" * 40, "1e400", "-1")]
    if column.type == "double":
        rate = st.floats(0, 1e300, allow_subnormal=False)
        double = Way(pa.float64(), same(rate), none_of(float("nan"), float("inf"), float("-inf"), -1.5))
        return [double, in_text(double)]
    if column.type == "boolean":
        number = Way(pa.int64(), st.sampled_from([(0, False), (1, True)]), none_of(2, -1))
        return [Way(pa.bool_(), same(st.booleans()), st.nothing()), number, in_text(number)]
    if column.type == "date":
        days = Way(pa.date32(), same(TIMES.map(lambda time: time.date())), none_of(date(1, 1, 1), date(9999, 12, 31)))
        noon = Way(pa.timestamp("us"), st.nothing(), none_of(datetime(2026, 6, 1, 12)))  # noqa: DTZ001
        return [days, noon, in_text(days, "2026-02-30", "10000-01-01", "infinity")]
    times = Way(pa.timestamp("us"), same(TIMES), NO_TIMES.map(lambda time: (time, REFUSED)))
    zoned = Way(
        pa.timestamp("us", "UTC"), times.fit.map(lambda value: (value[0].replace(tzinfo=UTC), value[1])), times.unfit
    )
    return [times, zoned, in_text(times, "2026-02-30", "10000-01-01 00:00:00", "infinity", "-1", "epoch?")]


def strings(column: Column) -> st.SearchStrategy[Value]:
    """Returns valid values of a text column; personal ones carry the marker, hashed ones land as their hash."""
    if column.values:
        return same(st.sampled_from(column.values))
    if column.personal is None:
        return same(TEXT | LONG)
    marked = (TEXT | LONG).map(lambda text: f"{MARK}{text}{MARK}")
    return marked.map(lambda text: (text, digest(text))) if column.personal == "hash" else same(marked)


def digest(text: str) -> str:
    """Returns the landed value of an identifier."""
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()[:32]


# Examples -----------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One table as it is offered.

    Attributes:
        table: The contract's table.
        kind: The kind of source.
        types: Arrow type by column, as the source has it.
        rows: For each row, the source's value by column.
        wanted: For each row, the landed value by column; columns without a predicted outcome are left out.
        unfit: Why the load must be refused; empty if it must land.
        unsure: Whether both outcomes are acceptable, as for a file whose bytes were changed.
        damage: Changes the file's bytes.
        options: Connector options in addition to what the kind needs.
        entry: The table's entry in the sources file.
        with_header: Whether a CSV file has a header.
        is_checked: Whether it is also checked without landing.
    """

    table: str
    kind: str
    types: dict[str, pa.DataType] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    wanted: list[dict[str, Any]] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    unsure: bool = False
    damage: Callable[[bytes], bytes] | None = None
    options: Options = field(default_factory=dict)
    entry: Options = field(default_factory=dict)
    with_header: bool = True
    is_checked: bool = False


PARENTS = {"merchants": [f"m{i}" for i in range(1, 4)], "listings": [f"l{i}" for i in range(1, 7)]}
CHANGES = ("none",) * 8 + (
    *("gone", "renamed", "upper", "extra", "nested", "binary", "nothing"),
    *("twice", "null key", "blank key", "orphan", "expression", "where", "query", "cursor", "columns", "damage"),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws a valid table and then changes it."""
    case = Case(draw(st.sampled_from(VICTIMS)), draw(st.sampled_from(KINDS)), is_checked=draw(st.integers(0, 3)) == 0)
    table = CONTRACT.tables[case.table]
    number = draw(st.integers(0 if case.table in ("buyers", "reviews") else 1, 4))
    case.rows, case.wanted = [{} for _ in range(number)], [{} for _ in range(number)]
    some_unfit = draw(st.integers(0, 3)) == 0
    for name, column in table.columns.items():
        if table.is_needed(name) or draw(st.booleans()):
            fill(draw, case, name, column, some_unfit=some_unfit)
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=2)):
        alter(draw, case, change)
    return case


def fill(draw: st.DrawFn, case: Case, name: str, column: Column, *, some_unfit: bool) -> None:
    """Gives every row a value of a column."""
    table = CONTRACT.tables[case.table]
    way = draw(st.sampled_from(ways(column)))
    if way.fit.is_empty and not some_unfit:
        way = ways(column)[0]
    case.types[name] = way.type
    for place, (row, wanted) in enumerate(zip(case.rows, case.wanted, strict=True)):
        if column.reference and column.reference[0] in PARENTS:
            value = draw(same(st.sampled_from(PARENTS[column.reference[0]])))
            value = (value[0], value[1]) if name not in table.key else (PARENTS[column.reference[0]][place],) * 2
        elif column.reference:
            value = (None, None)
        elif name in table.key and column.type == "string":
            text = f"{MARK if column.personal else ''}{case.table}-{place}"
            value = (text, digest(text) if column.personal else text)
        elif some_unfit and (not way.unfit.is_empty) and draw(st.integers(0, 3)) == 0:
            value = draw(way.unfit)
        elif not table.is_needed(name) and draw(st.integers(0, 4)) == 0:
            value = (None, None)
        else:
            value = draw(way.unfit if way.fit.is_empty else way.fit)
        row[name], wanted[name] = as_held(case.kind, value, needed=table.is_needed(name))
        if wanted[name] is REFUSED:
            case.unfit.append(f"{name} holds {str(row[name])[:40]!r}")
    keys = [tuple(str(wanted.get(key)) for key in table.key) for wanted in case.wanted]
    if set(table.key) <= set(case.types) and len(set(keys)) < len(keys):
        case.unfit.append("a key comes twice")


def as_held(kind: str, value: Value, *, needed: bool) -> Value:
    """Returns a value as a kind of source stores it."""
    held, wanted = value
    if kind == "postgres" and isinstance(held, str) and "\x00" in held:
        return "x" if wanted is not REFUSED else held.replace("\x00", "x"), ("x" if wanted is not REFUSED else REFUSED)
    if kind == "csv" and held == "":
        return held, REFUSED if needed else None
    if kind == "sqlite" and isinstance(held, float):
        if math.isnan(held):  # SQLite stores NaN as null
            return None, REFUSED if needed else None
        held = float(f"{held:.15g}")  # SQLite writes no more digits
        return held, held if isinstance(wanted, float) else wanted
    return held, wanted


def alter(draw: st.DrawFn, case: Case, change: str) -> None:  # noqa: C901, PLR0912  a branch a change
    """Changes a valid table."""
    table, names = CONTRACT.tables[case.table], list(case.types)
    known = [name for name in names if name in table.columns]
    if not known or len(case.wanted) < len(case.rows):  # a `where` drops rows already
        return
    name = draw(st.sampled_from(known))
    if change in ("gone", "renamed"):
        held = case.types.pop(name)
        problem = f"{name} is {change}"
        if change == "renamed":
            case.types["colour"] = held
        for row, wanted in zip(case.rows, case.wanted, strict=True):
            value = row.pop(name)
            wanted[name] = None
            if change == "renamed":
                row["colour"] = value
        if change == "renamed" or table.is_needed(name):
            case.unfit.append(problem)
        case.unsure |= "columns" in case.entry
    elif change == "upper" and name.upper() not in names:
        case.types = {name.upper() if own == name else own: held for own, held in case.types.items()}
        for row in case.rows:
            row[name.upper()] = row.pop(name)
    elif change == "extra" and "colour" not in names:
        case.types["colour"] = pa.string()
        for row in case.rows:
            row["colour"] = "red"
        if not case.entry.get("columns"):
            case.unfit.append("an unknown column")
    elif change in ("nested", "binary", "nothing"):
        case.unsure = True
        types = {"nested": pa.struct({"a": pa.list_(pa.string())}), "binary": pa.binary(), "nothing": pa.null()}
        case.types[name] = types[change]
        for row, wanted in zip(case.rows, case.wanted, strict=True):
            text = str(row[name])
            row[name] = {"nested": {"a": [text]}, "binary": text.encode("utf-8", "replace"), "nothing": None}[change]
            wanted.pop(name.lower(), None)
    elif change == "twice" and case.rows:
        case.rows.append(dict(case.rows[0]))
        case.wanted.append(dict(case.wanted[0]))
        case.unfit.append("a row comes twice")
    elif change in ("null key", "blank key") and case.rows and table.key[0] in names:
        case.rows[0][table.key[0]] = None if change == "null key" else ""
        case.unfit.append(change)
        case.unsure |= pa.types.is_temporal(case.types[table.key[0]])
    elif change == "orphan" and case.rows:
        referring = [own for own in known if table.columns[own].reference]
        if referring and (table.columns[referring[0]].reference or ("",))[0] in PARENTS:
            case.rows[0][referring[0]] = "no such one"
            case.unfit.append("an orphan")
    else:
        map_otherwise(draw, case, change, name)


EXPRESSIONS = [
    "no_such_column",
    "{0}; drop table x",
    "(select 1); insert into x values (1)",
    "(delete from x)",
    "(insert into x values (1) returning 1)",
    "cast({0} as integer)",
    "cast({0} as date)",
    "error(cast({0} as varchar))",
    "strptime(cast({0} as varchar), '%Y')",
    "json_extract('{{' || cast({0} as varchar), '$')",
    "1 / 0",
    "sum({0})",
    "*",
    "",
    "$secret",
    "getenv('SHOP_PASSWORD')",
    "read_text('/etc/passwd')",
    "(select content from read_text('sources.yml'))",
    "no_such_function({0})",
    "{0}::no_such_type",
    "cast(cast({0} as varchar) as enum('a'))",
    "list_extract([{0}], 99)",
    "(select max({0}) from merchants)",
    "unnest([{0}, {0}])",
]
WHERES = ["true", "false", "no_such_column = 1", "1; drop table x", "cast({0} as integer) = 1", "error('x')", "{0} ="]
QUERIES = [
    "select * from victim",
    "from victim; from victim",
    "delete from victim",
    "copy victim to '/tmp/x'",
    "select * from '/etc/passwd'",
    "select *, {0} as again from victim",
    "select no_such_column from victim",
    "select * from nobody",
    "pragma database_list",
    "set memory_limit = '1TB'",
    "attach '/tmp/x.db'",
    "select cast({0} as integer) as {0} from victim",
]


def flipped(content: bytes, place: int) -> bytes:
    """Returns the bytes with one of them changed."""
    return content[:place] + bytes(255 - byte for byte in content[place : place + 1]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda content, at: content[: len(content) * at // 100],
    "zeros": lambda content, at: content[: len(content) * at // 100] + b"\0" * 50 + content[len(content) * at // 100 + 50 :],
    "no utf-8": lambda content, at: content[: len(content) * at // 100] + b"\xff\xfe" + content[len(content) * at // 100 :],
    "a quote": lambda content, at: content[: len(content) * at // 100] + b'"' + content[len(content) * at // 100 :],
    "a line": lambda content, at: content + (b'\n{"a": ' if at % 2 else b"\na,b\n"),
    "flipped": lambda content, at: flipped(content, len(content) * at // 100),
    "mark": lambda content, _: b"\xef\xbb\xbf" + content,
    "carriage": lambda content, _: content.replace(b"\n", b"\r\n"),
    "empty": lambda content, _: content[:0],
}  # fmt: skip


def map_otherwise(draw: st.DrawFn, case: Case, change: str, name: str) -> None:  # noqa: C901  a branch a change
    """Changes the table's entry in the sources file, or the file's bytes."""
    column = f'"{name}"'
    if change == "columns" and name in CONTRACT.tables[case.table].columns:
        case.entry.setdefault("columns", {})[name] = draw(st.sampled_from([column, f"coalesce({column}, null)"]))
        case.unsure = True
    elif change == "expression" and name in CONTRACT.tables[case.table].columns:
        case.entry.setdefault("columns", {})[name] = draw(st.sampled_from(EXPRESSIONS)).format(column)
        case.unsure = True
        for wanted in case.wanted:
            wanted.pop(name, None)
    elif change == "where":
        case.entry["where"] = draw(st.sampled_from(WHERES)).format(column)
        case.unsure |= case.entry["where"] != "true"
        if case.entry["where"] == "false":
            case.wanted = []
    elif change == "query" and "input" not in case.entry:
        case.entry["query"] = draw(st.sampled_from(QUERIES)).format(column)
        case.unsure |= case.entry["query"] != QUERIES[0]
    elif change == "cursor":
        key = draw(st.sampled_from(["cursor", "changed_at"]))
        case.entry[key] = draw(st.sampled_from([name, "no_such_column"]))
        case.unsure = True
    elif change == "damage" and case.kind in (*FILES, "sqlite", "duckdb", "s3"):
        kind, at = draw(st.sampled_from([*DAMAGES, "no header", "delimiter"])), draw(st.integers(0, 99))
        case.unsure = True
        case.wanted = [{} for _ in case.wanted]
        if kind == "no header":
            case.with_header = False
        elif kind == "delimiter":
            case.options = {"delimiter": ";"} if case.kind == "csv" else {}
        else:
            case.damage = lambda content: DAMAGES[kind](content, at)


# Sources ------------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """State shared by the examples: valid parent tables, a PostgreSQL and a storage, started once each."""

    parents: Path
    request: pytest.FixtureRequest
    _server: duckdb.DuckDBPyConnection | None = None
    _client: Any = None

    def postgres(self) -> Postgres:
        """Returns the server; everyone may read its schema `fuzz`."""
        postgres: Postgres = self.request.getfixturevalue("postgres")
        if self._server is None:
            postgres.run("drop schema if exists fuzz cascade", "shop")
            postgres.run("create schema fuzz", "shop")
            grant = "alter default privileges for role postgres in schema fuzz grant select on tables to shop"
            postgres.run(f"grant usage on schema fuzz to shop; {grant}", "shop")
            self._server = duckdb.connect()
            load_extension(self._server, "postgres_scanner")
            self._server.execute("set TimeZone = 'UTC'")
            self._server.execute(f"attach 'host={postgres.host} user=postgres dbname=shop' as pg (type postgres)")
        return postgres

    def offer(self, case: Case, folder: Path) -> Options:
        """Writes the table and returns the options of its input."""
        if case.kind == "postgres":
            postgres = self.postgres()
            assert self._server is not None
            self._server.register("offered", arrow(case))
            self._server.execute("create or replace table pg.fuzz.victim as from offered")
            return postgres.options("victim", schema="fuzz")
        path = folder / f"victim.{case.kind}"
        WRITERS[case.kind](case, path)
        if case.damage:
            path.write_bytes(case.damage(path.read_bytes()))
        if case.kind == "s3":
            endpoint = self.request.getfixturevalue("storage")
            self._client = self._client or bucket(endpoint)
            self._client.upload_file(str(path), "market", "fuzz/victim.parquet")
            return in_storage(endpoint, "s3://market/fuzz/victim.parquet")
        more = {"table": "victim"} if case.kind in ("sqlite", "duckdb") else {}
        return {"connector": case.kind, "path": path.name} | more | case.options


def arrow(case: Case) -> pa.Table:
    """Returns the table as Arrow; values outside the type become text."""
    arrays = {}
    for name, kind in case.types.items():
        values = [row[name] for row in case.rows]
        try:
            arrays[name] = pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            arrays[name] = pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.table(arrays)


def write_parquet(case: Case, path: Path) -> None:
    """Writes a Parquet file."""
    pq.write_table(arrow(case), path)


def write_csv(case: Case, path: Path) -> None:
    """Writes a CSV file in which every value but null is quoted."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NOTNULL, lineterminator="\n")
    if case.with_header:
        writer.writerow(case.types)
    writer.writerows([plain(row[name]) for name in case.types] for row in case.rows)
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))


def write_jsonl(case: Case, path: Path) -> None:
    """Writes JSON lines: integers, booleans and nested values natively, the rest as text."""
    native = (bool, int, dict, type(None))
    lines = [
        json.dumps({name: row[name] if isinstance(row[name], native) else plain(row[name]) for name in case.types})
        for row in case.rows
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    case.options = {"columns": list(case.types)} | case.options


def write_sqlite(case: Case, path: Path) -> None:
    """Writes a SQLite file."""
    native = (int, float, bytes, str, type(None))
    with sqlite3.connect(path) as database:
        columns = ", ".join(f'"{name}"' for name in case.types)
        database.execute(f"create table victim ({columns})")
        for row in case.rows:
            values = [value if fits(value) and isinstance(value, native) else plain(value) for value in row.values()]
            marks = ", ".join("?" for _ in values)
            database.execute(f"insert into victim ({', '.join(map(repr, row))}) values ({marks})", values)
    database.close()


def fits(value: object) -> bool:
    """Returns whether SQLite can store so large a number."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def write_duckdb(case: Case, path: Path) -> None:
    """Writes a DuckDB file."""
    with duckdb.connect(str(path)) as database:
        database.register("offered", arrow(case))
        database.execute("create table victim as from offered")


WRITERS: dict[str, Callable[[Case, Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "sqlite": write_sqlite,
    "duckdb": write_duckdb,
    "s3": write_parquet,
}


def plain(value: object) -> object:
    """Returns a value as text; None is kept."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value) if isinstance(value, dict) else str(value)


# Invariants -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> World:
    """Valid parent tables on disk, and servers on demand."""
    folder = tmp_path_factory.mktemp("parents")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, sql in {"merchants": MERCHANTS, "listings": LISTINGS}.items():
            connection.execute(f"copy ({sql}) to '{folder}/{name}.parquet' (format parquet)")
    return World(folder, request)


def sources_for(case: Case, world: World, folder: Path) -> Path:
    """Writes the sources file of an example."""
    inputs = {name: {"connector": "parquet", "path": str(world.parents / f"{name}.parquet")} for name in PARENTS}
    entries: dict[str, Options] = {name: {"input": name} for name in PARENTS}
    inputs["victim"] = world.offer(case, folder)
    entries[case.table] = ({} if "query" in case.entry else {"input": "victim"}) | case.entry
    content = {"version": 1, "name": "shop", "inputs": inputs, "tables": entries}
    path = folder / "sources.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def check_landing_result(case: Case, world: World, folder: Path, log: pytest.LogCaptureFixture) -> None:
    """Lands an example and checks the invariants."""
    path, landing = sources_for(case, world, folder), folder / "landing"
    log.clear()
    limits = Limits(threads=1, memory="500MB")
    records: list[LoadRecord] = []
    printed: list[str] = []
    try:
        sources = read_sources(path, ENVIRONMENT)
        records = land(sources, CONTRACT, landing, hmac_key=KEY, now=NOW, limits=limits)
        printed = [record.message for record in records]
        if case.is_checked:
            reports = check(sources, CONTRACT, hmac_key=KEY, limits=limits)
            assert [report.accepted for report in reports] == [record.status == "accepted" for record in records]
            assert all(found.accepted or found.message == printed[place] for place, found in enumerate(reports))
    except BadInputError as error:
        printed = [str(error)]
        assert str(path) in printed[0]
        assert f"tables.{case.table}" in printed[0] or "inputs.victim" in printed[0]
    assert_atomic(landing, records)
    assert_no_secret(case, "\n".join([*printed, *log.messages, log.text]), landing)
    record = next((record for record in records if record.table == case.table), None)
    if record and record.status == "accepted":
        assert case.unsure or not case.unfit, (record, case.unfit)
        assert_as_offered(case, [tuple(row) for row in rows_of(case.table, record, landing)])
    else:
        assert case.unsure or case.unfit, printed
    if record and record.status == "refused":
        assert record.message.startswith(f"{case.table}: this load was refused; none of its rows landed.\n")
        assert any(f" [{rule}]" in record.message for rule in RULES), record.message
        assert f"in {path} under tables.{case.table}. Then run again" in record.message


RULES = (
    *("missing column", "unknown column", "type", "required", "finite", "range", "values", "date", "length"),
    *("rows", "key", "cursor", "reference", "source", "sql"),
)


def assert_atomic(landing: Path, records: list[LoadRecord]) -> None:
    """Asserts that ledger and folders agree, digests match, and nothing partial is left."""
    known = Ledger(landing).read()
    assert known == records
    expected = {file for record in known for file in record.paths(landing)}
    assert {file for file in landing.rglob("*") if file.is_file()} - {Ledger(landing).log.path} == expected
    verify_loads(landing, pinned_loads(known, CONTRACT))


def assert_no_secret(case: Case, printed: str, landing: Path) -> None:
    """Asserts that no message, log line or ledger line shows a personal value, its hash, a password, or a traceback."""
    ledger = Ledger(landing).log.path
    everything = printed + (ledger.read_text() if ledger.exists() else "")
    personal = [name for name, column in CONTRACT.tables[case.table].columns.items() if column.personal == "hash"]
    hashes = {str(wanted[name]) for wanted in case.wanted for name in personal if wanted.get(name)}
    for secret in {MARK, "MARK", *hashes, *(ENVIRONMENT[name] for name in ("SHOP_PASSWORD", "STORE_SECRET"))}:
        assert secret not in everything, everything
    assert "Traceback" not in everything


def rows_of(table: str, record: LoadRecord, landing: Path) -> list[tuple[Any, ...]]:
    """Returns the rows of a load in the contract's columns."""
    return duckdb.execute(
        f"select {', '.join(CONTRACT.tables[table].columns)} from read_parquet($files)",
        {"files": [str(path) for path in record.paths(landing)]},
    ).fetchall()


def assert_as_offered(case: Case, rows: list[tuple[Any, ...]]) -> None:
    """Asserts that the landed values equal the offered ones, in the columns with a predicted outcome."""
    columns = list(CONTRACT.tables[case.table].columns)
    result = [name for name in columns if all(name in wanted for wanted in case.wanted)]
    landed = sorted(repr([row[columns.index(name)] for name in result]) for row in rows)
    wanted = sorted(repr([normal(case.table, name, wanted[name]) for name in result]) for wanted in case.wanted)
    if case.damage is None and case.with_header:
        assert landed == wanted
    for name in columns:
        if CONTRACT.tables[case.table].columns[name].personal == "hash":
            assert not [row for row in rows if MARK in str(row[columns.index(name)])]


def normal(table: str, name: str, value: object) -> object:
    """Returns a value as DuckDB returns it."""
    kind = CONTRACT.tables[table].columns[name].type
    if value is not None and kind == "decimal":
        return Decimal(str(value)).quantize(Decimal("0.0001"))
    return value


def fuzzed(examples: int) -> Callable[[Any], Any]:
    """Returns settings that run a number of examples, deterministically."""
    return settings(
        max_examples=examples,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@seed(SEED)
@fuzzed(60)
@given(case=cases())
def test_a_load_lands_as_offered_or_is_refused(
    case: Case, world: World, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "touchstone")
    check_landing_result(case, world, tmp_path_factory.mktemp("example"), caplog)


@pytest.mark.slow
@seed(SEED + 1)
@fuzzed(2_000)
@given(case=cases())
def test_two_thousand_loads_land_as_offered_or_are_refused(
    case: Case, world: World, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "touchstone")
    check_landing_result(case, world, tmp_path_factory.mktemp("example"), caplog)
