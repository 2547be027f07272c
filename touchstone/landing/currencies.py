"""The base currency: the currency that amounts are converted to.

It is determined from the pinned loads and the settings before dbt starts, so that the same loads give the same base currency for
every as-of date. Nothing here converts amounts: the dbt project does, in staging.
"""

from __future__ import annotations

from collections import Counter

import duckdb
from babel.numbers import list_currencies

from expectations.contract import Contract
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.text import list_some, shorten
from touchstone.landing.sql import quoted
from touchstone.landing.views import SCHEMA

RATES = "fx_rates"
NO_CURRENCY = "XXX"
"""ISO 4217's code for "no currency", which stands in if no amount has landed."""


def base_currency(connection: duckdb.DuckDBPyConnection, contract: Contract, given: str | None) -> str:
    """Returns the base currency of the pinned loads.

    It is the one given; else the most frequent one, in all tables together, of amounts with a currency (the first by name of
    equally frequent ones). Exchange rates are to the base currency, so a currency with a rate other than one cannot be it. If the
    most frequent one has such rates, the base currency is the one whose rates are all one.

    Args:
        connection: Has the views of the pinned loads.
        contract: Names the tables with currencies.
        given: The setting `TOUCHSTONE_BASE_CURRENCY`.

    Raises:
        BadInputError: The exchange rates are to another currency than the one given, or do not tell to which.
    """
    counts = _row_counts(connection, contract)
    is_one: dict[str, bool] = dict(
        connection.execute(
            f"select currency, bool_and(rate = 1) from {SCHEMA}.{RATES} where is_current and rate > 0 group by currency"
        ).fetchall()
    )
    frequent = min(counts, key=lambda currency: (-counts[currency], currency), default=NO_CURRENCY)
    chosen = given or frequent
    if is_one.get(chosen, True):
        return chosen
    if given:
        raise BadInputError(
            f"TOUCHSTONE_BASE_CURRENCY is {given}, but the table {RATES} has rates of {given} other than 1, so its rates are to "
            f"another currency. Set TOUCHSTONE_BASE_CURRENCY to that currency, or land rates to {given}."
        )
    units = sorted(currency for currency, is_unit in is_one.items() if is_unit)
    if len(units) == 1:
        return units[0]
    raise BadInputError(
        f"The currency of most amounts is {frequent}, but the table {RATES} has rates of {frequent} other than 1, so its "
        "rates are to another currency. Set TOUCHSTONE_BASE_CURRENCY to the currency that the rates are to."
    )


def unknown_currencies(connection: duckdb.DuckDBPyConnection, rows: str, rates: str = "") -> dict[str, int]:
    """Returns the codes that are no ISO 4217 codes and have no rate, with their number of rows: `EURO`, `€`.

    Args:
        connection: Can read both.
        rows: SQL for rows with a column `currency`.
        rates: SQL for exchange rates, if there are some; a code with a rate, such as a cryptocurrency's, is known.
    """
    rated = f" and currency not in (select currency from {rates})" if rates else ""
    found = connection.execute(
        f"select currency, count(*) from {rows} where currency is not null and not list_contains($known, currency){rated} "
        "group by currency order by count(*) desc, currency",
        {"known": sorted(list_currencies())},
    )
    return dict(found.fetchall())


def describe_unknown_currencies(codes: dict[str, int]) -> str:
    """Returns a part of a sentence about unknown codes; empty if there is none."""
    shown = list_some([f"{shorten(code)} ({format_count(count, 'row')})" for code, count in codes.items()])
    remedy = (
        "they cannot be converted; map them in the sources file, for instance to EUR, or give them rates in fx_rates"
    )
    return f"no ISO 4217 currency codes: {shown}; {remedy}" if codes else ""


def _row_counts(connection: duckdb.DuckDBPyConnection, contract: Contract) -> Counter[str]:
    """Returns the number of current rows by currency."""
    counts: Counter[str] = Counter()
    for name, table in contract.tables.items():
        if name != RATES and "currency" in table.columns:
            of_table = f"{SCHEMA}.{quoted(name)} where is_current and currency is not null"
            rows = connection.execute(f"select currency, count(*) from {of_table} group by currency").fetchall()
            counts.update(dict(rows))
    return counts
