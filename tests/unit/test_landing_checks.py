"""Conversion of source types to the contract's, and refusal of lossy conversions."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from expectations.contract import Column, ColumnType
from touchstone.landing.checks import conversion


def convert(column_type: ColumnType, value: str) -> Any:
    """Converts an SQL value: the result as text, 'fails' if the row check detects it, 'never' for a refused type."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table source as select {value} as x")
        source_type = connection.execute("describe source").fetchall()[0][1]
        converted = conversion(Column(type=column_type, description=""), source_type, "x")
        if converted is None:
            return "never"
        fails = f"x is not null and {converted.fails}" if converted.fails else "false"
        query = f"select cast({converted.value} as varchar), {fails}, typeof({converted.value}) from source"
        text, failed, made_type = connection.execute(query).fetchall()[0]
        assert made_type == Column(type=column_type, description="").sql_type
        return "fails" if failed else text


@pytest.mark.parametrize(
    ("column_type", "value", "result"),
    [
        ("string", "'a'", "a"),
        ("string", "7", "7"),
        ("string", "uuid '2f3a6c1e-0000-0000-0000-000000000001'", "2f3a6c1e-0000-0000-0000-000000000001"),
        ("string", "7.0::double", "never"),
        ("string", "'a'::blob", "never"),
        ("string", "['a']", "never"),
        ("string", "date '2026-01-01'", "never"),
        ("integer", "7::utinyint", "7"),
        ("integer", "'7'", "7"),
        ("integer", "7.0::double", "7"),
        ("integer", "7.5::double", "fails"),
        ("integer", "'7.5'", "fails"),
        ("integer", "7.5::decimal(9,1)", "fails"),
        ("integer", "'seven'", "fails"),
        ("integer", "'nan'::double", "fails"),
        ("integer", "100000000000000000000::hugeint", "fails"),
        ("integer", "9007199254740993", "9007199254740993"),
        ("integer", "true", "never"),
        ("decimal", "1.23456", "1.2346"),
        ("decimal", "'0.1'", "0.1000"),
        ("decimal", "0.1::double", "0.1000"),
        ("decimal", "'1,5'", "fails"),
        ("decimal", "1e15::double", "fails"),
        ("decimal", "'infinity'::double", "fails"),
        ("double", "'0.25'", "0.25"),
        ("double", "1", "1.0"),
        ("double", "'x'", "fails"),
        ("boolean", "true", "true"),
        ("boolean", "'true'", "true"),
        ("boolean", "0", "false"),
        ("boolean", "2", "fails"),
        ("boolean", "'maybe'", "fails"),
        ("boolean", "1.0::double", "never"),
        ("date", "date '2026-01-02'", "2026-01-02"),
        ("date", "timestamp '2026-01-02 00:00:00'", "2026-01-02"),
        ("date", "timestamp '2026-01-02 03:00:00'", "fails"),
        ("date", "'2026-01-02'", "2026-01-02"),
        ("date", "'2 Jan 2026'", "fails"),
        ("timestamp", "date '2026-01-02'", "2026-01-02 00:00:00"),
        ("timestamp", "timestamptz '2026-01-02 03:00:00+02'", "2026-01-02 01:00:00"),
        ("timestamp", "timestamp_ns '2026-01-02 03:00:00.123456789'", "2026-01-02 03:00:00.123456"),
        ("timestamp", "'2026-01-02T03:00:00+02:00'", "2026-01-02 01:00:00"),
        ("timestamp", "'2026-01-02 03:00:00'", "2026-01-02 03:00:00"),
        ("timestamp", "'02/01/2026'", "fails"),
        ("timestamp", "1767312000", "never"),
        ("json", """'{"a": 1}'""", '{"a": 1}'),
        ("json", "{'a': 1, 'b': ['x']}", '{"a":1,"b":["x"]}'),
        ("json", "map {'a': 1}", '{"a":1}'),
        ("json", "'{a: 1'", "fails"),
        ("json", "7", "never"),
    ],
)
def test_a_value_is_converted_to_the_contract_type_or_detected(
    column_type: ColumnType, value: str, result: str
) -> None:
    assert convert(column_type, value) == result


@pytest.mark.parametrize(
    "column_type", ["string", "integer", "decimal", "double", "boolean", "date", "timestamp", "json"]
)
def test_null_stays_null(column_type: ColumnType) -> None:
    assert convert(column_type, "null") in (None, "never")
    assert convert(column_type, "null::varchar") is None
