"""How a population stands beside the one that lived at a model's cut: what has moved, feature by feature and in the score.

The model keeps that population as shares by bin: tenths of what was known, beside the share that was not. The population
stability index sums, over bins, the difference of two shares times the logarithm of their ratio. What chance would do is
allowed for, and how far the population had moved by itself in as many days before the cut. Beside it stand categories
that are new or gone, what was expected of test buys and audits that came in since, and how long labels take. What of it is
too much is for the gate on scores to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml.calibrate import effective_size
from ml.model import RiskModel
from ml.training_set import Floats, Live, Matrix, Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from ml.shadow import Found

BINS: Final = 10
LEAST_SHARE: Final = 1e-4
"""An empty bin counts as so much, for the logarithm."""
CHANCE: Final = 1e-6
"""How seldom chance alone may move a feature by what is put down to it: there are a hundred features, and many days."""
SEEN_ROWS: Final = 20
"""A category of so many rows is not gone, or new, by chance."""
LEAST_DRAWN: Final = 20
"""Under so many outcomes that were drawn by design nothing is said of the calibration."""
LARGEST: Final = 999.0
"""What stands for an amount without bound."""
LEAST_ROWS: Final = 200
"""Of so many training rows of one date, of equal weight, it is said how far the population has moved since then."""
DAYS_BACK: Final = 60
LEAST_MOVE: Final = 0.01
"""Smaller indices are not kept."""
SCHEMA: Final = ("measure", "name", "before", "now", "amount", "allowed", "model_digest")
TEXTS: Final = ("measure", "name", "model_digest")

Reference = Mapping[str, Mapping[str, Any]]
Moves = Mapping[str, Sequence[Sequence[float]]]
"""By feature: days before a cut, and how far the population moved from then to the cut; days rise."""


def reference(features: Matrix, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns what a model keeps of the population that lives at its cut.

    Args:
        features: Features, shape (n, columns); nan where unknown.
        columns: Their names.

    Returns:
        By column: `edges`, distinct inner edges of tenths of the known values, and `shares` of the bins that they part, the
        last one the share that is unknown.
    """
    told = {}
    for at, name in enumerate(columns):
        values = features[:, at].astype(np.float64)
        known = values[~np.isnan(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.array([])
        kept = [float(f"{edge:.9g}") for edge in edges]
        told[name] = {"edges": kept, "shares": [round(float(share), 6) for share in _shares(values, kept)]}
    return told


def moves(rows: Rows, reference: Reference, columns: Sequence[str], cut_day: int) -> dict[str, list[list[float]]]:
    """Returns how far each feature had moved by itself up to the cut: what counts all that went before, or ages, moves on.

    Args:
        rows: The training's rows; weighted, those of one date stand for who lived then.
        reference: What is kept of those who live at the cut.
        columns: Names of the rows' features.
        cut_day: The cut, in days since 1970-01-01.

    Returns:
        `Moves` of features with an index of 0.01 or more on some date, over the dates of the last 60 days that hold enough rows.
    """
    told: dict[str, list[list[float]]] = {name: [] for name in columns}
    sampled = ~rows.purposed("calibrate")
    for day in sorted(set(rows.day[sampled & (rows.day < cut_day)].tolist()), reverse=True):
        then = rows.take(sampled & (rows.day == day))
        if cut_day - day > DAYS_BACK or effective_size(then.weight) < LEAST_ROWS:
            continue
        for at, name in enumerate(columns):
            before = _shares(then.features[:, at].astype(np.float64), reference[name]["edges"], then.weight)
            told[name].append([cut_day - day, round(psi(before, reference[name]["shares"]), 4)])
    return {name: by_day for name, by_day in told.items() if any(amount >= LEAST_MOVE for _, amount in by_day)}


def population(live: Live) -> dict[str, Any]:
    """Returns what else a model keeps of the population that lives at its cut: how many, and the share of each category."""
    counts = np.bincount(live.category, minlength=len(live.categories))
    shares = counts / max(len(live.category), 1)
    kept = {name: round(float(share), 6) for name, share in zip(live.categories, shares, strict=True) if share}
    return {"rows": len(live.category), "categories": dict(sorted(kept.items()))}


def measure(model: RiskModel, features: Path, scores: Path, *, days: int) -> list[dict[str, Any]]:
    """Sets those who live as of a date beside those who lived at the model's cut; a column at a time is in memory.

    Args:
        model: The model that rated them.
        features: Their features.
        scores: Their scores.
        days: Days since the cut.

    Returns:
        Rows of `SCHEMA`. `psi`: a feature, or the score, with its index as `amount`, the share unknown `before` and `now`,
        and as `allowed` what chance alone exceeds once in a million and how far the feature had moved by itself in as many
        days before the cut. `category`: one that is new or gone, with its shares; the greater of them is the `amount`, and the
        share that 20 rows are is `allowed`. Nothing of what a model of an earlier release did not keep.
    """
    import pyarrow.parquet as pq

    reference, kept, own = model.body["reference"], model.body.get("population"), model.body.get("moves", {})
    rows: list[dict[str, Any]] = []
    with pq.ParquetFile(features) as file, pq.ParquetFile(scores) as rated:
        live = file.metadata.num_rows
        if not live:
            return rows
        for name in (*model.columns, "score"):
            if name not in reference:
                continue
            column = (rated if name == "score" else file).read(columns=[name])[name]
            values = column.cast("double").to_numpy().astype(np.float32).astype(np.float64)
            before, now = reference[name]["shares"], _shares(values, reference[name]["edges"])
            chance = _by_chance(len(before), kept["rows"], live) if kept else 0.0
            allowed = chance + _by_itself(own.get(name, ()), days)
            rows.append(_row("psi", name, before[-1], now[-1], psi(before, now), allowed))
        rows += _categories(file.read(columns=["category"])["category"].to_pylist(), kept) if kept else []
    return rows


def _by_chance(bins: int, before: int, now: int) -> float:
    """Returns what the index of one population, drawn twice, exceeds once in a million."""
    from scipy.stats import chi2

    return float(chi2.isf(CHANCE, max(bins - 1, 1))) * (1.0 / max(before, 1) + 1.0 / now)


def _by_itself(own: Sequence[Sequence[float]], days: int) -> float:
    """Returns how far a feature may have moved on its own: as in as many days before the cut; in more of them, in proportion."""
    if not own or days <= 0:
        return 0.0
    at, amount = np.array([[0.0, 0.0], *own]).T
    furthest = np.maximum.accumulate(amount)
    beyond = max(days / at[-1], 1.0)
    return float(np.interp(days, at, furthest) * beyond)


def _categories(found: Sequence[str | None], kept: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    counts, before = Counter(name or "" for name in found), kept["categories"]
    for name in sorted({*counts, *before}):
        was, now = before.get(name, 0.0), counts[name] / len(found)
        if not was or not now:
            rows = kept["rows"] if was else len(found)
            yield _row("category", name or "none", was, now, max(was, now), SEEN_ROWS / max(rows, 1))


def calibration(score: Floats, found: Found) -> Iterator[dict[str, Any]]:
    """Sets what scores expected of outcomes beside what came out, weighted to all; those drawn by design count alone.

    Args:
        score: Scores of all that was rated, 0 to 100.
        found: Outcomes that came in since.

    Yields:
        A row of `SCHEMA`: expected share `before`, found share `now`, and as `amount` how many standard deviations lie
        between them; no row where too few were drawn.
    """
    drawn = ~np.isnan(found.inclusion)
    if drawn.sum() < LEAST_DRAWN:
        return
    weight, p = 1.0 / found.inclusion[drawn], score[found.at][drawn] / 100.0
    expected, positive = np.average(p, weights=weight), np.average(found.is_positive[drawn], weights=weight)
    deviation = float(np.sqrt((weight**2 * p * (1.0 - p)).sum()) / weight.sum())
    amount = abs(positive - expected) / deviation if deviation else LARGEST * (positive != expected)
    yield _row("calibration", "drawn by design", expected, positive, amount, 0.0)


def label_delay(source: str, before: float | None, now: float | None) -> Iterator[dict[str, Any]]:
    """Yields a row of `SCHEMA` with how many days labels of a source take at the median, up to the cut and lately."""
    if before is not None and now is not None:
        yield _row("label_delay", source, before, now, now - before, 0.0)


def table(model_digest: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns rows as a table, in the order of what moved most, with the model that rated."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string() if name in TEXTS else pa.float64()) for name in SCHEMA])
    ordered = sorted(rows, key=lambda row: (row["measure"], -row["amount"], row["name"]))
    return pa.Table.from_pylist([{**row, "model_digest": model_digest} for row in ordered], schema=schema)


def _row(measure: str, name: str, before: float, now: float, amount: float, allowed: float) -> dict[str, Any]:
    figures = {"before": before, "now": now, "amount": min(amount, LARGEST), "allowed": allowed}
    return {"measure": measure, "name": name, **{key: round(float(value), 6) for key, value in figures.items()}}


def psi_by_feature(reference: Reference, features: Matrix, columns: Sequence[str]) -> dict[str, float]:
    """Returns the population stability index of each column against a reference that has it, 4 decimals."""
    return {
        name: round(
            psi(reference[name]["shares"], _shares(features[:, at].astype(np.float64), reference[name]["edges"])), 4
        )
        for at, name in enumerate(columns)
        if name in reference
    }


def as_extreme_share(kept: Mapping[str, Any], value: float | None) -> float:
    """Returns which share of those who lived at a model's cut had a value as extreme, to a tenth of what was known.

    Args:
        kept: What the model keeps of a feature: `edges` and `shares`, as `reference` gives them.
        value: A value of it; None if it is unknown.

    Returns:
        The share in the value's bin and beyond it, on the side where fewer are; of an unknown one the share that was unknown.
    """
    *shares, unknown = kept["shares"]
    if value is None:
        return float(unknown)
    at = int(np.searchsorted(np.asarray(kept["edges"]), value, side="left"))
    return round(float(min(sum(shares[: at + 1]), sum(shares[at:]))), 6)


def psi(before: Sequence[float] | Floats, now: Sequence[float] | Floats) -> float:
    """Returns the population stability index of two lists of shares: 0 where they are the same, 0.25 is a great change."""
    a, b = (np.maximum(np.asarray(shares, dtype=np.float64), LEAST_SHARE) for shares in (before, now))
    return float(((b - a) * np.log(b / a)).sum())


def _shares(values: Floats, edges: Sequence[float], weight: Floats | None = None) -> Floats:
    """Shares of values by bin, unknown ones last; all nought where there are no values."""
    unknown, last = np.isnan(values), len(edges) + 1
    bins = np.where(unknown, last, np.searchsorted(np.asarray(edges), np.nan_to_num(values), side="left"))
    counts = np.bincount(bins, weights=weight, minlength=last + 1)
    return np.asarray(counts / max(counts.sum(), LEAST_SHARE), dtype=np.float64)
