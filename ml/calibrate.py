"""Calibration: maps a booster's margin to the probability of being positive, among all entities of the population.

Calibration uses verdicts that are held out of the boosters' training. Each is weighted by its expansion weight, the inverse
of its inclusion probability, so that the fit represents the whole population and not the entities that were reported. A few
weights are ten times the others and would dominate the fit, so weights are smoothed first. The number of fitted parameters
depends on the number of positives: with few of them a slope would be noise.

Other sources find positives too (*known* positives). Their share at each margin is informative once verdicts show what
share of all positives is known; it is fitted jointly with the curve (docs/decisions/0010).
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
# Verdicts are sometimes wrong. A false positive at a low margin flattens an unadjusted fit, and so does a false negative at
# a high margin: one genuine unit was sent, or the merchant turned to counterfeits after the purchase.
FALSE_ALARMS: Final = 0.001
FALSE_SHARE_OF_POSITIVES: Final = 0.15
MISSED: Final = 0.03
# Prior on how the probability of being known depends on the margin: normal slopes, centred on 0, with this standard deviation.
KNOWN_SLOPE_SD: Final = 0.4
# Normal prior on both intercepts, in log-odds, centred on -2: it covers nearly none to nearly all.
KNOWN_CENTRE: Final = -2.0
KNOWN_SD: Final = 4.0
# Active entities are counted by margin, in steps of this width.
MARGIN_STEP: Final = 0.05
# The precision that fixes a slope at 1.
FIXED: Final = 1e9
# Nearly no shrinkage: enough to keep coefficients finite where a class has weights of one kind only.
SMOOTHING_C: Final = 100.0
CLIP: Final = 1e-4
# Knots of a stored ranking; fewer if there are fewer distinct margins.
MOST_KNOTS: Final = 2_000
TINY: Final = 1e-12


@dataclass(frozen=True)
class VerdictErrorRates:
    """Assumed error rates of verdicts.

    Attributes:
        false_alarms: Share of the negatives whose verdict is positive.
        missed: Share of the positives whose verdict is negative.
    """

    false_alarms: float = 0.0
    missed: float = 0.0

    @property
    def contrast(self) -> float:
        """Difference between positives and negatives in the probability of a positive verdict."""
        return 1.0 - self.false_alarms - self.missed

    def probability_of_positive_verdict(self, logit: Floats) -> Floats:
        """Returns the probability of a positive verdict, clipped away from 0 and 1 for the logarithm."""
        return np.clip(self.false_alarms + self.contrast * sigmoid(logit), 1e-300, 1 - 1e-16)


NO_ERRORS: Final = VerdictErrorRates()


@dataclass(frozen=True)
class CalibrationSample:
    """Verdicts that a curve is fitted to; all arrays have one length n.

    Attributes:
        margin: Margins.
        label: Whether each verdict is positive.
        weight: Expansion weights.
        error_rates: Assumed error rates of the verdicts.
    """

    margin: Floats
    label: Flags
    weight: Floats
    error_rates: VerdictErrorRates

    def take(self, chosen: Flags | Integers) -> CalibrationSample:
        """Returns a subset."""
        return CalibrationSample(self.margin[chosen], self.label[chosen], self.weight[chosen], self.error_rates)


@dataclass(frozen=True)
class Calibration:
    """A map from margin to probability.

    Attributes:
        method: `platt`, `isotonic`, `shift` (the intercept alone) or `none`; or, where no verdict allows a probability,
            `ranking` (the share of the active entities with a lower margin) or `assumed` (an assumed prevalence).
        slope: Slope on the margin (1 unless `platt`; `isotonic` refines a Platt fit).
        intercept: Intercept in log-odds.
        knots: For `isotonic`: pairs of (Platt log-odds, probability), ascending in both; for `ranking`: pairs of (margin,
            share of the active entities below it). Empty otherwise.
        verdicts: Number of verdicts in the fit.
        positives: Number of positives among them.
        random_positives: Number of positives in the random arm.
        prevalence: Estimated share of positives in the population; None without positives.
        known: Number of active entities that other sources found positive.
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

    @property
    def is_calibrated(self) -> bool:
        """Whether verdicts determined it, so that a score is a probability."""
        return self.method in ("platt", "isotonic", "shift")

    def probability(self, margin: npt.NDArray[Any]) -> Floats:
        """Returns calibrated probabilities for margins (raw log-odds of a booster), of the same shape."""
        logit = self.intercept + self.slope * margin.astype(np.float64)
        if not self.knots:
            return sigmoid(logit)
        logits, values = np.array(self.knots, dtype=np.float64).T
        return np.asarray(np.interp(logit, logits, values), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Returns the calibration as plain data, for the model's JSON."""
        return {**self.__dict__, "knots": [list(knot) for knot in self.knots]}

    @staticmethod
    def from_dict(body: dict[str, Any]) -> Calibration:
        """Reads what `as_dict` wrote."""
        return Calibration(**{**body, "knots": tuple((float(logit), float(value)) for logit, value in body["knots"])})


def calibrate(
    margin: npt.NDArray[Any],
    label: Flags,
    weight: Floats,
    is_random_arm: Flags,
    *,
    is_known: Flags | None = None,
    known: npt.NDArray[Any] | None = None,
    active: npt.NDArray[Any] | None = None,
) -> Calibration:
    """Fits a calibration with as many parameters as the verdicts support.

    Args:
        margin: Margins of the held-out verdicts, shape (n,).
        label: Whether each is a positive.
        weight: Expansion weights: the verdicts on entities that are not known positives add up to all such active entities.
        is_random_arm: Whether each belongs to the random arm.
        is_known: Whether each is a known positive (found by another source too); None if none is.
        known: Margins of all active known positives, shape (m,); None if there are none.
        active: Margins of all active entities, including those; None if there are no known positives.

    Returns:
        Platt scaling with smoothed weights, a weak ridge towards slope 1 and an allowance for wrong verdicts; isotonic
        regression above 1,000 positives if it has the lower held-out log loss; only the intercept if there are fewer than 20
        positives (known ones included) or 10 in the random arm, or if the slope would be negative; the identity without any.
    """
    margin = margin.astype(np.float64)
    is_known = np.zeros(len(label), dtype=bool) if is_known is None else is_known
    known = np.zeros(0) if known is None else known
    counts_by_margin = None
    if active is not None and len(known) and (~label & ~is_known).any():
        # Without verdicts on entities that are not known, nothing describes those.
        counts_by_margin = _count_by_margin(active, known)
    prevalence = float(np.average(label, weights=weight)) if len(label) else 0.0
    counts: dict[str, Any] = {
        "verdicts": len(label),
        "positives": int(label.sum()),
        "random_positives": int((label & is_random_arm).sum()),
        "known": len(known) if counts_by_margin else 0,
    }
    if label.all() or not (label.any() or counts_by_margin):
        return Calibration("none", 1.0, 0.0, (), prevalence=prevalence or None, **counts)
    has_slope = (
        counts["positives"] + counts["known"] >= MIN_POSITIVES_FOR_SLOPE
        and counts["random_positives"] >= MIN_RANDOM_POSITIVES_FOR_SLOPE
    )
    error_rates = VerdictErrorRates(min(FALSE_ALARMS, FALSE_SHARE_OF_POSITIVES * prevalence), MISSED)
    verdicts = _smooth(CalibrationSample(margin, label, weight, error_rates))
    if has_slope:
        intercept, slope = _fit(verdicts, is_known, counts_by_margin, 1.0 / SLOPE_PRIOR_SD**2)
        has_slope = slope > 0
    if not has_slope:
        # A few positives might all be false alarms: then the intercept is not identified.
        intercept, slope = _fit(
            replace(verdicts, error_rates=VerdictErrorRates(0.0, MISSED)), is_known, counts_by_margin, FIXED
        )
    method = "platt" if has_slope else "shift"
    calibration = Calibration(method, slope if has_slope else 1.0, intercept, (), prevalence=prevalence, **counts)
    if has_slope and counts["positives"] > MIN_POSITIVES_FOR_ISOTONIC and _isotonic_is_better(verdicts):
        knots = _isotonic(intercept + slope * margin, verdicts)
        calibration = replace(calibration, method="isotonic", knots=knots)
    goods, each = (
        (margin, verdicts.weight)
        if counts_by_margin is None
        else (counts_by_margin.margin, counts_by_margin.known + counts_by_margin.unknown)
    )
    return replace(calibration, prevalence=float(np.average(calibration.probability(goods), weights=each)))


def rank_calibration(active: npt.NDArray[Any], calibration: Calibration | None = None) -> Calibration:
    """Returns the map from margin to rank: the share of the active entities with a lower margin.

    Args:
        active: Margins of all active entities, shape (n,).
        calibration: The calibration without a probability whose counts of verdicts are kept; None for none.
    """
    margins, counts = np.unique(active.astype(np.float64), return_counts=True)
    below = (np.cumsum(counts) - counts) / max(len(active), 1)
    if len(margins) > MOST_KNOTS:
        # Evenly spaced ranks, and closer and closer ones towards the top, which is what lists are made of.
        grid = np.union1d(np.linspace(0.0, 1.0, MOST_KNOTS // 2), 1.0 - np.geomspace(1e-7, 1.0, MOST_KNOTS // 2))
        chosen = np.union1d(np.unique(np.searchsorted(below, grid).clip(max=len(margins) - 1)), [0, len(margins) - 1])
        margins, below = margins[chosen], below[chosen]
    knots = tuple((float(margin), round(float(share), 9)) for margin, share in zip(margins, below, strict=True))
    base = calibration or Calibration("ranking", 1.0, 0.0, (), 0, 0, 0, None)
    return replace(base, method="ranking", slope=1.0, intercept=0.0, knots=knots or ((0.0, 0.0),), prevalence=None)


def assume_prevalence(calibration: Calibration, prevalence: float) -> Calibration:
    """Returns the map to the probabilities that an assumed prevalence implies: a ranking's intercept is shifted to it.

    Args:
        calibration: A `ranking`, which describes the margins of the active entities.
        prevalence: The assumed share of positives among them, between 0 and 1.

    Returns:
        Logistic in the margin, with the intercept at which the mean probability of the active entities is the prevalence.
    """
    from scipy.optimize import brentq

    margins, below = np.array(calibration.knots, dtype=np.float64).T
    weight = np.diff(below, append=1.0)

    def excess(intercept: float) -> float:
        return float(weight @ sigmoid(intercept + margins)) - prevalence

    widest = 40.0 + float(np.abs(margins).max())
    return replace(
        calibration, method="assumed", intercept=float(brentq(excess, -widest, widest)), knots=(), prevalence=prevalence
    )


@dataclass(frozen=True)
class MarginCounts:
    """Counts of active entities by margin; all arrays have one length.

    Attributes:
        margin: Margins.
        known: Known positives at each margin.
        unknown: All others at each margin.
    """

    margin: Floats
    known: Floats
    unknown: Floats


def _count_by_margin(active: npt.NDArray[Any], known: npt.NDArray[Any]) -> MarginCounts:
    active_steps, known_steps = (np.round(margins.astype(np.float64) / MARGIN_STEP) for margins in (active, known))
    steps = np.unique(np.concatenate([active_steps, known_steps]))
    active_count, known_count = (
        np.bincount(np.searchsorted(steps, each), minlength=len(steps)) for each in (active_steps, known_steps)
    )
    unknown_count = np.maximum(active_count - known_count, 0)
    return MarginCounts(steps * MARGIN_STEP, known_count.astype(np.float64), unknown_count.astype(np.float64))


def _fit(
    verdicts: CalibrationSample, is_known: Flags, counts_by_margin: MarginCounts | None, slope_precision: float
) -> tuple[float, float]:
    """Fits a curve to verdicts alone, or jointly with the probabilities of being known for positives and for negatives.

    All three are logistic in the margin. The population determines how many are known; verdicts determine who is positive.

    Returns:
        Intercept and slope of the curve.
    """
    if counts_by_margin is None:
        return _curve(verdicts, slope_precision)
    from scipy.optimize import minimize

    scaled, positive = _scaled(verdicts), verdicts.label
    start = [_curve(verdicts, slope_precision) if positive.any() else (0.0, 1.0)]
    for chosen in (positive, ~positive):  # add half a known and half an unknown verdict, so that no share is 0 or 1
        share = (float(scaled[chosen & is_known].sum()) + 0.5) / (float(scaled[chosen].sum()) + 1.0)
        start.append((float(np.log(share / (1 - share))), 0.0))
    centre = np.array([[0.0, 1.0], [KNOWN_CENTRE, 0.0], [KNOWN_CENTRE, 0.0]])
    precision = np.array([[0.0, slope_precision], *[[KNOWN_SD**-2, KNOWN_SLOPE_SD**-2]] * 2])

    def negative_log_posterior(flat: Floats) -> tuple[float, Floats]:
        """The negative logarithm of likelihood and priors, and its gradient."""
        coefficients = flat.reshape(3, 2)
        prior = 0.5 * float((precision * (coefficients - centre) ** 2).sum()), precision * (coefficients - centre)
        parts = (
            prior,
            _population_loss(coefficients, counts_by_margin),
            _verdict_loss(coefficients, verdicts, scaled, is_known),
        )
        return sum(loss for loss, _ in parts), np.sum([gradient for _, gradient in parts], axis=0).ravel()

    bounds: list[tuple[float | None, float | None]] = [(None, None)] * 6
    if slope_precision == FIXED:
        start[0], bounds[1] = (start[0][0], 1.0), (1.0, 1.0)
    options = {"maxiter": 2000, "ftol": 1e-13}
    fit = minimize(
        negative_log_posterior, np.array(start).ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return float(fit.x[0]), float(fit.x[1])


def _population_loss(coefficients: Floats, counts_by_margin: MarginCounts) -> tuple[float, Floats]:
    """Returns the negative log-likelihood of the population counts, and its gradient of shape (3, 2)."""
    positive, known_if_positive, known_if_negative = sigmoid(
        coefficients[:, :1] + coefficients[:, 1:] * counts_by_margin.margin
    )
    known = np.clip(known_if_positive * positive + known_if_negative * (1 - positive), TINY, 1 - TINY)
    loss = -float(counts_by_margin.known @ np.log(known) + counts_by_margin.unknown @ np.log1p(-known))
    slope_factor = -(counts_by_margin.known / known - counts_by_margin.unknown / (1 - known))
    steps = np.stack([
        positive * (1 - positive) * (known_if_positive - known_if_negative),
        positive * known_if_positive * (1 - known_if_positive),
        (1 - positive) * known_if_negative * (1 - known_if_negative),
    ])  # fmt: skip
    return loss, _gradient(slope_factor * steps, counts_by_margin.margin)


def _verdict_loss(
    coefficients: Floats, verdicts: CalibrationSample, weight: Floats, is_known: Flags
) -> tuple[float, Floats]:
    """Returns the same for the verdicts, given who is known."""
    positive, known_if_positive, known_if_negative = sigmoid(
        coefficients[:, :1] + coefficients[:, 1:] * verdicts.margin
    )
    so, other = (
        np.where(is_known, known_if_positive, 1 - known_if_positive),
        np.where(is_known, known_if_negative, 1 - known_if_negative),
    )
    is_positive, is_negative = positive * so, (1 - positive) * other
    error_rates, verdict = verdicts.error_rates, verdicts.label
    if_positive, if_negative = (
        np.where(verdict, 1 - error_rates.missed, error_rates.missed),
        np.where(verdict, error_rates.false_alarms, 1 - error_rates.false_alarms),
    )
    likelihood, evidence = (
        if_positive * is_positive + if_negative * is_negative + TINY,
        is_positive + is_negative + TINY,
    )
    loss = -float(weight @ (np.log(likelihood) - np.log(evidence)))
    sign = np.where(is_known, 1.0, -1.0)
    by_one, by_none = if_positive / likelihood - 1 / evidence, if_negative / likelihood - 1 / evidence
    steps = np.stack([
        positive * (1 - positive) * (so * by_one - other * by_none),
        sign * positive * known_if_positive * (1 - known_if_positive) * by_one,
        sign * (1 - positive) * known_if_negative * (1 - known_if_negative) * by_none,
    ])  # fmt: skip
    return loss, _gradient(-weight * steps, verdicts.margin)


def _gradient(steps: Floats, margin: Floats) -> Floats:
    return np.stack([steps.sum(axis=1), steps @ margin], axis=1)


def _smooth(verdicts: CalibrationSample) -> CalibrationSample:
    return replace(verdicts, weight=smoothed(verdicts.weight, verdicts.margin, verdicts.label))


def _curve(sample: CalibrationSample, slope_precision: float) -> tuple[float, float]:
    """Returns intercept and slope from verdicts alone."""
    return logistic(
        sample.margin, sample.label, _scaled(sample), slope_precision=slope_precision, error_rates=sample.error_rates
    )


def _scaled(sample: CalibrationSample) -> Floats:
    """Returns weights scaled to the effective sample size, so that the prior has the right influence."""
    return sample.weight * (effective_size(sample.weight) / sample.weight.sum())


def sigmoid(logit: Floats) -> Floats:
    """Returns 1 / (1 + exp(-logit)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)


def logit_of(probability: npt.NDArray[Any]) -> Floats:
    """Returns log-odds of probabilities clipped to [1e-4, 1 - 1e-4]."""
    clipped = np.clip(probability.astype(np.float64), CLIP, 1.0 - CLIP)
    return np.asarray(np.log(clipped / (1.0 - clipped)), dtype=np.float64)


def effective_size(weight: Floats) -> float:
    """Returns Kish's effective sample size."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) and weight.any() else 0.0


def smoothed(weight: Floats, margin: Floats, label: Flags) -> Floats:
    """Replaces weights by their expected value given margin and label.

    One negative verdict of weight 100 at a high margin moves a weighted fit more than hundreds of others. Which verdict has
    the high weight is random given margin and label, and averaging over it leaves the fit
    unbiased (Beaumont, "A new approach to weighting and inference in sample surveys", Biometrika 2008).

    Args:
        weight: Expansion weights, shape (n,).
        margin: Margins, shape (n,).
        label: Whether each is a positive.

    Returns:
        Weights between the lowest and the highest given one, from a logistic regression on margin and label. Their sum,
        and their sum over the positives, do not change.
    """
    from sklearn.linear_model import LogisticRegression

    least, most = float(weight.min()), float(weight.max())
    if most - least < CLIP * most:
        return weight
    share = (weight - least) / (most - least)
    x = np.column_stack([(margin - margin.mean()) / max(float(margin.std()), CLIP), label])
    above = np.arange(2 * len(x)) < len(x)  # a fractional target is a weighted 1 and a weighted 0
    curve = LogisticRegression(C=SMOOTHING_C, tol=1e-10, max_iter=1000)
    curve.fit(np.vstack([x, x]), above, sample_weight=np.concatenate([share, 1 - share]))
    return np.asarray(least + (most - least) * curve.predict_proba(x)[:, 1], dtype=np.float64)


def logistic(
    x: Floats, label: Flags, weight: Floats, *, slope_precision: float = 0.0, error_rates: VerdictErrorRates = NO_ERRORS
) -> tuple[float, float]:
    """Fits a logistic regression on one variable by Fisher scoring with damped steps.

    Args:
        x: The variable, shape (n,).
        label: Truth, shape (n,).
        weight: Weights, shape (n,).
        slope_precision: Precision of a normal prior on the slope around 1; 0 for an unpenalised fit.
        error_rates: Assumed error rates of the labels.

    Returns:
        Intercept and slope; nan, nan where there is no finite fit (one class only, or both separated).
    """
    if label.all() or not label.any() or (not slope_precision and _is_separated(x, label)):
        return float("nan"), float("nan")
    design = np.column_stack([np.ones_like(x), x])
    penalty = np.diag([0.0, slope_precision])
    prior = float(np.average(label, weights=weight))
    beta = np.array([np.log(prior / (1 - prior)) - float(np.average(x, weights=weight)), 1.0])

    def objective(candidate: Floats) -> float:
        loss = _log_loss(design @ candidate, label, error_rates)
        return float(weight @ loss + 0.5 * (candidate - [0.0, 1.0]) @ penalty @ (candidate - [0.0, 1.0]))

    for _ in range(200):
        probability, observed = sigmoid(design @ beta), error_rates.probability_of_positive_verdict(design @ beta)
        slope_factor = error_rates.contrast * probability * (1 - probability)
        spread = observed * (1 - observed)
        gradient = design.T @ (weight * slope_factor * (label - observed) / spread) - penalty @ (beta - [0.0, 1.0])
        curvature = (design.T * (weight * slope_factor**2 / spread)) @ design + penalty
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        better = _damped_step(objective, beta, step)
        if better is None or np.abs(better - beta).max() < 1e-9:
            break
        beta = better
    return float(beta[0]), float(beta[1])


def _damped_step(objective: Callable[[Floats], float], beta: Floats, step: Floats) -> Floats | None:
    """Halves a step until it improves the objective; returns None if it never does."""
    present = objective(beta)
    for halving in range(30):
        candidate = beta + step * 0.5**halving
        if objective(candidate) < present:
            return candidate
    return None


def _is_separated(x: Floats, label: Flags) -> bool:
    """Returns whether a value of `x` separates the classes, so that the slope has no finite optimum."""
    positive, other = x[label], x[~label]
    return bool(positive.min() >= other.max() or positive.max() <= other.min())


def _isotonic(logit: Floats, sample: CalibrationSample) -> tuple[tuple[float, float], ...]:
    """Returns knots at the centres of the blocks of an isotonic fit, so that scores inside a block still differ."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(logit, kind="stable")
    weight, error_rates = sample.weight, sample.error_rates
    fit = isotonic_regression(sample.label[order].astype(np.float64), weights=weight[order])
    edges = fit.blocks[:-1]

    def mean(values: Floats) -> Floats:
        sums = np.add.reduceat(weight[order] * values, edges) / np.add.reduceat(weight[order], edges)
        return np.asarray(sums, dtype=np.float64)

    centre = mean(logit[order])
    value = np.clip((fit.x[edges] - error_rates.false_alarms) / error_rates.contrast, CLIP, 1 - CLIP)
    ascending = np.concatenate([[True], (np.diff(centre) > 0) & (np.diff(value) > 0)])
    return tuple(zip(centre[ascending].tolist(), value[ascending].tolist(), strict=True))


def _isotonic_is_better(sample: CalibrationSample) -> bool:
    """Compares both fits by weighted log loss in two-fold cross-validation over every second verdict."""
    order = np.argsort(sample.margin, kind="stable")
    odd = np.zeros(len(order), dtype=bool)
    odd[order[1::2]] = True
    gain = 0.0
    for chosen, left in ((odd, ~odd), (~odd, odd)):
        fitted, judged = sample.take(chosen), sample.take(left)
        intercept, slope = _curve(fitted, 1.0 / SLOPE_PRIOR_SD**2)
        knots = np.array(_isotonic(intercept + slope * fitted.margin, fitted)).T
        straight = intercept + slope * judged.margin
        curved = logit_of(np.interp(straight, knots[0], knots[1]))
        losses = [_log_loss(each, judged.label, judged.error_rates) for each in (straight, curved)]
        gain += float(judged.weight @ (losses[0] - losses[1]))
    return gain > 0.0


def _log_loss(logit: Floats, label: Flags, error_rates: VerdictErrorRates) -> Floats:
    observed = error_rates.probability_of_positive_verdict(logit)
    return np.where(label, -np.log(observed), -np.log1p(-observed))
