"""The demo marketplace, made: `generate` writes it, `latents` shows what stands behind each listing.

Merchants come in chunks of a fixed number, each with random streams of its own, so memory does not grow with scale and
the same arguments give the same bytes. Everything is written into a temporary folder that is renamed at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from groundwork.errors import BadInputError
from groundwork.files import replacing_directory
from orchestration.marketplace.arrays import id_text
from orchestration.marketplace.catalogue import build_catalogue, build_fragments
from orchestration.marketplace.labels import build_labels
from orchestration.marketplace.listings import build_listings
from orchestration.marketplace.merchants import build_merchants
from orchestration.marketplace.tables import Calendar, Chunk, chunk_tables, fixed_tables, truth_tables
from orchestration.marketplace.trade import BUYERS_PER_MERCHANT, build_brushing, build_orders, build_reviews, build_season

MERCHANTS_AT_SCALE_1 = 100_000
MERCHANTS_PER_CHUNK = 500
LEAST_SCALE = 0.0005
LEAST_DAYS = 60
CURSORS = {
    "merchant_snapshots": "observed_at", "listing_prices": "observed_at", "listing_ranks": "observed_at", "reviews": "created_at",
    "platform_actions": "occurred_at", "enforcement_actions": "occurred_at", "fx_rates": "date",
}  # fmt: skip


@dataclass(frozen=True)
class GenerationReport:
    """What was written.

    Attributes:
        directory: Where.
        rows: Rows by table.
    """

    directory: Path
    rows: dict[str, int]


class _Writer:
    """Parquet files that grow by one row group a chunk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._open: dict[str, pq.ParquetWriter] = {}
        self.rows: dict[str, int] = {}

    def add(self, tables: dict[str, pa.Table]) -> None:
        for name, table in tables.items():
            if name not in self._open:
                path = self._folder / f"{name}.parquet"
                plain = [field.name for field in table.schema if field.name not in _UNIQUE_COLUMNS]
                self._open[name] = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1, use_dictionary=plain)
            self._open[name].write_table(table)
            self.rows[name] = self.rows.get(name, 0) + table.num_rows

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()


_UNIQUE_COLUMNS = frozenset({
    "title", "description", "url", "text", "image_id", "order_id", "review_id", "payer_hash", "amount", "placed_at", "shipped_at",
    "delivered_at", "created_at", "uri", "sha256", "specs",
})  # fmt: skip


def generate(directory: Path, *, scale: float, days: int = 120, seed: int = 7, hardness: float = 1.0) -> GenerationReport:
    """Writes a marketplace with known truth below `directory`, whole or not at all.

    Args:
        directory: Receives `sources/<table>.parquet`, `truth/<entity>.parquet` and `sources.yml`; what it held before is replaced.
        scale: 1 is 100,000 merchants, 2 million listings, 20 million orders; from 0.0005.
        days: Length of the history, which ends on 2026-06-30; at least 60.
        seed: Everything random follows from it.
        hardness: Divides what sets counterfeiters apart; above 1 they overlap more with the honest.

    Returns:
        Where it is and the rows of each table.

    Raises:
        BadInputError: An argument is out of its range.
    """
    _check(scale, days, seed, hardness)
    with replacing_directory(directory) as folder:
        sources, truth = _Writer(folder / "sources"), _Writer(folder / "truth")
        calendar, catalogue = Calendar(days), build_catalogue(seed)
        sources.add(fixed_tables(catalogue, calendar, seed))
        for chunk in _chunks(scale, days, seed, hardness):
            sources.add(chunk_tables(chunk))
            truth.add(truth_tables(chunk))
        sources.close()
        truth.close()
        (folder / "sources.yml").write_text(_sources_file(sorted(sources.rows)), encoding="utf-8")
    return GenerationReport(directory, dict(sorted(sources.rows.items())))


def latents(*, scale: float, days: int = 120, seed: int = 7, hardness: float = 1.0) -> pa.Table:
    """Returns the latent variables of every listing of the marketplace that `generate` writes for the same arguments.

    They are the parameters of the distributions that all its rows are drawn from; no model can know more. For the test
    of the demo's difficulty; nothing in the pipeline calls this.

    Returns:
        `listing_id`, `merchant_id` and one column a latent variable.
    """
    _check(scale, days, seed, hardness)
    return pa.concat_tables([_latent_rows(chunk) for chunk in _chunks(scale, days, seed, hardness)])


def _latent_rows(chunk: Chunk) -> pa.Table:
    merchant = chunk.listings.merchant
    columns = {"listing_id": id_text(chunk.listings.key, "l"), "merchant_id": chunk.merchant_ids(merchant)}
    values = {name: pa.array(value) for name, value in chunk.listings.latents.items()}
    return pa.table({**columns, **values, "brushing_share": pa.array(chunk.brushing.share[merchant])})


def _check(scale: float, days: int, seed: int, hardness: float) -> None:
    if not LEAST_SCALE <= scale <= 100:
        raise BadInputError(f"demo marketplace: scale {scale} is out of range; give a number from {LEAST_SCALE} (50 merchants) up.")
    if not LEAST_DAYS <= days <= 3650:
        raise BadInputError(f"demo marketplace: {days} days are out of range; give {LEAST_DAYS} to 3650.")
    if seed < 0:
        raise BadInputError(f"demo marketplace: seed {seed} is negative; give 0 or more.")
    if not 0.1 <= hardness <= 10:
        raise BadInputError(f"demo marketplace: hardness {hardness} is out of range; give 0.1 to 10 (1 is usual).")


def _chunks(scale: float, days: int, seed: int, hardness: float) -> Iterator[Chunk]:
    """Draws the marketplace chunk by chunk; one is in memory at a time."""
    total = int(round(MERCHANTS_AT_SCALE_1 * scale))
    number = max(1, round(total / MERCHANTS_PER_CHUNK))
    edges = [total * position // number for position in range(number + 1)]
    for position in range(number):
        yield _chunk(position, edges[position], edges[position + 1] - edges[position], total, days, seed, hardness)


def _chunk(number: int, first: int, count: int, total: int, days: int, seed: int, hardness: float) -> Chunk:
    calendar, catalogue, fragments = Calendar(days), build_catalogue(seed), build_fragments()
    population = total * BUYERS_PER_MERCHANT
    season = build_season(days, calendar.start.weekday())
    merchants = build_merchants(catalogue, seed, number, first, count, days, hardness)
    listings = build_listings(catalogue, fragments, merchants, seed, number, first, days, hardness)
    labels = build_labels(merchants, listings, seed, number, first, days)
    brushing = build_brushing(merchants, seed, number)
    orders = build_orders(
        catalogue, merchants, listings, labels.end_day, brushing, season, seed, number, first, population, days
    )
    reviews = build_reviews(merchants, listings, labels.end_day, orders, seed, number, first, population, days)
    buyers = (first * BUYERS_PER_MERCHANT, (first + count) * BUYERS_PER_MERCHANT)
    return Chunk(
        number, first, seed, population, buyers, calendar, catalogue, fragments, merchants, listings, labels, brushing, orders, reviews
    )


def _sources_file(tables: list[str]) -> str:
    """Maps each table to its file; the names are the contract's own."""
    mapping = {
        "version": 1,
        "name": "demo",
        "inputs": {name: {"connector": "parquet", "path": f"sources/{name}.parquet"} for name in tables},
        "tables": {
            name: {"input": name, **({"cursor": CURSORS[name]} if name in CURSORS else {})} for name in tables
        },
    }
    return yaml.safe_dump(mapping, sort_keys=False)
