"""Calibration: probabilities for the whole population from few, selectively sampled verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from ml.calibrate import (
    MISSED,
    Calibration,
    CalibrationSample,
    MarginCounts,
    VerdictErrorRates,
    _population_loss,
    _verdict_loss,
    calibrate,
    effective_size,
    logistic,
    logit_of,
    sigmoid,
    smoothed,
)
from ml.metrics import brier_skill, calibration_slope

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def market(seed: int, size: int = 60_000, prevalence_logit: float = -5.0) -> tuple[Floats, Flags]:
    """Margins of a booster that learned from one in ten positives, and the truth."""
    random = np.random.default_rng(seed)
    logit = prevalence_logit + random.normal(0, 2.0, size)
    truth = random.random(size) < sigmoid(logit)
    return logit - 2.3 + random.normal(0, 0.3, size), truth


def verdicts(margin: Floats, truth: Flags, seed: int, share: float = 0.03) -> tuple[Floats, Flags, Floats, Flags]:
    """A random arm, and one among the riskiest; weights are inverses of the combined inclusion probabilities."""
    random = np.random.default_rng(seed + 1)
    risky = margin >= np.quantile(margin, 0.95)
    by_chance, by_risk = random.random(len(margin)) < share, risky & (random.random(len(margin)) < 0.2)
    inclusion = 1 - (1 - share) * (1 - 0.2 * risky)
    picked = by_chance | by_risk
    return margin[picked], truth[picked], 1 / inclusion[picked], by_chance[picked]


def test_platt_recovers_slope_and_prevalence_of_the_population() -> None:
    slopes, ratios = [], []
    for seed in range(8):
        margin, truth = market(seed)
        fitted = calibrate(*verdicts(margin, truth, seed))
        assert fitted.method == "platt"
        probability = fitted.probability(margin)
        slopes.append(calibration_slope(probability, truth, np.ones(len(truth))))
        ratios.append(probability.mean() / truth.mean())
    assert 0.8 <= np.median(slopes) <= 1.25
    assert 0.85 <= np.median(ratios) <= 1.15


def test_a_few_wrong_verdicts_do_not_flatten_the_slope() -> None:
    slopes = []
    for seed in range(8):
        margin, truth = market(seed)
        picked, label, weight, random_arm = verdicts(margin, truth, seed)
        wrong = np.random.default_rng(seed + 2).random(len(label)) < 0.003
        probability = calibrate(picked, label ^ wrong, weight, random_arm).probability(margin)
        slopes.append(calibration_slope(probability, truth, np.ones(len(truth))))
    assert 0.85 <= np.median(slopes) <= 1.2


def test_one_heavy_verdict_has_less_influence_than_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second arm samples independently of the margin, so genuine listings with a high margin are rare and heavy."""

    def slopes() -> list[float]:
        found = []
        for seed in range(12):
            margin, truth = market(seed)
            random = np.random.default_rng(seed + 3)
            of_concern = 3.0 * truth + random.normal(0, 1, len(truth)) > 1.9
            by_chance, by_risk = random.random((2, len(truth))) < np.array([[0.01], [0.11]])
            picked = by_chance | (by_risk & of_concern)
            inclusion = np.where(of_concern, 1 - 0.99 * 0.89, 0.01)[picked]
            fitted = calibrate(margin[picked], truth[picked], 1 / inclusion, by_chance[picked])
            found.append(calibration_slope(fitted.probability(margin), truth, np.ones(len(truth))))
        return found

    smooth = slopes()
    monkeypatch.setattr("ml.calibrate.smoothed", lambda weight, *_: weight)
    rough = slopes()
    assert np.std(smooth) < 0.8 * np.std(rough)
    assert abs(np.mean(smooth) - 1.0) < 0.15


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), ratio=st.floats(1.0, 200.0))
def test_smoothed_weights_preserve_their_sums_over_all_and_over_positives(seed: int, ratio: float) -> None:
    random = np.random.default_rng(seed)
    margin, label = random.normal(0, 2, 600), random.random(600) < 0.3
    weight = np.where(random.random(600) < sigmoid(margin + label), 1.0, ratio)
    smooth = smoothed(weight, margin, label)
    assert smooth.min() >= weight.min() - 1e-9
    assert smooth.max() <= weight.max() + 1e-9
    assert smooth.sum() == pytest.approx(weight.sum(), rel=2e-3)
    assert smooth[label].sum() == pytest.approx(weight[label].sum(), rel=2e-2)


