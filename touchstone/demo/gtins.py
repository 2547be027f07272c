"""GTINs: the brands give each product one, and half of the listings state it.

Who sells counterfeits copies the right number as often as anybody, so nothing here tells them apart; mistakes are everybody's.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from touchstone.demo.arrays import Bools, Ints, fixed_text, nullable
from touchstone.demo.catalogue import Catalogue

PREFIX = 400_000
"""The digits before a product's number: a prefix that GS1 gives to products."""
STATED_SHARE = 0.5
TYPO_SHARE, OTHER_SHARE = 0.01, 0.01
"""How many of the stated ones have a wrong digit, and how many are those of another product of the brand."""


def gtins(product: Ints) -> pa.Array:
    """Returns the GTIN-13 of products, by their index."""
    return fixed_text(_digits(product) + np.uint8(ord("0")))


def stated_gtins(rng: np.random.Generator, catalogue: Catalogue, product: Ints, is_compatible: Bools) -> pa.Array:
    """Returns the GTINs that listings state, null where they state none.

    Args:
        rng: The stream.
        catalogue: The brands' products.
        product: Index of each listing's product.
        is_compatible: Which are no products of the brands, and have no GTIN.
    """
    count = len(product)
    first, number = (values[catalogue.brand[product]] for values in (catalogue.first_product, catalogue.product_count))
    other = first + (rng.random(count) * number).astype(np.int64)
    digits = _digits(np.where(rng.random(count) < OTHER_SHARE, other, product))
    typos = np.flatnonzero(rng.random(count) < TYPO_SHARE)
    place = rng.integers(6, 12, len(typos))
    digits[typos, place] = (digits[typos, place] + rng.integers(1, 10, len(typos)).astype(np.uint8)) % 10
    is_stated = (rng.random(count) < STATED_SHARE) & ~is_compatible
    return nullable(fixed_text(digits + np.uint8(ord("0"))), is_stated)


def _digits(product: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Returns an (n, 13) array of digits, the last of which is the check digit (GS1, modulo 10)."""
    number = (PREFIX * 1_000_000 + product)[:, None] // 10 ** np.arange(11, -1, -1)[None, :] % 10
    check = -(number * np.tile([1, 3], 6)).sum(axis=1) % 10
    return np.concatenate([number, check[:, None]], axis=1).astype(np.uint8)
