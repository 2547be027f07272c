"""Which day a home's loads can be rated as of, and how fresh a table is: decision 23.

A day is complete once the tables landed on a later one. Observations (listings and their sightings, prices, orders) date a run;
a label that is a little newer than they are dates it too, so that it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import duckdb

from touchstone.core.errors import BadInputError
from touchstone.core.last_run import what_is_missing
from touchstone.core.settings import MAX_AGE
from touchstone.landing.ledger import LoadRecord, PinnedLoads
from touchstone.landing.sql import parquet, quoted

OBSERVATIONS: Final = (
    ("listings", "listed_at"),
    ("listings", "last_seen_at"),
    ("listing_prices", "observed_at"),
    ("listing_snapshots", "observed_at"),
    ("orders", "placed_at"),
)
"""Columns with the times of observations."""
LABELS: Final = (
    ("notices", "decided_at"),
    ("test_buys", "decided_at"),
    ("moderation_decisions", "decided_at"),
    ("enforcement_actions", "occurred_at"),
    ("appeals", "decided_at"),
)
"""Columns with the times from which labels are known."""


def default_as_of(landing: Path, pins: PinnedLoads) -> date:
    """Returns the last complete day of what has landed.

    Args:
        landing: The landing zone.
        pins: The loads that count.

    Raises:
        BadInputError: Nothing has landed, or no observation lies before the day on which it landed.
    """
    if not any(pins.current.values()):
        home = landing.parent
        raise BadInputError(
            f"Nothing has landed in {home} yet. {what_is_missing(home, '`touchstone run` lands tables.')}"
        )
    days = complete_days(landing, pins)
    if not days:
        columns = ", ".join(f"{table}.{column}" for table, column in OBSERVATIONS)
        raise BadInputError(
            f"No row lies on a day before the one on which it landed ({columns}), so there is no complete day to rate. Check "
            "the tables' times, or name a day with --as-of."
        )
    return max(days.values())


def complete_days(landing: Path, pins: PinnedLoads) -> dict[str, date]:
    """Returns the newest complete day of each table that dates a run.

    Of tables with labels, only days that are after the newest observation and at most `MAX_AGE` later: on a later day the
    observations would be too old to rate anything, and labels without observations say nothing about the day.
    """
    observed = _newest_days(landing, pins, OBSERVATIONS)
    if not observed:
        return {}
    newest = max(observed.values())
    labels = _newest_days(landing, pins, LABELS, until=newest + MAX_AGE)
    return observed | {table: day for table, day in labels.items() if day > newest}


def fresh_date(landing: Path, pins: PinnedLoads, table: str) -> date | None:
    """Returns the day that a table in use is as fresh as; None for a table without events.

    That is the day of its newest event. Listings may go without a new one for weeks: they are as fresh as the last sighting, or,
    without sightings, as the load.
    """
    newest = pins.newest_event_date(table)
    if table != "listings" or newest is None:
        return newest
    loads = pins.source_loads(table)
    seen = [day for load in loads if (day := _newest_complete_day(landing, load, "last_seen_at")) is not None]
    return max(newest, max(seen, default=loads[-1].landed_at.astimezone(UTC).date()))


def _newest_days(
    landing: Path, pins: PinnedLoads, columns: Sequence[tuple[str, str]], until: date | None = None
) -> dict[str, date]:
    newest: dict[str, date] = {}
    for table, column in columns:
        for load in pins.current.get(table, ()):
            day = _newest_complete_day(landing, load, column, until)
            if day is not None:
                newest[table] = max(day, newest.get(table, day))
    return newest


def _newest_complete_day(landing: Path, load: LoadRecord, column: str, until: date | None = None) -> date | None:
    """Returns the newest day of a column of a load before the day on which it landed, and up to a day."""
    last = load.landed_at.astimezone(UTC).date() - timedelta(days=1)
    return _newest_day(tuple(load.existing_paths(landing)), column, min(last, until or last))


@lru_cache(maxsize=256)
def _newest_day(paths: tuple[Path, ...], column: str, last: date) -> date | None:
    """Returns the newest day of a column up to `last`; None without a value. Loads never change, so neither does this."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.sql(f"from {parquet(paths)}")
        if column not in rows.columns:
            return None
        day = f"cast({quoted(column)} as date)"
        query = f"select max({day}) filter (where {day} <= $last) from {parquet(paths)}"
        found: date | None = connection.execute(query, {"last": last}).fetchall()[0][0]
    return found