def test_equal_weights_are_unchanged() -> None:
    weight, label = np.full(50, 6.7), np.arange(50) % 3 == 0
    assert (smoothed(weight, np.linspace(-3, 3, 50), label) == weight).all()


def test_prevalence_is_that_of_the_population_and_not_of_the_sample() -> None:
    margin, truth = market(3)
    picked, label, weight, random_arm = verdicts(margin, truth, 3)
    assert calibrate(picked, label, weight, random_arm).prevalence == pytest.approx(truth.mean(), rel=0.2)
    assert label.mean() > 2 * truth.mean()


def test_few_positives_change_only_the_intercept() -> None:
    ratios = []
    for seed in range(12):
        margin, truth = market(seed)
        picked, label, weight, random_arm = verdicts(margin, truth, seed, share=0.003)
        keep = np.cumsum(label) <= 15
        fitted = calibrate(picked[keep], label[keep], weight[keep], random_arm[keep])
        assert (fitted.method, fitted.slope) == ("shift", 1.0)
        assert fitted.prevalence == pytest.approx(np.average(label[keep], weights=weight[keep]) / (1 - MISSED), rel=0.2)
        ratios.append(np.average(fitted.probability(picked[keep]), weights=weight[keep]) / (fitted.prevalence or 1.0))
    assert 0.85 <= np.median(ratios) <= 1.15


@settings(max_examples=60)
@given(at=st.integers(0, 29), seed=st.integers(0, 1000), known=st.integers(0, 20))
@example(at=0, seed=744, known=0)
def test_a_single_positive_keeps_the_intercept_in_bounds(at: int, seed: int, known: int) -> None:
    """Even if it has the lowest margin: without a slope to fit, it does not count as a verdict error."""
    random = np.random.default_rng(seed)
    margin, label = np.sort(random.normal(-4, 3, 30)), np.arange(30) == at
    named = random.normal(0, 3, known)
    population = np.concatenate([np.repeat(margin, 2), named])
    fitted = calibrate(margin, label, np.full(30, 2.0), np.ones(30, dtype=bool), known=named, active=population)
    assert fitted.method == "shift"
    assert -margin.max() - 8 < fitted.intercept < -margin.min() + 8


def partly_known(seed: int) -> tuple[Floats, Flags, Flags, Flags]:
    """Margins and truth; another source knows 70 % of the positives with few errors; 5 % have a verdict."""
    margin, truth = market(seed, size=30_000, prevalence_logit=-4.5)
    random = np.random.default_rng(seed + 7)
    is_known = random.random(len(truth)) < np.where(truth, 0.7, 0.003)
    return margin, truth, is_known, random.random(len(truth)) < 0.05


