"""The parameters of one marketplace: its arguments, days and catalogue, and the spans of merchants, drawn one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from touchstone.demo.arrays import TIMESTAMP, Floats, Ints, generator, nullable
from touchstone.demo.catalogue import Catalogue, Fragments, build_catalogue, build_fragments

END = datetime(2026, 7, 1, tzinfo=UTC)
MERCHANTS_AT_SCALE_1 = 100_000
MERCHANTS_PER_SPAN = 500
LISTINGS_PER_MERCHANT = 20
BUYERS_PER_MERCHANT = 40
ORDERS_PER_LISTING = 10
REFERENCE_DAYS = 120
"""The length of history for which rates of orders, reviews and notices are given; a longer one has as many more."""


@dataclass(frozen=True)
class World:
    """What all of a marketplace has in common.

    Attributes:
        seed: Everything random follows from it.
        days: Length of the history, whose last day is 2026-06-30.
        hardness: Divides what sets counterfeiters apart.
        merchant_count: Number of merchants.
        catalogue: Brands and products.
        fragments: Specification values as text.
        newcomers_day: Day from the start on which a new kind of counterfeiter appears; None where none does.
    """

    seed: int
    days: int
    hardness: float
    merchant_count: int
    catalogue: Catalogue
    fragments: Fragments
    newcomers_day: float | None = None

    @property
    def start(self) -> datetime:
        """The first moment of the history."""
        return END - timedelta(days=self.days)

    @property
    def buyer_count(self) -> int:
        """Number of buyers that belong to no merchant's circle."""
        return self.merchant_count * BUYERS_PER_MERCHANT

    def spans(self) -> Iterator[Span]:
        """Yields the spans that together hold every merchant, of about `MERCHANTS_PER_SPAN` each."""
        count = max(1, round(self.merchant_count / MERCHANTS_PER_SPAN))
        edges = [self.merchant_count * position // count for position in range(count + 1)]
        for number in range(count):
            yield Span(self, number, edges[number], edges[number + 1] - edges[number])

    def moments(self, day: Floats) -> pa.Array:
        """Returns timestamps to the second for days from the start; not-a-number becomes null."""
        is_known = np.isfinite(day)
        origin = int(self.start.timestamp()) * 1_000_000
        seconds = np.floor(np.where(is_known, day, 0.0) * 86_400.0).astype(np.int64)
        column = pa.array(origin + seconds * 1_000_000).cast(TIMESTAMP)
        return column if bool(is_known.all()) else nullable(column, is_known)

    def dates(self, day: Floats) -> pa.Array:
        """Returns the dates of days from the start; not-a-number becomes null."""
        is_known = np.isfinite(day)
        origin = (self.start.date() - date(1970, 1, 1)).days
        column = pa.array((origin + np.floor(np.where(is_known, day, 0.0))).astype(np.int32)).cast(pa.date32())
        return nullable(column, is_known)


@dataclass(frozen=True)
class Span:
    """The merchants number `first` to `first + count`, drawn together and independent of all others.

    Attributes:
        world: The marketplace that they belong to.
        number: Number of the span.
        first: Number of its first merchant.
        count: How many merchants.
    """

    world: World
    number: int
    first: int
    count: int

    def rng(self, stream: str) -> np.random.Generator:
        """Returns the generator of one of the span's streams."""
        return generator(self.world.seed, stream, self.number)

    def counters(self, count: int) -> Ints:
        """Returns counters that no other span uses, for tables of less than 2^32 rows a span."""
        return (self.number << 32) + np.arange(count)


def build_world(scale: float, days: int, seed: int, hardness: float, newcomers_day: float | None = None) -> World:
    """Lays out a marketplace."""
    merchant_count = round(MERCHANTS_AT_SCALE_1 * scale)
    return World(seed, days, hardness, merchant_count, build_catalogue(seed), build_fragments(), newcomers_day)


def orders_placed(listing_count: int, days: int) -> int:
    """Returns how many orders a span of so many listings has in all."""
    return listing_count * ORDERS_PER_LISTING * days // REFERENCE_DAYS
