"""What SQL a sources file may hold: one select over the declared inputs that calls only the functions of `functions`.

All is decided on the parsed query, before any connection to a source is opened. The parsed tree is judged part by part, with
lists of what is known: a function, a kind of relation or of expression that is on none of them is refused, so that
nothing that a new version of DuckDB brings is allowed by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import duckdb

from touchstone.landing.functions import (
    FUNCTIONS,
    INTERNAL_PREFIXES,
    OPERATORS,
    REFUSED_FUNCTIONS,
    REFUSED_TABLE_FUNCTIONS,
    TABLE_FUNCTIONS,
    words,
)
from touchstone.landing.sql import literal

_EXPRESSIONS: Final = words("""
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF OPERATOR
    POSITIONAL_REFERENCE STAR SUBQUERY WINDOW
""")
"""The classes of expressions that may stand in a query. Functions and windows are judged by name as well."""

_PARTS: Final = words("""
    SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE
    BASE_TABLE EMPTY EXPRESSION_LIST JOIN PIVOT SUBQUERY TABLE_FUNCTION
    DISTINCT_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER ASCENDING DESCENDING ORDER_DEFAULT
    ARRAY_TYPE_INFO DECIMAL_TYPE_INFO ENUM_TYPE_INFO LIST_TYPE_INFO STRING_TYPE_INFO STRUCT_TYPE_INFO UNBOUND_TYPE_INFO
""")
"""The other parts: queries, relations, what orders and limits them, and types."""

_QUALIFIERS: Final = ("catalog", "catalog_name", "schema", "schema_name")

_WORDS_FOR_FUNCTIONS: Final = words("current_catalog current_role current_schema current_user session_user user")
"""Names that DuckDB takes for calls where no column has them: a missing column `user` would silently be 'duckdb'."""


def problem_with_expression(sql: str) -> str | None:
    """Returns why `sql` is not one expression that can stand in a select list, or None if it is one."""
    tree, problem = _parsed(f"select (\n{sql}\n)")
    if problem or tree is None:
        return problem
    node = tree["node"]
    is_plain = (
        node["type"] == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not node["modifiers"]
        and not any(node[part] for part in ("where_clause", "group_expressions", "having", "sample", "qualify"))
    )
    if not is_plain:
        return "it must be one expression, such as lower(title); a whole query goes under `query`"
    if _has_star(node["select_list"]):
        return "it must be one expression, not a star, which stands for many columns"
    return _problem_with_tree(tree)


def _has_star(part: Any) -> bool:
    """Tells whether a star stands for columns of the row itself, not for those of a query within the expression."""
    if isinstance(part, list):
        return any(map(_has_star, part))
    if not isinstance(part, dict) or part.get("class") == "SUBQUERY":
        return False
    return part.get("class") == "STAR" or any(map(_has_star, part.values()))


def problem_with_query(sql: str) -> str | None:
    """Returns why `sql` is not one query that only selects and calls only what it may, or None if it is one."""
    tree, problem = _parsed(sql)
    return problem or _problem_with_tree(tree)


def tables_named(sql: str) -> set[str]:
    """Returns the relations that a query reads, those that it defines itself left out; none where it is no query."""
    return {
        part["table_name"]
        for part, own in _parts(_parsed(sql)[0])
        if part.get("type") == "BASE_TABLE" and _lower(part["table_name"]) not in own
    }


def columns_named(expression: str) -> set[str]:
    """Returns the columns that an expression names, in lower case."""
    tree = _parsed(f"select (\n{expression}\n)")[0]
    return {part["column_names"][-1].lower() for part, _ in _parts(tree) if part.get("class") == "COLUMN_REF"}


def problem_with_pattern(pattern: str) -> str | None:
    """Returns why `pattern` is not a regular expression that can be cut out of texts, or None if it is one."""
    try:
        row = _parser().execute(f"select regexp_matches('', {literal(pattern)})").fetchone()
    except duckdb.Error as error:
        return f"it is no regular expression that DuckDB can read ({str(error).partition(': ')[2].strip()})"
    return "it fits where nothing stands, and so everywhere" if row and row[0] else None


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """Returns a DuckDB that only parses; opening one takes 15 ms, and a sources file has some thirty expressions."""
    return duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})


def _parsed(sql: str) -> tuple[Any, str | None]:
    """Returns the tree of one statement, or why there is none."""
    try:
        row = _parser().execute("select json_serialize_sql(?)", [sql]).fetchone()
        answer = json.loads(row[0]) if row else {}
    except (RecursionError, duckdb.Error):  # what is nested thousands of times over can be parsed, but not written out
        return None, "it is nested too deep"
    if answer.get("error"):
        if answer.get("error_type") == "not implemented":
            return None, "only a select may stand here, nothing that writes or changes settings"
        return None, f"it is no valid SQL ({answer.get('error_message')})"
    if len(answer["statements"]) != 1:
        return None, f"one statement may stand here, and it holds {len(answer['statements'])}"
    return answer["statements"][0], None


def _parts(tree: Any) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Yields every part of a parsed query, each with the names that its own `with` clauses define there, in lower case."""
    pending: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while pending:
        part, own = pending.pop()
        if isinstance(part, list):
            pending += ((one, own) for one in reversed(part))
        if not isinstance(part, dict):
            continue
        for entry in part.get("cte_map", {}).get("map", []):
            pending.append((entry["value"], own))
            own |= {_lower(entry["key"])}
        yield part, own
        for key, value in reversed(part.items()):
            # Only the second half of a recursive query reads what it defines.
            is_recursion = part.get("type") == "RECURSIVE_CTE_NODE" and key == "right"
            if key != "cte_map":
                pending.append((value, own | {_lower(part["cte_name"])} if is_recursion else own))


