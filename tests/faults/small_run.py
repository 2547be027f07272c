"""A run in small, as a program: it lands tables, makes both lists out of them, judges and publishes them.

What it calls is what the whole pipeline calls, without Dagster, dbt and models; so it takes a second and can be killed
hundreds of times. `python small_run.py FOLDER LINE`, where LINE (`first` or `next`) says what the sources hold.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from groundwork.errors import TouchstoneError, disk_refusal
from groundwork.lock import writer_lock
from orchestration.publishing.policy import ListName
from tests.landing_fixtures import BUYERS, LISTINGS, MERCHANTS, ORDERS, Market
from tests.publishing_fixtures import AS_OF, Home, Rated

LISTS: tuple[ListName, ...] = ("listings", "merchants")
DAYS = {"first": AS_OF - dt.timedelta(days=1), "next": AS_OF}
TABLES = {
    "first": {"merchants": MERCHANTS, "listings": LISTINGS},
    "next": {"merchants": MERCHANTS, "listings": f"{LISTINGS} where i > 1", "orders": ORDERS, "buyers": BUYERS},
}


def run(folder: Path, line: str) -> None:
    """Lands, makes, judges and publishes, under the home's lock."""
    market = Market(folder, tables=TABLES[line])
    with writer_lock(folder / "lock", purpose="a small run", wait_seconds=60):
        market.land(days=list(DAYS).index(line))
        for name in LISTS:
            ids = [row[0] for row in market.rows(name)]
            rated = [Rated(entity, 90 + number / 10) for number, entity in enumerate(ids)]
            Home(folder, list_name=name).release(rated, as_of=DAYS[line])


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        run(Path(sys.argv[1]), sys.argv[2])
    except (OSError, TouchstoneError) as error:
        sys.stderr.write(disk_refusal(str(error)) or str(error))
        raise SystemExit(2) from error
