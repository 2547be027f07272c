"""From a score to a flag: the precision table, the bands, the flag threshold and the floor.

Precision is estimated on verdicts that the boosters were not trained on, weighted to the whole population; the floor is
set from the scores of all rated entities. What is done with a flagged entity is decided by the marketplace's policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.calibrate import effective_size

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

DEFAULT_TARGET: Final = 0.90
WIDEST_INTERVAL: Final = 0.30
FALLBACK_THRESHOLD: Final = 50.0
ENOUGH_VERDICTS: Final = 20
MOST_RANKED: Final = 1_000
MOST_RANKED_SHARE: Final = 0.05
RANK_POWER: Final = 20
"""See `rank_risk`: nobody knows the share of positives yet, and a few per cent are typical."""
# The floor: see docs/decisions/0011.
FLOOR_TIMES_PREVALENCE: Final = 3.0
HIGHEST_BY_PREVALENCE: Final = 50.0
MOST_EXPOSED: Final = 0.005
LEAST_EXPOSED: Final = 3
"""A ranking may expose so many honest merchants, however few there are: of 300, half a per cent is one, and ranks often tie."""
Z95: Final = 1.959963984540054
BANDS: Final = tuple(f"[{low},{low + 10})" if low < 90 else "[90,100]" for low in range(0, 100, 10))


@dataclass(frozen=True)
class ScoredSample:
    """Scored verdicts from which precision is estimated.

    Attributes:
        source: `held_out` for calibration verdicts, `out_of_fold` for forward folds.
        score: Scores, 0 to 100, shape (n,).
        label: Whether each is positive.
        weight: Expansion weights.
        is_verdict: Whether it has a label; unlabelled out-of-fold rows count as negatives, so that precision is
            underestimated rather than overestimated, but do not count towards the size of a band.
        merchant: An integer for each merchant. Intervals count merchants, because the listings of one merchant tend to
            be alike, and one merchant can hold most of a band.
    """

    source: str
    score: Floats
    label: Flags
    weight: Floats
    is_verdict: Flags
    merchant: Integers

    def take(self, chosen: Flags) -> ScoredSample:
        """Returns the rows that a mask selects."""
        arrays = (getattr(self, name)[chosen] for name in ("score", "label", "weight", "is_verdict", "merchant"))
        return ScoredSample(self.source, *arrays)


@dataclass(frozen=True)
class PopulationScores:
    """Scores of the entities that are active at cutoff_date and have no positive label; arrays of shape (n,).

    Attributes:
        score: Scores, 0 to 100.
        own_conduct_score: Scores from the features that no third party controls.
        merchant: An integer for each merchant.
    """

    score: Floats
    own_conduct_score: Floats
    merchant: Integers

    def counts(self, threshold: float, floor: float) -> dict[str, int]:
        """Counts the entities on either side of threshold and floor.

        Returns:
            active_count: all. flagged_count: at or above both. between_floor_and_threshold_count: at or above the floor, score
            below the threshold; third parties could push these onto a list, and no others. held_by_floor_count: at or above
            the threshold, own_conduct_score below the floor; only the floor keeps these off the list.
        """
        above, own_above = self.score >= threshold, self.own_conduct_score >= floor
        return {
            "active_count": len(above),
            "flagged_count": int((above & own_above).sum()),
            "between_floor_and_threshold_count": int((~above & own_above).sum()),
            "held_by_floor_count": int((above & ~own_above).sum()),
        }

    def exposed_share(self, floor: float) -> float:
        """Estimates the share of honest merchants that reach the floor, themselves or with a listing."""
        honesty, highest = self._merchants()
        return float(honesty[highest >= floor].sum() / honesty.sum()) if honesty.any() else 0.0

    def lowest_floor(self, most_exposed: float) -> float:
        """Returns the lowest floor, to 4 decimals, that at most this share of the honest merchants reaches."""
        honesty, highest = self._merchants()
        order = np.argsort(-highest, kind="stable")
        too_many = np.flatnonzero(np.cumsum(honesty[order]) > most_exposed * honesty.sum())
        return round(float(highest[order][too_many[0]]) + 1e-4, 4) if len(too_many) else 0.0

    def most_exposed(self, declared: float) -> float:
        """Returns the share of honest merchants that may reach the floor of a ranking: the declared one, or that of three."""
        return max(declared, LEAST_EXPOSED / max(len(np.unique(self.merchant)), 1))

    def _merchants(self) -> tuple[Floats, Floats]:
        """Returns the probability that each merchant is honest, from its highest score, and its highest own_conduct_score."""
        merchants, owner = np.unique(self.merchant, return_inverse=True)
        worst, highest = np.zeros(len(merchants)), np.zeros(len(merchants))
        np.maximum.at(worst, owner, self.score)
        np.maximum.at(highest, owner, self.own_conduct_score)
        return 1.0 - worst / 100.0, highest


@dataclass(frozen=True)
class Flagging:
    """The flag threshold, the floor, and the expected precision.

    Attributes:
        threshold: The lowest score to flag.
        floor: The lowest own_conduct_score to flag.
        exposed_share: Estimated share of honest merchants that reach the floor: third parties can push only these onto a list.
        target: The target precision of the policy.
        basis: `target` if a score reaches the target precision; `ranking` if the score is a rank (see `rank_threshold`);
            otherwise `fallback`: the threshold is 50.
        expected_precision: Precision at the threshold; None for the fallback.
        source: `held_out` or `out_of_fold`.
        bands: One entry per band of ten points: band, expected_precision or None, verdicts.
        table: One row per ten points, per five points above 50: score, precision, low, high, recall, verdicts.
    """

    threshold: float
    floor: float
    exposed_share: float
    target: float
    basis: str
    expected_precision: float | None
    source: str
    bands: tuple[dict[str, Any], ...]
    table: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-serialisable data, for the model's JSON."""
        return {**self.__dict__, "bands": list(self.bands), "table": list(self.table)}


