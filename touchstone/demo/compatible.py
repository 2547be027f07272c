"""Compatible products and refills: honest goods whose titles name a brand that is not theirs.

They are hard negatives: cheap, without a known brand, and with the brand's name and model in the title. What belongs here is what
sets such listings apart from the same merchant's others; everything else about them is drawn as for any honest listing, from
streams that other listings do not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from touchstone.demo.arrays import Bools, Floats, Ints, joined, nullable, phrases, picked, weighted
from touchstone.demo.catalogue import categories
from touchstone.demo.merchants import COMPATIBLE_SELLER, Merchants
from touchstone.demo.text import compatible_grammar, filled, numbers
from touchstone.demo.world import Span

SHARE = 0.85
"""How many of the listings of a merchant that sells compatible products are such products."""
PRICE, PRICE_SPREAD = -1.2, 0.35
"""Mean and standard deviation of the logarithm of their price, compared with the brand's own product."""
LANGUAGES: Mapping[str, float] = {
    "en": 0.42, "de": 0.09, "fr": 0.08, "es": 0.08, "it": 0.05, "pt": 0.04, "nl": 0.03, "pl": 0.03, "ru": 0.04, "tr": 0.03,
    "zh": 0.04, "ja": 0.03, "ko": 0.02, "hi": 0.01, "th": 0.01,
}  # fmt: skip
LABELLED_SHARE = 0.4
"""How many state a label of their own as their brand; the others state none."""


@dataclass(frozen=True)
class CompatibleProducts:
    """Which of a span's listings are compatible products, and at what part of the brand's price; arrays of n listings."""

    is_compatible: Bools
    price_factor: Floats


def draw_compatible_products(span: Span, merchants: Merchants, merchant: Ints) -> CompatibleProducts:
    """Draws which listings are compatible products.

    Args:
        span: The span.
        merchants: Its merchants.
        merchant: Index of each listing's merchant.
    """
    rng = span.rng("compatible products")
    is_compatible = (merchants.archetype[merchant] == COMPATIBLE_SELLER) & (rng.random(len(merchant)) < SHARE)
    factor = np.exp(PRICE + PRICE_SPREAD * rng.standard_normal(len(merchant)))
    return CompatibleProducts(is_compatible, np.where(is_compatible, factor, 1.0))


def compatible_nouns() -> list[list[str]]:
    """Returns the words for what fits the products of each category, in the order of the categories."""
    return [compatible_grammar()["nouns"][item.path] for item in categories()]


def compatible_titles(rng: np.random.Generator, noun: pa.Array, brand: pa.Array, ref: pa.Array) -> pa.Array:
    """Returns titles that name the brand and (most) model only as what the product fits, in several languages.

    Args:
        rng: The stream.
        noun: The word for the product.
        brand: The brand that it fits.
        ref: The brand's reference of the model that it fits.
    """
    count, grammar = len(noun), compatible_grammar()
    fits = joined([brand, nullable(ref, rng.random(count) < 0.7)])
    by_language = [filled(rng, grammar["titles"][language], fits) for language in LANGUAGES]
    choice = weighted(rng, list(LANGUAGES.values()), count)
    named = pa.concat_arrays(by_language).take(pa.array(choice * count + np.arange(count)))
    variant = joined([picked(rng, grammar["letters"], count), numbers(rng, 10, 1_000, count)], "")
    colour = nullable(picked(rng, grammar["colours"], count), rng.random(count) < 0.6)
    return joined([noun, named, colour, variant])


def compatible_labels(rng: np.random.Generator, count: int) -> pa.Array:
    """Returns the brands that such listings claim: a label that nobody protects, or none."""
    labels = compatible_grammar()["labels"]
    return phrases(labels, np.where(rng.random(count) < LABELLED_SHARE, rng.integers(0, len(labels), count), -1))


def replaced(column: pa.Array, rows: Bools, values: pa.Array) -> pa.Array:
    """Returns a column in which the marked rows hold the values, in their order."""
    index = np.arange(len(column))
    index[rows] = len(column) + np.arange(len(values))
    return pa.concat_arrays([column, values]).take(pa.array(index))
