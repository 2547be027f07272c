"""Boosters: the choices of a training, one fit, and forward folds that never know what they judge.

Every booster that rates is made by `fit_booster`, so that the folds say something about the one that is approved.
Calibration, thresholds and registration live elsewhere.
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
    """Everything about a training that is a choice, and part of its digest.

    The booster's are for few positives (50 to 1,500) among unlabelled rows some of which are positives too: shallow trees,
    slow steps, strong shrinkage, and so few columns a tree that no single signal hides the others. Rounds are a fixed number:
    held-out labels are as incomplete as those learned from, and by them a booster stopped at a third of the rounds at which
    truth says that it ranks best. Measured against the demo's truth at scale 0.1, seed 102 (recall of unlabelled counterfeit
    listings at 90 % precision), with 892, 196 and 47 positives: early stopping and 0.3 of the columns 0.53, 0.34, 0.08;
    400 rounds and 0.1 of the columns 0.60, 0.44, 0.17; of merchants 0.73, 0.57, 0.22 and 0.73, 0.55, 0.36. A tree takes six
    columns at least, and of twenty or fewer all: two of the twenty that merchant_brushing has would hardly ever be two that tell
    something together (recall of brushing merchants at 90 % precision, 15 demos at scale 0.1: 0.74 with six, 0.76 with all).
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
        unseen: Margins of boosters that saw no row of the row's component.
        seen: Margins of boosters that saw earlier rows of the row's component; nan where there were none.
    """

    rows: Rows
    unseen: npt.NDArray[np.float64]
    seen: npt.NDArray[np.float64]


def fit_booster(rows: Rows, columns: list[int], signs: Integers, parameters: Parameters) -> bytes:
    """Fits a booster.

    What nothing labels counts as negative, but not of a merchant that these rows find guilty (docs/decisions/0009).

    Args:
        rows: The rows to learn from.
        columns: Positions of the features that the booster takes.
        signs: Monotone constraint of each feature that the rows have.
        parameters: The training's choices.

    Returns:
        The booster as UBJ.
    """
    rows = rows.take(teaches(rows))
    settings = _settings(rows, signs[columns], parameters)
    return boosted(
        settings, parameters.rounds, binned(rows.features[:, columns], rows.label, rows.weight, parameters.max_bin)
    )


def binned(features: npt.NDArray[np.float32], label: Flags, weight: npt.NDArray[np.float64] | None, bins: int) -> Any:
    """Cuts numbers into bins, as boosters take them. Made once it does for many fits, several at a time.

    Args:
        features: Shape (n, d), nan where null.
        label: Truth, shape (n,).
        weight: What each row stands for; None where all are alike.
        bins: How many of a number at most; as `max_bin` of the fits.

    Returns:
        An `xgboost.QuantileDMatrix`.
    """
    import xgboost

    return xgboost.QuantileDMatrix(features, label, weight=weight, max_bin=bins, nthread=threads(len(label)))


def boosted(settings: Mapping[str, Any], rounds: int, learn: Any, stop: Any = None, patience: int = 50) -> bytes:
    """Fits a booster; every one of the project is fitted here.

    Args:
        settings: XGBoost's parameters.
        rounds: How many trees; the most of them where `stop` is given.
        learn: The rows to learn from, binned.
        stop: Rows by whose log loss the number of trees is chosen, a plain `xgboost.DMatrix`: where much is null, rows
            that are binned are scored at a third of the speed. None for all rounds.
        patience: After how many rounds without a better log loss it ends.

    Returns:
        The booster as UBJ.
    """
    import xgboost

    if stop is None:
        return bytes(xgboost.train(dict(settings), learn, rounds).save_raw("ubj"))
    told = {"eval_metric": "logloss", **settings}
    booster = xgboost.train(
        told, learn, rounds, evals=[(stop, "held")], early_stopping_rounds=patience, verbose_eval=False
    )
    return bytes(booster[: booster.best_iteration + 1].save_raw("ubj"))


def teaches(rows: Rows) -> Flags:
    """Says which rows teach something: all but the unlabelled ones of merchants of which one of the rows is a positive.

    Most of the other goods of whoever sold one counterfeit are counterfeit too, though nobody looked: as negatives they would
    teach the opposite of what their neighbours do. Where nothing negative would be left, all rows do.
    """
    guilty = np.unique(rows.merchant[rows.label])
    told: Flags = rows.is_verdict | ~np.isin(rows.merchant, guilty)
    return told if (told & ~rows.label).any() else np.ones(len(rows), dtype=np.bool_)


def _settings(rows: Rows, signs: Integers, parameters: Parameters) -> dict[str, Any]:
    """XGBoost's parameters; `hist` gives the same trees at any number of threads."""
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
        "colsample_bytree": _share_of_columns(len(signs), parameters),
        "max_bin": parameters.max_bin,
        "monotone_constraints": tuple(int(sign) for sign in signs),
    }


def _share_of_columns(columns: int, parameters: Parameters) -> float:
    """The share of a model's columns that each of its trees takes."""
    if columns <= parameters.few_columns:
        return 1.0
    return float(max(parameters.colsample_bytree, parameters.least_columns / columns))


def threads(rows: int) -> int:
    """Returns how many threads a fit on so many rows gets; 0 means all. No result depends on it.

    Threads that wait for each other at every node of a tree cost more than they give below some 100,000 rows, and six
    times as much where other processes want the same cores (measured: 8,000 rows, two cores, both busy: 0.8 s against 4.7 s).
    """
    return 1 if rows < 100_000 else 0


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
    told = model.in_parallel(
        [partial(_fold_margins, rows, known, judged, signs, parameters) for _, known, judged in folds]
    )
    for (way, _, judged), margin in zip(folds, told, strict=True):
        margins[way][judged] = margin
    return Forward(rows, margins["unseen"], margins["seen"])


def _fold_margins(
    rows: Rows, learn: Flags, judged: Flags, signs: Integers, parameters: Parameters
) -> npt.NDArray[np.float64]:
    if int(rows.label[learn].sum()) < 5 or bool(rows.label[learn].all()) or not judged.any():
        return np.full(int(judged.sum()), np.nan)
    fitted = fit_booster(rows.take(learn), list(range(rows.features.shape[1])), signs, parameters)
    return model.margin_of(model.load_booster(fitted), rows.features[judged]).astype(np.float64)
