"""A miniature run as a program: it lands tables, hashes images, builds lists from a table, judges and publishes them.

It calls the same code as the whole pipeline, without Dagster, dbt and models; so it takes a second and can be killed
hundreds of times. `python small_run.py FOLDER LINE`, where LINE (`first` or `next`) selects the sources' content.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.landing_fixtures import BUYERS, LISTINGS, MERCHANTS, ORDERS, Market
from tests.publishing_fixtures import AS_OF, Home, Rated
from touchstone.core.errors import TouchstoneError, describe_disk_error
from touchstone.core.files import sha256_bytes
from touchstone.core.lists import LISTS
from touchstone.core.lock import writer_lock
from touchstone.demo.images import draw_product, jpeg
from touchstone.landing.images import PictureStore

DAYS = {"first": AS_OF - dt.timedelta(days=1), "next": AS_OF}
TABLES = {
    "first": {"merchants": MERCHANTS, "listings": LISTINGS},
    "next": {
        "merchants": MERCHANTS,
        "listings": f"{LISTINGS} where i > 1",
        "listing_snapshots": f"select listing_id, listed_at as observed_at, 0.25 as dispute_ratio from ({LISTINGS})",
        "orders": ORDERS,
        "buyers": BUYERS,
    },
}
OWN_COLUMN = {"signal": "order", "controlled_by": "third_party", "unit": "share"}
"""The declaration of a column of the market's own, which the second run lands."""
PICTURES = {"first": (1,), "next": (2, 3)}
"""The number of images at each scan."""


def add_pictures(folder: Path, count: int) -> None:
    """Hashes the market's first images that are not hashed yet."""
    root = folder / "pictures"
    root.mkdir(exist_ok=True)
    contents = [jpeg(draw_product(np.random.default_rng(number), str(number))) for number in range(count)]
    rows = {sha256_bytes(content): f"{number}.jpg" for number, content in enumerate(contents)}
    for address, content in zip(rows.values(), contents, strict=True):
        (root / address).write_bytes(content)
    uris = [[rows[digest]] for digest in sorted(rows)]
    wanted = pa.table({"sha256": sorted(rows), "uris": uris, "in_use": [True] * len(rows)})
    store(folder).add(wanted, root)


def store(folder: Path) -> PictureStore:
    """Returns the image store of a small home."""
    return PictureStore(folder / "signals" / "pictures", threads=1)


def run(folder: Path, line: str) -> None:
    """Lands, hashes, builds, judges and publishes, under the home's lock."""
    extra = {"listing_snapshots": {"extra": {"dispute_ratio": OWN_COLUMN}}} if line == "next" else {}
    market = Market(folder, tables=TABLES[line], entries=extra)
    with writer_lock(folder / "lock", purpose="a small run", wait_seconds=60):
        market.land(days=list(DAYS).index(line))
        for count in PICTURES[line]:
            add_pictures(folder, count)
        for name in LISTS:
            ids = [row[0] for row in market.rows("listings")]
            rated = [Rated(entity, 90 + number / 10) for number, entity in enumerate(ids)]
            Home(folder, list_name=name).release(rated, as_of=DAYS[line])


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        run(Path(sys.argv[1]), sys.argv[2])
    except (OSError, TouchstoneError) as error:
        sys.stderr.write(describe_disk_error(str(error)) or str(error))
        raise SystemExit(2) from error
