"""From a booster's margin to a probability among all goods.

The verdicts that calibrate are held out of the boosters' training and weighted by how many goods each stands for, the
inverse of its inclusion probability, so that they speak of all goods, not of those somebody complained about. A few of
them weigh ten times what the others do and would decide alone, so weights are smoothed first. How much is fitted depends
on how many positives there are: with few of them a slope would be noise.

Where other sources have found positives, too, how many of those that live are known so at each margin says much, once
verdicts tell how many of the positives that is: it is fitted together with the curve (docs/decisions/0010).
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
# The ridge is a normal prior on the slope, centred on 1 with this standard deviation; see docs/decisions/0010.
SLOPE_PRIOR_SD: Final = 1.0
# Verdicts are sometimes wrong. A false alarm on goods that look harmless flattens a plain fit, and so does a genuine
# verdict on goods that look fake: one good unit was sent, or the merchant turned to fakes after the purchase.
FALSE_ALARMS: Final = 0.001
FALSE_SHARE_OF_POSITIVES: Final = 0.15
MISSED: Final = 0.03
# How being known may change with the margin: a normal prior on either slope, centred on 0 with this standard deviation.
KNOWN_SLOPE_SD: Final = 0.4
# And on either intercept, in log-odds, centred on -2: that is from nearly nobody to nearly everybody.
KNOWN_CENTRE: Final = -2.0
KNOWN_SD: Final = 4.0
# What lives is counted by margins that are so far apart.
MARGIN_STEP: Final = 0.05
# What holds a slope at 1.
FIXED: Final = 1e9
# Nearly no shrinkage: enough to keep coefficients finite where a class has weights of one kind only.
SMOOTHING_C: Final = 100.0
CLIP: Final = 1e-4
TINY: Final = 1e-12


@dataclass(frozen=True)
class Wrong:
    """How often verdicts are taken to be wrong.

    Attributes:
        false_alarms: Share of the genuine that a verdict calls counterfeit.
        missed: Share of the counterfeits that a verdict calls genuine.
    """

    false_alarms: float = 0.0
    missed: float = 0.0

    @property
    def contrast(self) -> float:
        """By how much a counterfeit is more likely to be called one than the genuine are."""
        return 1.0 - self.false_alarms - self.missed

    def told(self, logit: Floats) -> Floats:
        """The probability that a verdict says counterfeit; kept off 0 and 1 for the logarithm."""
        return np.clip(self.false_alarms + self.contrast * sigmoid(logit), 1e-300, 1 - 1e-16)


NEVER_WRONG: Final = Wrong()


@dataclass(frozen=True)
class Units:
    """What a curve is fitted to, all arrays of one length n.

    Attributes:
        margin: Margins.
        label: Whether each is a positive.
        weight: How many goods each stands for.
        wrong: How often verdicts are wrong.
    """

    margin: Floats
    label: Flags
    weight: Floats
    wrong: Wrong

    def of(self, chosen: Flags | Integers) -> Units:
        """Returns some of them."""
        return Units(self.margin[chosen], self.label[chosen], self.weight[chosen], self.wrong)


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
        known: How many that live other sources had found to be positives.
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
    live: npt.NDArray[Any] | None = None,
) -> Calibration:
    """Fits as much of a calibration as the verdicts can bear.

    Args:
        margin: Margins of the held-out verdicts, shape (n,).
        label: Whether each is a positive.
        weight: How many goods each stands for: verdicts on what no other source has found a positive, all such that live.
        is_random_arm: Whether each is of the random arm.
        is_known: Whether another source, too, has found each to be a positive; None for none of them.
        known: Margins of all that live and that such a source has found to be a positive, shape (m,); None for none.
        live: Margins of all that live, those among them; None where nothing is known.

    Returns:
        Platt with smoothed weights and a weak ridge towards slope 1, allowing for a few wrong verdicts; isotonic above
        1,000 positives where it explains held-out verdicts better; under 20 positives, known ones among them, or under 10
        of the random arm, the intercept alone, and so where the slope would turn the order round; without any, nothing.
    """
    margin = margin.astype(np.float64)
    is_known = np.zeros(len(label), dtype=bool) if is_known is None else is_known
    known = np.zeros(0) if known is None else known
    standing = None
    if live is not None and len(known) and (~label & ~is_known).any():  # else nothing says how the others are
        standing = _counted(live, known)
    prevalence = float(np.average(label, weights=weight)) if len(label) else 0.0
    counts: dict[str, Any] = {
        "verdicts": len(label),
        "positives": int(label.sum()),
        "random_positives": int((label & is_random_arm).sum()),
        "known": len(known) if standing else 0,
    }
    if label.all() or not (label.any() or standing):
        return Calibration("none", 1.0, 0.0, (), prevalence=prevalence or None, **counts)
    has_slope = (
        counts["positives"] + counts["known"] >= MIN_POSITIVES_FOR_SLOPE
        and counts["random_positives"] >= MIN_RANDOM_POSITIVES_FOR_SLOPE
    )
    wrong = Wrong(min(FALSE_ALARMS, FALSE_SHARE_OF_POSITIVES * prevalence), MISSED)
    verdicts = _smooth(Units(margin, label, weight, wrong))
    if has_slope:
        intercept, slope = _fit(verdicts, is_known, standing, 1.0 / SLOPE_PRIOR_SD**2)
        has_slope = slope > 0
    if not has_slope:
        # A few positives might all be false alarms, and the intercept anything.
        intercept, slope = _fit(replace(verdicts, wrong=Wrong(0.0, MISSED)), is_known, standing, FIXED)
    method = "platt" if has_slope else "shift"
    calibration = Calibration(method, slope if has_slope else 1.0, intercept, (), prevalence=prevalence, **counts)
    if has_slope and counts["positives"] > MIN_POSITIVES_FOR_ISOTONIC and _isotonic_is_better(verdicts):
        knots = _isotonic(intercept + slope * margin, verdicts)
        calibration = replace(calibration, method="isotonic", knots=knots)
    goods, each = (
        (margin, verdicts.weight) if standing is None else (standing.margin, standing.known + standing.unknown)
    )
    return replace(calibration, prevalence=float(np.average(calibration.probability(goods), weights=each)))


@dataclass(frozen=True)
class Standing:
    """How many live at each margin, all arrays of one length.

    Attributes:
        margin: Margins.
        known: How many of them other sources have found to be positives.
        unknown: How many they have not.
    """

    margin: Floats
    known: Floats
    unknown: Floats


def _counted(live: npt.NDArray[Any], known: npt.NDArray[Any]) -> Standing:
    of_live, of_known = (np.round(margins.astype(np.float64) / MARGIN_STEP) for margins in (live, known))
    at = np.unique(np.concatenate([of_live, of_known]))
    living, found = (np.bincount(np.searchsorted(at, each), minlength=len(at)) for each in (of_live, of_known))
    return Standing(at * MARGIN_STEP, found.astype(np.float64), np.maximum(living - found, 0).astype(np.float64))


def _fit(verdicts: Units, is_known: Flags, standing: Standing | None, slope_precision: float) -> tuple[float, float]:
    """Fits a curve to verdicts alone, or together with how many are known among the positives, and among the others.

    All three are logistic in the margin. Whoever lives tells how many are known; verdicts tell who is a positive, known or not.

    Returns:
        Intercept and slope of the curve.
    """
    if standing is None:
        return _curve(verdicts, slope_precision)
    from scipy.optimize import minimize

    scaled, positive = _scaled(verdicts), verdicts.label
    begin = [_curve(verdicts, slope_precision) if positive.any() else (0.0, 1.0)]
    for of in (positive, ~positive):  # half a verdict of either kind was known, half not, so that no share is 0 or 1
        share = (float(scaled[of & is_known].sum()) + 0.5) / (float(scaled[of].sum()) + 1.0)
        begin.append((float(np.log(share / (1 - share))), 0.0))
    centre = np.array([[0.0, 1.0], [KNOWN_CENTRE, 0.0], [KNOWN_CENTRE, 0.0]])
    precision = np.array([[0.0, slope_precision], *[[KNOWN_SD**-2, KNOWN_SLOPE_SD**-2]] * 2])

    def surprise(flat: Floats) -> tuple[float, Floats]:
        """The negative logarithm of likelihood and priors, and its gradient."""
        told = flat.reshape(3, 2)
        prior = 0.5 * float((precision * (told - centre) ** 2).sum()), precision * (told - centre)
        parts = (prior, _of_living(told, standing), _of_verdicts(told, verdicts, scaled, is_known))
        return sum(loss for loss, _ in parts), np.sum([gradient for _, gradient in parts], axis=0).ravel()

    bounds: list[tuple[float | None, float | None]] = [(None, None)] * 6
    if slope_precision == FIXED:
        begin[0], bounds[1] = (begin[0][0], 1.0), (1.0, 1.0)
    options = {"maxiter": 2000, "ftol": 1e-13}
    found = minimize(surprise, np.array(begin).ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return float(found.x[0]), float(found.x[1])


def _of_living(told: Floats, standing: Standing) -> tuple[float, Floats]:
    """What those who live say of a positive's share, and of being known: loss, and gradient of shape (3, 2)."""
    positive, if_so, if_not = sigmoid(told[:, :1] + told[:, 1:] * standing.margin)
    known = np.clip(if_so * positive + if_not * (1 - positive), TINY, 1 - TINY)
    loss = -float(standing.known @ np.log(known) + standing.unknown @ np.log1p(-known))
    steep = -(standing.known / known - standing.unknown / (1 - known))
    steps = np.stack([
        positive * (1 - positive) * (if_so - if_not), positive * if_so * (1 - if_so), (1 - positive) * if_not * (1 - if_not)
    ])  # fmt: skip
    return loss, _gradient(steep * steps, standing.margin)


