"""Texts of listings and the days on which they were shown.

Finds the texts of a rated listing or merchant on a day, and means of a value over a merchant's texts.
What the texts say is scored in `ml/text_scores.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DAYS: Final = 10_000_000
"""More than there are days until the end of time (9999-12-31)."""


@dataclass(frozen=True)
class Places:
    """Which listing and merchant rows belong to, as positions in `Documents`, -1 for one without a text; all of shape (n,).

    Attributes:
        listing: Positions in `Documents.listings`; all -1 if merchants are rated.
        merchant: Positions in `Documents.merchants`.
        day: as_of_date, in days since 1970-01-01.
    """

    listing: Integers
    merchant: Integers
    day: Integers

    def take(self, chosen: Integers) -> Places:
        """Returns the rows at positions."""
        return Places(self.listing[chosen], self.merchant[chosen], self.day[chosen])


@dataclass(frozen=True)
class Documents:
    """Texts, each of a listing for a span of days; spans are sorted by listing and first day and do not overlap.

    Attributes:
        texts: The distinct texts, an Arrow string array.
        listings: The ids of the listings, in the same form.
        merchants: The ids of their merchants.
        text: The text of each span, shape (m,).
        listing: Its listing, shape (m,).
        merchant: Its merchant, shape (m,).
        first: The first day on which it was shown, in days since 1970-01-01, shape (m,).
        end: The day from which it was not shown any more, shape (m,).
    """

    texts: Any
    listings: Any
    merchants: Any
    text: Integers
    listing: Integers
    merchant: Integers
    first: Integers
    end: Integers

    def places(self, listings: Any, merchants: Any, day: Integers) -> Places:
        """Looks rows up.

        Args:
            listings: Their listing ids, an Arrow string array; None if merchants are rated.
            merchants: Their merchant ids.
            day: as_of_date of each, shape (n,).
        """
        nothing = np.full(len(merchants), -1, dtype=np.int64)
        listing = nothing if listings is None else _position(listings, self.listings)
        return Places(listing, _position(merchants, self.merchants), day)

    def of_listings(self, places: Places) -> Integers:
        """Returns the text that each row's listing shows on the row's day, shape (n,); -1 if there is none."""
        if not len(self.text):
            return np.full(len(places.day), -1, dtype=np.int64)
        span = np.searchsorted(self._starts, _key(places.listing, places.day), side="right") - 1
        found = np.maximum(span, 0)
        is_shown = (span >= 0) & (self.listing[found] == places.listing) & (self.end[found] > places.day)
        return np.where(is_shown & (places.listing >= 0), self.text[found], -1)

    def of_merchants(self, places: Places, most: int) -> tuple[Integers, Integers]:
        """Returns the newest texts that the merchants of rows show on the row's day.

        Args:
            places: The rows, shape (n,).
            most: Maximum number for each row.

        Returns:
            Positions of rows, ascending, and the texts that belong to them, both of shape (k,).
        """
        order = np.lexsort((self.first, self.merchant))
        begun = _key(self.merchant, self.first)[order]
        start = np.searchsorted(begun, _key(places.merchant, np.zeros_like(places.day)), side="left")
        stop = np.searchsorted(begun, _key(places.merchant, places.day), side="right")
        count = np.where(places.merchant >= 0, np.minimum(stop - start, most), 0)
        row = np.repeat(np.arange(len(count)), count)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        span = order[np.repeat(stop - count, count) + offset]
        is_shown = self.end[span] > places.day[row]
        return row[is_shown], self.text[span[is_shown]]

    def merchant_means(self, places: Places, value: Floats) -> Floats:
        """Returns the mean of a value over the texts that a row's merchant shows on its day, without the row's own listing.

        Args:
            places: The rows, shape (n,).
            value: The value of each distinct text.

        Returns:
            Shape (n,); nan if there is no such text.
        """
        keys, change, text = self._changes
        changed_value = change * value[text]
        start = np.searchsorted(keys, _key(places.merchant, np.zeros_like(places.day)), side="left")
        stop = np.searchsorted(keys, _key(places.merchant, places.day), side="right")
        count, total = (
            (sums := np.concatenate([[0.0], np.cumsum(column)]))[stop] - sums[start]
            for column in (change, changed_value)
        )
        own = self.of_listings(places)
        has_own = np.flatnonzero(own >= 0)
        count[has_own] -= 1.0
        total[has_own] -= value[own[has_own]]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((count > 0) & (places.merchant >= 0), total / count, np.nan)

    @cached_property
    def _changes(self) -> tuple[Integers, Floats, Integers]:
        """When merchants begin (1) and cease (-1) to show a text, by merchant and day: key, change and text, of shape (2m,)."""
        merchant, day = np.tile(self.merchant, 2), np.concatenate([self.first, self.end])
        change = np.repeat([1.0, -1.0], len(self.text))
        order = np.lexsort((day, merchant))
        return _key(merchant, day)[order], change[order], np.tile(self.text, 2)[order]

    @cached_property
    def _starts(self) -> Integers:
        return _key(self.listing, self.first)


def read_documents(path: Path) -> Documents:
    """Reads `texts.parquet`: listing_id, merchant_id, known_from, known_until and title; rows without a title are left out."""
    table = pq.read_table(path, partitioning=None)
    table = table.filter(pc.is_valid(table["title"])).sort_by(
        [("listing_id", "ascending"), ("known_from", "ascending")]
    )
    encoded = {
        name: table[name].combine_chunks().cast(pa.string()).dictionary_encode()
        for name in ("title", "listing_id", "merchant_id")
    }
    positions = [
        np.asarray(column.indices.to_numpy(zero_copy_only=False), dtype=np.int64) for column in encoded.values()
    ]
    first, end = (
        np.maximum(np.asarray(table[name].cast(pa.date32()).cast(pa.int32()).to_numpy(), dtype=np.int64), 0)
        for name in ("known_from", "known_until")
    )
    text, listing, merchant = positions
    texts, listings, merchants = (column.dictionary for column in encoded.values())
    return Documents(texts, listings, merchants, text, listing, merchant, first, end)


def _position(ids: Any, known: Any) -> Integers:
    found = pc.index_in(ids.cast(pa.string()), value_set=known)
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _key(part: Integers, day: Integers) -> Integers:
    """Returns one number for a position and a day, in the order of both."""
    return part * DAYS + day
