"""Metrics of a model, on rows that its boosters were not trained on.

There are three sources, each for components in the training data (`seen`) and others (`unseen`): *evaluate*, the last dates
of the grid, where unlabelled rows count as negatives; *verdict*, the held-out verdicts weighted to the population; and
*forward*, out-of-fold scores over the whole history, with equal weight for every merchant and bootstrap intervals over
merchants. Metrics are named `<source>_<metric>_<cell>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.boosting import Forward
from ml.calibrate import Calibration, logistic, logit_of
from ml.model import RiskModel, Scorer, points
from ml.training_set import Flags, Floats, Integers, Matrix, Rows, Split

CELLS: Final = ("seen", "unseen")
# The sources of each metric: calibration cannot be measured where unlabelled rows count as negatives.
METRIC_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "auroc": ("evaluate", "verdict", "forward"),
    "average_precision": ("evaluate", "verdict", "forward"),
    "precision": ("evaluate", "verdict"),
    "recall": ("evaluate", "verdict"),
    "calibration_slope": ("verdict",),
    "brier_skill": ("verdict",),
}
# Limits the memory of the bootstrap: resamples are drawn in chunks of about this many weights.
CHUNK: Final = 2_000_000


@dataclass(frozen=True)
class Scored:
    """Scored rows with their truth, all of shape (n,).

    Attributes:
        score: 0 to 100.
        label: Truth, as far as it is known.
        weight: Sample weights.
        merchant: An integer for each merchant.
    """

    score: Floats
    label: Flags
    weight: Floats
    merchant: Integers

    def take(self, chosen: Flags) -> Scored:
        """Returns the rows that a mask selects."""
        return Scored(self.score[chosen], self.label[chosen], self.weight[chosen], self.merchant[chosen])


@dataclass(frozen=True)
class Report:
    """The metrics of a model.

    Attributes:
        metrics: By name; undefined ones (only one class) are left out.
        sources: The scored rows behind each source, for plots.
        importances: Mean absolute exact TreeSHAP value by feature, largest first.
        directions: Correlation of each feature's value and attribution, -1 to 1; 0 if it is constant.
    """

    metrics: Mapping[str, float]
    sources: Mapping[str, Scored]
    importances: Mapping[str, float]
    directions: Mapping[str, float]


def report(
    model: RiskModel, split: Split, forward: Forward, resamples: int, seed: int, active: Matrix | None = None
) -> Report:
    """Measures a model on every source and cell.

    Args:
        model: The model.
        split: Its rows.
        forward: Its out-of-fold margins.
        resamples: Number of bootstrap resamples of merchants.
        seed: Seed of the bootstrap.
        active: Features of the active entities, for the importances of a model that no row was trained on; else None.

    Returns:
        The report.
    """
    scorer = Scorer(model)
    evaluated = _scored(scorer, split.evaluate, split.evaluate.weight)
    verdicts = _scored(scorer, split.calibrate, split.calibrate.expansion_weight)
    folds = {cell: _forward(forward.rows, getattr(forward, cell), model.calibration("main")) for cell in CELLS}
    metrics: dict[str, float] = {"threshold": model.threshold, "floor": model.floor}
    if model.body["prevalence"] is not None:
        metrics["prevalence"] = model.body["prevalence"]
    for source, scored, seen in (
        ("evaluate", evaluated, split.evaluate_seen),
        ("verdict", verdicts, split.calibrate_seen),
    ):
        for cell, chosen in (("all", seen | ~seen), ("seen", seen), ("unseen", ~seen)):
            metrics |= _named(measure(scored.take(chosen), model.threshold), source, cell)
    for cell, scored in folds.items():
        metrics |= _named(measure_by_merchant(scored, resamples, seed), "forward", cell)
    sources = {
        "evaluate": evaluated,
        "verdict": verdicts,
        **{f"forward_{cell}": scored for cell, scored in folds.items()},
    }
    if active is None:
        active = (split.evaluate if len(split.evaluate) else split.train).features
    return Report(metrics, sources, *mean_attributions(scorer, active))


def measure(scored: Scored, threshold: float) -> dict[str, float]:
    """Measures one cell of scored rows.

    Args:
        scored: The rows with their weights.
        threshold: The lowest score to flag.

    Returns:
        rows, positives, prevalence, auroc, average_precision, precision, recall (both at the threshold), calibration_slope,
        brier_skill; without the metrics that are undefined for one class.
    """
    counts = {"rows": float(len(scored.label)), "positives": float(scored.label.sum())}
    if not scored.label.any() or scored.label.all():
        return counts
    auroc, average_precision = ranking(scored.score, scored.label, scored.weight[None, :])
    flagged = scored.score >= threshold
    right = float(scored.weight @ (flagged & scored.label))
    return {
        **counts,
        "prevalence": float(np.average(scored.label, weights=scored.weight)),
        "auroc": float(auroc[0]),
        "average_precision": float(average_precision[0]),
        "precision": right / float(scored.weight[flagged].sum()) if flagged.any() else float("nan"),
        "recall": right / float(scored.weight[scored.label].sum()),
        "calibration_slope": calibration_slope(scored.score / 100.0, scored.label, scored.weight),
        "brier_skill": brier_skill(scored.score / 100.0, scored.label, scored.weight),
    }


def measure_by_merchant(scored: Scored, resamples: int, seed: int) -> dict[str, float]:
    """Measures ranking with equal weight for every merchant.

    Args:
        scored: The rows; a merchant's weights are scaled to sum to 1.
        resamples: Number of bootstrap resamples of merchants.
        seed: Seed of the bootstrap.

    Returns:
        auroc and average_precision, each with `_low` and `_high`, the bounds of its 95 % interval; rows, positives,
        merchants.
    """
    merchants, owner = np.unique(scored.merchant, return_inverse=True)
    counts = {"rows": float(len(owner)), "positives": float(scored.label.sum()), "merchants": float(len(merchants))}
    if not scored.label.any() or scored.label.all():
        return counts
    weight = scored.weight / np.bincount(owner, weights=scored.weight)[owner]
    values = {"auroc": [], "average_precision": []}  # type: dict[str, list[Floats]]
    for drawn in bootstrap_weights(owner, weight, resamples, seed):
        resampled = ranking(scored.score, scored.label, drawn)
        for name, value in zip(values, resampled, strict=True):
            values[name].append(value)
    for name, point in zip(values, ranking(scored.score, scored.label, weight[None, :]), strict=True):
        low, high = np.nanquantile(np.concatenate(values[name]), [0.025, 0.975])
        counts |= {name: float(point[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return counts


def ranking(score: Floats, label: Flags, weight: Floats) -> tuple[Floats, Floats]:
    """Computes AUROC and average precision for many weightings at once.

    Args:
        score: Scores, shape (n,); ties count half for AUROC and as one step for average precision.
        label: Truth, shape (n,).
        weight: Weights, shape (b, n).

    Returns:
        AUROC and average precision, each of shape (b,); nan for a weighting with one class only.
    """
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(score[order]) != 0]))
    ordered = weight[:, order]
    positive = np.add.reduceat(ordered * label[order], starts, axis=1)
    negative = np.add.reduceat(ordered * ~label[order], starts, axis=1)
    positives_above, negatives_above = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    total = positives_above[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = (negative * (positives_above - positive / 2)).sum(axis=1) / (total * negatives_above[:, -1])
        steps = np.where(positive > 0, positive * positives_above / (positives_above + negatives_above), 0.0)
        average_precision = np.where(negatives_above[:, -1] > 0, steps.sum(axis=1) / total, np.nan)
    return auroc, average_precision


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Returns Spearman's rank correlation, 4 decimals; None if one of the two is constant."""
    from scipy.stats import spearmanr

    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return None
    return round(float(spearmanr(one, other).statistic), 4)