def _of_verdicts(told: Floats, verdicts: Units, weight: Floats, is_known: Flags) -> tuple[float, Floats]:
    """The same of what verdicts say, given who is known."""
    positive, if_so, if_not = sigmoid(told[:, :1] + told[:, 1:] * verdicts.margin)
    so, other = np.where(is_known, if_so, 1 - if_so), np.where(is_known, if_not, 1 - if_not)
    is_one, is_none = positive * so, (1 - positive) * other
    wrong, says = verdicts.wrong, verdicts.label
    ones, nones = (
        np.where(says, 1 - wrong.missed, wrong.missed),
        np.where(says, wrong.false_alarms, 1 - wrong.false_alarms),
    )
    likely, all_of_it = ones * is_one + nones * is_none + TINY, is_one + is_none + TINY
    loss = -float(weight @ (np.log(likely) - np.log(all_of_it)))
    sign = np.where(is_known, 1.0, -1.0)
    by_one, by_none = ones / likely - 1 / all_of_it, nones / likely - 1 / all_of_it
    steps = np.stack([
        positive * (1 - positive) * (so * by_one - other * by_none),
        sign * positive * if_so * (1 - if_so) * by_one,
        sign * (1 - positive) * if_not * (1 - if_not) * by_none,
    ])  # fmt: skip
    return loss, _gradient(-weight * steps, verdicts.margin)


