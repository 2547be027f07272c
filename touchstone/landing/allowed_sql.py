"""Checks the SQL of a sources file: one select over the declared inputs that calls only the functions in `functions`.

The parsed query is checked before any connection to a source is opened. Allow-lists cover functions, kinds of relations and
kinds of expressions, so that no feature of a new version of DuckDB is allowed by default.
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
"""The allowed classes of expressions. Functions and windows are also checked by name."""

_PARTS: Final = words("""
    SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE
    BASE_TABLE EMPTY EXPRESSION_LIST JOIN PIVOT SUBQUERY TABLE_FUNCTION
    DISTINCT_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER ASCENDING DESCENDING ORDER_DEFAULT
    ARRAY_TYPE_INFO DECIMAL_TYPE_INFO ENUM_TYPE_INFO LIST_TYPE_INFO STRING_TYPE_INFO STRUCT_TYPE_INFO UNBOUND_TYPE_INFO
""")
"""The allowed other parts: queries, relations, modifiers, and types."""

_QUALIFIERS: Final = ("catalog", "catalog_name", "schema", "schema_name")

_WORDS_FOR_FUNCTIONS: Final = words("current_catalog current_role current_schema current_user session_user user")
"""Names that DuckDB takes for function calls if no column has them: a missing column `user` would silently be 'duckdb'."""


def problem_with_expression(sql: str) -> str | None:
    """Returns why `sql` is not one allowed expression for a select list, or None if it is."""
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
        return "it must be one expression, such as lower(title); a complete query belongs under `query`"
    if _has_star(node["select_list"]):
        return "it must be one expression, not a star, which selects many columns"
    return _problem_with_tree(tree)


def _has_star(part: Any) -> bool:
    """Returns whether a star selects columns of the row itself, not of a subquery."""
    if isinstance(part, list):
        return any(map(_has_star, part))
    if not isinstance(part, dict) or part.get("class") == "SUBQUERY":
        return False
    return part.get("class") == "STAR" or any(map(_has_star, part.values()))


def problem_with_query(sql: str) -> str | None:
    """Returns why `sql` is not one allowed query, or None if it is."""
    tree, problem = _parsed(sql)
    return problem or _problem_with_tree(tree)


def tables_named(sql: str) -> set[str]:
    """Returns the relations that a query reads, without those that it defines; empty if it is not a query."""
    return {
        part["table_name"]
        for part, own in _parts(_parsed(sql)[0])
        if part.get("type") == "BASE_TABLE" and _lower(part["table_name"]) not in own
    }


def columns_named(expression: str) -> set[str]:
    """Returns the columns that an expression reads, in lower case."""
    tree = _parsed(f"select (\n{expression}\n)")[0]
    return {part["column_names"][-1].lower() for part, _ in _parts(tree) if part.get("class") == "COLUMN_REF"}


def problem_with_pattern(pattern: str) -> str | None:
    """Returns why `pattern` is not a regular expression that can be masked, or None if it is."""
    try:
        row = _parser().execute(f"select regexp_matches('', {literal(pattern)})").fetchone()
    except duckdb.Error as error:
        return f"it is not a regular expression that DuckDB can read ({str(error).partition(': ')[2].strip()})"
    return "it matches the empty text, and so everywhere" if row and row[0] else None


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """Returns a DuckDB for parsing; opening one takes 15 ms, and a sources file has about thirty expressions."""
    return duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})


def _parsed(sql: str) -> tuple[Any, str | None]:
    """Returns the tree of one statement, or the reason why there is none."""
    try:
        row = _parser().execute("select json_serialize_sql(?)", [sql]).fetchone()
        answer = json.loads(row[0]) if row else {}
    except (RecursionError, duckdb.Error):  # thousands of nested levels can be parsed, but not serialized
        return None, "it is nested too deep"
    if answer.get("error"):
        if answer.get("error_type") == "not implemented":
            return None, "only a select is allowed, no statement that writes or changes settings"
        return None, f"it is not valid SQL ({answer.get('error_message')})"
    if len(answer["statements"]) != 1:
        return None, f"only one statement is allowed, and it has {len(answer['statements'])}"
    return answer["statements"][0], None


def _parts(tree: Any) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Yields every part of a parsed query with the names, in lower case, that `with` clauses define for it."""
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
            # Only the second half of a recursive query reads the name that it defines.
            is_recursion = part.get("type") == "RECURSIVE_CTE_NODE" and key == "right"
            if key != "cte_map":
                pending.append((value, own | {_lower(part["cte_name"])} if is_recursion else own))


