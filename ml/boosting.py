"""Boosters: training parameters, fitting, and out-of-fold scores from forward folds.

Every booster that rates is fitted by `fit_booster`, so that the folds represent the one that is approved.
Calibration, thresholds and registration are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ml import flagging, model
from ml.training_set import Flags, Integers, Rows, component_folds, forward_blocks, known_before


@dataclass(frozen=True)
class Parameters:
    """The parameters of a training; they are part of its digest.

    The booster's parameters are for few positives (50 to 1,500) among unlabelled rows that contain positives too: shallow
    trees, a low learning rate, strong regularisation, and so few columns per tree that no single signal hides the others.
    The number of rounds is fixed: held-out labels are as incomplete as training labels, and early stopping on them stopped at
    a third of the rounds at which the booster ranks best by the truth. Measured against the demo's truth at scale 0.1, seed
    102 (recall of unlabelled counterfeit listings at 90 % precision), with 892, 196 and 47 positives: early stopping and 0.3
    of the columns 0.53, 0.34, 0.08; 400 rounds and 0.1 of the columns 0.60, 0.44, 0.17; of merchants 0.73, 0.57, 0.22 and
    0.73, 0.55, 0.36. A tree takes at least six columns, and all of twenty or fewer: two of the twenty columns of
    merchant_brushing would rarely be two that interact (recall of brushing merchants at 90 % precision, 15 demos at scale
    0.1: 0.74 with six, 0.76 with all).
    """

    seed: int = 7
    learning_rate: float = 0.05
    max_depth: int = 4
    min_child_weight: float = 1.0
    reg_lambda: float = 10.0
    subsample: float = 0.8
    colsample_bytree: float = 0.1
    least_columns: int = 6
    few_columns: int = 20
    max_bin: int = 128
    rounds: int = 400
    unseen_share: float = 0.1
    least_unlabelled: int = 30_000
    unlabelled_per_positive: int = 50
    forward_unlabelled: int = 8_000
    forward_blocks: int = 4
    forward_groups: int = 3
    resamples: int = 500
    target_precision: float = flagging.DEFAULT_TARGET


@dataclass(frozen=True)
class Forward:
    """Out-of-fold margins of the forward rows; nan where no fold could score a row.

    Attributes:
        rows: The rows.
        unseen: Margins of boosters that were trained on no row of the row's component.
        seen: Margins of boosters that were trained on earlier rows of the row's component; nan if there are none.
    """

    rows: Rows
    unseen: npt.NDArray[np.float64]
    seen: npt.NDArray[np.float64]


def fit_booster(rows: Rows, columns: list[int], monotone_constraints: Integers, parameters: Parameters) -> bytes:
    """Fits a booster.

    Unlabelled rows count as negatives, except those of merchants with a positive row (docs/decisions/0009).

    Args:
        rows: Training rows.
        columns: Positions of the features that the booster takes.
        monotone_constraints: Constraint of each feature of the rows: -1, 0 or 1.
        parameters: The training parameters.

    Returns:
        The booster as UBJ.
    """
    rows = rows.take(trainable_rows(rows))
    settings = _settings(rows, monotone_constraints[columns], parameters)
    return train_booster(
        settings,
        parameters.rounds,
        quantile_matrix(rows.features[:, columns], rows.label, rows.weight, parameters.max_bin),
    )


def quantile_matrix(
    features: npt.NDArray[np.float32], label: Flags, weight: npt.NDArray[np.float64] | None, bins: int
) -> Any:
    """Builds a matrix of binned features, which many fits can share in parallel.

    Args:
        features: Shape (n, d), nan where null.
        label: Truth, shape (n,).
        weight: Sample weights; None for equal weights.
        bins: Largest number of bins per feature; equal to `max_bin` of the fits.

    Returns:
        An `xgboost.QuantileDMatrix`.
    """
    return model.load_xgboost().QuantileDMatrix(
        features, label, weight=weight, max_bin=bins, nthread=threads(len(label))
    )


def train_booster(settings: Mapping[str, Any], rounds: int, learn: Any, stop: Any = None, patience: int = 50) -> bytes:
    """Fits a booster; the only place that calls `xgboost.train`.

    Args:
        settings: XGBoost's parameters.
        rounds: Number of trees; the maximum if `stop` is given.
        learn: Training rows, as `quantile_matrix` returns them.
        stop: Rows for early stopping by log loss, as an `xgboost.DMatrix`: with many missing values, binned rows are scored
            at a third of the speed. None for all rounds.
        patience: Number of rounds without improvement after which training stops.

    Returns:
        The booster as UBJ.
    """
    xgboost = model.load_xgboost()
    if stop is None:
        return bytes(xgboost.train(dict(settings), learn, rounds).save_raw("ubj"))
    settings = {"eval_metric": "logloss", **settings}
    booster = xgboost.train(
        settings, learn, rounds, evals=[(stop, "held")], early_stopping_rounds=patience, verbose_eval=False
    )
    return bytes(booster[: booster.best_iteration + 1].save_raw("ubj"))


def trainable_rows(rows: Rows) -> Flags:
    """Returns which rows are used for training: all but the unlabelled ones of merchants with a positive row.

    Most other listings of a merchant that sold a counterfeit are counterfeit too, although nobody checked them: as negatives
    they would contradict the positives. If no negative row would remain, all rows are used.
    """
    guilty = np.unique(rows.merchant[rows.label])
    used: Flags = rows.is_verdict | ~np.isin(rows.merchant, guilty)
    return used if (used & ~rows.label).any() else np.ones(len(rows), dtype=np.bool_)


def _settings(rows: Rows, monotone_constraints: Integers, parameters: Parameters) -> dict[str, Any]:
    """Returns XGBoost's parameters; `hist` gives the same trees at any number of threads."""
    share = float(np.average(rows.label, weights=rows.weight))
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "device": "cpu",
        "nthread": threads(len(rows)),
        "seed": parameters.seed,
        "base_score": float(np.clip(share, 1e-6, 1 - 1e-6)),
        "learning_rate": parameters.learning_rate,
        "max_depth": parameters.max_depth,
        "min_child_weight": parameters.min_child_weight,
        "reg_lambda": parameters.reg_lambda,
        "subsample": parameters.subsample,
        "colsample_bytree": _share_of_columns(len(monotone_constraints), parameters),
        "max_bin": parameters.max_bin,
        "monotone_constraints": tuple(int(sign) for sign in monotone_constraints),
    }


