"""From a booster's margin to a probability among all goods.

The verdicts that calibrate are held out of the boosters' training and weighted by the inverse of their inclusion
probability, so that they stand for all goods, not for those somebody complained about. How much is fitted depends on
how many positives there are: with few of them a slope would be noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MIN_POSITIVES_FOR_SLOPE: Final = 50
MIN_RANDOM_POSITIVES_FOR_SLOPE: Final = 10
MIN_POSITIVES_FOR_ISOTONIC: Final = 1000
# The ridge is a normal prior on the slope, centred on 1 with this standard deviation.
SLOPE_PRIOR_SD: Final = 0.5
CLIP: Final = 1e-4


@dataclass(frozen=True)
class Calibration:
    """A map from margin to probability.

    Attributes:
        method: `platt`, `isotonic`, `shift` or `none`.
        slope: Slope on the margin (1 unless `platt`; `isotonic` refines a Platt fit).
        intercept: Intercept in log-odds.
        knots: For `isotonic`: pairs of (Platt log-odds, probability), rising in both; empty otherwise.
        verdicts: Verdicts it was fitted on.
        positives: Positives among them.
        random_positives: Positives among those of the random arm.
        prevalence: Weighted share of positives among all goods that the verdicts estimate; None without positives.
    """

    method: str
    slope: float
    intercept: float
    knots: tuple[tuple[float, float], ...]
    verdicts: int
    positives: int
    random_positives: int
    prevalence: float | None

    def probability(self, margin: npt.NDArray[Any]) -> Floats:
        """Returns calibrated probabilities for margins (raw log-odds of a booster), of the same shape."""
        logit = self.intercept + self.slope * margin.astype(np.float64)
        if not self.knots:
            return sigmoid(logit)
        at, value = np.array(self.knots, dtype=np.float64).T
        return np.asarray(np.interp(logit, at, value), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Returns the calibration as plain data, for the model's JSON."""
        return {**self.__dict__, "knots": [list(knot) for knot in self.knots]}

    @staticmethod
    def from_dict(body: dict[str, Any]) -> Calibration:
        """Reads what `as_dict` wrote."""
        return Calibration(**{**body, "knots": tuple((float(at), float(value)) for at, value in body["knots"])})


def calibrate(margin: npt.NDArray[Any], label: Flags, inclusion: Floats, is_random_arm: Flags) -> Calibration:
    """Fits as much of a calibration as the verdicts can bear.

    Args:
        margin: Margins of the held-out verdicts, shape (n,).
        label: Whether each is a positive.
        inclusion: Probability with which the whole design picked each; where it is nan (no random design), 1.
        is_random_arm: Whether each is of the random arm.

    Returns:
        Platt with a weak ridge towards slope 1; isotonic above 1,000 positives where it explains held-out verdicts
        better; under 50 positives, or under 10 of the random arm, a shift of the intercept to the estimated
        prevalence; without positives, nothing.
    """
    weight = 1.0 / np.nan_to_num(inclusion, nan=1.0)
    margin = margin.astype(np.float64)
    counts: dict[str, Any] = {
        "verdicts": len(label),
        "positives": int(label.sum()),
        "random_positives": int((label & is_random_arm).sum()),
        "prevalence": float(np.average(label, weights=weight)) if label.any() else None,
    }
    if not label.any() or label.all():
        return Calibration("none", 1.0, 0.0, (), **counts)
    if counts["positives"] < MIN_POSITIVES_FOR_SLOPE or counts["random_positives"] < MIN_RANDOM_POSITIVES_FOR_SLOPE:
        return Calibration("shift", 1.0, _shift(margin, weight, counts["prevalence"]), (), **counts)
    intercept, slope = _platt(margin, label, weight)
    if counts["positives"] > MIN_POSITIVES_FOR_ISOTONIC and _isotonic_is_better(margin, label, weight):
        knots = _isotonic(intercept + slope * margin, label, weight)
        return Calibration("isotonic", slope, intercept, knots, **counts)
    return Calibration("platt", slope, intercept, (), **counts)


def sigmoid(logit: Floats) -> Floats:
    """Returns 1 / (1 + exp(-logit)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)


def logit_of(probability: npt.NDArray[Any]) -> Floats:
    """Returns log-odds of probabilities clipped to [1e-4, 1 - 1e-4]."""
    clipped = np.clip(probability.astype(np.float64), CLIP, 1.0 - CLIP)
    return np.asarray(np.log(clipped / (1.0 - clipped)), dtype=np.float64)


def effective_size(weight: Floats) -> float:
    """Returns how many equally weighted units carry as much information (Kish)."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) and weight.any() else 0.0


