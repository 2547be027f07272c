"""Compares a challenger with the champion, for the reviewer.

Both rate the same rows of later dates, which neither was trained on. Intervals are bootstrap intervals over components of
merchants, with the same resamples for both, so that the difference has its own interval. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from ml import drift
from ml.calibrate import MIN_RANDOM_POSITIVES_FOR_SLOPE, logit_of
from ml.flagging import BANDS, ENOUGH_VERDICTS
from ml.metrics import bootstrap_weights, mean_attributions, rank_correlation, ranking, shares
from ml.model import RiskModel, Scorer
from ml.training_set import Flags, Floats, Labels, Matrix, Rows

LEAST_COMPONENTS: Final = 5
"""With positives in fewer components the intervals would be too narrow: resamples hardly differ."""
LEAST_POSITIVES: Final = 5
"""Minimum for ranking metrics; calibration needs 20 (flagging.ENOUGH_VERDICTS)."""
LEAST_TOP: Final = 20
LOGIT_STEP: Final = 0.05
NEWTON_STEPS: Final = 25


@dataclass(frozen=True)
class Contender:
    """One of the two versions, with its features of the same entities.

    Attributes:
        model: The version's model.
        evaluate: Features of the rows of later dates.
        verdict: Features of the held-out verdicts.
        active: Features of the active entities at cutoff_date.
    """

    model: RiskModel
    evaluate: Matrix
    verdict: Matrix
    active: Matrix


@dataclass(frozen=True)
class Side:
    """Ratings of rows by one of the two; arrays of shape (n,).

    Attributes:
        score: 0 to 100.
        is_flagged: Whether each reaches threshold and floor.
    """

    score: Floats
    is_flagged: Flags

    def take(self, chosen: Flags) -> Side:
        """Returns the rows that a mask selects."""
        return Side(self.score[chosen], self.is_flagged[chosen])


Metric = Callable[[Side, Flags, Floats], Floats]


@dataclass(frozen=True)
class Figure:
    """An estimate with the bounds of its 95 % interval; None if it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Pair:
    """A metric of both, and the challenger's difference to the champion."""

    champion: Figure
    challenger: Figure
    difference: Figure


@dataclass(frozen=True)
class Slice:
    """A slice of the rows of later dates.

    Attributes:
        by: The dimension: category, brand, country, price_band, merchant_age_band, language, or seen.
        value: The value of the dimension.
        rows: Number of rows.
        positives: Number of positives.
        average_precision: Of both; undefined under 5 positives.
    """

    by: str
    value: str
    rows: int
    positives: int
    average_precision: Pair


@dataclass(frozen=True)
class ListChanges:
    """Changes of the list if the challenger were promoted, among the active entities at cutoff_date.

    Attributes:
        active: Number of active entities.
        champion_flagged: Number that the champion flags.
        challenger_flagged: Number that the challenger flags.
        added: Number that only the challenger flags.
        dropped: Number that only the champion flags.
        added_precision: Mean probability of the added ones by the challenger; None without any.
        top_overlap: Overlap of the highest scores of both: as many as the champion flags, at least 20.
        rank_correlation: Spearman correlation of both scores over all active entities.
    """

    active: int
    champion_flagged: int
    challenger_flagged: int
    added: int
    dropped: int
    added_precision: float | None
    top_overlap: float
    rank_correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """The comparison of a challenger with the champion.

    Attributes:
        champion_digest: The champion's model_digest.
        basis: `as it rates`, or why and how the champion was trained again.
        rows: Number of rows of later dates.
        positives: Number of positives among them.
        ranking: By cell (all, seen, unseen) and metric, on the rows of later dates, where unlabelled rows count as negatives.
        labels: The champion's AUROC on labelled rows: of later dates (`champion`), and of the challenger's training.
        calibration: By metric, on the held-out verdicts, weighted to the population.
        bands: By side and band of ten points: verdicts, mean score, weighted share of positives.
        slices: The rows of later dates by slice.
        list_changes: Changes of the list.
        stability: Population stability index of each of the champion's features, between its cutoff_date and now.
        importances: Share of each feature in the mean absolute attribution, of both; 0 if one does not use it.
        replaces_starter: Whether the champion is a starter model, which a trained one has to beat.
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
    list_changes: ListChanges
    stability: Mapping[str, float]
    importances: Mapping[str, Mapping[str, float]]
    replaces_starter: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON-serialisable data."""
        return asdict(self)