def _share_of_columns(columns: int, parameters: Parameters) -> float:
    """Returns the share of a model's columns that each tree takes."""
    if columns <= parameters.few_columns:
        return 1.0
    return float(max(parameters.colsample_bytree, parameters.least_columns / columns))


def threads(rows: int) -> int:
    """Returns the number of threads for a fit on so many rows; 0 means all. Results do not depend on it.

    Below about 100,000 rows, synchronising threads at every node of a tree costs more than it saves, and six times as much
    when other processes use the same cores (measured: 8,000 rows, two cores, both busy: 0.8 s against 4.7 s).
    """
    return 1 if rows < 100_000 else 0


def forward_margins(rows: Rows, monotone_constraints: Integers, parameters: Parameters) -> Forward:
    """Scores each row by boosters that were trained on earlier rows, with and without its component.

    Rows are divided into consecutive blocks of dates. A row of a later block is scored twice: by a booster trained on all
    rows known before its block (`seen`, if they contain its component), and by one trained on those of the other component
    folds (`unseen`). The first block has no past: its rows are scored by cross-validation over components inside it.

    Args:
        rows: Rows to train on and to score, shape (n,).
        monotone_constraints: Constraint of each feature: -1, 0 or 1.
        parameters: The training parameters.

    Returns:
        Margins of shape (n,), nan where the known rows contain too few positives.
    """
    block, group = forward_blocks(rows, parameters.forward_blocks), component_folds(rows, parameters.forward_groups)
    margins = {"unseen": np.full(len(rows), np.nan), "seen": np.full(len(rows), np.nan)}
    folds: list[tuple[str, Flags, Flags]] = []
    for index in range(int(block.max(initial=-1)) + 1):
        inside = block == index
        known = known_before(rows, int(rows.day[inside].min())) if index else inside
        folds += [
            ("unseen", known & (group != fold), inside & (group == fold)) for fold in range(parameters.forward_groups)
        ]
        if index:
            folds.append(("seen", known, inside & np.isin(rows.component, np.unique(rows.component[known]))))
    margins_by_fold = model.in_parallel(
        [partial(_fold_margins, rows, known, judged, monotone_constraints, parameters) for _, known, judged in folds]
    )
    for (way, _, judged), margin in zip(folds, margins_by_fold, strict=True):
        margins[way][judged] = margin
    return Forward(rows, margins["unseen"], margins["seen"])


def _fold_margins(
    rows: Rows, learn: Flags, judged: Flags, monotone_constraints: Integers, parameters: Parameters
) -> npt.NDArray[np.float64]:
    if int(rows.label[learn].sum()) < 5 or bool(rows.label[learn].all()) or not judged.any():
        return np.full(int(judged.sum()), np.nan)
    fitted = fit_booster(rows.take(learn), list(range(rows.features.shape[1])), monotone_constraints, parameters)
    return model.margin_of(model.load_booster(fitted), rows.features[judged]).astype(np.float64)
