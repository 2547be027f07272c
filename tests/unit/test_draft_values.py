# ruff: noqa: DTZ001, DTZ007  times without a zone are UTC
"""What the values of a column are recognised as, and whether the drafted SQL converts them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contract import Column
from touchstone.landing.allowed_sql import problem_with_expression
from touchstone.landing.draft.names import vocabulary
from touchstone.landing.draft.values import Profile, expression, fit, profile_of


def profile(*values: str) -> Profile:
    distinct = sorted(set(values))
    return profile_of("c", "VARCHAR", len(values), len(values), len(distinct), distinct)


def column(kind: str, **rules: Any) -> Column:
    return Column.model_validate({"type": kind, "description": "", **rules})


def converted(kind: str, *values: str, **rules: Any) -> list[Any]:
    """Returns what the drafted expression and the contract's type make of texts."""
    sql, _ = expression(profile(*values), column(kind, **rules), vocabulary(), "c")
    assert problem_with_expression(sql) is None, sql
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        query = f"select cast({sql} as {column(kind).sql_type}) from (select unnest($values) as c)"
        return [row[0] for row in connection.execute(query, {"values": list(values)}).fetchall()]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "2", "30"), "integer"),
        (("1.5", "2"), "decimal"),
        (("1,5", "2"), "decimal"),
        (("1.234,50 €", "2,00 €"), "decimal"),
        (("2026-01-31", "2025-12-01"), "date"),
        (("2026-01-31T10:00:00Z", "2025-12-01 09:00:00+02"), "timestamp"),
        (("31.01.2026", "01.12.2025"), "date"),
        (("31/01/2026 10:00", "01/12/2025 23:59"), "timestamp"),
        (("20260131", "20251201"), "date"),
        (("ja", "nein"), "boolean"),
        (("Sim", "Não"), "boolean"),
        (("red shoes", "a watch"), "text"),
        (("", " "), "nothing"),
    ],
)
def test_kinds(values: tuple[str, ...], kind: str) -> None:
    assert profile(*values).kind == kind


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)), min_size=20, max_size=40),
    st.sampled_from(
        ["%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S", "%d %b %Y"]
    ),
)
def test_times_in_any_format_are_read_back(times: list[datetime], date_format: str) -> None:
    texts = [time.strftime(date_format) for time in times]
    assert converted("timestamp", *texts) == [datetime.strptime(text, date_format) for text in texts]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.decimals("-99999", "9999999", places=2), min_size=1, max_size=20).filter(
        lambda ns: any(n % 1 for n in ns)
    ),
    st.sampled_from(["{:.2f}", "{:,.2f}", "{:.2f} USD", "$ {:.2f}"]),
)
def test_numbers_with_points_are_read_back(numbers: list[Decimal], number_format: str) -> None:
    assert converted("decimal", *(number_format.format(number) for number in numbers)) == numbers


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.decimals("-99999", "9999999", places=2), min_size=1, max_size=20),
    st.sampled_from(["{}", "{} €", "R$ {}"]),
    st.sampled_from(["grouped", "plain"]),
)
def test_numbers_with_decimal_commas_are_read_back(numbers: list[Decimal], number_format: str, grouping: str) -> None:
    swapped = str.maketrans(",.", ".,")
    texts = [f"{n:,.2f}".translate(swapped) if grouping == "grouped" else f"{n:.2f}".replace(".", ",") for n in numbers]
    assert converted("decimal", *map(number_format.format, texts)) == numbers


def test_day_and_month_are_told_apart_by_the_values_and_doubts_are_marked() -> None:
    assert converted("date", "01/31/2026", "02/01/2026")[1].month == 2
    assert converted("date", "31/01/2026", "02/01/2026")[1].month == 1
    _, remarks = expression(profile("03/04/2026", "02/01/2026"), column("date"), vocabulary(), "c")
    assert remarks == ["the day may also be the month"]


def test_a_comma_that_may_separate_thousands_is_marked() -> None:
    _, remarks = expression(profile("1,234", "5,678"), column("decimal"), vocabulary(), "c")
    assert len(remarks) == 1
    assert "thousand" in remarks[0]


def test_seconds_and_milliseconds_since_1970_are_times() -> None:
    assert converted("timestamp", "1767225600") == [datetime(2026, 1, 1)]
    assert converted("timestamp", "1767225600000") == [datetime(2026, 1, 1)]


def test_booleans_in_other_languages_are_converted() -> None:
    assert converted("boolean", "ja", "nein") == [True, False]
    assert converted("boolean", "Да", "Нет") == [True, False]


def test_codes_are_mapped_and_unknown_ones_named() -> None:
    values = ("new", "refurbished", "used")
    assert converted("string", "neu", "gebraucht", values=values) == ["new", "used"]
    sql, remarks = expression(profile("neu", "B-Ware"), column("string", values=values), vocabulary(), "c")
    assert "B-Ware" not in sql
    assert remarks == ["1 of its 2 codes have no known meaning; map them to: new, refurbished, used"]


@pytest.mark.parametrize(
    ("kind", "rules", "shape", "good", "bad"),
    [
        ("string", {}, "currency", ("USD", "EUR"), ("ABC", "https://a.example/")),
        ("string", {}, "country", ("US", "DE"), ("USD", "EUR")),
        ("string", {}, "url", ("https://a.example/1",), ("red shoes",)),
        ("string", {}, "hash", ("a" * 64,), ("red shoes",)),
        ("integer", {"min": 0, "max": 5}, None, ("1", "5"), ("1", "500")),
        ("json", {}, None, ('{"a": 1}',), ("a",)),
        ("timestamp", {}, None, ("2026-01-01",), ("red shoes",)),
        ("decimal", {"min": 0}, None, ("1.5",), ("x",)),
    ],
)
def test_values_of_the_right_shape_fit_better(
    kind: str, rules: dict[str, Any], shape: str | None, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    contract_column = column(kind, **rules)
    assert fit(profile(*good), contract_column, vocabulary(), shape) > 2 * fit(
        profile(*bad), contract_column, vocabulary(), shape
    )


@given(st.lists(st.text(max_size=30), max_size=20))
def test_any_values_have_a_profile_and_allowed_sql(values: list[str]) -> None:
    known = profile(*values)
    for kind in ("string", "integer", "decimal", "timestamp", "date", "boolean", "json"):
        sql, _ = expression(known, column(kind), vocabulary(), "c")
        assert problem_with_expression(sql) is None