def _problem_with_tree(tree: Any) -> str | None:
    calls_of_tables = set()
    problems: dict[str, None] = {}  # a set that keeps the order
    for part, _ in _parts(tree):
        is_call_of_table = id(part) in calls_of_tables
        if part.get("type") == "TABLE_FUNCTION":
            calls_of_tables.add(id(part["function"]))
        for problem in _problems_with_part(part, is_call_of_table=is_call_of_table):
            problems[problem] = None
    return "; ".join(problems) or None


def _problems_with_part(part: dict[str, Any], *, is_call_of_table: bool) -> Iterator[str]:
    if problem := _problem_with_kind(part):
        yield problem
    if part.get("at_clause"):
        yield "it asks for a version of a table (at), and there is only the one that is read"
    if isinstance(part.get("sample"), dict):
        yield "it takes rows by chance (sample), which are others each time; use `where` or `limit` with `order by`"
    for entry in part.get("cte_map", {}).get("map", []):
        if not re.fullmatch(r"\w+", entry["key"]):
            yield f"it defines {entry['key']!r} in `with`; a name there may have letters, digits and _ alone"
    if "function_name" in part and (problem := _problem_with_call(part["function_name"], is_of_table=is_call_of_table)):
        yield problem
    if problem := _problem_with_name(part):
        yield problem


def _problem_with_kind(part: dict[str, Any]) -> str | None:
    """Returns why an expression, relation or other part of this kind may not stand in a query."""
    if "class" in part:
        if part["class"] == "PARAMETER":
            return "it has a placeholder (? or $1), for which there is no value; write the value itself"
        return None if part["class"] in _EXPRESSIONS else f"it holds what may not stand here ({part['class']})"
    kind = part.get("type")
    if not isinstance(kind, str) or kind in _PARTS:
        return None
    what = "lists tables or columns (show, describe, summarize)" if kind == "SHOW_REF" else f"holds a {kind}"
    return f"it {what}, and only rows may be selected here"


def _problem_with_name(part: dict[str, Any]) -> str | None:
    """Returns why a name may not stand where it does: one that leads elsewhere, or is none of a column."""
    qualifiers = [part[key] for key in _QUALIFIERS if part.get(key)]
    # The parser itself writes main before some of its own functions.
    if qualifiers and not ("function_name" in part and qualifiers == ["main"]):
        name = part.get("function_name") or part.get("table_name") or part.get("name") or ""
        return (
            f"it names {'.'.join([*qualifiers, name])}; inputs, views and functions are named without a database or schema, "
            "and a function is called as lower(title), not title.lower()"
        )
    names = part["column_names"] if part.get("class") == "COLUMN_REF" else []
    if len(names) == 1 and _lower(names[0]) in _WORDS_FOR_FUNCTIONS:
        return (
            f"it names {names[0]}, which DuckDB takes for a function where no column has that name; "
            f'if a column is meant, write it with the name of its table before it, such as orders."{names[0]}"'
        )
    return None


def _problem_with_call(function: str, *, is_of_table: bool) -> str | None:
    name = _lower(function)
    allowed, refused = (TABLE_FUNCTIONS, REFUSED_TABLE_FUNCTIONS) if is_of_table else (FUNCTIONS, REFUSED_FUNCTIONS)
    if name in allowed or (name in OPERATORS and not is_of_table):
        return None
    # A function of one kind where one of the other belongs is refused for what it does, too.
    for reason, names in [*refused.items(), *REFUSED_FUNCTIONS.items(), *REFUSED_TABLE_FUNCTIONS.items()]:
        if name in names:
            return f"it calls {function}, which {reason}"
    if name.startswith(INTERNAL_PREFIXES):
        return f"it calls {function}, which is DuckDB's own tool, not made for queries"
    close = [f"{word}()" for word in get_close_matches(name, allowed, n=3)]
    hint = f"did you mean {' or '.join(close)}?" if close else "docs/sources.md says which may be called"
    where = " after `from`" if is_of_table else ""
    return f"it calls {function}, which is none of the functions that may be called{where} in a sources file; {hint}"


def _lower(name: str) -> str:
    """Returns a name as DuckDB compares it: ASCII letters in lower case, and all others, alike or not, as they are."""
    return name.encode().lower().decode()