def logistic(x: Floats, label: Flags, weight: Floats, slope_precision: float = 0.0) -> tuple[float, float]:
    """Fits a logistic regression of `label` on one variable by Newton's method.

    Args:
        x: The variable, shape (n,).
        label: Truth.
        weight: Weights of the rows.
        slope_precision: Precision of a normal prior on the slope around 1; 0 for an unpenalised fit.

    Returns:
        Intercept and slope; nan, nan where there is no finite fit (one class only, or both separated).
    """
    if not label.any() or label.all() or (not slope_precision and _separated(x, label)):
        return float("nan"), float("nan")
    design = np.column_stack([np.ones_like(x), x])
    target = np.array([0.0, 1.0])
    penalty = np.diag([0.0, slope_precision])
    prior = float(np.average(label, weights=weight))
    beta = np.array([np.log(prior / (1 - prior)) - float(np.average(x, weights=weight)), 1.0])
    objective = _objective(design, label, weight, beta, penalty, target)
    for _ in range(200):
        probability = sigmoid(design @ beta)
        gradient = design.T @ (weight * (label - probability)) - penalty @ (beta - target)
        curvature = (design.T * (weight * probability * (1 - probability))) @ design + penalty
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        beta, objective, moved = _damped(design, label, weight, beta, step, objective, penalty, target)
        if not moved or np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), float(beta[1])


def _separated(x: Floats, label: Flags) -> bool:
    """Whether one value of `x` parts the classes, so that the best slope is infinite."""
    return bool(x[label].min() >= x[~label].max() or x[label].max() <= x[~label].min())


def _objective(design: Floats, label: Flags, weight: Floats, beta: Floats, penalty: Floats, target: Floats) -> float:
    logit = design @ beta
    loss = np.logaddexp(0.0, logit) - label * logit
    return float(weight @ loss + 0.5 * (beta - target) @ penalty @ (beta - target))


def _damped(
    design: Floats,
    label: Flags,
    weight: Floats,
    beta: Floats,
    step: Floats,
    objective: float,
    penalty: Floats,
    target: Floats,
) -> tuple[Floats, float, bool]:
    """Halves a Newton step until it improves the objective."""
    for halving in range(30):
        tried = beta + step * 0.5**halving
        value = _objective(design, label, weight, tried, penalty, target)
        if value < objective:
            return tried, value, True
    return beta, objective, False


def _platt(margin: Floats, label: Flags, weight: Floats) -> tuple[float, float]:
    """Intercept and slope; weights sum to the effective size, so that the ridge weighs against real information."""
    scaled = weight * (effective_size(weight) / weight.sum())
    return logistic(margin, label, scaled, slope_precision=1.0 / SLOPE_PRIOR_SD**2)


def _shift(margin: Floats, weight: Floats, prevalence: float) -> float:
    """The intercept at which the weighted mean probability equals the prevalence, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if float(np.average(sigmoid(margin + middle), weights=weight)) < prevalence:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _isotonic(logit: Floats, label: Flags, weight: Floats) -> tuple[tuple[float, float], ...]:
    """Knots at the centres of the blocks of an isotonic fit, so that scores inside a block still differ."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    fit = isotonic_regression(label[order].astype(np.float64), weights=weight[order])
    edges = fit.blocks[:-1]
    total = np.add.reduceat(weight[order], edges)
    centre = np.add.reduceat((weight * logit)[order], edges) / total
    value = np.clip(fit.x[edges], CLIP, 1 - CLIP)
    rising = np.concatenate([[True], (np.diff(centre) > 0) & (np.diff(value) > 0)])
    return tuple(zip(centre[rising].tolist(), value[rising].tolist(), strict=True))


def _isotonic_is_better(margin: Floats, label: Flags, weight: Floats) -> bool:
    """Compares both fits by weighted log loss on every second verdict, fitted on the others, both ways round."""
    order = np.argsort(margin, kind="stable")
    odd = np.zeros(len(label), dtype=bool)
    odd[order[1::2]] = True
    gain = 0.0
    for fitted, judged in ((odd, ~odd), (~odd, odd)):
        intercept, slope = _platt(margin[fitted], label[fitted], weight[fitted])
        logit = intercept + slope * margin
        knots = np.array(_isotonic(logit[fitted], label[fitted], weight[fitted])).T
        isotonic = logit_of(np.interp(logit[judged], knots[0], knots[1]))
        truth, share = label[judged], weight[judged]
        gain += float(share @ (_log_loss(logit[judged], truth) - _log_loss(isotonic, truth)))
    return gain > 0.0


def _log_loss(logit: Floats, label: Flags) -> Floats:
    return np.asarray(np.logaddexp(0.0, logit) - label * logit, dtype=np.float64)
