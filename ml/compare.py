"""A challenger beside the champion: what a reviewer weighs before one takes the other's place.

Both rate the same rows of later dates, which neither learned from. Intervals come from drawing components of merchants with
replacement, the same draws for both, so that a difference has an interval of its own. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from ml import drift
from ml.calibrate import MIN_RANDOM_POSITIVES_FOR_SLOPE, logit_of
from ml.evaluate import attributed, drawn_weights, ranking, shares
from ml.flagging import BANDS, ENOUGH_VERDICTS
from ml.model import RiskModel, Scorer
from ml.training_set import Flags, Floats, Labels, Matrix, Rows

LEAST_COMPONENTS: Final = 5
"""Positives of fewer components make intervals that look sure of themselves: draws hardly differ."""
LEAST_POSITIVES: Final = 5
"""Fewer positives say nothing about how well they are found; of calibration 20 say something (flagging.ENOUGH_VERDICTS)."""
LEAST_TOP: Final = 20
LOGIT_STEP: Final = 0.05
NEWTON_STEPS: Final = 25


@dataclass(frozen=True)
class Contender:
    """One of two versions, and the features of the same entities as it takes them.

    Attributes:
        model: The version's model.
        evaluate: Features of the rows of later dates.
        verdict: Features of the held-out verdicts.
        live: Features of everything that lives at the cut.
    """

    model: RiskModel
    evaluate: Matrix
    verdict: Matrix
    live: Matrix


@dataclass(frozen=True)
class Side:
    """How one of the two rates some rows; arrays of shape (n,).

    Attributes:
        score: 0 to 100.
        is_flagged: Whether each would be on the list.
    """

    score: Floats
    is_flagged: Flags

    def take(self, chosen: Flags) -> Side:
        """Returns the rows that a mask chooses."""
        return Side(self.score[chosen], self.is_flagged[chosen])


Metric = Callable[[Side, Flags, Floats], Floats]


@dataclass(frozen=True)
class Figure:
    """A measured value with the ends of its 95 % interval; None where it cannot be measured."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Pair:
    """A metric of both, and what the challenger has more of it."""

    champion: Figure
    challenger: Figure
    difference: Figure


@dataclass(frozen=True)
class Slice:
    """A part of the rows of later dates.

    Attributes:
        by: What it is cut by: category, brand, country, price_band, merchant_age_band, language, or seen.
        value: Which part.
        rows: Its rows.
        positives: Positives among them.
        average_precision: Of both; nothing is measured under 5 positives.
    """

    by: str
    value: str
    rows: int
    positives: int
    average_precision: Pair


@dataclass(frozen=True)
class Moves:
    """What moves on the list if the challenger were promoted, of all that lives at the cut.

    Attributes:
        live: How many live.
        champion_flagged: How many the champion flags.
        challenger_flagged: How many the challenger flags.
        added: How many the challenger flags and the champion does not.
        dropped: How many the champion flags and the challenger does not.
        added_precision: Mean probability, as the challenger has it, that the added are positives; None without any.
        top_overlap: Share of the riskiest, as many as the champion flags and at least 20, that both have in common.
        rank_correlation: Spearman's, of both scores over all that live.
    """

    live: int
    champion_flagged: int
    challenger_flagged: int
    added: int
    dropped: int
    added_precision: float | None
    top_overlap: float
    rank_correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        champion_digest: The champion's model_digest.
        basis: `as it rates`, or why and how it was trained again.
        rows: Rows of later dates.
        positives: Positives among them.
        ranking: By cell (all, seen, unseen) and metric, on the rows of later dates, where unlabelled counts as negative.
        labels: The champion's AUROC on what was decided: of later dates (`champion`), and of what the challenger learned from.
        calibration: By metric, on the held-out verdicts, weighted to all goods. Both were calibrated on such.
        bands: By band of ten points of score and side: verdicts, mean score, weighted share of positives.
        slices: The rows of later dates by parts.
        moves: What moves on the list.
        stability: Population stability index of each feature of the champion, from those it was trained among to those now.
        importances: Share of each feature in the mean absolute attribution, of both; 0 where one does not have it.
    """

    champion_digest: str
    basis: str
    rows: int
    positives: int
    ranking: Mapping[str, Mapping[str, Pair]]
    labels: Pair
    calibration: Mapping[str, Pair]
    bands: tuple[Mapping[str, Any], ...]
    slices: tuple[Slice, ...]
    moves: Moves
    stability: Mapping[str, float]
    importances: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it as plain data."""
        return asdict(self)


