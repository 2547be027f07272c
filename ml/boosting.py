"""Boosters: the choices of a training, one fit with early stopping, and forward folds that never know what they judge.

Every booster of the project is made by `fit_booster`, so that the folds say something about the one that is approved.
Calibration, thresholds and registration live elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ml import flagging, model
from ml.training_set import Flags, Integers, Rows, component_folds, forward_blocks, known_before


@dataclass(frozen=True)
class Parameters:
    """Everything about a training that is a choice, and part of its digest.

    The booster's are for few positives (100 to 1,500) among unlabelled rows some of which are positives too: shallow
    trees, slow steps, strong shrinkage.
    """

    seed: int = 7
    learning_rate: float = 0.05
    max_depth: int = 4
    min_child_weight: float = 1.0
    reg_lambda: float = 5.0
    subsample: float = 0.8
    colsample_bytree: float = 0.6
    max_bin: int = 128
    max_rounds: int = 400
    patience: int = 30
    rounds_without_stopping: int = 80
    stopping_folds: int = 5
    unseen_share: float = 0.2
    train_unlabelled: int = 60_000
    forward_unlabelled: int = 12_000
    forward_blocks: int = 4
    forward_groups: int = 4
    resamples: int = 500
    target_precision: float = flagging.DEFAULT_TARGET


@dataclass(frozen=True)
class Fitted:
    """A booster after early stopping, cut to its best round."""

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
    """Fits a booster with early stopping on a fold of whole components.

    Args:
        rows: The rows to learn from.
        columns: Positions of the features that the booster takes.
        signs: Monotone constraint of each feature that the rows have.
        parameters: The training's choices.

    Returns:
        The booster up to its best round. Where no fold holds enough positives to stop on, a fixed number of rounds.
    """
    import xgboost

    stopping = stopping_fold(rows, parameters.stopping_folds)
    settings = _settings(rows.take(~stopping), signs[columns], parameters)
    matrix = rows.features[:, columns]

    def data(chosen: Flags) -> Any:
        weight, threads = rows.weight[chosen], settings["nthread"]
        return xgboost.DMatrix(matrix[chosen], rows.label[chosen], weight=weight, nthread=threads)

    if not stopping.any():
        booster = xgboost.train(settings, data(~stopping), parameters.rounds_without_stopping)
        return Fitted(bytes(booster.save_raw("ubj")), parameters.rounds_without_stopping)
    stop = xgboost.callback.EarlyStopping(rounds=parameters.patience, save_best=True)
    evals = [(data(stopping), "fold")]
    booster = xgboost.train(
        settings, data(~stopping), parameters.max_rounds, evals=evals, callbacks=[stop], verbose_eval=False
    )
    booster.set_attr(best_iteration=None, best_score=None)
    return Fitted(bytes(booster.save_raw("ubj")), int(booster.num_boosted_rounds()))


def stopping_fold(rows: Rows, folds: int) -> Flags:
    """Returns the rows to stop on: a fold of components with at least 5 positives, else none."""
    chosen = component_folds(rows, folds) == folds - 1
    enough = int(rows.label[chosen].sum()) >= 5 and int(rows.label[~chosen].sum()) >= 5
    return chosen if enough else np.zeros(len(rows), dtype=bool)


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
        parameters: The training's choices.

    Returns:
        Margins of shape (n,), nan where the known rows held too few positives to fit anything.
    """
    block, group = forward_blocks(rows, parameters.forward_blocks), component_folds(rows, parameters.forward_groups)
    unseen, seen = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for at in range(int(block.max(initial=-1)) + 1):
        inside = block == at
        known = known_before(rows, int(rows.day[inside].min())) if at else inside
        for fold in range(parameters.forward_groups):
            judged = inside & (group == fold)
            unseen[judged] = _fold_margins(rows, known & (group != fold), judged, signs, parameters)
        if at:
            judged = inside & np.isin(rows.component, np.unique(rows.component[known]))
            seen[judged] = _fold_margins(rows, known, judged, signs, parameters)
    return Forward(rows, unseen, seen)


def _fold_margins(
    rows: Rows, learn: Flags, judged: Flags, signs: Integers, parameters: Parameters
) -> npt.NDArray[np.float64]:
    if int(rows.label[learn].sum()) < 5 or bool(rows.label[learn].all()) or not judged.any():
        return np.full(int(judged.sum()), np.nan)
    columns = list(range(rows.features.shape[1]))
    fitted = fit_booster(rows.take(learn), columns, signs, replace(parameters, max_rounds=parameters.max_rounds // 2))
    return model.margin_of(model.load_booster(fitted.ubj), rows.features[judged]).astype(np.float64)
