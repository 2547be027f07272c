"""Metrics against independent implementations and on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.calibrate import sigmoid
from ml.metrics import Scored, brier_skill, calibration_slope, measure, measure_by_merchant, ranking


def scored(seed: int, size: int = 400, merchants: int = 40, signal: float = 1.0) -> Scored:
    random = np.random.default_rng(seed)
    label = random.random(size) < 0.2
    score = np.round(100 * sigmoid(signal * label + random.normal(0, 1, size) - 1), 1)
    return Scored(score, label, random.random(size) + 0.5, random.integers(0, merchants, size))


@settings(max_examples=80)
@given(seed=st.integers(0, 10_000), size=st.integers(3, 200), levels=st.integers(1, 50))
def test_ranking_matches_scikit_learn(seed: int, size: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    score, label = random.integers(0, levels, size).astype(float), random.random(size) < 0.4
    assume(0 < label.sum() < size)
    weight = random.random((3, size)) + 0.01
    auroc, average_precision = ranking(score, label, weight)
    for at in range(3):
        assert auroc[at] == pytest.approx(roc_auc_score(label, score, sample_weight=weight[at]))
        assert average_precision[at] == pytest.approx(average_precision_score(label, score, sample_weight=weight[at]))


def test_one_class_has_no_ranking() -> None:
    auroc, average_precision = ranking(np.arange(4.0), np.array([True, True, False, False]), np.array([[1.0, 1, 0, 0]]))
    assert np.isnan(auroc[0])
    assert np.isnan(average_precision[0])
    assert measure(Scored(np.arange(3.0), np.zeros(3, bool), np.ones(3), np.zeros(3, int)), 50) == {
        "rows": 3.0,
        "positives": 0.0,
    }


def test_every_merchant_has_the_same_weight() -> None:
    base = scored(1)
    double = base.merchant == 3
    more = Scored(*(np.concatenate([getattr(base, name), getattr(base, name)[double]]) for name in base.__dict__))
    first, second = measure_by_merchant(base, 20, 1), measure_by_merchant(more, 20, 1)
    assert second["auroc"] == pytest.approx(first["auroc"])
    assert second["average_precision"] == pytest.approx(first["average_precision"])


def test_intervals_come_from_resampling_merchants() -> None:
    """Identical rows of one merchant are one observation, however many there are."""
    few = scored(2, size=40, merchants=40, signal=2)
    many = Scored(*(np.repeat(getattr(few, name), 25) for name in few.__dict__))
    narrow = scored(2, size=1000, merchants=1000, signal=2)
    widths = [
        result["auroc_high"] - result["auroc_low"]
        for result in (measure_by_merchant(each, 400, 3) for each in (few, many, narrow))
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[2] < 0.5 * widths[0]


def test_intervals_cover_the_truth_at_their_nominal_rate() -> None:
    truth = measure_by_merchant(scored(99, size=200_000, merchants=200_000), 1, 0)["auroc"]
    covered = 0
    for seed in range(60):
        result = measure_by_merchant(scored(seed, size=300, merchants=300), 200, seed)
        covered += result["auroc_low"] <= truth <= result["auroc_high"]
    assert 50 <= covered <= 60


def test_intervals_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored(4, size=300)
    whole = measure_by_merchant(made, 40, 5)
    monkeypatch.setattr("ml.metrics.CHUNK", 1000)
    assert measure_by_merchant(made, 40, 5) == whole


def test_precision_and_recall_are_weighted() -> None:
    made = Scored(
        np.array([90.0, 80, 70, 10]),
        np.array([True, False, True, True]),
        np.array([1.0, 2, 3, 4]),
        np.zeros(4, dtype=int),
    )
    result = measure(made, 70.0)
    assert result["precision"] == pytest.approx(4 / 6)
    assert result["recall"] == pytest.approx(4 / 8)
    assert "precision" in result
    assert np.isnan(measure(made, 95.0)["precision"])


def test_calibration_slope_detects_over_and_underconfidence() -> None:
    random = np.random.default_rng(0)
    logit = random.normal(-2, 1.5, 50_000)
    label, weight = random.random(50_000) < sigmoid(logit), np.ones(50_000)
    assert calibration_slope(sigmoid(logit), label, weight) == pytest.approx(1.0, abs=0.05)
    assert calibration_slope(sigmoid(2 * logit), label, weight) == pytest.approx(0.5, abs=0.05)
    assert calibration_slope(sigmoid(logit / 2), label, weight) == pytest.approx(2.0, abs=0.1)


def test_brier_skill_is_zero_for_the_prevalence_and_one_for_the_truth() -> None:
    label = np.arange(100) < 30
    assert brier_skill(np.full(100, 0.3), label, np.ones(100)) == pytest.approx(0.0)
    assert brier_skill(label.astype(float), label, np.ones(100)) == 1.0