def compare(
    rates: RiskModel,
    champion: Contender,
    challenger: Contender,
    evaluate: Rows,
    verdicts: Rows,
    unseen: Flags,
    labels: Mapping[str, Labels],
    importances: Mapping[str, float],
    *,
    learned: Rows,
    basis: str,
    resamples: int,
    seed: int,
) -> Comparison:
    """Sets both side by side.

    Args:
        rates: The champion as it rates.
        champion: The champion, or its stand-in that was trained again on the challenger's rows.
        challenger: The challenger.
        evaluate: Rows of later dates, which neither learned from, shape (n,).
        verdicts: Held-out verdicts.
        unseen: Whether neither saw the component of each row of `evaluate`, shape (n,).
        labels: What the rows of `evaluate` are cut into slices by, each of shape (n,).
        importances: Share of each of the challenger's features in its attributions of these rows.
        learned: Decided rows that the challenger learned from, with the champion's features.
        basis: How the champion comes to these rows, in words.
        resamples: How often components are drawn.
        seed: Seed of the draws.

    Returns:
        The comparison.
    """
    scorers = (Scorer(champion.model), Scorer(challenger.model))
    contenders = tuple(zip(scorers, (champion, challenger), strict=True))
    later = [_side(scorer, each.evaluate) for scorer, each in contenders]
    judged = [_side(scorer, each.verdict) for scorer, each in contenders]
    live = [_side(scorer, each.live) for scorer, each in contenders]
    draws = (resamples, seed)
    cells = {"all": unseen | ~unseen, "seen": ~unseen, "unseen": unseen}
    weight = verdicts.expansion_weight
    return Comparison(
        champion_digest=rates.digest,
        basis=basis,
        rows=len(evaluate),
        positives=int(evaluate.label.sum()),
        ranking={
            cell: pairs(
                [side.take(chosen) for side in later], evaluate.take(chosen), evaluate.weight[chosen], RANKING, draws
            )
            for cell, chosen in cells.items()
        },
        labels=label_agreement(Scorer(rates), learned, replace(evaluate, features=champion.evaluate), draws),
        calibration=pairs(judged, verdicts, weight, CALIBRATION, draws, ENOUGH_VERDICTS),
        bands=tuple(_bands(judged, verdicts.label, weight)),
        slices=tuple(_slices(later, evaluate, {**labels, "seen": _seen(unseen)}, draws)),
        moves=moves(*live),
        stability=drift.psi_by_feature(rates.body["reference"], champion.live, champion.model.columns),
        importances=_importances(scorers[0], replace(evaluate, features=champion.evaluate), importances),
    )


def pairs(
    sides: Sequence[Side],
    rows: Rows,
    weight: Floats,
    metrics: Mapping[str, Metric],
    draws: tuple[int, int],
    least: int = LEAST_POSITIVES,
) -> dict[str, Pair]:
    """Measures both on the same rows and the same draws of components.

    Args:
        sides: Champion and challenger.
        rows: The rows, shape (n,), for their labels and components.
        weight: What each row stands for, shape (n,).
        metrics: What is measured.
        draws: How often components are drawn, and the seed.
        least: Under so many positives nothing is measured.
    """
    champion, challenger = (_drawn(side, rows, weight, metrics, draws, least) for side in sides)
    return {
        name: Pair(_figure(champion[name]), _figure(challenger[name]), _figure(challenger[name] - champion[name]))
        for name in metrics
    }


def label_agreement(champion: Scorer, learned: Rows, later: Rows, draws: tuple[int, int]) -> Pair:
    """Says how well the champion ranks decisions that a challenger learned from, and those of later dates.

    It learned from most of the former itself, so that it ranks them rather better; where it ranks them worse they are not the
    labels that it knew.
    """
    before, after = (rows.take(rows.is_verdict) for rows in (learned, later))
    drawn = [
        _drawn(_side(champion, rows.features), rows, np.ones(len(rows)), {"auroc": _auroc}, draws, ENOUGH_VERDICTS)[
            "auroc"
        ]
        for rows in (after, before)
    ]
    return Pair(_figure(drawn[0]), _figure(drawn[1]), _figure(drawn[1] - drawn[0]))


