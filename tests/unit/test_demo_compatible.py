"""Compatible products in the demo: only of their sellers, never counterfeit, cheap, and named as what they fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from touchstone.demo.arrays import generator
from touchstone.demo.catalogue import categories
from touchstone.demo.compatible import LANGUAGES, compatible_grammar, compatible_nouns, compatible_titles, replaced
from touchstone.demo.listings import build_listings
from touchstone.demo.merchants import COMPATIBLE_SELLER, build_merchants
from touchstone.demo.world import build_world


def test_compatible_products_are_honest_and_cheap() -> None:
    world = build_world(0.01, 120, 7, 1.0)
    for span in world.spans():
        merchants = build_merchants(span)
        listings = build_listings(span, merchants)
        is_compatible = listings.is_compatible
        assert is_compatible.any()
        assert set(merchants.archetype[listings.merchant[is_compatible]]) == {COMPATIBLE_SELLER}
        assert not listings.is_counterfeit[is_compatible].any()
        assert not listings.is_bare[is_compatible].any()
        assert not merchants.is_counterfeit[merchants.archetype == COMPATIBLE_SELLER].any()


def test_titles_name_the_brand_in_every_language() -> None:
    count = 500
    words = [pa.repeat(word, count) for word in ("Ear Pads", "Xylo", "XY-12345")]
    titles = compatible_titles(generator(7, "titles"), *words).to_pylist()
    assert all(title.startswith("Ear Pads ") and "Xylo" in title for title in titles)
    assert 0.6 < sum("XY-12345" in title for title in titles) / count < 0.8
    assert sum(any("\u0400" < letter < "\u0500" for letter in title) for title in titles) > 0


def test_grammar_has_every_language_and_category() -> None:
    grammar: dict[str, Any] = compatible_grammar()
    assert set(grammar["titles"]) == set(LANGUAGES)
    assert sum(LANGUAGES.values()) == pytest.approx(1)
    assert len(compatible_nouns()) == len(categories())


def test_rows_are_replaced_in_their_order() -> None:
    column = replaced(pa.array(["a", "b", "c"]), np.array([True, False, True]), pa.array(["x", None]))
    assert column.to_pylist() == ["x", "b", None]