def calibration_slope(probability: Floats, label: Flags, weight: Floats) -> float:
    """Returns the slope of an unpenalised logistic regression of truth on logit p, p clipped to 1e-4."""
    return logistic(logit_of(probability), label, weight)[1]


def brier_skill(probability: Floats, label: Flags, weight: Floats) -> float:
    """Returns 1 - Brier / (prevalence x (1 - prevalence)): 0 for predicting the prevalence, 1 for perfect predictions."""
    prevalence = float(np.average(label, weights=weight))
    return 1.0 - float(np.average((probability - label) ** 2, weights=weight)) / (prevalence * (1.0 - prevalence))


def mean_attributions(scorer: Scorer, rows: Matrix, most: int = 2000) -> tuple[dict[str, float], dict[str, float]]:
    """Computes the mean absolute attributions of at most `most` rows, evenly spaced.

    Returns:
        The mean absolute exact TreeSHAP value of each feature, largest first; and the correlation of its values and
        attributions (-1 to 1; 0 if either is constant).
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, num=min(most, len(rows))).astype(np.int64))
    features = rows[chosen].astype(np.float64)
    values = scorer.attributions(rows[chosen])
    means = np.abs(values).mean(axis=0) if len(values) else np.zeros(values.shape[1])
    order = np.argsort(-means, kind="stable").tolist()
    names = scorer.model.columns
    return {names[index]: float(means[index]) for index in order}, {
        names[index]: _correlation(features[:, index], values[:, index]) for index in order
    }


def _correlation(value: Floats, attribution: Floats) -> float:
    known = ~np.isnan(value)
    if known.sum() < 2 or np.ptp(value[known]) == 0 or np.ptp(attribution[known]) == 0:
        return 0.0
    return round(float(np.corrcoef(value[known], attribution[known])[0, 1]), 4)


def shares(importances: Mapping[str, float]) -> dict[str, float]:
    """Returns each feature's share of the mean absolute attributions, 4 decimals."""
    total = sum(importances.values()) or 1.0
    return {name: round(value / total, 4) for name, value in importances.items()}