def figures(model: RiskModel, verdicts: Rows, draws: tuple[int, int]) -> dict[str, Figure]:
    """Measures the calibration of one model on held-out verdicts, weighted to all goods.

    Positives that look harmless are picked by chance alone. Where too few of those are there for a slope to be fitted, one that
    is measured is too great, however it is: its interval then reaches down to 0 (docs/decisions/0013).
    """
    weight = verdicts.expansion_weight
    side = _side(Scorer(model), verdicts.features)
    drawn = _drawn(side, verdicts, weight, CALIBRATION, draws, ENOUGH_VERDICTS)
    told = {name: _figure(values) for name, values in drawn.items()}
    by_chance = int((verdicts.label & verdicts.is_random_arm).sum())
    if by_chance < MIN_RANDOM_POSITIVES_FOR_SLOPE and told["calibration_slope"].low is not None:
        told["calibration_slope"] = replace(told["calibration_slope"], low=0.0)
    return told


def _drawn(
    side: Side, rows: Rows, weight: Floats, metrics: Mapping[str, Metric], draws: tuple[int, int], least: int
) -> dict[str, Floats]:
    """Each metric on the rows as they are, first, and then on each draw.

    It is nan throughout where too few are positive, or in too few components, or all are.
    """
    resamples, seed = draws
    few = len(np.unique(rows.component[rows.label])) < LEAST_COMPONENTS
    if few or rows.label.sum() < least or rows.label.all():
        return dict.fromkeys(metrics, np.full(1 + resamples, np.nan))
    told = {name: [metric(side, rows.label, weight[None, :])] for name, metric in metrics.items()}
    for drawn in drawn_weights(rows.component, weight, resamples, seed):
        for name, metric in metrics.items():
            told[name].append(metric(side, rows.label, drawn))
    return {name: np.concatenate(values) for name, values in told.items()}


def moves(champion: Side, challenger: Side) -> Moves:
    """Says what moves on the list; see `Moves`."""
    from scipy.stats import spearmanr

    before, after = champion.is_flagged, challenger.is_flagged
    added = after & ~before
    top = min(len(before), max(int(before.sum()), LEAST_TOP))
    both = [set(np.argsort(-side.score, kind="stable")[:top].tolist()) for side in (champion, challenger)]
    constant = any(len(np.unique(side.score)) < 2 for side in (champion, challenger))
    return Moves(
        live=len(before),
        champion_flagged=int(before.sum()),
        challenger_flagged=int(after.sum()),
        added=int(added.sum()),
        dropped=int((before & ~after).sum()),
        added_precision=_rounded(float(challenger.score[added].mean()) / 100.0) if added.any() else None,
        top_overlap=round(len(both[0] & both[1]) / top, 4) if top else 1.0,
        rank_correlation=None if constant else _rounded(float(spearmanr(champion.score, challenger.score).statistic)),
    )


def _side(scorer: Scorer, features: Matrix) -> Side:
    score, _, is_flagged = scorer.rate(features)
    return Side(score, is_flagged)


def _seen(unseen: Flags) -> Labels:
    return np.asarray(unseen, dtype=np.int64), ("merchants seen", "merchants never seen")


