"""The base currency of a date's amounts, for pages and messages."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from touchstone.core.home import Home

MART: Final = "currencies"
UNKNOWN: Final = "base currency"


def base_currency(home: Path, as_of: dt.date) -> str:
    """Returns the currency of the amounts in the marts of a date; "base currency" if that mart was removed.

    Args:
        home: The home.
        as_of: The date of the marts.
    """
    file = Home(home).mart(MART, as_of)
    if not file.is_file():
        return UNKNOWN
    rows = pq.read_table(file, columns=["table_name", "currency"], partitioning=None).to_pylist()
    return next(str(row["currency"]) for row in rows if row["table_name"] is None)