def _gradient(steps: Floats, margin: Floats) -> Floats:
    return np.stack([steps.sum(axis=1), steps @ margin], axis=1)


def _smooth(verdicts: Units) -> Units:
    return replace(verdicts, weight=smoothed(verdicts.weight, verdicts.margin, verdicts.label))


def _curve(units: Units, slope_precision: float) -> tuple[float, float]:
    """Intercept and slope by verdicts alone."""
    return logistic(units.margin, units.label, _scaled(units), slope_precision=slope_precision, wrong=units.wrong)


def _scaled(units: Units) -> Floats:
    """Weights that add up to the effective size, so that a prior weighs against real information."""
    return units.weight * (effective_size(units.weight) / units.weight.sum())


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
    x: Floats, label: Flags, weight: Floats, *, slope_precision: float = 0.0, wrong: Wrong = NEVER_WRONG
) -> tuple[float, float]:
    """Fits a logistic regression on one variable by Fisher scoring with damped steps.

    Args:
        x: The variable, shape (n,).
        label: Truth, shape (n,).
        weight: Weights, shape (n,).
        slope_precision: Precision of a normal prior on the slope around 1; 0 for an unpenalised fit.
        wrong: How often labels are taken to be wrong.

    Returns:
        Intercept and slope; nan, nan where there is no finite fit (one class only, or both separated).
    """
    if label.all() or not label.any() or (not slope_precision and _separated(x, label)):
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


def _separated(x: Floats, label: Flags) -> bool:
    """Whether one value of `x` parts the classes, so that the best slope is infinite."""
    positive, other = x[label], x[~label]
    return bool(positive.min() >= other.max() or positive.max() <= other.min())


def _isotonic(logit: Floats, units: Units) -> tuple[tuple[float, float], ...]:
    """Knots at the centres of the blocks of an isotonic fit, so that scores inside a block still differ."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    weight, wrong = units.weight, units.wrong
    fit = isotonic_regression(units.label[order].astype(np.float64), weights=weight[order])
    edges = fit.blocks[:-1]

    def mean(values: Floats) -> Floats:
        sums = np.add.reduceat(weight[order] * values, edges) / np.add.reduceat(weight[order], edges)
        return np.asarray(sums, dtype=np.float64)

    centre = mean(logit[order])
    value = np.clip((fit.x[edges] - wrong.false_alarms) / wrong.contrast, CLIP, 1 - CLIP)
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
        losses = [_log_loss(each, judged.label, judged.wrong) for each in (straight, curved)]
        gain += float(judged.weight @ (losses[0] - losses[1]))
    return gain > 0.0


def _log_loss(logit: Floats, label: Flags, wrong: Wrong) -> Floats:
    told = wrong.told(logit)
    return np.where(label, -np.log(told), -np.log1p(-told))
