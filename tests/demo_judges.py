"""Measures of how hard a marketplace is: ranks, recall at a precision, and the best that models can do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


def auroc(values: Floats, truth: Bools) -> float:
    """Returns the area under the ROC curve of one column, in the larger direction; nulls count as the median."""
    from scipy.stats import rankdata

    known = np.where(np.isnan(values), np.nanmedian(values), values)
    positives = int(truth.sum())
    area = (rankdata(known)[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives))
    return float(max(area, 1 - area))


def recall_at(precision: float, scores: Floats, truth: Bools, weights: Floats) -> float:
    """Returns the greatest recall at which the precision holds; weights count the sampled negatives."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    misses = np.cumsum((weights * ~truth)[order])
    holds = hits / (hits + misses) >= precision
    return float(hits[holds].max(initial=0) / truth.sum())


def boosted(train: Floats, truth: Bools, weights: Floats, test: Floats, rounds: int = 150) -> Floats:
    """Returns the margins of boosted trees on `test` after training on `train`."""
    import xgboost as xgb

    parameters = {
        "objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "subsample": 0.8, "colsample_bytree": 0.6,
        "min_child_weight": 4, "max_bin": 64, "nthread": 2, "seed": 0,
    }  # fmt: skip
    booster = xgb.train(parameters, xgb.DMatrix(train, label=truth, weight=weights), rounds)
    return np.asarray(booster.predict(xgb.DMatrix(test), output_margin=True))


def logistic(train: Floats, truth: Bools, weights: Floats, test: Floats) -> Floats:
    """Returns the margins on `test` of a logistic regression on standardised columns and their squares."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = train.mean(axis=0), train.std(axis=0) + 1e-9

    def prepared(columns: Floats) -> Floats:
        standard = np.clip((columns - middle) / spread, -6, 6)
        return np.hstack([standard, standard * np.abs(standard) / 3])

    model = LogisticRegression(max_iter=400).fit(prepared(train), truth, sample_weight=weights)
    return np.asarray(model.decision_function(prepared(test)))


def part(merchant_ids: npt.NDArray[np.generic], parts: int, place: int = 1) -> npt.NDArray[np.int64]:
    """Assigns rows to parts by merchant, by two digits of the merchant's ID from `place` on."""
    return np.array([int(str(merchant)[place : place + 2], 16) % parts for merchant in merchant_ids])