@dataclass(frozen=True)
class AgainstStarter:
    """How a trained model and the starter that it would replace rank training rows, if there are no rows of later dates.

    Attributes:
        positives: Number of labelled positives.
        starter: Average precision of the starter, to which labels are unknown.
        trained: Average precision out of fold: each row is scored by a booster trained on other components.
    """

    positives: int
    starter: float
    trained: float


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
    """Compares both.

    Args:
        rates: The champion as it rates.
        champion: The champion, or the stand-in trained again on the challenger's rows.
        challenger: The challenger.
        evaluate: Rows of later dates, which neither was trained on, shape (n,).
        verdicts: Held-out verdicts.
        unseen: Whether the component of each row of `evaluate` is in neither training, shape (n,).
        labels: Slices of the rows of `evaluate`, each of shape (n,).
        importances: Share of each of the challenger's features in its attributions of these rows.
        learned: Labelled rows of the challenger's training, with the champion's features.
        basis: `as it rates`, or why and how the champion was trained again.
        resamples: Number of bootstrap resamples of components.
        seed: Seed of the bootstrap.

    Returns:
        The comparison.
    """
    scorers = (Scorer(champion.model), Scorer(challenger.model))
    contenders = tuple(zip(scorers, (champion, challenger), strict=True))
    later = [_side(scorer, each.evaluate) for scorer, each in contenders]
    judged = [_side(scorer, each.verdict) for scorer, each in contenders]
    active = [_side(scorer, each.active) for scorer, each in contenders]
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
        list_changes=list_changes(*active),
        stability=drift.psi_by_feature(rates.body["reference"], champion.active, champion.model.columns),
        importances=_importances(scorers[0], replace(evaluate, features=champion.evaluate), importances),
        replaces_starter=rates.is_starter,
    )


def pairs(
    sides: Sequence[Side],
    rows: Rows,
    weight: Floats,
    metrics: Mapping[str, Metric],
    draws: tuple[int, int],
    least: int = LEAST_POSITIVES,
) -> dict[str, Pair]:
    """Measures both on the same rows and the same resamples of components.

    Args:
        sides: Champion and challenger.
        rows: The rows, shape (n,), for their labels and components.
        weight: Sample weights, shape (n,).
        metrics: The metrics.
        draws: Number of bootstrap resamples, and the seed.
        least: Minimum number of positives.
    """
    champion, challenger = (_drawn(side, rows, weight, metrics, draws, least) for side in sides)
    return {
        name: Pair(_figure(champion[name]), _figure(challenger[name]), _figure(challenger[name] - champion[name]))
        for name in metrics
    }


def label_agreement(champion: Scorer, learned: Rows, later: Rows, draws: tuple[int, int]) -> Pair:
    """Measures how well the champion ranks the labelled rows of a challenger's training, and those of later dates.

    It was trained on most of the former, so it should rank them better; if it ranks them worse, the labels have changed.
    """
    before, after = (rows.take(rows.is_verdict) for rows in (learned, later))
    drawn = [
        _drawn(_side(champion, rows.features), rows, np.ones(len(rows)), {"auroc": _auroc}, draws, ENOUGH_VERDICTS)[
            "auroc"
        ]
        for rows in (after, before)
    ]
    return Pair(_figure(drawn[0]), _figure(drawn[1]), _figure(drawn[1] - drawn[0]))


def calibration_figures(model: RiskModel, verdicts: Rows, draws: tuple[int, int]) -> dict[str, Figure]:
    """Measures the calibration of one model on held-out verdicts, weighted to the population.

    Positives with low scores are sampled only by the random arm. With too few of them to fit a slope, the measured slope is
    biased upwards: its interval is then extended to 0 (docs/decisions/0013).
    """
    weight = verdicts.expansion_weight
    side = _side(Scorer(model), verdicts.features)
    drawn = _drawn(side, verdicts, weight, CALIBRATION, draws, ENOUGH_VERDICTS)
    result = {name: _figure(values) for name, values in drawn.items()}
    by_chance = int((verdicts.label & verdicts.is_random_arm).sum())
    if by_chance < MIN_RANDOM_POSITIVES_FOR_SLOPE and result["calibration_slope"].low is not None:
        result["calibration_slope"] = replace(result["calibration_slope"], low=0.0)
    return result


