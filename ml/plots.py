"""Charts for the review: reliability, precision and recall, importances; as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

import numpy as np

from ml.metrics import Report, Scored

BINS: Final = 10
ONE_AT_A_TIME: Final = Lock()  # matplotlib caches fonts globally, and models are trained in parallel
NAMES: Final = {
    "verdict": "held-out verdicts, weighted to the population",
    "evaluate": "last dates (unlabelled rows count as negatives)",
    "forward_seen": "forward folds, seen merchants",
    "forward_unseen": "forward folds, unseen merchants",
    "test": "test rows of all splits",
}


def pictures(report: Report, threshold: float) -> dict[str, bytes]:
    """Draws the charts of a model.

    Args:
        report: Its metrics.
        threshold: The lowest score to flag; marked in the chart of precision and recall.

    Returns:
        PNG bytes by file name. Reliability uses only held-out verdicts if there are any: in the other sources unlabelled rows
        count as negatives.
    """
    sources = {name: scored for name, scored in report.sources.items() if scored.label.any() and not scored.label.all()}
    calibrated = {name: scored for name, scored in sources.items() if name == "verdict"}
    return {
        "reliability.png": _reliability(calibrated or sources),
        "precision_recall.png": _precision_recall(sources, threshold),
        "importances.png": _importances(report.importances),
    }


def table_pictures(scored: Scored, threshold: float) -> dict[str, bytes]:
    """Draws the charts for the test rows of a user's table; PNG bytes by file name."""
    return {
        "reliability.png": _reliability({"test": scored}),
        "precision_recall.png": _precision_recall({"test": scored}, threshold),
    }


def new_axes(title: str, x: str, y: str, width: float = 6.5, height: float = 4.5) -> tuple[Any, Any]:
    """Returns a new figure and its axes, in the style of all charts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11 if height > 3 else 9)
    axes.set_xlabel(x, fontsize=None if height > 3 else 8)
    axes.set_ylabel(y, fontsize=None if height > 3 else 8)
    axes.grid(alpha=0.25)
    return figure, axes


def png(figure: Any) -> bytes:
    """Returns a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with ONE_AT_A_TIME:
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _reliability(sources: Mapping[str, Scored]) -> bytes:
    figure, axes = new_axes("Reliability", "mean score / 100", "share of positives")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="perfect")
    for name, scored in sources.items():
        mean_score, true = _bins(scored)
        axes.plot(mean_score, true, marker="o", markersize=4, linewidth=1.2, label=NAMES[name])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    return png(figure)


def _bins(scored: Scored) -> tuple[list[float], list[float]]:
    """Returns mean score and share of positives of each band of ten points that has rows."""
    band = np.minimum((scored.score // 10).astype(np.int64), BINS - 1)
    mean_score, true = [], []
    for index in np.unique(band):
        inside = band == index
        mean_score.append(float(np.average(scored.score[inside], weights=scored.weight[inside])) / 100.0)
        true.append(float(np.average(scored.label[inside], weights=scored.weight[inside])))
    return mean_score, true


def _precision_recall(sources: Mapping[str, Scored], threshold: float) -> bytes:
    figure, axes = new_axes(f"Precision against recall; dots: threshold {threshold:g}", "recall", "precision")
    for name, scored in sources.items():
        order = np.argsort(-scored.score, kind="stable")
        true_positives = np.cumsum((scored.weight * scored.label)[order])
        recall, precision = true_positives / true_positives[-1], true_positives / np.cumsum(scored.weight[order])
        (line,) = axes.step(recall, precision, where="post", linewidth=1.2, label=NAMES[name])
        flagged = int((scored.score >= threshold).sum())
        if flagged:
            axes.plot(recall[flagged - 1], precision[flagged - 1], marker="o", markersize=6, color=line.get_color())
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    if sources:
        axes.legend(fontsize=8)
    return png(figure)


def _importances(importances: Mapping[str, float]) -> bytes:
    names = list(importances)[:20][::-1]
    figure, axes = new_axes("Feature importance", "mean |TreeSHAP|, log-odds", "", height=1.5 + 0.24 * len(names))
    axes.barh(names, [importances[name] for name in names], color="#33658a")
    axes.tick_params(axis="y", labelsize=8)
    return png(figure)
