"""From a booster's margin to a probability among all goods.

The verdicts that calibrate are held out of the boosters' training and weighted by how many goods each stands for, the
inverse of its inclusion probability, so that they speak of all goods, not of those somebody complained about. A few of
them weigh ten times what the others do and would decide alone, so weights are smoothed first. How much is fitted depends
on how many positives there are: with few of them a slope would be noise.

Where another source has found something to be a positive, a sample need say no more than how far that source is right: all
that live and are known so are counted, and verdicts stand for the others (docs/decisions/0024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
# How often the known and the curve through them are weighed in turns, at most, and when they stand still.
ROUNDS: Final = 100
STILL: Final = 1e-4
# What holds a slope at 1.
FIXED: Final = 1e9
# Nearly no shrinkage: enough to keep coefficients finite where a class has weights of one kind only.
SMOOTHING_C: Final = 100.0
CLIP: Final = 1e-4
TINY: Final = 1e-12


@dataclass(frozen=True)
class Wrong:
    """How often verdicts are taken to be wrong: of each verdict, or the same of all.

    Attributes:
        false_alarms: Share of the genuine that a verdict calls counterfeit.
        missed: Share of the counterfeits that a verdict calls genuine.
    """

    false_alarms: float | Floats = 0.0
    missed: float | Floats = 0.0

    @property
    def contrast(self) -> float | Floats:
        """By how much a counterfeit is more likely to be called one than the genuine are."""
        return 1.0 - self.false_alarms - self.missed

    def told(self, logit: Floats) -> Floats:
        """The probability that a verdict says counterfeit; kept off 0 and 1 for the logarithm."""
        return np.clip(self.false_alarms + self.contrast * sigmoid(logit), 1e-300, 1 - 1e-16)

    def truth(self, logit: Floats, label: Flags) -> Floats:
        """Returns the log-odds that it is counterfeit, once a verdict has said what it says."""
        positive = np.log(np.where(label, 1.0 - self.missed, self.missed) + TINY)
        return np.asarray(logit + positive - np.log(np.where(label, self.false_alarms, 1.0 - self.false_alarms) + TINY))

    def of(self, chosen: Flags | Integers) -> Wrong:
        """Returns the same of some of the verdicts."""
        of_each = (rate[chosen] if isinstance(rate, np.ndarray) else rate for rate in (self.false_alarms, self.missed))
        return Wrong(*of_each)


NEVER_WRONG: Final = Wrong()


@dataclass(frozen=True)
class Units:
    """What a curve is fitted to, all arrays of one length n.

    Attributes:
        margin: Margins.
        share: How likely each is a positive by what was found out: 0 or 1 by a verdict, between where another source said so.
        weight: How many goods each stands for.
        wrong: How often verdicts are wrong; never where `share` says how far a source is trusted.
    """

    margin: Floats
    share: Floats
    weight: Floats
    wrong: Wrong

    def of(self, chosen: Flags | Integers) -> Units:
        """Returns some of them."""
        return Units(self.margin[chosen], self.share[chosen], self.weight[chosen], self.wrong.of(chosen))


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
        known: How many that live were known to be positives by another source, and counted.
    """

    method: str
    slope: float
    intercept: float
    knots: tuple[tuple[float, float], ...]
    verdicts: int
    positives: int
    random_positives: int
    prevalence: float | None
    known: int = 0

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
    margin: npt.NDArray[Any],
    label: Flags,
    weight: Floats,
    is_random_arm: Flags,
    *,
    is_known: Flags | None = None,
    known: npt.NDArray[Any] | None = None,
) -> Calibration:
    """Fits as much of a calibration as the verdicts can bear.

    Args:
        margin: Margins of the held-out verdicts, shape (n,).
        label: Whether each is a positive.
        weight: How many goods each stands for: verdicts on what no other source has found a positive, all such that live.
        is_random_arm: Whether each is of the random arm.
        is_known: Whether another source, too, has found each to be a positive; None for none of them.
        known: Margins of all others that live and that such a source has found to be a positive, shape (m,); None for none.

    Returns:
        Platt with smoothed weights and a weak ridge towards slope 1, allowing for a few wrong verdicts; isotonic above
        1,000 positives where it explains held-out verdicts better; under 20 positives, or under 10 of the random arm,
        the intercept alone, and so where the slope would turn the order round; without positives and known ones, nothing.
    """
    margin = margin.astype(np.float64)
    is_known = np.zeros(len(label), dtype=bool) if is_known is None else is_known
    known = np.zeros(0) if known is None else known.astype(np.float64)
    if not (~label & ~is_known).any():  # nothing says how the others are
        is_known, known = np.zeros_like(is_known), known[:0]
    prevalence = float(np.average(label, weights=weight)) if len(label) else 0.0
    counts: dict[str, Any] = {
        "verdicts": len(label),
        "positives": int(label.sum()),
        "random_positives": int((label & is_random_arm).sum()),
        "known": len(known) + int(is_known.sum()),
    }
    if label.all() or not (label.any() or len(known)):
        return Calibration("none", 1.0, 0.0, (), prevalence=prevalence or None, **counts)
    has_slope = (
        counts["positives"] >= MIN_POSITIVES_FOR_SLOPE and counts["random_positives"] >= MIN_RANDOM_POSITIVES_FOR_SLOPE
    )
    if has_slope:
        wrong = Wrong(min(FALSE_ALARMS, FALSE_SHARE_OF_POSITIVES * prevalence), MISSED)
        verdicts = Units(margin, label.astype(np.float64), weight, wrong)
        units, intercept, slope = _fit(verdicts, is_known, known, 1.0 / SLOPE_PRIOR_SD**2)
        has_slope = slope > 0
    if not has_slope:
        # A few positives might all be false alarms, and the intercept anything.
        verdicts = Units(margin, label.astype(np.float64), weight, Wrong(0.0, MISSED))
        units, intercept, slope = _fit(verdicts, is_known, known, FIXED)
    method = "platt" if has_slope else "shift"
    calibration = Calibration(method, slope if has_slope else 1.0, intercept, (), prevalence=prevalence, **counts)
    if has_slope and counts["positives"] > MIN_POSITIVES_FOR_ISOTONIC and _isotonic_is_better(units):
        knots = _isotonic(intercept + slope * units.margin, units)
        calibration = replace(calibration, method="isotonic", knots=knots)
    return replace(
        calibration, prevalence=float(np.average(calibration.probability(units.margin), weights=units.weight))
    )


