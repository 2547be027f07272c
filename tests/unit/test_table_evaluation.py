"""Splits and metrics of a user's own table, and the detection of leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from ml import ensemble
from ml.ensemble import best_threshold
from ml.labelled_table import Category, Table
from ml.neighbours import Edges
from ml.table_evaluation import (
    METRICS,
    Findings,
    Split,
    build_inputs,
    evaluate_table,
    leaks,
    measure,
    random_splits,
    splits_by_column,
)
from touchstone.core.errors import BadInputError

Floats = npt.NDArray[np.float64]


def made(rows: int = 400, seed: int = 0, signal: float = 1.5, columns: int = 4) -> Table:
    """A table of noise whose first column is informative about the label."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, columns)).astype(np.float32)
    label = random.random(rows) < 1 / (1 + np.exp(1.5 - signal * numbers[:, 0]))
    ids = pa.array([f"r{at}" for at in random.permutation(rows)])
    return Table(label, "1", numbers, tuple(f"x{at}" for at in range(columns)), {}, {}, ids=ids)


def halves(table: Table) -> list[Split]:
    return random_splits(table, 0.5, [0])


def result(table: Table, splits: Sequence[Split], trials: int = 0) -> Findings:
    return evaluate_table(table, build_inputs(table, {}, 2), splits, trials=trials, with_baseline=True)


@settings(max_examples=60)
@given(npst.arrays(np.bool_, 40), npst.arrays(np.int64, 40, elements=st.integers(1, 9)), st.integers(1, 9))
def test_metrics_match_scikit_learn(label: npt.NDArray[np.bool_], tenths: npt.NDArray[np.int64], tenth: int) -> None:
    if label.all() or not label.any():
        return
    probability = tenths / 10
    found = {name: value[0] for name, value in measure(probability, label, tenth / 10, np.ones((1, 40))).items()}
    assert found["auroc"] == pytest.approx(roc_auc_score(label, probability))
    assert found["average_precision"] == pytest.approx(average_precision_score(label, probability))
    assert found["f1"] == pytest.approx(f1_score(label, probability >= tenth / 10))
    share = label.mean()
    assert found["brier_skill"] == pytest.approx(1 - brier_score_loss(label, probability) / (share * (1 - share)))


def test_precision_at_k_counts_tied_rows_proportionally() -> None:
    label = np.array([True, False, True, False, False])
    at_k = measure(np.array([0.9, 0.5, 0.5, 0.5, 0.1]), label, 0.5, np.ones((1, 5)))["precision_at_k"][0]
    assert at_k == pytest.approx((1 + 1 / 3) / 2)


@settings(max_examples=60)
@given(npst.arrays(np.bool_, 30), npst.arrays(np.int64, 30, elements=st.integers(0, 9)))
def test_the_best_threshold_maximises_f1(label: npt.NDArray[np.bool_], tenths: npt.NDArray[np.int64]) -> None:
    if not label.any():
        return
    probability = tenths / 10
    best = f1_score(label, probability >= best_threshold(probability, label))
    assert best >= max(f1_score(label, probability >= at / 10, zero_division=0) for at in range(11)) - 1e-12


@settings(max_examples=40)
@given(st.lists(st.integers(0, 8), min_size=120, max_size=120), st.integers(0, 3), st.sampled_from([0.2, 0.5, 0.8]))
def test_groups_are_not_split_and_every_row_is_on_one_side(groups: list[int], seed: int, size: float) -> None:
    table = replace(made(120), group=np.array(groups, dtype=np.int64))
    try:
        (split,) = random_splits(table, size, [seed])
    except BadInputError:
        return
    assert sorted([*split.train.tolist(), *split.test.tolist()]) == list(range(120))
    assert table.group is not None
    assert not set(table.group[split.train]) & set(table.group[split.test])


def test_without_groups_both_sides_have_the_same_share_of_positives() -> None:
    table = made()
    for size in (0.2, 0.3, 0.75):
        (split,) = random_splits(table, size, [3])
        assert abs(len(split.test) - 400 * size) <= 1
        assert abs(table.label[split.test].mean() - table.label.mean()) < 0.01


def test_with_a_time_the_last_rows_are_the_test_set_and_their_groups_are_not_trained_on() -> None:
    time = np.random.default_rng(1).permutation(400).astype(np.float64)
    table = replace(made(), time=time, group=np.arange(400) % 90)
    (split,) = random_splits(table, 0.2, [0])
    assert time[split.train].max() < time[split.test].min()
    assert len(split.test) == 80
    assert table.group is not None
    assert not set(table.group[split.train]) & set(table.group[split.test])