def band_of(score: float) -> str:
    """Returns the band of a score from 0 to 100: `[80,90)`, the last `[90,100]`."""
    return BANDS[min(9, int(score // 10))]


def flagging(
    sample: ScoredSample,
    population: PopulationScores,
    prevalence: float,
    target: float = DEFAULT_TARGET,
    most_exposed: float = MOST_EXPOSED,
) -> Flagging:
    """Estimates the precision table, selects the threshold by the target precision, and sets the floor.

    Args:
        sample: Scored verdicts.
        population: Scores of the rated entities.
        prevalence: Estimated share of positives in the population, 0 to 1.
        target: Target precision of the policy, 0 to 1.
        most_exposed: Largest share of the honest merchants, 0 to 1, that may reach the floor.

    Returns:
        The threshold is the lowest score at which precision reaches the target; 50 if its 95 % interval is wider than
        0.30, or no score reaches the target. The floor is the lowest that at most `most_exposed` of the honest merchants
        reach, but at least the lower of 3 times the prevalence and 50.
    """
    threshold, expected = _threshold(sample, target)
    by_prevalence = min(100.0 * FLOOR_TIMES_PREVALENCE * prevalence, HIGHEST_BY_PREVALENCE)
    floor = round(max(by_prevalence, population.lowest_floor(most_exposed)), 4)
    return Flagging(
        threshold=threshold,
        floor=floor,
        exposed_share=round(population.exposed_share(floor), 4),
        target=target,
        basis="fallback" if expected is None else "target",
        expected_precision=expected,
        source=sample.source,
        bands=tuple(_band(sample, low) for low in range(0, 100, 10)),
        table=tuple(_table_row(sample, float(score)) for score in (*range(0, 50, 10), *range(50, 100, 5))),
    )


def rank_threshold(active_count: int) -> float:
    """Returns the rank from which an entity is flagged where no verdict says which score is precise enough.

    The lists' capacity decides how many of the flagged entities are listed; this limits how many can be.

    Args:
        active_count: Number of rated entities.

    Returns:
        The score that a twentieth of the entities reach, or a thousand of them if those are fewer.
    """
    return round(100.0 * max(1.0 - MOST_RANKED_SHARE, 1.0 - MOST_RANKED / max(active_count, 1)), 4)


def rank_risk(score: Floats) -> Floats:
    """Returns the risk from 0 to 1 to assume for scores that are ranks (0 to 100): mostly at the top, 1 / 21 in the mean."""
    return np.asarray((score / 100.0) ** RANK_POWER, dtype=np.float64)


def threshold_for(flagging: Mapping[str, Any], target: float) -> tuple[float, float | None]:
    """Selects the threshold for another target precision than that of the training, from the model's stored table.

    Args:
        flagging: A model's stored `Flagging.as_dict`.
        target: Target precision, 0 to 1.

    Returns:
        The lowest score of the precision table, or the model's own threshold, at which precision reaches the target, and that
        precision; a higher target never gives a lower score. If the precision's interval is wider than 0.30, or no score
        reaches it, 50 and None, as in `flagging`.
    """
    own, own_target = float(flagging["threshold"]), float(flagging["target"])
    if target == own_target:
        return own, flagging["expected_precision"]
    points = {float(row["score"]): row for row in flagging["table"] if row["precision"] is not None}
    if flagging["basis"] == "target":
        exact = {"precision": flagging["expected_precision"], "low": 0.0, "high": 0.0}
        points = {score: row for score, row in points.items() if (score > own) == (target > own_target)} | {own: exact}
    reached = [score for score, row in points.items() if row["precision"] >= target]
    if not reached:
        return FALLBACK_THRESHOLD, None
    least = points[min(reached)]
    if least["high"] - least["low"] > WIDEST_INTERVAL:
        return FALLBACK_THRESHOLD, None
    return min(reached), least["precision"]


def precision_from(sample: ScoredSample) -> tuple[Floats, Floats, Floats, Floats]:
    """Estimates precision at each distinct score.

    Returns:
        Distinct scores, descending; precision of the rows at or above each; the bounds of its 95 % Wilson interval at
        the effective number of merchants.
    """
    order = np.argsort(-sample.score, kind="stable")
    score, weight = sample.score[order], sample.weight[order]
    last = np.flatnonzero(np.append(np.diff(score) != 0, True)) if len(score) else np.array([], dtype=np.int64)
    total = np.cumsum(weight)[last]
    precision = np.cumsum(weight * sample.label[order])[last] / total
    earlier = _earlier_of_merchant(weight, sample.merchant[order])
    effective = total**2 / np.cumsum(weight**2 + 2 * weight * earlier)[last]
    low, high = wilson(precision, effective)
    return score[last], precision, low, high


def _earlier_of_merchant(weight: Floats, merchant: Integers) -> Floats:
    """Returns the total weight of each row's merchant in the rows before it."""
    order = np.argsort(merchant, kind="stable")
    running = np.cumsum(weight[order]) - weight[order]
    firsts = np.flatnonzero(np.append(True, np.diff(merchant[order]) != 0)) if len(order) else order
    earlier = np.empty_like(weight)
    earlier[order] = running - np.repeat(running[firsts], np.diff(np.append(firsts, len(order))))
    return earlier


def wilson(share: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Returns the bounds of the 95 % Wilson interval of shares in samples of `size`."""
    centre = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * np.sqrt(share * (1 - share) / size + Z95**2 / (4 * size**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _threshold(sample: ScoredSample, target: float) -> tuple[float, float | None]:
    score, precision, low, high = precision_from(sample)
    reached = np.flatnonzero(precision >= target)
    if not len(reached):
        return FALLBACK_THRESHOLD, None
    least = reached[-1]
    if high[least] - low[least] > WIDEST_INTERVAL:
        return FALLBACK_THRESHOLD, None
    return float(np.floor(score[least] * 1e4) / 1e4), round(float(precision[least]), 4)


def _band(sample: ScoredSample, low: int) -> dict[str, Any]:
    inside = sample.take((sample.score >= low) & ((sample.score < low + 10) | (low == 90)))
    verdicts = int(inside.is_verdict.sum())
    known = _share(inside) if verdicts >= ENOUGH_VERDICTS else None
    precision = round(known[0], 4) if known and known[2] - known[1] <= WIDEST_INTERVAL else None
    return {"band": BANDS[low // 10], "verdicts": verdicts, "expected_precision": precision}


def _share(sample: ScoredSample) -> tuple[float, float, float]:
    """Returns the weighted share of positives and the bounds of its interval."""
    share = float(np.average(sample.label, weights=sample.weight))
    merchants = effective_size(np.bincount(np.unique(sample.merchant, return_inverse=True)[1], weights=sample.weight))
    low, high = wilson(np.array([share]), np.array([merchants]))
    return share, float(low[0]), float(high[0])


def _table_row(sample: ScoredSample, score: float) -> dict[str, Any]:
    above = sample.take(sample.score >= score)
    positives = float(sample.weight @ sample.label)
    row: dict[str, Any] = {"score": score, "verdicts": int(above.is_verdict.sum())}
    if not len(above.score) or not positives:
        return {**row, "precision": None, "low": None, "high": None, "recall": None}
    estimates = (*_share(above), float(above.weight @ above.label) / positives)
    return {
        **row,
        **{
            name: round(value, 4) for name, value in zip(("precision", "low", "high", "recall"), estimates, strict=True)
        },
    }