def _problem_with_tree(tree: Any) -> str | None:
    table_function_calls = set()
    problems: dict[str, None] = {}  # an ordered set
    for part, _ in _parts(tree):
        is_table_function = id(part) in table_function_calls
        if part.get("type") == "TABLE_FUNCTION":
            table_function_calls.add(id(part["function"]))
        for problem in _problems_with_part(part, is_table_function=is_table_function):
            problems[problem] = None
    return "; ".join(problems) or None


def _problems_with_part(part: dict[str, Any], *, is_table_function: bool) -> Iterator[str]:
    if problem := _problem_with_kind(part):
        yield problem
    if part.get("at_clause"):
        yield "it selects a version of a table (at), and there is only the current one"
    if isinstance(part.get("sample"), dict):
        yield "it takes a random sample, which differs each time; use `where` or `limit` with `order by`"
    for entry in part.get("cte_map", {}).get("map", []):
        if not re.fullmatch(r"\w+", entry["key"]):
            yield f"it defines {entry['key']!r} in `with`; such a name may have only letters, digits and _"
    if "function_name" in part and (
        problem := _problem_with_call(part["function_name"], is_table_function=is_table_function)
    ):
        yield problem
    if problem := _problem_with_name(part):
        yield problem


def _problem_with_kind(part: dict[str, Any]) -> str | None:
    """Returns why the kind of a part is not allowed, or None if it is."""
    if "class" in part:
        if part["class"] == "PARAMETER":
            return "it has a placeholder (? or $1), which has no value; write the value itself"
        return None if part["class"] in _EXPRESSIONS else f"it has an expression that is not allowed ({part['class']})"
    kind = part.get("type")
    if not isinstance(kind, str) or kind in _PARTS:
        return None
    what = "lists tables or columns (show, describe, summarize)" if kind == "SHOW_REF" else f"has a {kind}"
    return f"it {what}, and only a select of rows is allowed"


def _problem_with_name(part: dict[str, Any]) -> str | None:
    """Returns why a name is not allowed: it is qualified, or DuckDB takes it for a function. None if it is allowed."""
    qualifiers = [part[key] for key in _QUALIFIERS if part.get(key)]
    # The parser itself writes main before some of its own functions.
    if qualifiers and not ("function_name" in part and qualifiers == ["main"]):
        name = part.get("function_name") or part.get("table_name") or part.get("name") or ""
        return (
            f"it names {'.'.join([*qualifiers, name])}; write inputs, views and functions without a database or schema, "
            "and call functions as lower(title), not title.lower()"
        )
    names = part["column_names"] if part.get("class") == "COLUMN_REF" else []
    if len(names) == 1 and _lower(names[0]) in _WORDS_FOR_FUNCTIONS:
        return (
            f"it names {names[0]}, which DuckDB takes for a function if no column has that name; "
            f'if you mean a column, qualify it with the name of its table, such as orders."{names[0]}"'
        )
    return None


def _problem_with_call(function: str, *, is_table_function: bool) -> str | None:
    name = _lower(function)
    allowed, refused = (
        (TABLE_FUNCTIONS, REFUSED_TABLE_FUNCTIONS) if is_table_function else (FUNCTIONS, REFUSED_FUNCTIONS)
    )
    if name in allowed or (name in OPERATORS and not is_table_function):
        return None
    # A function that is used in place of the other kind is refused with its own reason, too.
    for reason, names in [*refused.items(), *REFUSED_FUNCTIONS.items(), *REFUSED_TABLE_FUNCTIONS.items()]:
        if name in names:
            return f"it calls {function}, which {reason}"
    if name.startswith(INTERNAL_PREFIXES):
        return f"it calls {function}, which is internal to DuckDB"
    close = [f"{word}()" for word in get_close_matches(name, allowed, n=3)]
    hint = f"did you mean {' or '.join(close)}?" if close else "docs/sources.md lists the allowed functions"
    where = " after `from`" if is_table_function else ""
    return f"it calls {function}, which is not an allowed function{where} in a sources file; {hint}"


def _lower(name: str) -> str:
    """Returns a name as DuckDB compares it: ASCII letters in lower case, all other characters unchanged."""
    return name.encode().lower().decode()