def test_a_column_defines_splits() -> None:
    table = replace(made(60), label=np.arange(60) % 3 == 0)
    given_sides = ["train"] * 30 + ["Val"] * 15 + ["test"] * 15
    (one, two) = splits_by_column(table, {"split": given_sides}, [0, 1])
    assert [split.seed for split in (one, two)] == [0, 1]
    assert one.held is not None
    assert (one.train.tolist(), one.held.tolist(), one.test.tolist()) == (
        list(range(30)),
        list(range(30, 45)),
        list(range(45, 60)),
    )
    several = splits_by_column(table, {"a": given_sides, "b": given_sides[::-1]}, [0, 1])
    assert [(split.name, split.seed) for split in several] == [("a", 0), ("b", 0)]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (["train"] * 40 + [""] * 20, "is '' in 20 rows"),
        (["train"] * 40 + ["later"] * 20, "is 'later' in 20 rows"),
        (["train"] * 60, "test has 0 positives and 0 negatives"),
        (["test"] * 60, "train has 0 positives and 0 negatives"),
    ],
)
def test_an_invalid_split_column_is_refused(sides: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        splits_by_column(made(60), {"split": sides}, [0])


def test_a_signal_is_learned_and_compared_with_the_baselines() -> None:
    table = made(1000, signal=3.0)
    found = result(table, random_splits(table, 0.5, [0, 1])).as_dict()
    auroc = found["metrics"]["auroc"]
    assert auroc["low"] < auroc["mean"] < auroc["high"]
    assert auroc["mean"] > 0.85
    assert found["baseline"]["prevalence"]["auroc"]["mean"] == 0.5
    assert found["baseline"]["logistic_regression"]["auroc"]["mean"] > 0.85
    assert found["baseline"]["prevalence"]["calibration_slope"]["mean"] is None
    assert (found["rows"], found["positives"], found["warnings"]) == (1000, int(table.label.sum()), [])
    assert set(found["metrics"]) == set(METRICS)


@pytest.mark.parametrize(
    ("has_validation", "kinds"),
    [
        pytest.param(False, (), id="folds", marks=pytest.mark.slow),
        pytest.param(False, ("neighbour", "user"), id="folds, with edges", marks=pytest.mark.slow),
        pytest.param(True, (), id="only validation rows held out", marks=pytest.mark.slow),
        pytest.param(True, ("neighbour", "user"), id="only validation rows held out, with edges"),
    ],
)
def test_shuffled_labels_give_chance_performance(
    kinds: Sequence[str], *, has_validation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With numbers, categories, text and edges, each of which would leak if it were fitted on test rows."""
    monkeypatch.setattr(ensemble, "ENOUGH", 5)
    random = np.random.default_rng(5)
    table = made(500, signal=0.0)
    words = Category(random.integers(0, 200, 500), tuple(map(str, range(200))))
    text = tuple(" ".join(map(str, random.integers(0, 300, 6))) for _ in range(500))
    group = random.integers(0, 40, 500)
    neighbour = np.array([random.choice(np.flatnonzero(group == own)) for own in group])
    edges = {
        "neighbour": Edges(np.arange(500), neighbour, np.ones(500)),
        "user": Edges(np.arange(500), 500 + group, np.ones(500)),
    }
    found = []
    for seed in range(10):
        label = np.random.default_rng(seed).permutation(table.label)
        shuffled = replace(table, label=label, categories={"word": words}, texts={"body": text})
        (split,) = random_splits(shuffled, 0.5, [seed])
        if has_validation:
            split = replace(split, train=split.train[::2], held=split.train[1::2])
        made_of = build_inputs(shuffled, {kind: edges[kind] for kind in kinds}, 2)
        measured = evaluate_table(shuffled, made_of, [split], trials=0, with_baseline=False).measured[0]
        found.append(measured.figures["ensemble"]["auroc"])
    half = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - 0.5) < half, found
    assert half < 0.05


def test_evaluation_is_deterministic() -> None:
    table = made(200)
    assert result(table, halves(table), trials=4).as_dict() == result(table, halves(table), trials=4).as_dict()


def test_a_perfectly_separating_feature_is_reported() -> None:
    table = made()
    leaking = replace(
        table, numbers=np.column_stack([table.numbers, table.label * 2.0]), names=(*table.names, "verdict")
    )
    assert ["'verdict' alone separates" in warning for warning in leaks(leaking, halves(leaking))] == [True]
    words = Category(np.where(table.label, np.arange(400) % 3, 3 + np.arange(400) % 3), ("a", "b", "c", "d", "e", "f"))
    assert "'state' alone separates" in leaks(replace(table, categories={"state": words}), halves(table))[0]
    middle = np.where(table.label, 0.0, np.where(np.arange(400) % 2, 5.0, -5.0))
    leaking = replace(table, numbers=np.column_stack([table.numbers, middle]), names=(*table.names, "middle"))
    assert "'middle' alone separates" in leaks(leaking, halves(leaking))[0]


def test_ids_that_predict_the_label_are_reported() -> None:
    table = made()
    order = np.argsort(np.argsort(~table.label, kind="stable"))
    assert (
        "The ids predict the label" in leaks(replace(table, ids=pa.array([f"r{at}" for at in order])), halves(table))[0]
    )
    begin = pa.array([f"{'f' if positive else 'g'}{at}" for at, positive in enumerate(table.label)])
    assert "The ids predict the label" in leaks(replace(table, ids=begin), halves(table))[0]


def test_groups_on_both_sides_of_a_given_split_are_reported() -> None:
    table = replace(made(), group=np.arange(400) // 2)
    sides = ["train" if at % 2 else "test" for at in range(400)]
    assert (
        "200 groups are on both sides of the split 'split'"
        in leaks(table, splits_by_column(table, {"split": sides}, [0]))[0]
    )
    whole = ["train" if at // 2 % 2 else "test" for at in range(400)]
    assert leaks(table, splits_by_column(table, {"split": whole}, [0])) == []


def test_duplicate_rows_on_both_sides_are_reported() -> None:
    table = made()
    twice = replace(table, numbers=np.concatenate([table.numbers[:200], table.numbers[:200]]))
    assert "equal a training row" in leaks(twice, halves(twice))[0]
    bodies = replace(table, texts={"body": tuple(f"text {at % 200}" for at in range(400))})
    assert "equal a training row" in leaks(bodies, halves(bodies))[0]


def test_a_table_that_does_not_leak_has_no_warning() -> None:
    words = Category(np.random.default_rng(0).integers(0, 30, 400), tuple(map(str, range(30))))
    table = replace(
        made(signal=2.5),
        categories={"word": words},
        texts={"body": tuple(f"text {at}" for at in range(400))},
        group=np.arange(400) // 3,
    )
    assert leaks(table, halves(table)) == []
