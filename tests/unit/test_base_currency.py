"""Which currency amounts are converted to, given the loads and the setting."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pytest

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError
from touchstone.landing.currencies import (
    NO_CURRENCY,
    base_currency,
    describe_unknown_currencies,
    unknown_currencies,
)

Amounts = dict[str, dict[str | None, int]]
Rates = Sequence[tuple[str, float]]


def chosen(amounts: Amounts, rates: Rates = (), given: str | None = None) -> str:
    """Returns the base currency of tables with so many rows of each currency."""
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        connection.execute("create schema landed")
        for name, table in contract.tables.items():
            if "currency" in table.columns and name != "fx_rates":
                connection.execute(f"create table landed.{name} (currency varchar, is_current boolean)")
                for currency, count in amounts.get(name, {}).items():
                    connection.execute(f"insert into landed.{name} select ?, true from range({count})", [currency])
        connection.execute("insert into landed.listings select 'OLD', false from range(1000)")
        connection.execute("create table landed.fx_rates (currency varchar, rate double, is_current boolean)")
        for currency, rate in rates:
            connection.execute("insert into landed.fx_rates values (?, ?, true)", [currency, rate])
        return base_currency(connection, contract, given)


def test_the_most_frequent_currency_of_all_tables_is_the_base_currency() -> None:
    assert chosen({"listings": {"EUR": 3, "GBP": 4}, "orders": {"EUR": 2, None: 9}}) == "EUR"


def test_of_equally_frequent_currencies_the_first_by_name_is_chosen() -> None:
    assert chosen({"listings": {"GBP": 3}, "orders": {"EUR": 3}}) == "EUR"


def test_the_setting_takes_precedence() -> None:
    assert chosen({"listings": {"EUR": 3}}, given="JPY") == "JPY"


def test_without_amounts_there_is_no_currency() -> None:
    assert chosen({}) == NO_CURRENCY


def test_rates_to_the_most_frequent_currency_do_not_change_it() -> None:
    assert chosen({"listings": {"USD": 3, "EUR": 1}}, [("EUR", 1.1), ("USD", 1.0)]) == "USD"


def test_rates_of_the_most_frequent_currency_are_to_the_one_whose_rates_are_one() -> None:
    assert chosen({"listings": {"EUR": 3, "USD": 1}}, [("EUR", 1.1), ("EUR", 1.2), ("USD", 1.0)]) == "USD"


@pytest.mark.parametrize(
    ("rates", "given", "message"),
    [
        ([("EUR", 1.1)], None, "most amounts is EUR.*Set TOUCHSTONE_BASE_CURRENCY"),
        ([("EUR", 1.1), ("EUR", 1.0)], None, "most amounts is EUR"),
        ([("EUR", 1.1), ("USD", 1.0), ("USDT", 1.0)], None, "most amounts is EUR"),
        ([("EUR", 1.1), ("USD", 1.0)], "EUR", "TOUCHSTONE_BASE_CURRENCY is EUR.*to another currency"),
    ],
)
def test_rates_to_an_unknown_or_another_currency_are_refused(rates: Rates, given: str | None, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        chosen({"listings": {"EUR": 3}}, rates, given)


@pytest.mark.parametrize(
    ("codes", "rates", "unknown"),
    [
        (["EUR", "USD", None], [], {}),
        (["EURO", "€", "EURO", "eur"], [], {"EURO": 2, "eur": 1, "€": 1}),
        (["BTC", "EURO"], ["BTC"], {"EURO": 1}),
    ],
)
def test_codes_that_are_no_currency_and_have_no_rate_are_unknown(
    codes: list[str | None], rates: list[str], unknown: dict[str, int]
) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("create table amounts (currency varchar); create table rates (currency varchar)")
        connection.executemany("insert into amounts values (?)", [[code] for code in codes])
        connection.executemany("insert into rates values (?)", [[code] for code in rates or ["EUR"]])
        assert unknown_currencies(connection, "amounts", "rates") == unknown
    text = describe_unknown_currencies(unknown)
    assert (("EURO" in text) and ("sources file" in text)) is bool(unknown)
