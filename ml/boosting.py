"""Boosters: the choices of a training, one fit with early stopping, and forward folds that never know what they judge.

Every booster of the project is made by `fit_booster`, so that the folds say something about the one that is approved.
Calibration, thresholds and registration live elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml import flagging, model
from ml.training_set import Flags, Integers, Rows, component_folds, forward_blocks, known_before

MIN_POSITIVES_IN_FOLD: Final = 3


@dataclass(frozen=True)
class Parameters:
    """Everything about a training that is a choice, and part of its digest.

    The booster's are for few positives (100 to 1,500) among unlabelled rows some of which are positives too: shallow
    trees, slow steps, strong shrinkage, and few columns a tree, so that no single signal hides the others. Measured
    against the demo's truth at scale 0.02 on 2026-11-25 (average precision of listings): columns a tree 0.6 to 0.3
    0.867 to 0.889, shrinkage 5 to 20 0.867 to 0.872, unlabelled rows 30,000 to 60,000 no gain at twice the time.
    """

    seed: int = 7
    learning_rate: float = 0.05
    max_depth: int = 4
    min_child_weight: float = 1.0
    reg_lambda: float = 10.0
    subsample: float = 0.8
    colsample_bytree: float = 0.3
    max_bin: int = 128
    max_rounds: int = 400
    patience: int = 15
    fixed_rounds: int = 80
    stopping_folds: int = 4
    unseen_share: float = 0.1
    least_unlabelled: int = 30_000
    unlabelled_per_positive: int = 50
    forward_unlabelled: int = 8_000
    forward_blocks: int = 4
    forward_groups: int = 3
    resamples: int = 500
    target_precision: float = flagging.DEFAULT_TARGET


@dataclass(frozen=True)
class Fitted:
    """A booster, as UBJ, and how many rounds it has."""

    ubj: bytes
    rounds: int


@dataclass(frozen=True)
class Forward:
    """Out-of-fold margins of the forward rows; nan where no fold could score a row.

    Attributes:
        rows: The rows.
        unseen: Margins of boosters that saw no row of the row's component.
        seen: Margins of boosters that saw earlier rows of the row's component; nan where there were none.
    """

    rows: Rows
    unseen: npt.NDArray[np.float64]
    seen: npt.NDArray[np.float64]


def fit_booster(rows: Rows, columns: list[int], signs: Integers, parameters: Parameters) -> Fitted:
    """Fits a booster that stops early, where folds of whole components say that more rounds would not help.

    What nothing labels counts as negative, but not of a merchant that these rows find guilty (docs/decisions/0014).

    Args:
        rows: The rows to learn from.
        columns: Positions of the features that the booster takes.
        signs: Monotone constraint of each feature that the rows have.
        parameters: The training's choices.

    Returns:
        The booster on all of the rows, with as many rounds as explain held-out folds best on average: with few positives
        every label counts, so none is spent on stopping alone. A fixed number where no folds are asked for, or where
        they hold too few positives.
    """
    import xgboost

    rows = rows.take(teaches(rows))
    settings = _settings(rows, signs[columns], parameters)
    data = xgboost.DMatrix(rows.features[:, columns], rows.label, weight=rows.weight, nthread=settings["nthread"])
    folds = stopping_folds(rows, parameters.stopping_folds)
    rounds = parameters.fixed_rounds
    if folds:
        told: Any = xgboost.cv(
            settings,
            data,
            parameters.max_rounds,
            folds=folds,
            early_stopping_rounds=parameters.patience,
            seed=parameters.seed,
            as_pandas=False,
        )
        rounds = len(told["test-logloss-mean"])
    booster = xgboost.train(settings, data, rounds)
    return Fitted(bytes(booster.save_raw("ubj")), rounds)


def teaches(rows: Rows) -> Flags:
    """Says which rows teach something: all but the unlabelled ones of merchants of which one of the rows is a positive.

    Most of the other goods of whoever sold one counterfeit are counterfeit too, though nobody looked: as negatives they would
    teach the opposite of what their neighbours do. Where nothing negative would be left, all rows do.
    """
    guilty = np.unique(rows.merchant[rows.label])
    told: Flags = rows.is_verdict | ~np.isin(rows.merchant, guilty)
    return told if (told & ~rows.label).any() else np.ones(len(rows), dtype=np.bool_)


def stopping_folds(rows: Rows, folds: int) -> list[tuple[Integers, Integers]]:
    """Returns learned and held-out positions of each fold of components, or none where one has under 3 positives."""
    fold = component_folds(rows, folds) if folds else np.zeros(0, dtype=np.int64)
    if not folds or np.bincount(fold, weights=rows.label, minlength=folds).min() < MIN_POSITIVES_IN_FOLD:
        return []
    return [(np.flatnonzero(fold != at), np.flatnonzero(fold == at)) for at in range(folds)]


def _settings(rows: Rows, signs: Integers, parameters: Parameters) -> dict[str, Any]:
    """XGBoost's parameters; `hist` gives the same trees at any number of threads."""
    share = float(np.average(rows.label, weights=rows.weight))
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "device": "cpu",
        "nthread": model.threads(len(rows)),
        "seed": parameters.seed,
        "base_score": float(np.clip(share, 1e-6, 1 - 1e-6)),
        "learning_rate": parameters.learning_rate,
        "max_depth": parameters.max_depth,
        "min_child_weight": parameters.min_child_weight,
        "reg_lambda": parameters.reg_lambda,
        "subsample": parameters.subsample,
        "colsample_bytree": parameters.colsample_bytree,
        "max_bin": parameters.max_bin,
        "monotone_constraints": tuple(int(sign) for sign in signs),
    }


