"""From a booster's margin to a probability among all goods.

The verdicts that calibrate are held out of the boosters' training and weighted by the inverse of their inclusion
probability, so that they stand for all goods, not for those somebody complained about. A few of them weigh ten times
what the others do and would decide alone, so weights are smoothed first. How much is fitted depends on how many
positives there are: with few of them a slope would be noise.

Whoever turned to fakes since a verdict looks like one who sells them, and is called genuine. So of entities that turn, the
older a verdict the likelier it is taken to miss; how fast they turn is fitted along (docs/decisions/0023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

MIN_POSITIVES_FOR_SLOPE: Final = 20
MIN_RANDOM_POSITIVES_FOR_SLOPE: Final = 10
MIN_POSITIVES_FOR_ISOTONIC: Final = 1000
# The ridge is a normal prior on the slope, centred on 1 with this standard deviation; see docs/decisions/0021.
SLOPE_PRIOR_SD: Final = 1.0
# Verdicts are sometimes wrong. A false alarm on goods that look harmless flattens a plain fit, and so does a genuine
# verdict on goods that look fake: one good unit was sent, or the merchant turned to fakes after the purchase.
FALSE_ALARMS: Final = 0.001
FALSE_SHARE_OF_POSITIVES: Final = 0.15
MISSED: Final = 0.03
# Of entities that turn: so many days ago two in three of those who are counterfeit by now were not yet. What is tried, and what
# is thought of it beforehand: log-normal, between half a year and twenty months.
TURNING_DAYS: Final = (60, 85, 120, 170, 240, 340, 480, 680, 960, 1350, 2000)
TURNING_PRIOR_DAYS: Final = 300
TURNING_PRIOR_SD: Final = 0.7
# What holds a slope at 1.
FIXED: Final = 1e9
# Nearly no shrinkage: enough to keep coefficients finite where a class has weights of one kind only.
SMOOTHING_C: Final = 100.0
CLIP: Final = 1e-4


@dataclass(frozen=True)
class Wrong:
    """How often verdicts are taken to be wrong.

    Attributes:
        false_alarms: Share of the genuine that a verdict calls counterfeit.
        missed: Share of the counterfeits that a verdict calls genuine; of each verdict, or of all the same.
    """

    false_alarms: float = 0.0
    missed: float | Floats = 0.0

    @property
    def contrast(self) -> float | Floats:
        """By how much a counterfeit is more likely to be called one than the genuine are."""
        return 1.0 - self.false_alarms - self.missed

    def told(self, logit: Floats) -> Floats:
        """The probability that a verdict says counterfeit; kept off 0 and 1 for the logarithm."""
        return np.clip(self.false_alarms + self.contrast * sigmoid(logit), 1e-300, 1 - 1e-16)

    def of(self, chosen: Flags | Integers) -> Wrong:
        """Returns the same of some of the verdicts."""
        return Wrong(self.false_alarms, self.missed[chosen] if isinstance(self.missed, np.ndarray) else self.missed)


NEVER_WRONG: Final = Wrong()


@dataclass(frozen=True)
class Calibration:
    """A map from margin to probability.

    Attributes:
        method: `platt`, `isotonic`, `shift` (the intercept alone) or `none`.
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


