"""Pictures for the model's review: reliability, precision and recall, importances. PNG bytes, nothing else."""

from __future__ import annotations

import io
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

import numpy as np

from ml.evaluate import Report, Scored

BINS: Final = 10
ONE_AT_A_TIME: Final = Lock()  # matplotlib shares what it knows of fonts and texts, and models are trained side by side
NAMES: Final = {
    "verdict": "held-out verdicts, weighted to all goods",
    "evaluate": "last dates (unlabelled counts as genuine)",
    "forward_seen": "forward folds, merchants seen",
    "forward_unseen": "forward folds, merchants never seen",
    "test": "test rows of all cuts",
}


def pictures(report: Report, threshold: float) -> dict[str, bytes]:
    """Draws everything that a reviewer looks at.

    Args:
        report: What was measured.
        threshold: The least score to flag; marked where precision is drawn against recall.

    Returns:
        PNG bytes by file name. Reliability is drawn from held-out verdicts where there are any: elsewhere unlabelled counts
        as genuine, and no score could look right.
    """
    sources = {name: scored for name, scored in report.sources.items() if scored.label.any() and not scored.label.all()}
    calibrated = {name: scored for name, scored in sources.items() if name == "verdict"}
    return {
        "reliability.png": _reliability(calibrated or sources),
        "precision_recall.png": _precision_recall(sources, threshold),
        "importances.png": _importances(report.importances),
    }


def table_pictures(scored: Scored, threshold: float) -> dict[str, bytes]:
    """Draws how test rows of a table of somebody's own were scored; PNG bytes by file name."""
    return {
        "reliability.png": _reliability({"test": scored}),
        "precision_recall.png": _precision_recall({"test": scored}, threshold),
    }


def new_axes(title: str, x: str, y: str, width: float = 6.5, height: float = 4.5) -> tuple[Any, Any]:
    """Returns a new figure and its axes, in the one style that all our pictures have."""
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
    figure, axes = new_axes("Score against the share that is positive", "mean score / 100", "share of positives")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="perfect")
    for name, scored in sources.items():
        said, true = _bins(scored)
        axes.plot(said, true, marker="o", markersize=4, linewidth=1.2, label=NAMES[name])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    return png(figure)


def _bins(scored: Scored) -> tuple[list[float], list[float]]:
    """Mean score and share of positives by band of ten points, where a band has rows."""
    band = np.minimum((scored.score // 10).astype(np.int64), BINS - 1)
    said, true = [], []
    for at in np.unique(band):
        inside = band == at
        said.append(float(np.average(scored.score[inside], weights=scored.weight[inside])) / 100.0)
        true.append(float(np.average(scored.label[inside], weights=scored.weight[inside])))
    return said, true


def _precision_recall(sources: Mapping[str, Scored], threshold: float) -> bytes:
    figure, axes = new_axes(f"Precision against recall; dots: threshold {threshold:g}", "recall", "precision")
    for name, scored in sources.items():
        order = np.argsort(-scored.score, kind="stable")
        found = np.cumsum((scored.weight * scored.label)[order])
        recall, precision = found / found[-1], found / np.cumsum(scored.weight[order])
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
    figure, axes = new_axes("What moves the score", "mean |TreeSHAP|, log-odds", "", height=1.5 + 0.24 * len(names))
    axes.barh(names, [importances[name] for name in names], color="#33658a")
    axes.tick_params(axis="y", labelsize=8)
    return png(figure)
