"""The SQL allowed in a sources file: hostile queries are refused by name, and every function is classified."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.hostile_sql import ALLOWED, ALLOWED_QUERIES, HOSTILE_EXPRESSIONS, HOSTILE_QUERIES
from touchstone.core.errors import BadInputError
from touchstone.landing import functions
from touchstone.landing.allowed_sql import problem_with_expression, problem_with_query, tables_named
from touchstone.landing.databases import load_extension
from touchstone.landing.sources import Sources, read_sources

ROOT = Path(__file__).resolve().parents[2]
INPUTS = {name: {"connector": "csv", "path": f"{name}.csv"} for name in ("offers", "sellers")}
QUERIES = HOSTILE_QUERIES | {f"select {sql} from offers": printed for sql, printed in HOSTILE_EXPRESSIONS.items()}


def read(folder: Path, *, views: dict[str, str] | None = None, **entry: object) -> Sources:
    """Reads a sources file that maps the listings as given."""
    content = {"version": 1, "name": "shop", "inputs": INPUTS, "views": views or {}, "tables": {"listings": entry}}
    (folder / "sources.yml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return read_sources(folder / "sources.yml", {})


def assert_refused(folder: Path, place: str, printed: str, **entry: object) -> None:
    with pytest.raises(BadInputError) as error:
        read(folder, **entry)  # type: ignore[arg-type]  # views or an entry, by name
    message = str(error.value)
    assert message.startswith(f"{folder / 'sources.yml'}: {place}")
    assert printed.lower() in message.partition("\n")[0].lower()  # the parser lowercases names


@pytest.mark.parametrize("sql", QUERIES)
def test_a_hostile_query_is_refused_by_name_as_a_query_and_as_a_view(sql: str, tmp_path: Path) -> None:
    assert_refused(tmp_path, "tables.listings", QUERIES[sql], query=sql)
    assert_refused(tmp_path, "views.seen", QUERIES[sql], views={"seen": sql}, input="seen")


@pytest.mark.parametrize("sql", HOSTILE_EXPRESSIONS)
@pytest.mark.parametrize("place", ["columns.title", "where", "changed_at"])
def test_a_hostile_expression_is_refused_by_name_in_every_place(sql: str, place: str, tmp_path: Path) -> None:
    entry = {"columns": {"title": sql}} if place == "columns.title" else {place: sql}
    assert_refused(tmp_path, f"tables.listings.{place}", HOSTILE_EXPRESSIONS[sql], input="offers", **entry)


def test_an_input_must_be_a_name_and_not_sql(tmp_path: Path) -> None:
    assert_refused(tmp_path, "tables.listings", "read_text", input="offers\" join read_text('x') on true --")


def test_a_refused_function_is_reported_with_the_reason_or_a_suggestion(tmp_path: Path) -> None:
    assert_refused(tmp_path, "tables.listings.where", "read_text, which reads files, and files are read only through `inputs`",
                   input="offers", where="(select 1 from read_text('x')) = 1")  # fmt: skip
    assert_refused(
        tmp_path,
        "tables.listings.where",
        "did you mean regexp_extract()",
        input="offers",
        where="regex_extract(a, 'b')",
    )
    assert_refused(
        tmp_path, "tables.listings.where", "docs/sources.md lists the allowed", input="offers", where="qqqqqq(a)"
    )


@pytest.mark.parametrize("sql", ALLOWED)
def test_pure_functions_are_allowed_and_exist(sql: str) -> None:
    assert problem_with_expression(sql) is None
    with duckdb.connect() as connection:
        connection.execute("create table offers (id int, title varchar); create table sellers as from offers")
        connection.execute(f"select ({sql}) from offers")


@pytest.mark.parametrize("sql", ALLOWED_QUERIES)
def test_queries_that_only_select_are_allowed(sql: str) -> None:
    assert problem_with_query(sql) is None
    assert tables_named(sql) <= {"offers", "sellers"}


def snippets() -> list[str]:
    """Returns the SQL that the documentation shows for a sources file: after a key, or in a YAML example."""
    found: set[str] = set()
    for page in ("sources.md", "data-engineer.md", "source-contract.md"):
        text = (ROOT / "docs" / page).read_text()
        found |= set(re.findall(r"`(?:where|changed_at|price|query): ([^`]+)`", text))
        for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            for entry in (yaml.safe_load(example) or {}).get("tables", {}).values():
                found |= {
                    *entry.get("columns", {}).values(),
                    *filter(None, map(entry.get, ("where", "changed_at", "query"))),
                }
    text = (ROOT / "docs" / "sources.md").read_text()
    found |= set(re.findall(r"`((?:lpad|greatest|case|placed_at at|to_json)[^`]*)`", text))
    return sorted(found)


def test_documented_sql_is_allowed() -> None:
    shown = snippets()
    assert {"updated_at < now() - interval 10 minute", "placed_at < current_date", "price_cents / 100"} <= set(shown)
    for sql in shown:
        is_query = sql.startswith("select")
        assert (problem_with_query if is_query else problem_with_expression)(sql) is None, sql


@pytest.mark.parametrize("example", ["agora", "order_brushing", "postgres"])
def test_the_examples_sources_files_are_valid(example: str) -> None:
    variables = {"AGORA_DIR": "/agora", "SHOP_HOST": "db.internal", "SHOP_PASSWORD": "a secret"}
    assert read_sources(ROOT / "examples" / example / "sources.yml", variables).tables


def test_every_duckdb_function_is_listed_as_allowed_or_refused() -> None:
    """New functions of a DuckDB version have to be reviewed, and put on one of the lists of `functions`."""
    query = """
        select distinct lower(function_name), function_type in ('table', 'table_macro') from duckdb_functions()
        where function_type <> 'pragma'
    """
    with duckdb.connect() as connection:
        for extension in ("postgres_scanner", "sqlite_scanner"):
            load_extension(connection, extension)
        there = set(connection.execute(query).fetchall())
    allowed = {(name, False) for name in functions.FUNCTIONS | functions.OPERATORS}
    allowed |= {(name, True) for name in functions.TABLE_FUNCTIONS}
    refused = {(name, False) for names in functions.REFUSED_FUNCTIONS.values() for name in names}
    refused |= {(name, True) for names in functions.REFUSED_TABLE_FUNCTIONS.values() for name in names}
    assert not allowed & refused
    own = {(name, is_table) for name, is_table in there if name.startswith(functions.INTERNAL_PREFIXES)}
    assert sorted(there - allowed - refused - own) == [], "read about these, and put each on a list"
    written = {("unnest", False), ("unlist", False), ("getenv", False)}  # syntax and CLI functions
    assert (allowed | refused) - there == written, "DuckDB has these no more"


def test_volatile_functions_and_macros_with_queries_are_not_allowed() -> None:
    with duckdb.connect() as connection:
        volatile = connection.execute(
            "select function_name from duckdb_functions() where stability = 'VOLATILE'"
        ).fetchall()
        macros = connection.execute(
            "select function_name, macro_definition from duckdb_functions() where function_type = 'macro'"
        ).fetchall()
    assert {name for (name,) in volatile} & functions.FUNCTIONS == {"error"}
    hidden = [
        name
        for name, definition in macros
        if name in functions.FUNCTIONS and re.search(r"(?i)\bfrom\b", definition or "")
    ]
    assert hidden == [], "an allowed macro reads a relation"


WRAPPINGS = [
    "(select {0})", "lower({0}::varchar)", "coalesce(null, {0})", "case when true then {0} end", "[{0}][1]", "{{'a': {0}}}.a",
    "list_transform([1], lambda x: {0})[1]", "exists(from (select {0}))",
    "(select max(x) from (select {0} as x) as t)", "(with c as (select {0} as x) select x from c)",
    "(select any_value({0}) filter (where true))", "(select first_value({0}) over (partition by 1) limit 1)", "try({0})",
    "(from (values ({0})) as v(x) join (select 1 as y) on true select x)", "({0} in (select 1))", "cast({0} as varchar)",
    "(select 1 union all select {0} limit 1)", "(select x from (select 1 as x) order by {0} limit 1)", "/* a */ {0} -- b\n",
    "(select t.x from (select {0} as x) as t join (select 1 as x) as u using (x))", "map {{'k': {0}}}['k']", "({0} is null)",
    "(select sum(1) over (order by {0} rows between 1 preceding and current row))", "(select x from unnest([{0}]) as u(x))",
    "(with recursive r as (select 1 as x union all select {0} from r) select max(x) from r)", "if(true, {0}, null)",
]  # fmt: skip


@given(sql=st.sampled_from(sorted(HOSTILE_EXPRESSIONS)), wrappings=st.lists(st.sampled_from(WRAPPINGS), max_size=6))
def test_no_nesting_hides_a_hostile_expression(sql: str, wrappings: list[str]) -> None:
    nested, harmless = sql, "title"
    for wrapping in wrappings:
        nested, harmless = wrapping.format(nested), wrapping.format(harmless)
    assume(problem_with_expression(harmless) is None)  # DuckDB has no window within a window's definition
    problem = problem_with_expression(nested)
    assert problem is not None
    assume("not allowed in window definitions" not in problem)  # some hostile expressions are windows themselves
    assert HOSTILE_EXPRESSIONS[sql].lower() in problem.lower()


def test_too_deeply_nested_sql_is_refused() -> None:
    assert problem_with_expression("not " * 20_000 + "true")
