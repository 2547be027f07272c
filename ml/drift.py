"""How a population stands beside the one that lived at a model's cut: what has moved, feature by feature and in the score.

The model keeps that population as shares by bin: tenths of what was known, beside the share that was not. The population
stability index sums, over bins, the difference of two shares times the logarithm of their ratio. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ml.training_set import Floats, Matrix

BINS: Final = 10
LEAST_SHARE: Final = 1e-4
"""An empty bin counts as so much, for the logarithm."""

Reference = Mapping[str, Mapping[str, Any]]


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


def psi_by_feature(reference: Reference, features: Matrix, columns: Sequence[str]) -> dict[str, float]:
    """Returns the population stability index of each column against a reference that has it, 4 decimals."""
    return {
        name: round(
            psi(reference[name]["shares"], _shares(features[:, at].astype(np.float64), reference[name]["edges"])), 4
        )
        for at, name in enumerate(columns)
        if name in reference
    }


def psi(before: Sequence[float] | Floats, now: Sequence[float] | Floats) -> float:
    """Returns the population stability index of two lists of shares: 0 where they are the same, 0.25 is a great change."""
    a, b = (np.maximum(np.asarray(shares, dtype=np.float64), LEAST_SHARE) for shares in (before, now))
    return float(((b - a) * np.log(b / a)).sum())


def _shares(values: Floats, edges: Sequence[float]) -> Floats:
    """Shares of values by bin, unknown ones last; all nought where there are no values."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(np.asarray(edges), known, side="left"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known)) / max(len(values), 1)