def _scored(scorer: Scorer, rows: Rows, weight: Floats) -> Scored:
    return Scored(scorer.score(scorer.margin(rows.features)), rows.label, weight, rows.merchant)


def _forward(rows: Rows, margin: Floats, calibration: Calibration) -> Scored:
    known = ~np.isnan(margin)
    score = points(calibration.probability(margin[known]))
    return Scored(score, rows.label[known], rows.weight[known], rows.merchant[known])


def bootstrap_weights(owner: Integers, weight: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Draws bootstrap resamples of owners.

    Args:
        owner: An integer for each row's owner (its merchant or component), shape (n,).
        weight: Sample weights, shape (n,).
        resamples: Number of resamples.
        seed: Seed of the bootstrap.

    Yields:
        Weights of the rows in several resamples, shape (resamples of the chunk, n).
    """
    number = np.unique(owner, return_inverse=True)[1]
    owners, rows = int(number.max(initial=-1)) + 1, len(number)
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK // max(rows, owners))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = random.integers(0, owners, size=(size, owners)) + np.arange(size)[:, None] * owners
        counts = np.bincount(drawn.ravel(), minlength=size * owners).reshape(size, owners).astype(np.float64)
        yield counts[:, number] * weight


def _named(measured: Mapping[str, float], source: str, cell: str) -> dict[str, float]:
    """Adds source and cell to the names; the suffix of an interval's bound stays last."""
    named = {}
    for name, value in measured.items():
        stem, _, end = name.rpartition("_")
        label = f"{stem}_{cell}_{end}" if end in ("low", "high") else f"{name}_{cell}"
        if np.isfinite(value):
            named[f"{source}_{label}"] = float(value)
    return named