def calibrate(
    margin: npt.NDArray[Any], label: Flags, inclusion: Floats, is_random_arm: Flags, age: Floats | None = None
) -> Calibration:
    """Fits as much of a calibration as the verdicts can bear.

    Args:
        margin: Margins of the held-out verdicts, shape (n,).
        label: Whether each is a positive.
        inclusion: Probability with which the whole design picked each; where it is nan (no random design), 1.
        is_random_arm: Whether each is of the random arm.
        age: Days since each verdict where the entities turn; None where they are what they were.

    Returns:
        Platt with smoothed weights and a weak ridge towards slope 1, allowing for a few wrong verdicts; isotonic above
        1,000 positives where it explains held-out verdicts better; under 20 positives, or under 10 of the random arm,
        the intercept alone, and so where the slope would turn the order round; without positives, nothing.
    """
    margin = margin.astype(np.float64)
    weight = 1.0 / np.nan_to_num(inclusion, nan=1.0)
    counts: dict[str, Any] = {
        "verdicts": len(label),
        "positives": int(label.sum()),
        "random_positives": int((label & is_random_arm).sum()),
        "prevalence": float(np.average(label, weights=weight)) if label.any() else None,
    }
    if not label.any() or label.all():
        return Calibration("none", 1.0, 0.0, (), **counts)
    smooth = smoothed(weight, margin, label)
    has_slope = (
        counts["positives"] >= MIN_POSITIVES_FOR_SLOPE and counts["random_positives"] >= MIN_RANDOM_POSITIVES_FOR_SLOPE
    )
    if has_slope:
        false_alarms = min(FALSE_ALARMS, FALSE_SHARE_OF_POSITIVES * counts["prevalence"])
        intercept, slope, wrong = _likeliest(
            margin, label, smooth, _ways_to_be_wrong(age, false_alarms), 1.0 / SLOPE_PRIOR_SD**2
        )
        has_slope = slope > 0
    if not has_slope:
        # A few positives might all be false alarms, or nearly all have turned: the intercept could be anything.
        wrong = Wrong(0.0, _missed(age, TURNING_PRIOR_DAYS))
        intercept, _, _ = _likeliest(margin, label, smooth, [(wrong, 0.0)], FIXED)
    if age is not None:  # those who turned since are not among the positives
        had_begun = float(np.average((1.0 - wrong.missed) / (1.0 - MISSED), weights=weight))
        counts["prevalence"] = min(counts["prevalence"] / had_begun, 1.0)
    if not has_slope:
        return Calibration("shift", 1.0, intercept, (), **counts)
    if counts["positives"] > MIN_POSITIVES_FOR_ISOTONIC and _isotonic_is_better(margin, label, smooth, wrong):
        knots = _isotonic(intercept + slope * margin, label, smooth, wrong)
        return Calibration("isotonic", slope, intercept, knots, **counts)
    return Calibration("platt", slope, intercept, (), **counts)


def _missed(age: Floats | None, days: float) -> float | Floats:
    """The share of the counterfeits of today that verdicts of an age call genuine; see `TURNING_DAYS`."""
    return MISSED if age is None else 1.0 - (1.0 - MISSED) * np.exp(-age / days)


def _ways_to_be_wrong(age: Floats | None, false_alarms: float) -> list[tuple[Wrong, float]]:
    """Returns what may be so of verdicts of an age, each with the loss by which it is thought unlikely beforehand."""
    if age is None:
        return [(Wrong(false_alarms, MISSED), 0.0)]
    return [
        (
            Wrong(false_alarms, _missed(age, days)),
            0.5 * (np.log(days / TURNING_PRIOR_DAYS) / TURNING_PRIOR_SD) ** 2,
        )
        for days in TURNING_DAYS
    ]


def _likeliest(
    margin: Floats, label: Flags, weight: Floats, ways: Sequence[tuple[Wrong, float]], slope_precision: float
) -> tuple[float, float, Wrong]:
    """Intercept and slope with the likeliest of some ways to be wrong, each with a loss of its own."""
    scaled = weight * (effective_size(weight) / weight.sum())  # so that priors weigh against real information
    found = []
    for at, (wrong, loss) in enumerate(ways):
        intercept, slope = logistic(margin, label, scaled, slope_precision=slope_precision, wrong=wrong)
        of_fit = float(scaled @ _log_loss(intercept + slope * margin, label, wrong))
        found.append((loss + of_fit + 0.5 * slope_precision * (slope - 1.0) ** 2, at, intercept, slope))
    _, at, intercept, slope = min(found)
    return intercept, slope, ways[at][0]


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


def smoothed(weight: Floats, margin: Floats, label: Flags) -> Floats:
    """Replaces weights by what they are on average for such a margin and such a label.

    One verdict of weight 100 among a handful of honest goods with a high margin moves a plain weighted fit by more than
    hundreds of others. Given margin and label, which of them it was is chance, and averaging it out leaves the fit
    unbiased (Beaumont, "A new approach to weighting and inference in sample surveys", Biometrika 2008).

    Args:
        weight: Inverse inclusion probabilities, shape (n,).
        margin: Margins, shape (n,).
        label: Whether each is a positive.

    Returns:
        Weights between the least and the greatest given, by a logistic curve in margin and label. Their sum, and their
        sum over the positives, stay as they were.
    """
    from sklearn.linear_model import LogisticRegression

    least, most = float(weight.min()), float(weight.max())
    if most - least < CLIP * most:
        return weight
    share = (weight - least) / (most - least)
    x = np.column_stack([(margin - margin.mean()) / max(float(margin.std()), CLIP), label])
    above = np.arange(2 * len(x)) < len(x)  # a share is learned as so much of a one and the rest of a nought
    curve = LogisticRegression(C=SMOOTHING_C, tol=1e-10, max_iter=1000)
    curve.fit(np.vstack([x, x]), above, sample_weight=np.concatenate([share, 1 - share]))
    return np.asarray(least + (most - least) * curve.predict_proba(x)[:, 1], dtype=np.float64)


