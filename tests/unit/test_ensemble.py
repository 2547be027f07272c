"""The ensemble: which rows and labels it learns from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import ensemble
from ml.ensemble import Inputs, fit_baseline, fit_ensemble, group_folds
from ml.labelled_table import Category, Table
from ml.neighbours import Edges, links_over
from ml.table_evaluation import build_inputs

ROWS = 300
RANDOM = np.random.default_rng(4)
NUMBERS = RANDOM.normal(size=(ROWS, 3)).astype(np.float32)
LABEL = RANDOM.random(ROWS) < 1 / (1 + np.exp(1 - 2 * NUMBERS[:, 0]))
SHOPS = RANDOM.integers(0, 40, ROWS)


def table() -> Table:
    text = tuple(f"{'cheap' if each else 'fine'} thing {at % 50}" for at, each in enumerate(RANDOM.random(ROWS) < 0.5))
    shops = Category(SHOPS.copy(), tuple(f"s{at}" for at in range(40)))
    colours = Category(np.where(SHOPS % 3 == 0, -1, SHOPS % 3), ("red", "blue", "green"))
    numbers = np.where(NUMBERS > 2, np.nan, NUMBERS).astype(np.float32)
    return Table(LABEL, "1", numbers, ("a", "b", "c"), {"shop": shops, "colour": colours}, {"body": text})


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    ends = np.random.default_rng(2).integers(0, ROWS, (2, 600))
    return build_inputs(table(), {"edges": Edges(ends[0], ends[1], np.ones(600))}, 2)


@pytest.mark.parametrize("enough", [pytest.param(ensemble.ENOUGH, marks=pytest.mark.slow), 10])
def test_only_labels_of_training_and_validation_rows_are_used(
    inputs: Inputs, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "ENOUGH", enough)
    train, held, test = np.arange(150), np.arange(150, 220), np.arange(220, ROWS)
    other = LABEL.copy()
    other[test] = ~other[test]
    for validation in (None, held):
        if validation is None:
            other[held] = ~LABEL[held]
        fitted = [
            fit_ensemble(inputs, label, train, validation, trials=4).probability(inputs, test)
            for label in (LABEL, other)
        ]
        np.testing.assert_array_equal(*fitted)
        other[held] = LABEL[held]
    np.testing.assert_array_equal(*(fit_baseline(inputs, label, train)(test) for label in (LABEL, other)))


def test_validation_rows_are_held_out_and_not_trained_on(inputs: Inputs) -> None:
    train, held = np.arange(200), np.arange(200, ROWS)
    fitted = fit_ensemble(inputs, LABEL, train, held, trials=0)
    for fold in fitted.folds:
        assert set(fold.learn) < set(train)
        assert set(held) < set(fold.held)


def test_a_large_validation_set_is_the_only_holdout_and_all_training_rows_are_used(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held = np.arange(200), np.arange(200, ROWS)
    monkeypatch.setattr(ensemble, "ENOUGH", int(min(LABEL[held].sum(), (~LABEL[held]).sum())))
    fitted = fit_ensemble(inputs, LABEL, train, held, trials=5)
    (fold,) = fitted.folds
    np.testing.assert_array_equal(fold.learn, train)
    np.testing.assert_array_equal(fold.held, held)
    assert len(fitted.candidates) == len(set(fold.boosters)) == 12
    assert len({candidate.settings["seed"] for candidate in fitted.candidates}) == 12
    monkeypatch.setattr(ensemble, "ENOUGH", ensemble.ENOUGH + 1)
    assert len(fit_ensemble(inputs, LABEL, train, held, trials=0).folds) > 1


def test_with_a_time_the_last_rows_are_held_out_and_groups_are_kept_together(inputs: Inputs) -> None:
    time = np.random.default_rng(0).permutation(ROWS).astype(np.float64)
    (fold,) = fit_ensemble(inputs, LABEL, np.arange(ROWS), time=time, trials=0).folds
    assert len(fold.held) == ROWS // 5
    assert time[fold.learn].max() < time[fold.held].min()
    for fold in fit_ensemble(inputs, LABEL, np.arange(ROWS), group=SHOPS, trials=0).folds:
        assert not set(SHOPS[fold.learn]) & set(SHOPS[fold.held])


def encoding(codes: npt.NDArray[np.int64], label: npt.NDArray[np.bool_]) -> ensemble.CategoryEncoding:
    column = Category(codes, tuple(map(str, range(int(codes.max()) + 1))))
    inputs = Inputs(np.zeros((len(codes), 0), dtype=np.float32), (), np.zeros(0, dtype=bool), {"word": column})
    fitted = ensemble._fit_categories(inputs, np.arange(len(codes)), label)
    assert fitted is not None
    return fitted


def test_the_encoding_of_a_training_row_does_not_contain_its_own_label() -> None:
    """Every value occurs once: its encoding is the mean of the other folds, independent of the row."""
    learned = encoding(np.arange(ROWS), LABEL).learned
    assert len(set(learned.ravel())) <= 5
    other = LABEL.copy()
    other[0] = not other[0]
    assert encoding(np.arange(ROWS), other).learned[0] == learned[0]


def test_a_category_value_unseen_in_training_gets_the_mean() -> None:
    fitted = encoding(np.arange(ROWS) % 30, LABEL)
    share = LABEL.mean()
    assert fitted.transform(np.array([[31]]))[0, 0] == pytest.approx(np.log(share / (1 - share)))


def test_few_values_and_nulls_are_one_hot_encoded() -> None:
    fitted = encoding(np.array([0, 1, -1, 0]), np.array([True, False, True, False]))
    assert fitted.transform(np.array([[0], [1], [-1], [7]])).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]


@settings(max_examples=60)
@given(
    st.lists(st.booleans(), min_size=20, max_size=80).filter(lambda label: 5 <= sum(label) <= len(label) - 5),
    st.integers(2, 5),
    st.integers(0, 9),
)
def test_folds_have_balanced_positives(label: list[bool], folds: int, seed: int) -> None:
    truth = np.array(label)
    fold = group_folds(truth, None, folds, seed)
    for rows in (truth, ~truth):
        counts = np.bincount(fold[rows], minlength=folds)
        assert counts.max() - counts.min() <= 2


def test_without_neighbours_no_candidate_is_restricted_to_own_columns(inputs: Inputs) -> None:
    own: npt.NDArray[np.bool_] = np.ones(3, dtype=bool)
    alone = replace(inputs, dense=NUMBERS, names=("a", "b", "c"), is_own=own, text=None)
    assert not any(
        candidate.is_own_only for candidate in fit_ensemble(alone, LABEL, np.arange(ROWS), trials=8).candidates
    )


def test_margins_are_smoothed_over_neighbours_once_per_hop() -> None:
    path = Edges(np.array([0, 1]), np.array([1, 2]), np.ones(2))
    links = tuple(links_over({"edges": path}, 4).values())
    inputs = Inputs(np.zeros((4, 0), dtype=np.float32), (), np.zeros(0, dtype=bool), {}, None, links, 1)
    margin = np.array([8.0, 0.0, 4.0, -1.0])
    assert ensemble._smooth_over_graph(margin, inputs, 0.5).tolist() == [4.0, 3.0, 2.0, -1.0]
    assert ensemble._smooth_over_graph(margin, replace(inputs, hops=2), 0.5).tolist() == [5.5, 1.5, 3.5, -1.0]
    assert ensemble._smooth_over_graph(margin, replace(inputs, hops=2), 0.0).tolist() == margin.tolist()


def test_graph_smoothing_is_used_only_if_neighbours_are_informative() -> None:
    """A row's own numbers have little information; its neighbours have much, or none."""
    random = np.random.default_rng(7)
    group = random.integers(0, 20, 900)
    label = (group < 6) ^ (random.random(900) < 0.05)
    numbers = (label[:, None] + 2.5 * random.normal(size=(900, 2))).astype(np.float32)
    result = Table(label, "1", numbers, ("a", "b"), {}, {})
    first = random.integers(0, 900, 4000)
    alike = np.array([random.choice(np.flatnonzero(group == group[at])) for at in first])
    results = {}
    for name, second in (("alike", alike), ("any", random.integers(0, 900, 4000))):
        inputs = build_inputs(result, {"edges": Edges(first, second, np.ones(4000))}, 1)
        fitted = fit_ensemble(inputs, label, np.arange(600), trials=0)
        results[name] = (
            fitted.neighbour_weight,
            ensemble.quality(fitted.margin(inputs, np.arange(600, 900)), label[600:]),
        )
    assert results["alike"][0] > results["any"][0]
    assert results["alike"][1] > results["any"][1] + 0.2


def test_text_margins_of_training_rows_are_cross_fitted_over_groups(inputs: Inputs) -> None:
    rows, group = np.arange(ROWS), np.arange(ROWS) // 2
    result = ensemble._cross_fit_text(inputs, LABEL, rows, group, 1.0)
    part = group_folds(LABEL, group, ensemble.TEXT_PARTS, 0)
    assert all(len(set(part[group == each])) == 1 for each in group)
    for at in range(ensemble.TEXT_PARTS):
        fitted = ensemble._fit_text(inputs.text[part != at], LABEL[part != at], (1.0,))[0]
        np.testing.assert_array_equal(result[part == at], ensemble._linear_margin(fitted, inputs.text[part == at]))
