"""Flagging thresholds: precision tables on data with known precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.calibrate import effective_size, sigmoid
from ml.flagging import (
    MOST_EXPOSED,
    PopulationScores,
    ScoredSample,
    band_of,
    flagging,
    precision_from,
    threshold_for,
    wilson,
)


def units(seed: int, size: int = 30_000, steep: float = 12.0) -> ScoredSample:
    """Verdicts whose probability of being positive depends on the score alone; some are sampled ten times as often."""
    random = np.random.default_rng(seed)
    score = np.round(100 * random.beta(1, 3, size), 4)
    label = random.random(size) < chance(score, steep)
    is_oversampled = score > 40
    inclusion = np.where(is_oversampled, 0.5, 0.05)
    kept = random.random(size) < inclusion
    return held_out(score[kept], label[kept], 1 / inclusion[kept])


def held_out(
    score: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None, **given: np.ndarray
) -> ScoredSample:
    """Verdicts with equal weights, each of its own merchant, by default."""
    size = len(score)
    defaults = {"is_verdict": np.ones(size, dtype=bool), "merchant": np.arange(size)}
    return ScoredSample("held_out", score, label, np.ones(size) if weight is None else weight, **(defaults | given))


NO_POPULATION = PopulationScores(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))


def chance(score: np.ndarray, steep: float = 12.0) -> np.ndarray:
    return sigmoid(steep * (score / 100 - 0.5))


def test_the_threshold_is_where_precision_reaches_the_target() -> None:
    random = np.random.default_rng(0)
    everything = np.round(100 * random.beta(1, 3, 400_000), 4)
    for seed in range(5):
        flags = flagging(units(seed), NO_POPULATION, 0.1, target=0.8)
        assert flags.basis == "target"
        above = everything >= flags.threshold
        assert chance(everything[above]).mean() == pytest.approx(0.8, abs=0.04)


def test_bands_have_the_weighted_share_of_positives() -> None:
    flags = flagging(units(1), NO_POPULATION, 0.1)
    for low, band in zip(range(0, 100, 10), flags.bands, strict=True):
        assert band["band"] == band_of(low) == band_of(low + 9.9999)
        if band["expected_precision"] is not None:
            assert band["expected_precision"] == pytest.approx(chance(np.array([low + 5.0]))[0], abs=0.12)
    assert sum(band["expected_precision"] is not None for band in flags.bands) >= 6
    assert band_of(100.0) == band_of(90.0) == "[90,100]"


def test_a_band_with_few_verdicts_has_no_precision() -> None:
    score = np.concatenate([np.full(19, 5.0), np.full(200, 15.0)])
    label = np.concatenate([np.ones(19, dtype=bool), np.arange(200) < 20])
    flags = flagging(held_out(score, label), NO_POPULATION, 0.1)
    assert flags.bands[0]["expected_precision"] is None
    assert flags.bands[1]["expected_precision"] == 0.1
    assert flags.bands[2] == {"band": "[20,30)", "verdicts": 0, "expected_precision": None}


def test_unlabelled_rows_count_as_negatives_but_not_as_verdicts_of_a_band() -> None:
    score, label = np.full(300, 25.0), np.arange(300) < 15
    flags = flagging(held_out(score, label, is_verdict=label), NO_POPULATION, 0.1)
    assert flags.bands[2] == {"band": "[20,30)", "verdicts": 15, "expected_precision": None}
    flags = flagging(held_out(score, label, is_verdict=np.arange(300) < 100), NO_POPULATION, 0.1)
    assert flags.bands[2]["expected_precision"] == 0.05


@pytest.mark.parametrize("verdicts", [0, 1, 8])
def test_few_verdicts_fall_back_to_fifty(verdicts: int) -> None:
    score = np.linspace(60, 99, verdicts) if verdicts else np.zeros(0)
    flags = flagging(held_out(score, np.ones(verdicts, dtype=bool)), NO_POPULATION, 0.03)
    assert (flags.threshold, flags.expected_precision, flags.basis) == (50.0, None, "fallback")


def test_few_heavy_verdicts_are_as_uncertain_as_few_verdicts() -> None:
    size = 60
    weight = np.where(np.arange(size) < 3, 1000.0, 1.0)
    flags = flagging(held_out(np.full(size, 80.0), np.arange(size) < 57, weight), NO_POPULATION, 0.03)
    assert flags.basis == "fallback"


def test_many_verdicts_of_few_merchants_are_as_uncertain_as_few_verdicts() -> None:
    score, label = np.full(400, 80.0), np.arange(400) % 20 > 0
    assert flagging(held_out(score, label), NO_POPULATION, 0.03).basis == "target"
    assert flagging(held_out(score, label, merchant=np.arange(400) // 100), NO_POPULATION, 0.03).basis == "fallback"


def test_a_target_that_no_score_reaches_falls_back() -> None:
    score, label = np.repeat(np.arange(100.0), 50), np.tile(np.arange(50) % 2 == 0, 100)
    flags = flagging(held_out(score, label), NO_POPULATION, 0.03)
    assert (flags.threshold, flags.basis) == (50.0, "fallback")


@pytest.mark.parametrize(("prevalence", "floor"), [(0.03, 9.0), (0.0312345, 9.3703), (0.4, 50.0)])
def test_the_floor_is_three_times_the_prevalence_if_nobody_is_exposed(prevalence: float, floor: float) -> None:
    assert flagging(units(0, 500), NO_POPULATION, prevalence).floor == pytest.approx(floor, abs=1e-4)


@settings(max_examples=100)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 400), goods=st.integers(1, 5), steep=st.floats(0.5, 8))
def test_the_floor_is_the_lowest_that_few_honest_merchants_reach(
    seed: int, size: int, goods: int, steep: float
) -> None:
    random = np.random.default_rng(seed)
    own = np.round(100 * random.beta(0.5, steep, size), random.integers(0, 5))
    population = PopulationScores(np.round(own * random.random(size), 4), own, np.arange(size) // goods)
    flags = flagging(units(0, 500), population, 0.01)
    exposed = exposed_share(population, flags.floor)
    assert flags.exposed_share == pytest.approx(exposed, abs=1e-4)
    assert exposed <= MOST_EXPOSED
    lower = np.round(flags.floor - 1e-4, 4)
    assert lower < 3.0 or exposed_share(population, lower) > MOST_EXPOSED


def exposed_share(population: PopulationScores, floor: float) -> float:
    """The exposed share by definition, merchant by merchant."""
    honesty = exposed = 0.0
    for merchant in np.unique(population.merchant):
        own = population.merchant == merchant
        honest = 1 - population.score[own].max() / 100
        honesty += honest
        if population.own_conduct_score[own].max() >= floor:
            exposed += honest
    return exposed / honesty


def test_likely_counterfeiters_and_many_listings_of_one_merchant_hardly_raise_the_floor() -> None:
    own, nothing, sellers = np.repeat([20.0, 0.0], [2, 298]), np.zeros(300), np.arange(300)
    floors = {
        "two of 300": PopulationScores(nothing, own, sellers),
        "two that are half counterfeit": PopulationScores(np.where(own > 0, 49.0, 0.0), own, sellers),
        "two goods of one": PopulationScores(nothing, own, np.where(own > 0, 0, sellers)),
    }
    assert {name: flagging(units(0, 500), population, 0.01).floor for name, population in floors.items()} == {
        "two of 300": pytest.approx(20.0001),
        "two that are half counterfeit": 3.0,
        "two goods of one": 3.0,
    }


def test_a_ranking_of_few_merchants_may_expose_three() -> None:
    own, nothing = np.repeat([20.0, 0.0], [2, 298]), np.zeros(300)
    few = PopulationScores(nothing, own, np.arange(300))
    many = PopulationScores(np.zeros(2000), np.zeros(2000), np.arange(2000))
    assert (few.most_exposed(MOST_EXPOSED), many.most_exposed(MOST_EXPOSED)) == (0.01, MOST_EXPOSED)
    assert few.lowest_floor(few.most_exposed(MOST_EXPOSED)) <= 20.0 < few.lowest_floor(MOST_EXPOSED)
    assert NO_POPULATION.most_exposed(MOST_EXPOSED) == 3.0


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 400), target=st.floats(0.3, 0.95))
def test_every_reported_precision_equals_the_counted_one(seed: int, size: int, target: float) -> None:
    random = np.random.default_rng(seed)
    made = held_out(
        np.round(random.random(size) * 100),
        random.random(size) < 0.5,
        random.random(size) + 0.1,
        merchant=random.integers(0, 1 + size // 3, size),
    )
    score, precision, low, high = precision_from(made)
    for at, value, least, most in zip(score, precision, low, high, strict=True):
        above = made.score >= at
        assert value == pytest.approx(np.average(made.label[above], weights=made.weight[above]))
        by_merchant = np.bincount(made.merchant[above], weights=made.weight[above])
        ends = wilson(np.array([value]), np.array([effective_size(by_merchant)]))
        assert (least, most) == (pytest.approx(ends[0][0]), pytest.approx(ends[1][0]))
        assert 0 <= least <= value + 1e-9
        assert value - 1e-9 <= most <= 1
    flags = flagging(made, NO_POPULATION, 0.1, target)
    if flags.basis == "target":
        above = made.score >= flags.threshold
        assert np.average(made.label[above], weights=made.weight[above]) >= target
        earlier = score < flags.threshold
        assert (precision[earlier] < target).all()


def test_wilson_matches_the_textbook_interval() -> None:
    low, high = wilson(np.array([0.9]), np.array([50.0]))
    assert (low[0], high[0]) == (pytest.approx(0.7864, abs=1e-3), pytest.approx(0.9565, abs=1e-3))


def test_thresholds_reach_their_target_and_the_own_target_gives_the_own_threshold() -> None:
    made = units(3)
    kept = flagging(made, NO_POPULATION, 0.1, target=0.8).as_dict()
    assert threshold_for(kept, 0.8) == (kept["threshold"], kept["expected_precision"])
    for target in (0.5, 0.7, 0.9, 0.95):
        exact = flagging(made, NO_POPULATION, 0.1, target=target)
        threshold, expected = threshold_for(kept, target)
        above = made.score >= threshold
        assert expected is not None
        assert expected >= target
        assert expected == pytest.approx(np.average(made.label[above], weights=made.weight[above]), abs=1e-3)
        assert exact.threshold - 1e-4 <= threshold <= exact.threshold + 10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), own=st.floats(0.3, 0.97), steep=st.floats(2, 20))
def test_a_higher_target_never_gives_a_lower_threshold(seed: int, own: float, steep: float) -> None:
    kept = flagging(units(seed, 3_000, steep), NO_POPULATION, 0.1, target=own).as_dict()
    found = [threshold_for(kept, target) for target in sorted({0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, own})]
    known = [threshold for threshold, expected in found if expected is not None]
    assert known == sorted(known)
    assert {threshold for threshold, expected in found if expected is None} <= {50.0}


def test_a_target_that_is_not_reached_with_certainty_falls_back() -> None:
    row = {"score": 80.0, "precision": 0.95, "low": 0.6, "high": 0.99}
    kept = {"threshold": 50.0, "target": 0.9, "basis": "fallback", "expected_precision": None, "table": [row]}
    assert threshold_for(kept, 0.9) == (50.0, None)
    assert threshold_for(kept, 0.94) == (50.0, None)  # the interval is too wide
    assert threshold_for(kept, 0.96) == (50.0, None)
    assert threshold_for({**kept, "table": [row | {"low": 0.9}]}, 0.94) == (80.0, 0.95)
    assert threshold_for({**kept, "table": []}, 0.5) == (50.0, None)