def forward_margins(rows: Rows, signs: Integers, parameters: Parameters) -> Forward:
    """Scores each row by boosters that know neither its future nor, in one of two ways, its component.

    Blocks of dates go forward. A row of a later block is scored twice: by a booster on all rows known before its
    block (`seen`, where those hold its component), and by one on those of other component folds (`unseen`). In the
    first block there is no past: its rows are scored by folds of components inside it.

    Args:
        rows: Rows to learn from and to score, shape (n,).
        signs: Monotone constraint of each feature.
        parameters: The training's choices; the boosters have its fixed number of rounds.

    Returns:
        Margins of shape (n,), nan where the known rows held too few positives to fit anything.
    """
    block, group = forward_blocks(rows, parameters.forward_blocks), component_folds(rows, parameters.forward_groups)
    margins = {"unseen": np.full(len(rows), np.nan), "seen": np.full(len(rows), np.nan)}
    folds: list[tuple[str, Flags, Flags]] = []
    for at in range(int(block.max(initial=-1)) + 1):
        inside = block == at
        known = known_before(rows, int(rows.day[inside].min())) if at else inside
        folds += [
            ("unseen", known & (group != fold), inside & (group == fold)) for fold in range(parameters.forward_groups)
        ]
        if at:
            folds.append(("seen", known, inside & np.isin(rows.component, np.unique(rows.component[known]))))
    fixed = replace(parameters, stopping_folds=0)
    told = in_parallel([partial(_fold_margins, rows, known, judged, signs, fixed) for _, known, judged in folds])
    for (way, _, judged), margin in zip(folds, told, strict=True):
        margins[way][judged] = margin
    return Forward(rows, margins["unseen"], margins["seen"])


def in_parallel[Result](tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs independent fits, as many at a time as there are cores; XGBoost lets go of Python's lock while it works."""
    with ThreadPoolExecutor(max_workers=max(1, min(len(tasks), os.cpu_count() or 1))) as pool:
        return list(pool.map(lambda task: task(), tasks))


def _fold_margins(
    rows: Rows, learn: Flags, judged: Flags, signs: Integers, parameters: Parameters
) -> npt.NDArray[np.float64]:
    if int(rows.label[learn].sum()) < 5 or bool(rows.label[learn].all()) or not judged.any():
        return np.full(int(judged.sum()), np.nan)
    fitted = fit_booster(rows.take(learn), list(range(rows.features.shape[1])), signs, parameters)
    return model.margin_of(model.load_booster(fitted.ubj), rows.features[judged]).astype(np.float64)
