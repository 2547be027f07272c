"""Paired comparison of two versions: against independent implementations, and on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.calibrate import sigmoid
from ml.compare import CALIBRATION, RANKING, Side, list_changes, pairs
from ml.drift import psi, psi_by_feature, reference
from ml.metrics import brier_skill, calibration_slope, ranking
from ml.training_set import Rows

DRAWS = (200, 5)


def rows_of(label: np.ndarray, component: np.ndarray) -> Rows:
    nothing = np.zeros(len(label), dtype=np.int64)
    return Rows(
        entity=np.arange(len(label)),
        merchant=component,
        component=component,
        chance=np.zeros(len(label)),
        category=nothing,
        categories=("",),
        day=nothing,
        decided_day=nothing,
        purpose=nothing,
        label=label,
        is_verdict=label,
        weight=np.ones(len(label)),
        expansion_weight=np.ones(len(label)),
        is_random_arm=label,
        features=np.zeros((len(label), 0), dtype=np.float32),
    )


def side(logit: np.ndarray) -> Side:
    score = np.round(100 * sigmoid(logit), 4)
    return Side(score, score >= 50)


def market(seed: int, size: int = 3000, components: int = 300) -> tuple[Rows, np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    logit = random.normal(-2, 1.5, size)
    return rows_of(random.random(size) < sigmoid(logit), random.integers(0, components, size)), logit, random


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.4, 2.0))
def test_values_equal_those_of_a_single_model(seed: int, factor: float) -> None:
    rows, logit, random = market(seed, 600)
    weight = random.random(600) + 0.1
    one = side(factor * logit)
    result = pairs([one, one], rows, weight, {**RANKING, **CALIBRATION}, (3, 1))
    probability = one.score / 100
    auroc, precision_of_ranks = ranking(one.score, rows.label, weight[None, :])
    expected = {
        "auroc": auroc[0],
        "average_precision": precision_of_ranks[0],
        "precision": (weight @ (one.is_flagged & rows.label)) / (weight @ one.is_flagged),
        "recall": (weight @ (one.is_flagged & rows.label)) / (weight @ rows.label),
        "brier_skill": brier_skill(probability, rows.label, weight),
    }
    assert {name: result[name].champion.value for name in expected} == pytest.approx(expected, abs=1e-4)
    slope = result["calibration_slope"].champion.value
    assert slope == pytest.approx(calibration_slope(probability, rows.label, weight), rel=0.02)
    assert all(pair.difference.value == 0.0 and pair.champion == pair.challenger for pair in result.values())


def test_a_paired_difference_has_a_narrower_interval_than_either_value() -> None:
    """Both are resampled together, so their chance errors cancel."""
    rows, logit, random = market(1)
    champion, challenger = side(logit + random.normal(0, 0.5, len(logit))), side(logit)
    pair = pairs([champion, challenger], rows, rows.weight, RANKING, DRAWS)["average_precision"]
    assert pair.difference.low is not None
    assert pair.difference.low > 0
    assert pair.champion.high > pair.challenger.low  # separately, the intervals overlap
    assert pair.difference.value == pytest.approx(pair.challenger.value - pair.champion.value, abs=2e-4)


def test_an_interval_covers_a_zero_difference_at_its_nominal_rate() -> None:
    covered = 0
    for seed in range(60):
        rows, logit, random = market(seed, 800, 200)
        noisy = [side(logit + random.normal(0, 0.7, len(logit))) for _ in range(2)]
        gap = pairs(noisy, rows, rows.weight, {"auroc": RANKING["auroc"]}, (150, seed))["auroc"].difference
        covered += gap.low <= 0 <= gap.high
    assert 52 <= covered <= 60


def test_components_are_resampled_as_a_whole() -> None:
    """Identical rows of one component are one observation, however many there are."""
    rows, logit, _ = market(3, 200, 10_000)
    few = rows_of(rows.label, np.arange(200))
    many = rows_of(np.repeat(rows.label, 20), np.repeat(np.arange(200), 20))
    narrow, wide = (
        pairs([side(x), side(x)], each, each.weight, RANKING, DRAWS)["auroc"].champion
        for each, x in ((few, logit), (many, np.repeat(logit, 20)))
    )
    assert wide.high - wide.low == pytest.approx(narrow.high - narrow.low, rel=0.05)


@pytest.mark.parametrize("positives", [0, 4, 20])
def test_one_class_or_few_positives_give_no_metrics(positives: int) -> None:
    rows = rows_of(np.arange(20) < positives, np.arange(20))
    one = side(np.linspace(-2, 2, 20))
    for pair in pairs([one, one], rows, rows.weight, {**RANKING, **CALIBRATION}, DRAWS).values():
        assert (pair.champion.value, pair.champion.low, pair.difference.value) == (None, None, None)


def test_changes_of_the_list_are_counted() -> None:
    before = Side(np.array([90.0, 80, 70, 10, 5]), np.array([True, True, False, False, False]))
    after = Side(np.array([95.0, 20, 60, 85, 5]), np.array([True, False, False, True, False]))
    result = list_changes(before, after)
    assert (result.active, result.champion_flagged, result.challenger_flagged, result.added, result.dropped) == (
        5,
        2,
        2,
        1,
        1,
    )
    assert result.added_precision == 0.85
    assert result.top_overlap == 1.0  # top overlap compares at least the twenty riskiest, and there are five
    assert result.rank_correlation == pytest.approx(0.6)
    assert list_changes(before, before).rank_correlation == 1.0
    assert list_changes(before, before).added_precision is None
    empty = Side(np.zeros(0), np.zeros(0, dtype=bool))
    assert (list_changes(empty, empty).active, list_changes(empty, empty).rank_correlation) == (0, None)


# Drift ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 400), levels=st.integers(1, 30), unknown=st.floats(0, 1))
def test_the_same_population_has_no_drift(seed: int, size: int, levels: int, unknown: float) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, levels, (size, 1)).astype(np.float32)
    values[random.random(size) < unknown] = np.nan
    kept = reference(values, ["x"])
    assert sum(kept["x"]["shares"]) == pytest.approx(1, abs=1e-5)
    assert psi_by_feature(kept, random.permutation(values), ["x"])["x"] == pytest.approx(0, abs=1e-3)


def test_a_shifted_population_is_detected_in_the_shifted_feature() -> None:
    random = np.random.default_rng(0)
    values = random.lognormal(3, 1, (20_000, 3)).astype(np.float32)
    kept = reference(values, ["price", "unknown", "same"])
    now = random.lognormal(3, 1, (20_000, 3)).astype(np.float32)
    now[:, 0] *= 1.8
    now[random.random(20_000) < 0.3, 1] = np.nan
    result = psi_by_feature(kept, now, ["price", "unknown", "same"])
    assert result["price"] > 0.25
    assert result["unknown"] > 0.25
    assert result["same"] < 0.01


def test_the_population_stability_index_matches_its_definition() -> None:
    assert psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert psi([0.5, 0.5], [0.25, 0.75]) == pytest.approx(-0.25 * np.log(0.5) + 0.25 * np.log(1.5))
    assert psi([1.0, 0.0], [0.0, 1.0]) == psi([0.0, 1.0], [1.0, 0.0]) > 10


def test_a_feature_without_a_reference_is_skipped() -> None:
    kept = reference(np.ones((5, 1), dtype=np.float32), ["x"])
    assert psi_by_feature(kept, np.ones((5, 2), dtype=np.float32), ["x", "y"]) == {"x": 0.0}


@pytest.mark.parametrize(("components", "is_measured"), [(4, False), (5, True)])
def test_positives_of_few_components_give_no_difference(components: int, *, is_measured: bool) -> None:
    """Resamples of one ring hardly differ, and a zero-width interval would refuse a version."""
    rows, logit, _ = market(4, 400, 400)
    component = np.where(rows.label, np.arange(400) % components, 1_000 + np.arange(400))
    few = rows_of(rows.label, component)
    result = pairs([side(logit), side(logit)], few, few.weight, RANKING, DRAWS)["recall"]
    assert (result.difference.value is not None) == is_measured
