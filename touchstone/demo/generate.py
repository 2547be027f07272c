"""Generates the demo marketplace: `generate` writes it, `latents` returns the latent variables of each listing.

Merchants are generated in chunks of a fixed size, each with its own random streams, so that memory does not grow with scale and
the same arguments give the same bytes. Everything is written to a temporary folder that is renamed at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from touchstone.core.errors import BadInputError
from touchstone.core.files import remove_temporaries, replacing_directory
from touchstone.demo.arrays import id_text, phrases
from touchstone.demo.brushing import build_circles
from touchstone.demo.catalogue import categories
from touchstone.demo.images import draw
from touchstone.demo.labels import build_labels
from touchstone.demo.listings import build_listings
from touchstone.demo.merchants import ARCHETYPES, build_identifiers, build_merchants
from touchstone.demo.tables import Chunk, chunk_tables, fixed_tables, truth_tables
from touchstone.demo.transactions import build_orders, build_reviews, build_season
from touchstone.demo.world import Span, World, build_world

IDENTITY = ("listing_id", "merchant_id", "category", "archetype", "is_counterfeit", "sells_counterfeits")
LEAST_SCALE = 0.0005
LEAST_DAYS = 60
CURSORS = {
    "merchant_snapshots": "observed_at", "listing_prices": "observed_at", "listing_ranks": "observed_at", "reviews": "created_at",
    "buyers": "registered_at", "platform_actions": "occurred_at", "enforcement_actions": "occurred_at", "fx_rates": "date",
}  # fmt: skip
CHANGED_AT = {"orders": "greatest(placed_at, shipped_at, delivered_at, refunded_at)"}
"""The time of a row's last change, for the tables whose rows change."""


@dataclass(frozen=True)
class GenerationReport:
    """The result of generating a marketplace.

    Attributes:
        directory: Where it was written.
        rows: Rows by table.
    """

    directory: Path
    rows: dict[str, int]