def _fit(verdicts: Units, is_known: Flags, known: Floats, slope_precision: float) -> tuple[Units, float, float]:
    """Fits a curve to the verdicts on what was not known, and to all that is known as far as it is to be trusted.

    What is known counts as a positive as far as its margin and its being known make it one, so curve and shares follow from each
    other; they are found in turns.

    Returns:
        What it was fitted to at last, intercept and slope.
    """
    others, audited = _smooth(verdicts.of(~is_known)), verdicts.of(is_known)
    ones = np.ones(len(audited.margin) + len(known))
    of_each = (others.wrong.false_alarms, others.wrong.missed)
    units = Units(
        np.concatenate([others.margin, audited.margin, known]),
        np.concatenate([others.share, ones]),
        np.concatenate([others.weight, ones]),
        Wrong(*(np.concatenate([np.broadcast_to(rate, len(others.margin)), 0.0 * ones]) for rate in of_each)),
    )
    curve, rates = _curve(_smooth(verdicts) if verdicts.share.any() else units, slope_precision), (0.5, 0.5)
    for _ in range(ROUNDS if len(ones) else 1):
        rates = _known_rates(verdicts, is_known, curve, rates)
        trust, (intercept, slope) = np.log(rates[0] / rates[1]), curve
        told = audited.wrong.truth(intercept + slope * audited.margin, audited.share > 0)
        trusted = sigmoid(np.concatenate([told, intercept + slope * known]) + trust)
        units = replace(units, share=np.concatenate([others.share, trusted]))
        curve = _curve(units, slope_precision)
        if max(abs(curve[0] - intercept), abs(curve[1] - slope)) < STILL:
            break
    return units, *curve


def _smooth(verdicts: Units) -> Units:
    return replace(verdicts, weight=smoothed(verdicts.weight, verdicts.margin, verdicts.share > 0))


def _curve(units: Units, slope_precision: float) -> tuple[float, float]:
    """Intercept and slope; weights are scaled so that the prior weighs against real information."""
    scaled = units.weight * (effective_size(units.weight) / units.weight.sum())
    return logistic(units.margin, units.share, scaled, slope_precision=slope_precision, wrong=units.wrong)


