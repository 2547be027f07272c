"""The design of test buys: over all picks, weighted by the inclusion probabilities, prevalence is unbiased."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from touchstone.demo.labels import REJECTED, UPHELD, Buys, build_labels, quota
from touchstone.demo.listings import build_listings
from touchstone.demo.merchants import FRAMED, build_merchants
from touchstone.demo.world import build_world

SEEDS = range(600, 660)


def _picks(seed: int) -> tuple[Buys, np.ndarray, float]:
    """Draws the labels of one span; returns its test buys, which of them are counterfeit, and the span's prevalence."""
    span = next(build_world(scale=0.005, days=120, seed=seed, hardness=1.0).spans())
    merchants = build_merchants(span)
    listings = build_listings(span, merchants)
    buys = build_labels(span, merchants, listings).test_buys
    return buys, listings.is_counterfeit[buys.listing], float(listings.is_counterfeit.mean())


def test_inclusion_probabilities_are_correct_for_the_combined_design() -> None:
    drawn = [_picks(seed) for seed in SEEDS]
    truth = np.mean([prevalence for _, _, prevalence in drawn])
    errors = np.array([(is_fake / buys.inclusion).sum() / 10_000 - prevalence for buys, is_fake, prevalence in drawn])
    sizes = np.array([(1 / buys.inclusion).sum() for buys, _, _ in drawn])
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(SEEDS))
    assert abs(sizes.mean() - 10_000) < 3 * sizes.std() / np.sqrt(len(SEEDS))
    assert errors.std() / np.sqrt(len(SEEDS)) < 0.002
    hit = np.mean([is_fake[~buys.is_random_arm].mean() for buys, is_fake, _ in drawn])
    assert hit > 4 * truth


def test_notices_against_framed_merchants_are_found_wrong() -> None:
    """Few merchants are framed, so seeds are pooled."""
    outcomes = []
    for seed in SEEDS[:25]:
        span = next(build_world(scale=0.005, days=120, seed=seed, hardness=1.0).spans())
        merchants = build_merchants(span)
        listings = build_listings(span, merchants)
        notices = build_labels(span, merchants, listings).notices
        outcomes.append(notices.outcome[merchants.archetype[listings.merchant[notices.listing]] == FRAMED])
    pooled = np.concatenate(outcomes)
    assert len(pooled) > 100
    assert (pooled == REJECTED).mean() > 0.6
    assert (pooled == UPHELD).mean() < 0.2


def test_no_listing_is_bought_twice_and_each_arm_has_its_size() -> None:
    for seed in SEEDS[:5]:
        buys, _, _ = _picks(seed)
        assert len(set(buys.listing.tolist())) == len(buys.listing) == 150
        assert buys.is_random_arm.sum() == 100


@pytest.mark.parametrize(("share", "total"), [(0.01, 12_345), (0.005, 999), (0.15, 50)])
def test_quotas_of_parts_sum_to_the_total(share: float, total: int) -> None:
    edges = [0, total // 3, total // 2, total]
    parts = [quota(low, high - low, share) for low, high in pairwise(edges)]
    assert sum(parts) == round(total * share)
