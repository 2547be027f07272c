"""Drift: compares the current population with the one at a model's cutoff_date, by feature and by score.

The model stores that population as shares by bin: deciles of the known values, and the share of missing ones. The population
stability index (PSI) sums, over bins, the difference of two shares times the logarithm of their ratio. It is compared with
what chance explains plus how far the feature had moved in as many days before cutoff_date. Also measured: new and vanished
categories, expected against actual outcomes of test buys and audits, and label delay. The gate on scores sets the limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.calibrate import effective_size
from ml.model import RiskModel
from ml.shadow import Outcomes
from ml.training_set import ActiveEntities, Floats, Matrix, Rows

BINS: Final = 10
LEAST_SHARE: Final = 1e-4
"""The share of an empty bin, for the logarithm."""
CHANCE: Final = 1e-6
"""Significance level of the chance allowance: there are a hundred features, and many days."""
SEEN_ROWS: Final = 20
"""A category of this many rows does not appear or vanish by chance."""
LEAST_DRAWN: Final = 20
"""Fewer sampled outcomes give no calibration row."""
LARGEST: Final = 999.0
"""Replaces an infinite amount."""
LEAST_ROWS: Final = 200
"""Smallest effective number of training rows of a date for which the past PSI is measured."""
DAYS_BACK: Final = 60
LEAST_MOVE: Final = 0.01
"""Smaller values are not stored."""
SCHEMA: Final = ("measure", "name", "before", "now", "amount", "allowed", "model_digest")
TEXTS: Final = ("measure", "name", "model_digest")

Reference = Mapping[str, Mapping[str, Any]]
PastPsi = Mapping[str, Sequence[Sequence[float]]]
"""By feature: pairs of days before cutoff_date and PSI from then to cutoff_date; days ascending."""


def reference(features: Matrix, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the reference distribution that a model stores.

    Args:
        features: Features, shape (n, columns); nan where missing.
        columns: Their names.

    Returns:
        By column: `edges`, the distinct inner edges of deciles of the known values, and `shares` of the bins between them; the
        last one is the share of missing values.
    """
    result = {}
    for position, name in enumerate(columns):
        values = features[:, position].astype(np.float64)
        known = values[~np.isnan(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.array([])
        kept = [float(f"{edge:.9g}") for edge in edges]
        result[name] = {"edges": kept, "shares": [round(float(share), 6) for share in _shares(values, kept)]}
    return result


def past_psi(rows: Rows, reference: Reference, columns: Sequence[str], cutoff_day: int) -> dict[str, list[list[float]]]:
    """Returns each feature's PSI before cutoff_date: cumulative counts and ages always move.

    Args:
        rows: Training rows; weighted, those of one date represent the population of that date.
        reference: The reference distribution at cutoff_date.
        columns: Names of the rows' features.
        cutoff_day: cutoff_date, in days since 1970-01-01.

    Returns:
        `PastPsi` of the features with a PSI of 0.01 or more on some date, over the dates of the last 60 days with enough rows.
    """
    result: dict[str, list[list[float]]] = {name: [] for name in columns}
    sampled = ~rows.has_purpose("calibrate")
    for day in sorted(set(rows.day[sampled & (rows.day < cutoff_day)].tolist()), reverse=True):
        earlier = rows.take(sampled & (rows.day == day))
        if cutoff_day - day > DAYS_BACK or effective_size(earlier.weight) < LEAST_ROWS:
            continue
        for position, name in enumerate(columns):
            before = _shares(earlier.features[:, position].astype(np.float64), reference[name]["edges"], earlier.weight)
            result[name].append([cutoff_day - day, round(psi(before, reference[name]["shares"]), 4)])
    return {name: by_day for name, by_day in result.items() if any(amount >= LEAST_MOVE for _, amount in by_day)}


def population(active: ActiveEntities) -> dict[str, Any]:
    """Returns the size of the population at cutoff_date and the share of each category."""
    counts = np.bincount(active.category, minlength=len(active.categories))
    shares = counts / max(len(active.category), 1)
    kept = {name: round(float(share), 6) for name, share in zip(active.categories, shares, strict=True) if share}
    return {"rows": len(active.category), "categories": dict(sorted(kept.items()))}


def measure(model: RiskModel, features: Path, scores: Path, *, days: int) -> list[dict[str, Any]]:
    """Compares the population as of a date with that at the model's cutoff_date, holding one column in memory at a time.

    Args:
        model: The model that rated them.
        features: Their features.
        scores: Their scores, also those of their texts.
        days: Days since cutoff_date.

    Returns:
        Rows of `SCHEMA`. `psi`: a feature, or the score; `amount` is its PSI, `before` and `now` are shares of missing values,
        and `allowed` is what chance exceeds once in a million plus the PSI of as many days before cutoff_date. `category`: a
        new or vanished category with its shares; `amount` is the larger share, `allowed` the share of 20 rows. Parts that a
        model of an earlier release did not store are left out.
    """
    reference, kept, own = model.body["reference"], model.body.get("population"), model.body.get("past_psi", {})
    rows: list[dict[str, Any]] = []
    with pq.ParquetFile(features) as file, pq.ParquetFile(scores) as rated:
        active = file.metadata.num_rows
        if not active:
            return rows
        for name in (*model.columns, "score"):
            if name not in reference:
                continue
            column = (file if name in file.schema_arrow.names else rated).read(columns=[name])[name]
            values = column.cast("double").to_numpy().astype(np.float32).astype(np.float64)
            before, now = reference[name]["shares"], _shares(values, reference[name]["edges"])
            chance = _chance_allowance(len(before), kept["rows"], active) if kept else 0.0
            allowed = chance + _past_allowance(own.get(name, ()), days)
            rows.append(_row("psi", name, before[-1], now[-1], psi(before, now), allowed))
        rows += _categories(file.read(columns=["category"])["category"].to_pylist(), kept) if kept else []
    return rows


def _chance_allowance(bins: int, before: int, now: int) -> float:
    """Returns what the PSI of two samples of one population exceeds once in a million."""
    from scipy.stats import chi2

    return float(chi2.isf(CHANCE, max(bins - 1, 1))) * (1.0 / max(before, 1) + 1.0 / now)


def _past_allowance(own: Sequence[Sequence[float]], days: int) -> float:
    """Returns a feature's PSI in as many days before cutoff_date; extrapolated in proportion beyond the measured days."""
    if not own or days <= 0:
        return 0.0
    position, amount = np.array([[0.0, 0.0], *own]).T
    furthest = np.maximum.accumulate(amount)
    beyond = max(days / position[-1], 1.0)
    return float(np.interp(days, position, furthest) * beyond)


def _categories(outcomes: Sequence[str | None], kept: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    counts, before = Counter(name or "" for name in outcomes), kept["categories"]
    for name in sorted({*counts, *before}):
        was, now = before.get(name, 0.0), counts[name] / len(outcomes)
        if not was or not now:
            rows = kept["rows"] if was else len(outcomes)
            yield _row("category", name or "none", was, now, max(was, now), SEEN_ROWS / max(rows, 1))


def calibration(score: Floats, outcomes: Outcomes) -> Iterator[dict[str, Any]]:
    """Compares expected with actual outcomes of sampled entities, weighted to the population.

    Args:
        score: Scores of all rated entities, 0 to 100.
        outcomes: Outcomes since then.

    Yields:
        A row of `SCHEMA`: `before` is the expected share, `now` the actual one, and `amount` their difference in standard
        deviations; no row if the sample is too small.
    """
    drawn = ~np.isnan(outcomes.inclusion)
    if drawn.sum() < LEAST_DRAWN:
        return
    weight, p = 1.0 / outcomes.inclusion[drawn], score[outcomes.index][drawn] / 100.0
    expected, positive = np.average(p, weights=weight), np.average(outcomes.is_positive[drawn], weights=weight)
    deviation = float(np.sqrt((weight**2 * p * (1.0 - p)).sum()) / weight.sum())
    amount = abs(positive - expected) / deviation if deviation else LARGEST * (positive != expected)
    yield _row("calibration", "sampled", expected, positive, amount, 0.0)


def label_delay(source: str, before: float | None, now: float | None) -> Iterator[dict[str, Any]]:
    """Yields a row of `SCHEMA` with the median label delay of a source in days, before cutoff_date and recently."""
    if before is not None and now is not None:
        yield _row("label_delay", source, before, now, now - before, 0.0)


def table(model_digest: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns rows as a table, the largest amounts first, with the model's digest."""
    schema = pa.schema([(name, pa.string() if name in TEXTS else pa.float64()) for name in SCHEMA])
    ordered = sorted(rows, key=lambda row: (row["measure"], -row["amount"], row["name"]))
    return pa.Table.from_pylist([{**row, "model_digest": model_digest} for row in ordered], schema=schema)


def _row(measure: str, name: str, before: float, now: float, amount: float, allowed: float) -> dict[str, Any]:
    figures = {"before": before, "now": now, "amount": min(amount, LARGEST), "allowed": allowed}
    return {"measure": measure, "name": name, **{key: round(float(value), 6) for key, value in figures.items()}}


def psi_by_feature(reference: Reference, features: Matrix, columns: Sequence[str]) -> dict[str, float]:
    """Returns the PSI of each column that the reference has, 4 decimals."""
    return {
        name: round(
            psi(reference[name]["shares"], _shares(features[:, position].astype(np.float64), reference[name]["edges"])),
            4,
        )
        for position, name in enumerate(columns)
        if name in reference
    }


def as_extreme_share(kept: Mapping[str, Any], value: float | None) -> float:
    """Returns the share of the population at cutoff_date with a value at least as extreme, to a decile.

    Args:
        kept: The feature's `edges` and `shares`, as `reference` returns them.
        value: A value; None if it is missing.

    Returns:
        The share in the value's bin and beyond, on the smaller side; for a missing value the share of missing values.
    """
    *shares, unknown = kept["shares"]
    if value is None:
        return float(unknown)
    position = int(np.searchsorted(np.asarray(kept["edges"]), value, side="left"))
    return round(float(min(sum(shares[: position + 1]), sum(shares[position:]))), 6)


def psi(before: Sequence[float] | Floats, now: Sequence[float] | Floats) -> float:
    """Returns the PSI of two distributions over the same bins: 0 if they are equal; 0.25 is a large change."""
    a, b = (np.maximum(np.asarray(shares, dtype=np.float64), LEAST_SHARE) for shares in (before, now))
    return float(((b - a) * np.log(b / a)).sum())


def _shares(values: Floats, edges: Sequence[float], weight: Floats | None = None) -> Floats:
    """Returns shares of values by bin, missing ones last; all 0 without values."""
    unknown, last = np.isnan(values), len(edges) + 1
    bins = np.where(unknown, last, np.searchsorted(np.asarray(edges), np.nan_to_num(values), side="left"))
    counts = np.bincount(bins, weights=weight, minlength=last + 1)
    return np.asarray(counts / max(counts.sum(), LEAST_SHARE), dtype=np.float64)