def _drawn(
    side: Side, rows: Rows, weight: Floats, metrics: Mapping[str, Metric], draws: tuple[int, int], least: int
) -> dict[str, Floats]:
    """Returns each metric on the rows, followed by its values on each resample.

    All are nan if there are too few positives, positives in too few components, or only positives.
    """
    resamples, seed = draws
    few = len(np.unique(rows.component[rows.label])) < LEAST_COMPONENTS
    if few or rows.label.sum() < least or rows.label.all():
        return dict.fromkeys(metrics, np.full(1 + resamples, np.nan))
    result = {name: [metric(side, rows.label, weight[None, :])] for name, metric in metrics.items()}
    for drawn in bootstrap_weights(rows.component, weight, resamples, seed):
        for name, metric in metrics.items():
            result[name].append(metric(side, rows.label, drawn))
    return {name: np.concatenate(values) for name, values in result.items()}


def list_changes(champion: Side, challenger: Side) -> ListChanges:
    """Returns the changes of the list; see `ListChanges`."""
    before, after = champion.is_flagged, challenger.is_flagged
    added = after & ~before
    top = min(len(before), max(int(before.sum()), LEAST_TOP))
    both = [set(np.argsort(-side.score, kind="stable")[:top].tolist()) for side in (champion, challenger)]
    return ListChanges(
        active=len(before),
        champion_flagged=int(before.sum()),
        challenger_flagged=int(after.sum()),
        added=int(added.sum()),
        dropped=int((before & ~after).sum()),
        added_precision=_rounded(float(challenger.score[added].mean()) / 100.0) if added.any() else None,
        top_overlap=round(len(both[0] & both[1]) / top, 4) if top else 1.0,
        rank_correlation=rank_correlation(champion.score, challenger.score),
    )


def _side(scorer: Scorer, features: Matrix) -> Side:
    score, _, is_flagged = scorer.rate(features)
    return Side(score, is_flagged)


def _seen(unseen: Flags) -> Labels:
    return np.asarray(unseen, dtype=np.int64), ("merchants seen", "merchants never seen")


def _bands(sides: Sequence[Side], label: Flags, weight: Floats) -> Iterator[dict[str, Any]]:
    for name, side in zip(("champion", "challenger"), sides, strict=True):
        band = np.minimum((side.score // 10).astype(np.int64), len(BANDS) - 1)
        for index in np.unique(band).tolist():
            inside = band == index
            yield {
                "side": name,
                "band": BANDS[index],
                "verdicts": int(inside.sum()),
                "mean_score": _rounded(float(np.average(side.score[inside], weights=weight[inside]))),
                "positive_share": _rounded(float(np.average(label[inside], weights=weight[inside]))),
            }


def _slices(sides: Sequence[Side], rows: Rows, labels: Mapping[str, Labels], draws: tuple[int, int]) -> Iterator[Slice]:
    for by, (number, names) in labels.items():
        positives = np.bincount(number, weights=rows.label, minlength=len(names))
        for index in np.flatnonzero(positives >= LEAST_POSITIVES).tolist():
            inside = number == index
            part = rows.take(inside)
            metric = {"average_precision": _average_precision}
            measured = pairs([side.take(inside) for side in sides], part, part.weight, metric, draws)
            yield Slice(by, names[index] or "unknown", len(part), int(positives[index]), measured["average_precision"])


def _importances(champion: Scorer, rows: Rows, challenger: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns shares of the mean absolute attribution of both, by feature; 0 if one does not use it."""
    before = shares(mean_attributions(champion, rows.features)[0])
    return {
        feature: {"champion": before.get(feature, 0.0), "challenger": challenger.get(feature, 0.0)}
        for feature in [*before, *(name for name in challenger if name not in before)]
    }


def _figure(drawn: Floats) -> Figure:
    """Returns the value on the rows, and the central 95 % of the values on resamples."""
    known = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) and np.isfinite(drawn[0]) else (np.nan, np.nan)
    return Figure(_rounded(float(drawn[0])), _rounded(float(low)), _rounded(float(high)))


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


# Metrics, each of a side, labels of shape (n,) and weights of shape (b, n): b values, nan if undefined ---


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
    """Returns the slope of a logistic regression of truth on binned log-odds, for many weightings at once."""
    step = np.round(logit_of(side.score / 100.0) / LOGIT_STEP).astype(np.int64)
    index, bin_index = np.unique(step, return_inverse=True)
    x: Floats = index.astype(np.float64) * LOGIT_STEP
    membership = np.zeros((len(label), len(x)))
    membership[np.arange(len(label)), bin_index] = 1.0
    positive, total = weight @ (membership * label[:, None]), weight @ membership
    return _slopes(x, positive, total)


def _slopes(x: Floats, positive: Floats, total: Floats) -> Floats:
    """Fits by Newton's method on binned rows, shape (b, bins); nan without convergence: one class, or separated classes."""
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
