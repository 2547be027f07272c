"""From a score to a flag: the precision table, the bands, the flag threshold and the floor.

Precision is estimated on verdicts that the boosters did not learn from, weighted so that they stand for all goods; the floor
from where all stand who are rated. What a marketplace then does with a flag is its policy's business, not ours.
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
# The floor: see docs/decisions/0011.
FLOOR_TIMES_PREVALENCE: Final = 3.0
HIGHEST_BY_PREVALENCE: Final = 50.0
MOST_EXPOSED: Final = 0.005
Z95: Final = 1.959963984540054
BANDS: Final = tuple(f"[{low},{low + 10})" if low < 90 else "[90,100]" for low in range(0, 100, 10))


@dataclass(frozen=True)
class Units:
    """Scored verdicts from which precision is estimated.

    Attributes:
        source: `held_out` for calibration verdicts, `out_of_fold` for forward folds.
        score: Scores, 0 to 100, shape (n,).
        label: Whether each is a positive.
        weight: How many goods each stands for.
        is_verdict: Whether something labelled it; unlabelled out-of-fold rows count as negatives, so that precision is
            rather under- than overestimated, but make no band well known.
        merchant: A number for each merchant. Intervals count merchants: what one merchant sells tends to be of one
            kind, and one can hold most of a band.
    """

    source: str
    score: Floats
    label: Flags
    weight: Floats
    is_verdict: Flags
    merchant: Integers

    def take(self, chosen: Flags) -> Units:
        """Returns the units that a mask chooses."""
        arrays = (getattr(self, name)[chosen] for name in ("score", "label", "weight", "is_verdict", "merchant"))
        return Units(self.source, *arrays)


@dataclass(frozen=True)
class Standing:
    """Where those stand who live at the cut and have no positive label; arrays of shape (n,).

    Attributes:
        score: Scores, 0 to 100.
        own_conduct_score: The same, of what no third party can move.
        merchant: A number for each merchant.
    """

    score: Floats
    own_conduct_score: Floats
    merchant: Integers

    def counts(self, threshold: float, floor: float) -> dict[str, int]:
        """Counts them.

        Returns:
            live_count, all of them; flagged_count, at or above both; between_floor_and_threshold_count, at or above the
            floor with a score below the threshold: bought reviews and false reports could put these on a list, and no
            others; held_by_floor_count, at or above the threshold with an own_conduct_score below the floor: only the floor
            keeps these off.
        """
        above, own_above = self.score >= threshold, self.own_conduct_score >= floor
        return {
            "live_count": len(above),
            "flagged_count": int((above & own_above).sum()),
            "between_floor_and_threshold_count": int((~above & own_above).sum()),
            "held_by_floor_count": int((above & ~own_above).sum()),
        }

    def exposed_share(self, floor: float) -> float:
        """Estimates the share of honest merchants who reach the floor, themselves or with one of their goods."""
        honesty, highest = self._merchants()
        return float(honesty[highest >= floor].sum() / honesty.sum()) if honesty.any() else 0.0

    def least_floor(self, most_exposed: float) -> float:
        """Returns the least floor, to 4 decimals, that no more than such a share of the honest merchants reach."""
        honesty, highest = self._merchants()
        order = np.argsort(-highest, kind="stable")
        too_many = np.flatnonzero(np.cumsum(honesty[order]) > most_exposed * honesty.sum())
        return round(float(highest[order][too_many[0]]) + 1e-4, 4) if len(too_many) else 0.0

    def _merchants(self) -> tuple[Floats, Floats]:
        """How likely each merchant is honest, by its worst score, and its highest own_conduct_score."""
        merchants, owner = np.unique(self.merchant, return_inverse=True)
        worst, highest = np.zeros(len(merchants)), np.zeros(len(merchants))
        np.maximum.at(worst, owner, self.score)
        np.maximum.at(highest, owner, self.own_conduct_score)
        return 1.0 - worst / 100.0, highest


@dataclass(frozen=True)
class Flagging:
    """Where a flag begins, and what share of flags is expected to be right.

    Attributes:
        threshold: The least score to flag.
        floor: The least own_conduct_score to flag.
        exposed_share: The estimated share of honest merchants who reach the floor: others can put these on a list, and nobody
            else.
        target: The precision that the policy asks for.
        basis: `target` if the table names a score that reaches it, else `fallback`: the threshold is 50.
        expected_precision: At the threshold; None on the fallback.
        source: Where the estimates come from.
        bands: One a band of ten points: band, expected_precision or None, verdicts.
        table: One row for each ten points and each five above 50: score, precision, low, high, recall, verdicts.
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
        """Returns all of it as plain data, for the model's JSON."""
        return {**self.__dict__, "bands": list(self.bands), "table": list(self.table)}