def logistic(
    x: Floats, label: Flags, weight: Floats, *, slope_precision: float = 0.0, wrong: Wrong = NEVER_WRONG
) -> tuple[float, float]:
    """Fits a logistic regression of `label` on one variable by Fisher scoring with damped steps.

    Args:
        x: The variable, shape (n,).
        label: Truth, shape (n,).
        weight: Weights, shape (n,).
        slope_precision: Precision of a normal prior on the slope around 1; 0 for an unpenalised fit.
        wrong: How often labels are taken to be wrong.

    Returns:
        Intercept and slope; nan, nan where there is no finite fit (one class only, or both separated).
    """
    if not label.any() or label.all() or (not slope_precision and _separated(x, label)):
        return float("nan"), float("nan")
    design = np.column_stack([np.ones_like(x), x])
    penalty = np.diag([0.0, slope_precision])
    prior = float(np.average(label, weights=weight))
    beta = np.array([np.log(prior / (1 - prior)) - float(np.average(x, weights=weight)), 1.0])

    def objective(tried: Floats) -> float:
        told = wrong.told(design @ tried)
        loss = -np.log(np.where(label, told, 1 - told))
        return float(weight @ loss + 0.5 * (tried - [0.0, 1.0]) @ penalty @ (tried - [0.0, 1.0]))

    for _ in range(200):
        probability, told = sigmoid(design @ beta), wrong.told(design @ beta)
        steep = wrong.contrast * probability * (1 - probability)
        spread = told * (1 - told)
        gradient = design.T @ (weight * steep * (label - told) / spread) - penalty @ (beta - [0.0, 1.0])
        curvature = (design.T * (weight * steep**2 / spread)) @ design + penalty
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        better = _damped(objective, beta, step)
        if better is None or np.abs(better - beta).max() < 1e-9:
            break
        beta = better
    return float(beta[0]), float(beta[1])


def _damped(objective: Callable[[Floats], float], beta: Floats, step: Floats) -> Floats | None:
    """Halves a step until it improves the objective; None if nothing does."""
    present = objective(beta)
    for halving in range(30):
        tried = beta + step * 0.5**halving
        if objective(tried) < present:
            return tried
    return None


def _separated(x: Floats, label: Flags) -> bool:
    """Whether one value of `x` parts the classes, so that the best slope is infinite."""
    return bool(x[label].min() >= x[~label].max() or x[label].max() <= x[~label].min())


def _isotonic(logit: Floats, label: Flags, weight: Floats, wrong: Wrong) -> tuple[tuple[float, float], ...]:
    """Knots at the centres of the blocks of an isotonic fit, so that scores inside a block still differ."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    fit = isotonic_regression(label[order].astype(np.float64), weights=weight[order])
    edges = fit.blocks[:-1]
    centre = np.add.reduceat((weight * logit)[order], edges) / np.add.reduceat(weight[order], edges)
    contrast = np.add.reduceat(weight[order] * wrong.of(order).contrast, edges) / np.add.reduceat(weight[order], edges)
    value = np.clip((fit.x[edges] - wrong.false_alarms) / contrast, CLIP, 1 - CLIP)
    rising = np.concatenate([[True], (np.diff(centre) > 0) & (np.diff(value) > 0)])
    return tuple(zip(centre[rising].tolist(), value[rising].tolist(), strict=True))


def _isotonic_is_better(margin: Floats, label: Flags, weight: Floats, wrong: Wrong) -> bool:
    """Compares both fits by weighted log loss on every second verdict, fitted on the others, both ways round."""
    order = np.argsort(margin, kind="stable")
    odd = np.zeros(len(label), dtype=bool)
    odd[order[1::2]] = True
    gain = 0.0
    for fitted, judged in ((odd, ~odd), (~odd, odd)):
        theirs, precision = [(wrong.of(fitted), 0.0)], 1.0 / SLOPE_PRIOR_SD**2
        intercept, slope, _ = _likeliest(margin[fitted], label[fitted], weight[fitted], theirs, precision)
        logit = intercept + slope * margin
        knots = np.array(_isotonic(logit[fitted], label[fitted], weight[fitted], wrong.of(fitted))).T
        curved = logit_of(np.interp(logit[judged], knots[0], knots[1]))
        losses = [_log_loss(each, label[judged], wrong.of(judged)) for each in (logit[judged], curved)]
        gain += float(weight[judged] @ (losses[0] - losses[1]))
    return gain > 0.0


def _log_loss(logit: Floats, label: Flags, wrong: Wrong) -> Floats:
    told = wrong.told(logit)
    return np.asarray(-np.log(np.where(label, told, 1 - told)), dtype=np.float64)