def _bands(sides: Sequence[Side], label: Flags, weight: Floats) -> Iterator[dict[str, Any]]:
    for name, side in zip(("champion", "challenger"), sides, strict=True):
        band = np.minimum((side.score // 10).astype(np.int64), len(BANDS) - 1)
        for at in np.unique(band).tolist():
            inside = band == at
            yield {
                "side": name,
                "band": BANDS[at],
                "verdicts": int(inside.sum()),
                "mean_score": _rounded(float(np.average(side.score[inside], weights=weight[inside]))),
                "positive_share": _rounded(float(np.average(label[inside], weights=weight[inside]))),
            }


def _slices(sides: Sequence[Side], rows: Rows, labels: Mapping[str, Labels], draws: tuple[int, int]) -> Iterator[Slice]:
    for by, (number, names) in labels.items():
        positives = np.bincount(number, weights=rows.label, minlength=len(names))
        for at in np.flatnonzero(positives >= LEAST_POSITIVES).tolist():
            inside = number == at
            part = rows.take(inside)
            metric = {"average_precision": _average_precision}
            measured = pairs([side.take(inside) for side in sides], part, part.weight, metric, draws)
            yield Slice(by, names[at] or "not known", len(part), int(positives[at]), measured["average_precision"])


def _importances(champion: Scorer, rows: Rows, challenger: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Shares in the mean absolute attribution of both, by feature; 0 where one does not have it."""
    before = shares(attributed(champion, rows)[0])
    return {
        feature: {"champion": before.get(feature, 0.0), "challenger": challenger.get(feature, 0.0)}
        for feature in [*before, *(name for name in challenger if name not in before)]
    }


def _figure(drawn: Floats) -> Figure:
    """The value on the rows as they are, and the middle 95 % of those on draws."""
    known = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) and np.isfinite(drawn[0]) else (np.nan, np.nan)
    return Figure(_rounded(float(drawn[0])), _rounded(float(low)), _rounded(float(high)))


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


# Metrics, each of a side, labels of shape (n,) and weights of shape (b, n): b values, nan where one cannot be measured ---


def _auroc(side: Side, label: Flags, weight: Floats) -> Floats:
    return ranking(side.score, label, weight)[0]


def _average_precision(side: Side, label: Flags, weight: Floats) -> Floats:
    return ranking(side.score, label, weight)[1]


def _precision(side: Side, label: Flags, weight: Floats) -> Floats:
    return _share(weight @ (side.is_flagged & label), weight @ side.is_flagged)


def _recall(side: Side, label: Flags, weight: Floats) -> Floats:
    return _share(weight @ (side.is_flagged & label), weight @ label)


def _brier_skill(side: Side, label: Flags, weight: Floats) -> Floats:
    total = weight.sum(axis=1)
    prevalence = weight @ label / total
    brier = weight @ (side.score / 100.0 - label) ** 2 / total
    return 1.0 - _share(brier, prevalence * (1.0 - prevalence))


def _calibration_slope(side: Side, label: Flags, weight: Floats) -> Floats:
    """The slope of a logistic regression of truth on log-odds, under many weightings at once: log-odds are binned for that."""
    step = np.round(logit_of(side.score / 100.0) / LOGIT_STEP).astype(np.int64)
    at, bin_of = np.unique(step, return_inverse=True)
    x: Floats = at.astype(np.float64) * LOGIT_STEP
    into = np.zeros((len(label), len(x)))
    into[np.arange(len(label)), bin_of] = 1.0
    positive, total = weight @ (into * label[:, None]), weight @ into
    return _slopes(x, positive, total)


def _slopes(x: Floats, positive: Floats, total: Floats) -> Floats:
    """Newton's method on binned rows, shape (b, bins); nan where it does not come to rest: one class, or separated ones."""
    intercept, slope = np.zeros(len(total)), np.ones(len(total))
    step = np.ones(len(total))
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            p = 1.0 / (1.0 + np.exp(-(intercept[:, None] + slope[:, None] * x)))
            residual, information = positive - total * p, total * p * (1.0 - p)
            g0, g1 = residual.sum(axis=1), residual @ x
            h00, h01, h11 = information.sum(axis=1), information @ x, information @ x**2
            determinant = h00 * h11 - h01**2
            step = np.clip((h00 * g1 - h01 * g0) / determinant, -1.0, 1.0)
            intercept, slope = intercept + np.clip((h11 * g0 - h01 * g1) / determinant, -1.0, 1.0), slope + step
    return np.where(np.abs(step) < 1e-6, slope, np.nan)


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


RANKING: Final[Mapping[str, Metric]] = {
    "auroc": _auroc, "average_precision": _average_precision, "precision": _precision, "recall": _recall,
}  # fmt: skip
CALIBRATION: Final[Mapping[str, Metric]] = {"calibration_slope": _calibration_slope, "brier_skill": _brier_skill}