def band_of(score: float) -> str:
    """Returns the band of a score from 0 to 100: `[80,90)`, the last `[90,100]`."""
    return BANDS[min(9, int(score // 10))]


def flagging(
    units: Units,
    standing: Standing,
    prevalence: float,
    target: float = DEFAULT_TARGET,
    most_exposed: float = MOST_EXPOSED,
) -> Flagging:
    """Estimates the table, picks the threshold by the target, and sets the floor.

    Args:
        units: Scored verdicts.
        standing: Where those stand who are rated.
        prevalence: Estimated share of positives among all goods, 0 to 1.
        target: Precision that the policy asks for, 0 to 1.
        most_exposed: Share of the honest merchants, 0 to 1, that may reach the floor.

    Returns:
        The threshold is the least score at which precision reaches the target; where its 95 % interval is wider than
        0.30, or no score reaches it, 50. The floor is the least that at most `most_exposed` of the honest merchants reach,
        but no less than 3 times the prevalence or 50, whichever is lower.
    """
    threshold, expected = _threshold(units, target)
    by_prevalence = min(100.0 * FLOOR_TIMES_PREVALENCE * prevalence, HIGHEST_BY_PREVALENCE)
    floor = round(max(by_prevalence, standing.least_floor(most_exposed)), 4)
    return Flagging(
        threshold=threshold,
        floor=floor,
        exposed_share=round(standing.exposed_share(floor), 4),
        target=target,
        basis="fallback" if expected is None else "target",
        expected_precision=expected,
        source=units.source,
        bands=tuple(_band(units, low) for low in range(0, 100, 10)),
        table=tuple(_table_row(units, float(at)) for at in (*range(0, 50, 10), *range(50, 100, 5))),
    )


def threshold_for(flagging: Mapping[str, Any], target: float) -> tuple[float, float | None]:
    """Picks the threshold for another target than the model was trained for, by what the model keeps.

    Args:
        flagging: What `Flagging.as_dict` keeps of a model.
        target: Precision asked for, 0 to 1.

    Returns:
        The least score of the precision table, or the model's own threshold, at which precision reaches the target, and that
        precision; a higher target never gives a lower score. Where the precision's interval is wider than 0.30, or no score
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


def precision_from(units: Units) -> tuple[Floats, Floats, Floats, Floats]:
    """Estimates precision above every score that a unit has.

    Returns:
        Distinct scores, falling; precision among units at or above each; the two ends of its 95 % Wilson interval at
        the effective number of merchants.
    """
    order = np.argsort(-units.score, kind="stable")
    score, weight = units.score[order], units.weight[order]
    last = np.flatnonzero(np.append(np.diff(score) != 0, True)) if len(score) else np.array([], dtype=np.int64)
    total = np.cumsum(weight)[last]
    precision = np.cumsum(weight * units.label[order])[last] / total
    earlier = _earlier_of_merchant(weight, units.merchant[order])
    effective = total**2 / np.cumsum(weight**2 + 2 * weight * earlier)[last]
    low, high = wilson(precision, effective)
    return score[last], precision, low, high


def _earlier_of_merchant(weight: Floats, merchant: Integers) -> Floats:
    """The weight that each unit's merchant has in the units before it."""
    order = np.argsort(merchant, kind="stable")
    running = np.cumsum(weight[order]) - weight[order]
    firsts = np.flatnonzero(np.append(True, np.diff(merchant[order]) != 0)) if len(order) else order
    earlier = np.empty_like(weight)
    earlier[order] = running - np.repeat(running[firsts], np.diff(np.append(firsts, len(order))))
    return earlier


def wilson(share: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Returns the ends of the 95 % Wilson interval of shares observed among `size` units."""
    centre = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * np.sqrt(share * (1 - share) / size + Z95**2 / (4 * size**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _threshold(units: Units, target: float) -> tuple[float, float | None]:
    score, precision, low, high = precision_from(units)
    reached = np.flatnonzero(precision >= target)
    if not len(reached):
        return FALLBACK_THRESHOLD, None
    least = reached[-1]
    if high[least] - low[least] > WIDEST_INTERVAL:
        return FALLBACK_THRESHOLD, None
    return float(np.floor(score[least] * 1e4) / 1e4), round(float(precision[least]), 4)


def _band(units: Units, low: int) -> dict[str, Any]:
    inside = units.take((units.score >= low) & ((units.score < low + 10) | (low == 90)))
    verdicts = int(inside.is_verdict.sum())
    known = _share(inside) if verdicts >= ENOUGH_VERDICTS else None
    told = round(known[0], 4) if known and known[2] - known[1] <= WIDEST_INTERVAL else None
    return {"band": BANDS[low // 10], "verdicts": verdicts, "expected_precision": told}


def _share(units: Units) -> tuple[float, float, float]:
    """The weighted share of positives, and the two ends of its interval."""
    share = float(np.average(units.label, weights=units.weight))
    merchants = effective_size(np.bincount(np.unique(units.merchant, return_inverse=True)[1], weights=units.weight))
    low, high = wilson(np.array([share]), np.array([merchants]))
    return share, float(low[0]), float(high[0])


def _table_row(units: Units, at: float) -> dict[str, Any]:
    above = units.take(units.score >= at)
    positives = float(units.weight @ units.label)
    row: dict[str, Any] = {"score": at, "verdicts": int(above.is_verdict.sum())}
    if not len(above.score) or not positives:
        return {**row, "precision": None, "low": None, "high": None, "recall": None}
    told = (*_share(above), float(above.weight @ above.label) / positives)
    return {
        **row,
        **{name: round(value, 4) for name, value in zip(("precision", "low", "high", "recall"), told, strict=True)},
    }
