"""Boosters and forward folds: neither evaluation rows nor the future are used for training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml import boosting
from ml.boosting import Parameters, fit_booster, forward_margins, trainable_rows
from ml.model import in_parallel, load_booster, margin_of
from ml.training_set import PURPOSES, Rows

QUICK = Parameters(rounds=20, forward_blocks=3, forward_groups=3)


def rows(seed: int = 0, count: int = 600, components: int = 80, share: float = 0.2) -> Rows:
    random = np.random.default_rng(seed)
    component = random.integers(0, components, count)
    features = random.normal(size=(count, 3)).astype(np.float32)
    label = features[:, 0] + random.normal(0, 1, count) > np.quantile(features[:, 0], 1 - share) + 0.5
    day = random.integers(10, 22, count) * 7
    return Rows(
        entity=np.arange(count),
        merchant=np.arange(count),
        component=component,
        chance=(np.arange(components) / components)[component],
        category=np.zeros(count, dtype=np.int64),
        categories=("",),
        day=day,
        decided_day=np.where(label, day + random.integers(1, 15, count), -1),
        purpose=np.full(count, PURPOSES.index("train")),
        label=label,
        is_verdict=label,
        weight=np.ones(count),
        expansion_weight=np.ones(count),
        is_random_arm=np.zeros(count, dtype=bool),
        features=features,
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), components=st.integers(3, 80), blocks=st.integers(1, 5))
def test_forward_folds_use_neither_the_future_nor_shared_components(
    monkeypatch: pytest.MonkeyPatch, seed: int, components: int, blocks: int
) -> None:
    made = rows(seed, components=components)
    folds: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []

    def record(_: Rows, learn: Any, judged: Any, *__: object) -> Any:
        folds.append((learn, judged))
        return np.zeros(int(judged.sum()))

    monkeypatch.setattr(boosting, "_fold_margins", record)
    result = forward_margins(made, np.zeros(3, dtype=np.int64), replace(QUICK, forward_blocks=blocks))
    first = made.day[~np.isnan(result.unseen) & np.isnan(result.seen)].min(initial=10**6)
    for learn, judged in folds:
        if not judged.any():
            continue
        start = made.day[judged].min()
        shares_component = bool(np.isin(made.component[judged], made.component[learn]).any())
        is_first_block = bool((made.day[learn] >= start).any())
        if is_first_block:
            assert not shares_component
            assert made.day[judged].min() <= first
        else:
            assert (made.day[learn] < start).all()
            assert (made.decided_day[learn] < start).all()
            assert (
                shares_component == bool(np.isin(made.component[judged], made.component[learn]).all())
                or not learn.any()
            )
    assert not np.isnan(result.unseen).any()
    assert (np.sum([judged for _, judged in folds], axis=0) <= 2).all()


def test_forward_margins_rank_unseen_rows() -> None:
    made = rows(1, count=2000)
    result = forward_margins(made, np.zeros(3, dtype=np.int64), QUICK)
    for margin in (result.unseen, result.seen):
        known = ~np.isnan(margin)
        assert known.sum() > 800
        label = made.label[known]
        assert margin[known][label].mean() > margin[known][~label].mean() + 0.3


def test_a_fold_with_too_few_positives_scores_nothing() -> None:
    made = rows(2)
    few = replace(made, label=np.arange(len(made)) < 4)
    result = forward_margins(few, np.zeros(3, dtype=np.int64), QUICK)
    assert np.isnan(result.unseen).all()
    assert np.isnan(result.seen).all()


def test_a_booster_has_the_chosen_number_of_rounds() -> None:
    fitted = fit_booster(rows(3), [0, 1, 2], np.zeros(3, dtype=np.int64), replace(QUICK, rounds=7))
    assert load_booster(fitted).num_boosted_rounds() == 7


def test_a_booster_uses_only_its_columns() -> None:
    made = rows(5)
    fitted = fit_booster(made, [1, 2], np.zeros(3, dtype=np.int64), QUICK)
    changed = replace(made, features=made.features * np.array([7, 1, 1], dtype=np.float32))
    assert fit_booster(changed, [1, 2], np.zeros(3, dtype=np.int64), QUICK) == fitted
    assert load_booster(fitted).num_features() == 2


def test_monotone_constraints_apply_to_the_selected_columns() -> None:
    made = rows(6, count=1500)
    against = fit_booster(made, [2, 0], np.array([-1, 0, 0]), QUICK)
    matrix = np.zeros((50, 2), dtype=np.float32)
    matrix[:, 1] = np.linspace(-3, 3, 50)
    assert (np.diff(margin_of(load_booster(against), matrix)) <= 1e-6).all()


def test_unlabelled_rows_of_caught_merchants_are_not_trained_on() -> None:
    made = replace(
        rows(count=6),
        merchant=np.array([1, 1, 1, 2, 2, 3]),
        label=np.array([True, False, False, False, False, False]),
        is_verdict=np.array([True, False, True, False, True, False]),
    )
    assert trainable_rows(made).tolist() == [True, False, True, True, True, True]


def test_unlabelled_rows_are_trained_on_if_all_merchants_were_caught() -> None:
    made = replace(rows(count=3), merchant=np.zeros(3), label=np.array([True, False, False]))
    made = replace(made, is_verdict=made.label)
    assert trainable_rows(made).all()


def test_other_listings_of_a_caught_merchant_are_not_negatives() -> None:
    """Half of the merchants were caught with one listing in ten; with the rest as negatives, none could exceed 0.1."""
    count = 4000
    made = rows(11, count=count)
    merchant = np.arange(count) // 10
    is_fake = merchant % 2 == 0
    features = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32) + np.float32(1.5) * is_fake[:, None]
    label = is_fake & (np.arange(count) % 10 == 0)
    made = replace(made, merchant=merchant, component=merchant, features=features, label=label, is_verdict=label)
    fitted = fit_booster(made, [0, 1, 2], np.zeros(3, dtype=np.int64), QUICK)
    margin = margin_of(load_booster(fitted), features)
    assert np.median(1 / (1 + np.exp(-margin[is_fake]))) > 0.15


def test_the_base_score_is_the_weighted_share() -> None:
    made = rows(7)
    weight = np.where(made.label, 1.0, 30.0)
    fitted = fit_booster(replace(made, weight=weight), [0], np.zeros(3, dtype=np.int64), QUICK)
    mean = 1 / (1 + np.exp(-margin_of(load_booster(fitted), made.features[:, :1])))
    assert np.average(mean, weights=weight) == pytest.approx(np.average(made.label, weights=weight), rel=0.25)


def test_parallel_execution_keeps_order_and_raises_errors() -> None:
    assert in_parallel([lambda at=at: at * at for at in range(20)]) == [at * at for at in range(20)]

    def fail() -> int:
        raise ValueError("a fit failed")

    with pytest.raises(ValueError, match="a fit failed"):
        in_parallel([fail, lambda: 1])
