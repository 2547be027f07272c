"""The transparency report: what a marketplace can publish about a period, without entities, persons or small numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

from touchstone.casework.currencies import base_currency
from touchstone.casework.reports import PREVALENCE_NOTE, estimate_prevalence, open_marts, to_json
from touchstone.core.errors import BadInputError

FEW: Final = 5
"""The report hides counts below this number, and what is based on fewer."""
FEW_NOTE: Final = (
    f"As known at the end of {{last}}. A count from 1 to {FEW - 1} is shown as <{FEW}; a count that would reveal one is "
    f"shown as a "
    f"lower bound (>); values based on fewer than {FEW} are omitted."
)
RETURNING_NOTE: Final = (
    "Returning sellers: merchants banned in the period, and those of them of whom another account, identified by shared "
    "identifiers, registered since."
)


def compose_public(home: Path, first: dt.date, last: dt.date) -> dict[str, Any]:
    """Computes the transparency report of a period, as known at its end.

    Counts from 1 to 4 are shown as "<5"; shares, times and values that are based on fewer than 5 are omitted (None).

    Args:
        home: The home.
        first: The first day of the period.
        last: The last day of the period, whose marts must exist.

    Returns:
        The report as plain data, by section.

    Raises:
        BadInputError: The period is empty, or there are no marts as of its last day.
    """
    if first > last:
        raise BadInputError(f"--from {first} is after --to {last}. Give the earlier day first.")
    period = {"first": first, "last": last}
    with open_marts(home, last) as connection:
        return {
            "from": str(first),
            "to": str(last),
            "base_currency": base_currency(home, last),
            "prevalence": _prevalence(connection, first, last),
            "notices": _notices(connection, period),
            "returning_sellers": _returning_sellers(connection, period),
            "appeals": _appeals(connection, period),
            "enforcement": _enforcement(connection, period),
            "notes": [FEW_NOTE.format(last=last), PREVALENCE_NOTE, RETURNING_NOTE],
        }


def _row(connection: duckdb.DuckDBPyConnection, query: str, period: Mapping[str, dt.date]) -> tuple[Any, ...]:
    return tuple(to_json(value) for value in connection.execute(query, dict(period)).fetchone() or ())


def _within(column: str) -> str:
    """Returns the SQL condition that a time lies in the period."""
    return f"cast({column} as date) between $first and $last"


def _prevalence(connection: duckdb.DuckDBPyConnection, first: dt.date, last: dt.date) -> dict[str, Any]:
    estimate = estimate_prevalence(connection, first, last)
    is_shown = estimate["answered"] >= FEW
    return {
        "test_buys": few(estimate["bought"]),
        "with_verdict": part(estimate["answered"], estimate["bought"]),
        "counterfeit_share": estimate["share"] if is_shown else None,
        "low": estimate["low"] if is_shown else None,
        "high": estimate["high"] if is_shown else None,
    }


def _notices(connection: duckdb.DuckDBPyConnection, period: Mapping[str, dt.date]) -> dict[str, Any]:
    received, decided, upheld, taken_down, median, p90 = _row(
        connection,
        "select count(*), count(*) filter (where outcome <> 'pending'), count(*) filter (where outcome = 'upheld'), "
        "count(takedown_hours), quantile_disc(takedown_hours, 0.5), quantile_disc(takedown_hours, 0.9) "
        f"from notices where {_within('submitted_at')}",
        period,
    )
    return {
        "received": few(received),
        "decided": part(decided, received),
        "upheld": part(upheld, decided),
        "taken_down": part(taken_down, received),
        "hours_to_takedown_median": median if taken_down >= FEW else None,
        "hours_to_takedown_p90": p90 if taken_down >= FEW else None,
    }


def _returning_sellers(connection: duckdb.DuckDBPyConnection, period: Mapping[str, dt.date]) -> dict[str, Any]:
    banned, returned = _row(
        connection,
        f"select count(*), count(*) filter (where returned_count > 0) from banned_merchants where {_within('banned_at')}",
        period,
    )
    return {"banned": few(banned), "returned": part(returned, banned)}


def _appeals(connection: duckdb.DuckDBPyConnection, period: Mapping[str, dt.date]) -> dict[str, Any]:
    received, decided, upheld, days = _row(
        connection,
        "select count(*), count(*) filter (where outcome <> 'pending'), count(*) filter (where outcome = 'upheld'), "
        f"quantile_disc(decision_days, 0.5) from appeals where {_within('submitted_at')}",
        period,
    )
    # The share would reveal a count that is hidden.
    are_counts_shown = all(
        isinstance(count, int) for count in (part(upheld, decided), few(upheld), part(decided, received))
    )
    return {
        "received": few(received),
        "decided": part(decided, received),
        "upheld": part(upheld, decided),
        "upheld_share": round(upheld / decided, 4) if decided >= FEW and are_counts_shown else None,
        "days_to_decision_median": days if decided >= FEW else None,
    }


def _enforcement(connection: duckdb.DuckDBPyConnection, period: Mapping[str, dt.date]) -> dict[str, Any]:
    actions, merchants, suspects, items, value = _row(
        connection,
        "select count(*), count(distinct merchant_id), coalesce(sum(suspect_count), 0), coalesce(sum(seized_count), 0), "
        f"coalesce(sum(seized_value_base), 0) from enforcement_results where {_within('occurred_at')}",
        period,
    )
    kinds = connection.execute(
        "select coalesce(kind, 'other') as kind, count(*) from enforcement_results "
        f"where {_within('occurred_at')} group by 1 order by 1",
        dict(period),
    ).fetchall()
    is_few = 0 < actions < FEW
    return {
        "actions": few(actions),
        "actions_by_kind": without_small(dict(kinds)),
        "merchants": part(merchants, actions),
        "suspects": None if is_few else few(int(suspects)),
        "items_seized": None if is_few else int(items),
        "value_seized_base": None if is_few else value,
    }


# Disclosure control ---------------------------------------------------------------------------------------------------


def few(count: int) -> int | str:
    """Returns a count, or `<5` if it is small and not zero."""
    return f"<{FEW}" if 0 < count < FEW else count


def part(count: int, whole: int) -> int | str:
    """Returns a count out of a published total; a lower bound if the count would reveal that the remainder is small."""
    return f">{whole - FEW}" if count >= FEW and 0 < whole - count < FEW else few(count)


def without_small(counts: Mapping[str, int]) -> dict[str, int]:
    """Returns counts by kind with the small ones merged into `others`, together with the smallest of the rest if necessary."""
    shown = {kind: count for kind, count in sorted(counts.items()) if count >= FEW}
    rest = sum(counts.values()) - sum(shown.values())
    while 0 < rest < FEW and shown:
        rest += shown.pop(min(shown, key=lambda kind: (shown[kind], kind)))
    return shown | ({"others": rest} if rest >= FEW else {})
