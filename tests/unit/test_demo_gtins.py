"""GTINs in the demo: one per product, half stated, mistakes by everybody alike."""

from __future__ import annotations

import numpy as np

from touchstone.demo.arrays import generator
from touchstone.demo.catalogue import build_catalogue
from touchstone.demo.gtins import OTHER_SHARE, STATED_SHARE, TYPO_SHARE, gtins, stated_gtins


def is_valid(gtin: str) -> bool:
    return sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(gtin)) % 10 == 0


def test_each_product_has_a_gtin_of_its_own() -> None:
    found = gtins(np.arange(1_300)).to_pylist()
    assert len(set(found)) == len(found)
    assert all(len(gtin) == 13 and is_valid(gtin) for gtin in found)


def test_listings_state_the_right_one_but_for_a_few_mistakes() -> None:
    catalogue = build_catalogue(7)
    rng = generator(7, "test")
    product = rng.integers(0, len(catalogue.brand), 40_000)
    is_compatible = rng.random(len(product)) < 0.1
    stated = stated_gtins(rng, catalogue, product, is_compatible).to_pylist()
    assert all(gtin is None for gtin, compatible in zip(stated, is_compatible, strict=True) if compatible)
    right = gtins(product).to_pylist()
    pairs = [(gtin, own) for gtin, own in zip(stated, right, strict=True) if gtin is not None]
    assert abs(len(pairs) / (0.9 * len(product)) - STATED_SHARE) < 0.02
    assert abs(np.mean([not is_valid(gtin) for gtin, _ in pairs]) - TYPO_SHARE) < 0.005
    assert abs(np.mean([is_valid(gtin) and gtin != own for gtin, own in pairs]) - OTHER_SHARE) < 0.005