@pytest.mark.parametrize("positives", [15, 1000])
def test_known_positives_of_another_source_improve_the_estimate(positives: int) -> None:
    """With many and with few verdicts: close to the truth, with less variance than from verdicts alone."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    prevalences: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(12):
        margin, truth, is_known, audited = partly_known(seed)
        audited &= np.cumsum(audited & truth) <= positives
        picked = (
            margin[audited],
            truth[audited],
            np.full(audited.sum(), 1 / audited.mean()),
            np.ones(audited.sum(), dtype=bool),
        )
        for counted in (True, False):
            known: dict[str, Any] = (
                {"is_known": is_known[audited], "known": margin[is_known], "active": margin} if counted else {}
            )
            fitted = calibrate(*picked, **known)
            assert fitted.known == (is_known.sum() if counted else 0)
            assert fitted.method == ("platt" if counted or positives > 20 else "shift")
            probability = fitted.probability(margin)
            errors[counted].append(probability.mean() / truth.mean() - 1)
            prevalences[counted].append((fitted.prevalence or 0.0) / truth.mean())
    assert abs(np.mean(errors[True])) < 0.1
    assert np.std(errors[True]) < 0.7 * np.std(errors[False])
    assert np.mean(prevalences[True]) == pytest.approx(1.0, abs=0.1)


def test_false_known_positives_do_not_count_as_positives() -> None:
    """The verdicts show that the other source is no better than chance: using it then changes nothing."""
    ratios = []
    for seed in range(6):
        margin, truth = market(seed, size=30_000, prevalence_logit=-4.5)
        random = np.random.default_rng(seed + 7)
        is_known, audited = random.random((2, len(truth))) < 0.1
        picked = (margin[audited], truth[audited], np.full(audited.sum(), 10.0), np.ones(audited.sum(), dtype=bool))
        fitted = calibrate(*picked, is_known=is_known[audited], known=margin[is_known], active=margin)
        ratios.append(fitted.probability(margin).mean() / truth.mean())
    assert np.median(ratios) == pytest.approx(1.0, abs=0.1)


def test_without_positive_verdicts_known_positives_change_the_intercept() -> None:
    margin, truth, is_known, _ = partly_known(2)
    audited = ~truth & ~is_known & (np.random.default_rng(3).random(len(truth)) < 0.05)
    weight = np.full(audited.sum(), (~is_known).sum() / audited.sum())
    picked = (margin[audited], truth[audited], weight, np.ones(audited.sum(), dtype=bool))
    fitted = calibrate(*picked, known=margin[is_known], active=margin)
    assert fitted.method == "shift"
    assert 0.4 * truth.mean() < fitted.probability(margin).mean() < truth.mean()


def test_only_verdicts_are_used_if_everything_is_known() -> None:
    margin, truth, _, audited = partly_known(1)
    picked = (margin[audited], truth[audited], np.full(audited.sum(), 20.0), np.ones(audited.sum(), dtype=bool))
    everyone = np.ones(audited.sum(), dtype=bool)
    assert calibrate(*picked, is_known=everyone, known=margin, active=margin) == calibrate(*picked)


def test_few_positives_in_the_random_arm_are_too_few_for_a_slope() -> None:
    margin, truth = market(2)
    picked, label, weight, random_arm = verdicts(margin, truth, 2)
    assert label.sum() >= 50
    few = random_arm & (np.cumsum(label & random_arm) <= 9)
    assert calibrate(picked, label, weight, few).method == "shift"


@pytest.mark.parametrize("label", [np.zeros(40, dtype=bool), np.zeros(0, dtype=bool)])
def test_without_positives_margins_are_not_calibrated(label: Flags) -> None:
    margin = np.linspace(-8, 2, len(label))
    fitted = calibrate(margin, label, np.ones(len(label)), np.ones(len(label), dtype=bool))
    assert (fitted.method, fitted.prevalence) == ("none", None)
    assert np.allclose(fitted.probability(margin), sigmoid(margin))


def test_calibration_never_inverts_the_order_of_margins() -> None:
    margin, truth = market(4)
    picked, label, weight, random_arm = verdicts(margin, truth, 4)
    fitted = calibrate(-picked, label, weight, random_arm)
    assert (fitted.method, fitted.slope) == ("shift", 1.0)


def test_isotonic_is_used_for_many_positives_with_a_nonlinear_curve() -> None:
    random = np.random.default_rng(5)
    margin = random.normal(0, 2, 40_000)
    truth = random.random(40_000) < 0.02 + 0.38 * (margin > 0) + 0.55 * (margin > 3)
    fitted = calibrate(margin, truth, np.ones(40_000), np.ones(40_000, dtype=bool))
    assert fitted.method == "isotonic"
    probability = fitted.probability(np.sort(margin))
    assert (np.diff(probability) >= 0).all()
    assert probability[np.sort(margin) > 4].mean() == pytest.approx(0.95 / (1 - MISSED), abs=0.02)
    straight_line = replace(fitted, knots=())
    skill = [brier_skill(each.probability(margin), truth, np.ones(40_000)) for each in (fitted, straight_line)]
    assert skill[0] > skill[1] + 0.01
    straight = random.random(40_000) < sigmoid(margin - 2)
    few = np.flatnonzero(straight)[:900]
    keep = ~straight
    keep[few] = True
    assert calibrate(margin[keep], straight[keep], np.ones(keep.sum()), straight[keep]).method == "platt"


def test_a_calibration_round_trips_through_json() -> None:
    fitted = Calibration("isotonic", 1.1, 0.4, ((-2.0, 0.1), (1.0, 0.8)), 5, 2, 1, 0.1)
    assert Calibration.from_dict(fitted.as_dict()) == fitted


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), slope=st.floats(0.2, 3.0), intercept=st.floats(-3, 3))
def test_logistic_matches_scikit_learn(seed: int, slope: float, intercept: float) -> None:
    random = np.random.default_rng(seed)
    x, weight = random.normal(0, 1.5, 800), random.random(800) + 0.1
    label = random.random(800) < sigmoid(intercept + slope * x)
    if label.sum() < 20 or (~label).sum() < 20:
        return
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], label, sample_weight=weight)
    assert logistic(x, label, weight) == pytest.approx(
        (reference.intercept_[0], reference.coef_[0, 0]), rel=2e-3, abs=2e-3
    )


def test_logistic_returns_nan_without_a_finite_fit() -> None:
    x = np.linspace(-1, 1, 10)
    assert np.isnan(logistic(x, x > 5, np.ones(10))[1])
    assert np.isnan(logistic(x, x > 0, np.ones(10))[1])


@given(st.floats(-700, 700))
def test_sigmoid_and_logit_are_inverse_within_the_clip(logit: float) -> None:
    probability = sigmoid(np.array([logit]))
    assert 0 <= probability[0] <= 1
    assert logit_of(probability)[0] == pytest.approx(np.clip(logit, -9.2102, 9.2102), abs=1e-3)


def test_effective_size_counts_equal_weights() -> None:
    assert effective_size(np.ones(7)) == pytest.approx(7)
    assert effective_size(np.array([100.0, 1.0])) < 1.1
    assert effective_size(np.zeros(0)) == 0.0


def test_detection_rates_that_depend_on_the_margin_are_modelled() -> None:
    """Sources know more of the high-margin positives; assuming a constant rate would distort the curve."""
    slopes, ratios = [], []
    for seed in range(8):
        margin, truth = market(seed, size=60_000, prevalence_logit=-4.5)
        random = np.random.default_rng(seed + 7)
        is_known = random.random(len(truth)) < np.where(truth, sigmoid(0.4 * margin), 0.002)
        audited = random.random(len(truth)) < 0.03
        weight = np.full(audited.sum(), 1 / 0.03)
        fitted = calibrate(
            margin[audited], truth[audited], weight, audited[audited], is_known=is_known[audited],
            known=margin[is_known], active=margin,
        )  # fmt: skip
        probability = fitted.probability(margin)
        slopes.append(calibration_slope(probability, truth, np.ones(len(truth))))
        ratios.append(probability.mean() / truth.mean())
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.07)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), result=st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_the_gradient_matches_the_loss(seed: int, result: list[float]) -> None:
    random = np.random.default_rng(seed)
    margin = random.normal(0, 2, 20)
    verdicts = CalibrationSample(margin, random.random(20) < 0.4, np.ones(20), VerdictErrorRates(0.01, 0.03))
    counts_by_margin = MarginCounts(margin, *random.integers(0, 9, (2, 20)).astype(np.float64))
    is_known, weight = random.random(20) < 0.3, random.random(20)

    def parts(at: Floats) -> list[tuple[float, Floats]]:
        curves = at.reshape(3, 2)
        return [_population_loss(curves, counts_by_margin), _verdict_loss(curves, verdicts, weight, is_known)]

    for part in range(2):
        numeric = approx_fprime(np.array(result), lambda at, part=part: parts(at)[part][0], 1e-6)
        assert parts(np.array(result))[part][1].ravel() == pytest.approx(numeric, rel=1e-3, abs=1e-3)