def _known_rates(
    verdicts: Units, is_known: Flags, curve: tuple[float, float], rates: tuple[float, float]
) -> tuple[float, float]:
    """Returns which share of the positives, and of the others, another source calls positives.

    Every verdict counts as a positive as far as it, its margin and its being known make it one, by the rates of the last round;
    and half a verdict of either kind was known, half not, so that no rate is 0 or 1.
    """
    odds = np.where(is_known, np.log(rates[0] / rates[1]), np.log((1 - rates[0]) / (1 - rates[1])))
    logit = verdicts.wrong.truth(curve[0] + curve[1] * verdicts.margin, verdicts.share > 0)
    positive, half = verdicts.weight * sigmoid(logit + odds), 0.5 * float(verdicts.weight.mean())
    of_positives, of_others = (
        (float(part[is_known].sum()) + half) / (float(part.sum()) + 2 * half)
        for part in (positive, verdicts.weight - positive)
    )
    return of_positives, of_others


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
        weight: How many goods each stands for, shape (n,).
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
    x: Floats, share: Flags | Floats, weight: Floats, *, slope_precision: float = 0.0, wrong: Wrong = NEVER_WRONG
) -> tuple[float, float]:
    """Fits a logistic regression on one variable by Fisher scoring with damped steps.

    Args:
        x: The variable, shape (n,).
        share: Truth, or how likely each is a positive, shape (n,).
        weight: Weights, shape (n,).
        slope_precision: Precision of a normal prior on the slope around 1; 0 for an unpenalised fit.
        wrong: How often labels are taken to be wrong.

    Returns:
        Intercept and slope; nan, nan where there is no finite fit (one class only, or both separated).
    """
    label = share.astype(np.float64)
    if label.max() == 0 or label.min() == 1 or (not slope_precision and _separated(x, label)):
        return float("nan"), float("nan")
    design = np.column_stack([np.ones_like(x), x])
    penalty = np.diag([0.0, slope_precision])
    prior = float(np.average(label, weights=weight))
    beta = np.array([np.log(prior / (1 - prior)) - float(np.average(x, weights=weight)), 1.0])

    def objective(tried: Floats) -> float:
        loss = _log_loss(design @ tried, label, wrong)
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


def _separated(x: Floats, share: Floats) -> bool:
    """Whether one value of `x` parts the classes, so that the best slope is infinite."""
    positive, other = x[share > 0], x[share < 1]
    return bool(positive.min() >= other.max() or positive.max() <= other.min())


def _isotonic(logit: Floats, units: Units) -> tuple[tuple[float, float], ...]:
    """Knots at the centres of the blocks of an isotonic fit, so that scores inside a block still differ."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    weight, wrong = units.weight, units.wrong.of(order)
    fit = isotonic_regression(units.share[order], weights=weight[order])
    edges = fit.blocks[:-1]

    def mean(values: float | Floats) -> Floats:
        sums = np.add.reduceat(weight[order] * values, edges) / np.add.reduceat(weight[order], edges)
        return np.asarray(sums, dtype=np.float64)

    centre = mean(logit[order])
    value = np.clip((fit.x[edges] - mean(wrong.false_alarms)) / mean(wrong.contrast), CLIP, 1 - CLIP)
    rising = np.concatenate([[True], (np.diff(centre) > 0) & (np.diff(value) > 0)])
    return tuple(zip(centre[rising].tolist(), value[rising].tolist(), strict=True))


def _isotonic_is_better(units: Units) -> bool:
    """Compares both fits by weighted log loss on every second unit, fitted on the others, both ways round."""
    order = np.argsort(units.margin, kind="stable")
    odd = np.zeros(len(order), dtype=bool)
    odd[order[1::2]] = True
    gain = 0.0
    for chosen, left in ((odd, ~odd), (~odd, odd)):
        fitted, judged = units.of(chosen), units.of(left)
        intercept, slope = _curve(fitted, 1.0 / SLOPE_PRIOR_SD**2)
        knots = np.array(_isotonic(intercept + slope * fitted.margin, fitted)).T
        straight = intercept + slope * judged.margin
        curved = logit_of(np.interp(straight, knots[0], knots[1]))
        losses = [_log_loss(each, judged.share, judged.wrong) for each in (straight, curved)]
        gain += float(judged.weight @ (losses[0] - losses[1]))
    return gain > 0.0


def _log_loss(logit: Floats, share: Floats, wrong: Wrong) -> Floats:
    told = wrong.told(logit)
    return np.asarray(-share * np.log(told) - (1.0 - share) * np.log1p(-told), dtype=np.float64)
