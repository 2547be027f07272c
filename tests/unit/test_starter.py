"""The starter scorecard: surprise, its booster of stumps, and the ranking that replaces a calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import flagging, model, starter
from ml.calibrate import Calibration, assume_prevalence, calibrate, rank_calibration
from ml.declarations import load_declarations
from ml.starter import Indicator
from touchstone.core.errors import BadInputError

MODELS = ("listing_counterfeit", "merchant_counterfeit")
VALUES = st.lists(
    st.one_of(st.just(np.nan), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=80
)


def margins(booster: bytes, features: np.ndarray) -> np.ndarray:
    return model.margin_of(model.load_booster(booster), features.astype(np.float32))


def test_every_indicator_is_a_feature_with_a_rationale_and_agrees_with_the_constraint_of_the_trained_model():
    for name in MODELS:
        declaration = load_declarations()[name]
        monotone = {feature.name: feature.monotone for feature in declaration.features}
        indicators = starter.read_scorecard(declaration)
        assert len({one.feature for one in indicators}) == len(indicators) > 10
        for one in indicators:
            assert monotone[one.feature] in (0, one.direction), one.feature
            assert one.rationale.endswith(".")


def test_a_model_without_a_scorecard_has_no_indicators():
    assert starter.read_scorecard(load_declarations()["review_brushing"]) == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{feature: nonsense, direction: high, points: 1}", "'nonsense' is no feature of the model"),
        ("{feature: complaint_share, direction: up, points: 1}", "direction is 'up'; it is high or low"),
        ("{feature: complaint_share, direction: high, points: 0}", "points is 0; it is a number above 0"),
    ],
)
def test_an_invalid_indicator_is_an_error_that_says_what_is_allowed(tmp_path: Path, line: str, message: str):
    file = tmp_path / "starter.yml"
    file.write_text(f"models:\n  listing_counterfeit:\n    - {line}\n")
    with pytest.raises(BadInputError, match=message):
        starter.read_scorecard(load_declarations()["listing_counterfeit"], file)


def test_surprise_counts_ties_half_and_is_zero_for_the_less_extreme_half():
    values = np.array([0.0] * 90 + [1.0] * 8 + [5.0] * 2 + [np.nan] * 10)
    distinct, amount = starter.surprise(values, 1)
    assert distinct.tolist() == [0.0, 1.0, 5.0]
    assert amount == pytest.approx([0.0, -np.log10(2 * 0.06), -np.log10(2 * 0.01)])
    distinct, amount = starter.surprise(values, -1)
    assert distinct.tolist() == [5.0, 1.0, 0.0]
    assert amount == pytest.approx([0.0, 0.0, -np.log10(2 * 0.45)])


@given(values=VALUES, direction=st.sampled_from([1, -1]))
def test_surprise_never_falls_towards_the_extreme_and_stays_within_its_bounds(values: list[float], direction: int):
    distinct, amount = starter.surprise(np.array(values), direction)
    assert (np.diff(direction * distinct) > 0).all()
    assert (np.diff(amount) >= 0).all()
    assert ((amount >= 0) & (amount <= starter.MOST_SURPRISE)).all()


@given(
    rows=st.lists(st.tuples(*[st.one_of(st.just(np.nan), st.floats(-100, 100, width=32))] * 3), min_size=1, max_size=80)
)
def test_the_booster_adds_the_points_of_every_step_that_a_row_reaches(rows: list[tuple[float, ...]]):
    """Compared with the definition, computed row by row."""
    features = np.array(rows, dtype=np.float32)
    indicators = (Indicator("a", 1, 1.0, ""), Indicator("c", -1, 0.5, ""), Indicator("elsewhere", 1, 9.0, ""))
    expected = np.zeros(len(features))
    for one, column in ((indicators[0], 0), (indicators[1], 2)):
        known = features[~np.isnan(features[:, column]), column].astype(np.float64)
        if len(known) < starter.LEAST_KNOWN or len(np.unique(known)) < 2:
            continue
        for row, value in enumerate(features[:, column].astype(np.float64)):
            if not np.isnan(value):
                more = (one.direction * known > one.direction * value).sum() + 0.5 * (known == value).sum()
                amount = min(max(-np.log10(2 * more / len(known)), 0.0), 3.0)
                expected[row] += one.points * np.floor(amount / starter.STEP) * starter.STEP
    assert margins(starter.fit_scorecard(indicators, ["a", "b", "c"], features), features) == pytest.approx(expected)


def test_a_scorecard_without_known_values_gives_everyone_the_same_margin():
    features = np.full((30, 1), np.nan, dtype=np.float32)
    booster = starter.fit_scorecard((Indicator("a", 1, 1.0, ""),), ["a"], features)
    assert margins(booster, features).tolist() == [0.0] * 30


def test_only_indicators_with_enough_values_that_differ_are_available():
    declaration = load_declarations()["listing_counterfeit"]
    indicators = starter.read_scorecard(declaration)[:3]
    features = np.full((100, len(declaration.columns)), np.nan, dtype=np.float32)
    for one, values in zip(
        indicators, (np.arange(100), np.zeros(100), np.r_[np.arange(19), [np.nan] * 81]), strict=True
    ):
        features[:, declaration.columns.index(one.feature)] = values
    assert starter.available(indicators, declaration, features) == indicators[:1]


# The ranking, and an assumed prevalence ------------------------------------------------------------------------------


def test_a_rank_is_the_share_of_the_active_entities_below():
    active = np.array([3.0, 1.0, 1.0, 2.0])
    ranking = rank_calibration(active)
    assert ranking.method == "ranking"
    assert not ranking.is_calibrated
    assert ranking.probability(np.array([1.0, 2.0, 3.0, 9.0, -9.0])).tolist() == [0.0, 0.5, 0.75, 0.75, 0.0]


def test_the_stored_ranks_of_many_entities_are_close_to_the_exact_ones_above_all_at_the_top():
    active = np.random.default_rng(1).normal(size=200_000)
    ranking = rank_calibration(active)
    assert len(ranking.knots) <= 2_100
    ranks = ranking.probability(active)
    exact = np.argsort(np.argsort(active)) / len(active)
    assert np.abs(ranks - exact).max() < 0.003
    top = exact > 0.999
    assert np.abs(ranks - exact)[top].max() < 0.0001


@pytest.mark.parametrize("share", [0.001, 0.0367, 0.5])
def test_an_assumed_prevalence_is_the_mean_probability_of_the_active_entities(share: float):
    active = np.random.default_rng(2).gamma(1.0, 2.0, size=20_000)
    assumed = assume_prevalence(rank_calibration(active), share)
    assert assumed.probability(active).mean() == pytest.approx(share, rel=0.02)
    assert not assumed.is_calibrated
    assert Calibration.from_dict(assumed.as_dict()) == assumed


def test_verdicts_make_a_calibration():
    label = np.array([True, False, False, False] * 20)
    result = calibrate(np.linspace(1, -1, 80), label, np.ones(80), np.ones(80, dtype=bool))
    assert result.is_calibrated


def test_without_verdicts_nothing_is_calibrated():
    nothing = np.zeros(0)
    assert not calibrate(nothing, nothing.astype(bool), nothing, nothing.astype(bool)).is_calibrated


def test_a_twentieth_or_a_thousand_of_the_entities_reach_the_threshold_of_a_ranking():
    assert flagging.rank_threshold(415) == 95.0
    assert flagging.rank_threshold(10_000) == 95.0
    assert flagging.rank_threshold(100_000) == 99.0


def test_the_threshold_moves_with_the_scores_under_an_assumed_prevalence():
    active = np.random.default_rng(3).gamma(1.0, 2.0, size=5_000)
    ranking = rank_calibration(active)
    body = {
        "flagging": {"basis": "ranking", "threshold": 90.0, "floor": 5.0},
        "calibration": {"main": ranking.as_dict(), "own": ranking.as_dict()},
    }
    assert model.flagging_under(body, None) == body["flagging"]
    moved = model.flagging_under(body, 0.03)
    scores = model.points(assume_prevalence(ranking, 0.03).probability(active))
    assert (scores >= moved["threshold"]).mean() == pytest.approx(0.1, abs=0.005)
    assert moved["floor"] == 5.0
    rated = model.RiskModel(body, b"", b"")
    assert not rated.is_calibrated
    assert rated.threshold == 90.0
    assert replace(rated, assumed_prevalence=0.03).threshold == moved["threshold"]