class _Writer:
    """Parquet files that grow by one row group a chunk."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files = files
        self._open: dict[str, pq.ParquetWriter] = {}
        self.rows: dict[str, int] = {}

    def add(self, tables: dict[str, pa.Table]) -> None:
        for name, table in tables.items():
            if name not in self._open:
                self._open[name] = self._files.enter_context(self._file(name, table.schema))
            self._open[name].write_table(table)
            self.rows[name] = self.rows.get(name, 0) + table.num_rows

    def _file(self, name: str, schema: pa.Schema) -> pq.ParquetWriter:
        """Opens a file; columns whose values seldom repeat are written without a dictionary."""
        repeating = [field.name for field in schema if field.name not in _UNIQUE_COLUMNS]
        path = self._folder / f"{name}.parquet"
        return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=repeating)


_UNIQUE_COLUMNS = frozenset({
    "title", "description", "url", "text", "image_id", "order_id", "review_id", "payer_hash", "amount", "placed_at", "shipped_at",
    "delivered_at", "created_at", "uri", "sha256", "specs",
})  # fmt: skip


def generate(
    directory: Path,
    *,
    scale: float,
    days: int = 120,
    seed: int = 7,
    hardness: float = 1.0,
    newcomers_day: float | None = None,
) -> GenerationReport:
    """Writes a marketplace with known truth below `directory`, atomically.

    Args:
        directory: Receives `sources/<table>.parquet`, `pictures/<sha256>.jpg`, `truth/<entity>.parquet` and `sources.yml`;
            what it held before is replaced.
        scale: 1 is 100,000 merchants, 2 million listings, 20 million orders; from 0.0005.
        days: Length of the history, which ends on 2026-06-30; at least 60.
        seed: Everything random follows from it.
        hardness: Divides what sets counterfeiters apart; above 1 they overlap more with the honest.
        newcomers_day: Day from the start on which a new kind of counterfeiter appears, with a hundredth of the listings; by
            default none does.

    Returns:
        Where it is and the rows of each table.

    Raises:
        BadInputError: An argument is out of its range.
    """
    _check(scale, days, seed, hardness)
    world = build_world(scale, days, seed, hardness, newcomers_day)
    remove_temporaries(directory.parent, directory.name)
    with replacing_directory(directory) as folder:
        with ExitStack() as files:
            sources, truth = _Writer(folder / "sources", files), _Writer(folder / "truth", files)
            pictures = draw(world, folder / "pictures")
            sources.add(fixed_tables(world, pictures))
            for chunk in _chunks(world):
                sources.add(chunk_tables(chunk, pictures))
                truth.add(truth_tables(chunk))
        (folder / "sources.yml").write_text(_sources_file(sorted(sources.rows)), encoding="utf-8")
    return GenerationReport(directory, dict(sorted(sources.rows.items())))


def latents(*, scale: float, days: int = 120, seed: int = 7, hardness: float = 1.0) -> pa.Table:
    """Returns the latent variables of every listing of the marketplace that `generate` writes for the same arguments.

    They are the parameters of the distributions that all its rows are drawn from; no model can know more. Only the test of the
    demo's difficulty uses them.

    Returns:
        The columns of `IDENTITY`, which identify the listing, and one column per latent variable.
    """
    _check(scale, days, seed, hardness)
    return pa.concat_tables([_latents(span) for span in build_world(scale, days, seed, hardness).spans()])


def _latents(span: Span) -> pa.Table:
    merchants = build_merchants(span)
    listings = build_listings(span, merchants)
    shared = build_identifiers(span, merchants)
    links = np.bincount(shared.merchant, shared.bearers > 1, span.count)
    of_merchants = {**build_circles(span, merchants, listings, shared).latents(), "shared_identifier_count": links}
    return pa.table({
        "listing_id": id_text(listings.key, "l"),
        "merchant_id": id_text(merchants.key[listings.merchant], "m"),
        "category": phrases([item.path for item in categories()], span.world.catalogue.category[listings.product]),
        "archetype": phrases(ARCHETYPES, merchants.archetype[listings.merchant]),
        "is_counterfeit": pa.array(listings.is_counterfeit),
        "sells_counterfeits": pa.array(merchants.is_counterfeit[listings.merchant]),
        **listings.latents,
        **{name: values[listings.merchant] for name, values in of_merchants.items()},
    })  # fmt: skip


def _check(scale: float, days: int, seed: int, hardness: float) -> None:
    if not LEAST_SCALE <= scale <= 100:
        raise BadInputError(
            f"demo marketplace: scale {scale} is out of range; give a number from {LEAST_SCALE} (50 merchants) up."
        )
    if not LEAST_DAYS <= days <= 3650:
        raise BadInputError(f"demo marketplace: {days} days are out of range; give {LEAST_DAYS} to 3650.")
    if seed < 0:
        raise BadInputError(f"demo marketplace: seed {seed} is negative; give 0 or more.")
    if not 0.1 <= hardness <= 10:
        raise BadInputError(
            f"demo marketplace: hardness {hardness} is out of range; give 0.1 to 10 (1 is the default)."
        )


def _chunks(world: World) -> Iterator[Chunk]:
    """Draws the marketplace span by span; one is in memory at a time."""
    season = build_season(world)
    for span in world.spans():
        merchants = build_merchants(span)
        listings = build_listings(span, merchants)
        labels = build_labels(span, merchants, listings)
        identifiers = build_identifiers(span, merchants)
        circles = build_circles(span, merchants, listings, identifiers)
        orders = build_orders(span, merchants, listings, labels.end_day, circles, season)
        reviews = build_reviews(span, merchants, listings, labels.end_day, circles, orders)
        yield Chunk(span, merchants, identifiers, listings, labels, circles, orders, reviews)


def _sources_file(tables: list[str]) -> str:
    """Maps each table to its file; the names are the contract's own."""
    read_on = {table: {"cursor": column} for table, column in CURSORS.items()}
    read_on |= {table: {"changed_at": moment} for table, moment in CHANGED_AT.items()}
    mapping = {
        "version": 1,
        "identifiers": "public",
        "name": "demo",
        "pictures": ".",
        "inputs": {name: {"connector": "parquet", "path": f"sources/{name}.parquet"} for name in tables},
        "tables": {name: {"input": name} | read_on.get(name, {}) for name in tables},
    }
    return yaml.safe_dump(mapping, sort_keys=False)
