"""Renders the model card and the version's page in MLflow, for the reviewer.

The card is one HTML file, readable offline (`ml/card.html`); the page is Markdown, next to the signature that MLflow shows.
All figures are computed elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ml.compare import Comparison, Figure
from ml.coverage import describe_signal
from ml.declarations import Declaration
from ml.explain import EVERYWHERE, Explainer
from ml.metrics import METRIC_SOURCES, Report
from ml.model import MLFLOW_FILES, RiskModel, Scorer
from ml.review import Evaluation
from ml.starter import read_scorecard
from ml.training_set import Rows, Split, TrainingSet
from touchstone.core.files import canonical_json
from touchstone.core.text import visible, visible_in_html

TEMPLATE: Final = Path(__file__).resolve().parent / "card.html"
EXAMPLES: Final = 10
GAP: Final = "\u00a0" * 3  # MLflow renders table columns without space between them
MOST_FEATURES: Final = 20
PICTURES: Final = {
    "reliability.png": "Calibration: on the dashed line a score of 80 means 80 %.",
    "precision_recall.png": "Precision against recall; the dot marks the threshold, without the floor.",
    "importances.png": "Feature importance: mean absolute attribution.",
}
SOURCES: Final = {
    "evaluate": "the last dates; unlabelled rows count as negatives",
    "verdict": "held-out verdicts, weighted to the population",
    "forward": "forward folds; equal weight for every merchant",
}
LIMITS: Final = (
    "Unlabelled rows count as negatives in training, so recall on the last dates refers to the positives that somebody found.",
    "Verdicts are few and some are wrong; a band with fewer than 20 of them has no expected precision.",
    "It has no data from before its history, and cannot recognise a new kind of counterfeiter.",
    "Third parties can influence the features that buyers control; the floor limits what these alone can do.",
)


@dataclass(frozen=True)
class Example:
    """One held-out verdict with the model's ratings.

    Attributes:
        entity: Its id.
        score: 0 to 100.
        own_conduct_score: 0 to 100.
        reasons: Sentences, the strongest first.
    """

    entity: str
    score: float
    own_conduct_score: float
    reasons: tuple[str, ...]


def render(
    declaration: Declaration,
    model: RiskModel,
    training_set: TrainingSet,
    split: Split,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> bytes:
    """Renders the card.

    Args:
        declaration: The model's declaration.
        model: The model.
        training_set: Its training set.
        split: The rows by use.
        evaluation: Its evaluation.
        facts: `card.json`.
        pictures: PNG bytes by file name.

    Returns:
        HTML; the same training gives the same bytes.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible_in_html
    )
    environment.filters |= {"figure": _figure, "share": lambda value: f"{value:.0%}", "day": _day}
    environment.filters["coverage"] = describe_signal
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    comparison = evaluation.comparison
    page = template.render(
        declaration=declaration,
        digest=model.digest,
        flagging=model.body["flagging"],
        training=model.body["training"],
        facts=facts,
        judgement=evaluation.judgement,
        comparison=comparison if isinstance(comparison, Comparison) else None,
        no_comparison=comparison if isinstance(comparison, str) else "there is no champion yet",
        calibration=evaluation.calibration,
        windows=list(_windows(split)),
        labels=training_set.label_counts,
        indicators=read_scorecard(declaration) if model.is_starter else (),
        signals=_signals(declaration),
        metrics=list(_metrics(evaluation.report.metrics)),
        features=list(_features(declaration, evaluation.report)),
        examples=examples(model, split.calibrate, training_set.entities, facts["provenance"].get("base_currency", "")),
        pictures=[(_data_uri(pictures[name]), caption) for name, caption in PICTURES.items()],
        limits=LIMITS,
    )
    return page.encode()


def examples(model: RiskModel, verdicts: Rows, entities: Sequence[str], currency: str = "") -> dict[str, list[Example]]:
    """Selects up to ten each of true and false positives and negatives among the held-out verdicts.

    Flagged ones with the highest scores, true negatives with the lowest, and false negatives with the highest scores.
    """
    scorer = Scorer(model)
    score, own, flagged = scorer.rate(verdicts.features)
    falling = np.argsort(-score, kind="stable")
    kinds = {
        "true positives": (falling, flagged & verdicts.label),
        "false positives": (falling, flagged & ~verdicts.label),
        "false negatives": (falling, ~flagged & verdicts.label),
        "true negatives": (falling[::-1], ~flagged & ~verdicts.label),
    }
    explainer = Explainer(scorer, currency)
    result = {}
    for kind, (order, chosen) in kinds.items():
        rows = order[chosen[order]][:EXAMPLES]
        categories = [verdicts.categories[number] for number in verdicts.category[rows]]
        reasons = explainer.reasons(verdicts.features[rows], categories, flagged[rows])
        result[kind] = [
            Example(
                entity=entities[verdicts.entity[row]],
                score=float(score[row]),
                own_conduct_score=float(own[row]),
                reasons=tuple(reason["text"] for reason in json.loads(explanation)),
            )
            for row, explanation in zip(rows, reasons, strict=True)
        ]
    return result


def _windows(split: Split) -> Iterator[tuple[str, int, int, int, int]]:
    """Yields use, number of rows and positives, first and last day."""
    for name, rows in (
        ("training", split.train),
        ("evaluation", split.evaluate),
        ("calibration", split.calibrate),
    ):
        if len(rows):
            yield name, len(rows), int(rows.label.sum()), int(rows.day.min()), int(rows.day.max())


def _signals(declaration: Declaration) -> dict[str, dict[str, list[str]]]:
    """Returns feature names by signal and controller."""
    result: dict[str, dict[str, list[str]]] = {}
    for feature in declaration.features:
        result.setdefault(feature.signal, {}).setdefault(feature.controlled_by, []).append(feature.name)
    return result


def _metrics(metrics: Mapping[str, float]) -> Iterator[tuple[str, str, str, dict[str, Figure]]]:
    for source, description in SOURCES.items():
        for cell in ("seen", "unseen"):
            figures = {
                name: _named(metrics, f"{source}_{name}_{cell}") if source in sources else Figure(None, None, None)
                for name, sources in METRIC_SOURCES.items()
            }
            if any(figure.value is not None for figure in figures.values()):
                yield source, description, cell, figures


def _named(metrics: Mapping[str, float], name: str) -> Figure:
    return Figure(metrics.get(name), metrics.get(f"{name}_low"), metrics.get(f"{name}_high"))


def _features(declaration: Declaration, report: Report) -> Iterator[dict[str, Any]]:
    by_name = {feature.name: feature for feature in declaration.features}
    total = sum(report.importances.values()) or 1.0
    for name, importance in list(report.importances.items())[:MOST_FEATURES]:
        direction = report.directions.get(name, 0.0)
        yield {
            "feature": by_name[name],
            "share": importance / total,
            "direction": "raises the score"
            if direction > 0.1
            else "lowers the score"
            if direction < -0.1
            else "either way",
        }


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return ""
    interval = f" ({figure.low:.3f} to {figure.high:.3f})" if figure.low is not None and figure.high is not None else ""
    return f"{figure.value:.3f}{interval}"


def _day(day: int) -> str:
    return str(np.datetime64(int(day), "D"))


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def describe_version(run_id: str, facts: Mapping[str, Any], evaluation: Evaluation) -> str:
    """Returns the version's page in MLflow, as Markdown: a summary, the comparison with the champion, and the metrics.

    Args:
        run_id: MLflow's run, whose artifacts it shows and links to.
        facts: `card.json`.
        evaluation: The version's evaluation.
    """
    judgement = evaluation.judgement
    failed = len(judgement.failures)
    gate = f"fails {failed} checks of the gate" if failed else "passes all checks of the gate"
    flags, calibration = facts["flagging"], facts["calibration"]["main"]
    result = (
        f"Trained as of {facts['as_of']}, {gate}. The decision and its evidence are on "
        f"[the model card]({_artifact(run_id, 'card.html')})."
    )
    calibration_text = (
        f"Calibration: {calibration['method']} on {calibration['positives']} positive verdicts and {calibration['known']} known "
        "positives. "
        f"Threshold {flags['threshold']:g} ({flags['basis']}), floor {flags['floor']:g}."
    )
    population_text = (
        "Of {active_count:,} active entities without a positive label, {flagged_count:,} would be flagged, "
        "{between_floor_and_threshold_count:,} are between floor and threshold (third parties could push these onto a list, "
        "and no others), and {held_by_floor_count:,} are above the threshold but kept off the list by the floor. "
        "An estimated {exposed:.1%} of the honest merchants reach the floor, themselves or with a listing."
    ).format(**facts["population"], exposed=flags["exposed_share"])
    failures = [f"- {sentence}" for sentence in judgement.failures]
    pictures = [picture(run_id, f"plots/{name}.png") for name in ("reliability", "importances")]
    return "\n\n".join(
        [
            result,
            *failures,
            _comparison_table(evaluation.comparison),
            calibration_text,
            population_text,
            _measured_table(evaluation.report.metrics),
            *pictures,
        ]
    )


def picture(run_id: str, path: str) -> str:
    """Returns the Markdown that shows an image among a run's artifacts."""
    return f"![{Path(path).stem}]({_artifact(run_id, path)})"


def _artifact(run_id: str, path: str) -> str:
    return f"/get-artifact?path={path}&run_uuid={run_id}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Returns a table as Markdown, with space between its columns in MLflow's UI."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(f"{visible(cell)}{GAP}" if cell != "---" else cell for cell in line) + " |" for line in lines
    )


def _comparison_table(comparison: Comparison | str | None) -> str:
    """Returns the comparison with the champion as a table."""
    if comparison is None or isinstance(comparison, str):
        return f"Not compared: {comparison or 'there is no champion yet'}."
    rows = [
        [
            metric,
            cell,
            _format_interval(pair.champion),
            _format_interval(pair.challenger),
            _format_interval(pair.difference, "+"),
        ]
        for cell, pairs in comparison.ranking.items()
        for metric, pair in pairs.items()
    ]
    moved = comparison.list_changes
    result = (
        f"Compared with the champion ({comparison.champion_digest[:12]}, {comparison.basis}), on {comparison.rows:,} rows of "
        f"later dates that neither was trained on: {moved.added:,} entities would be added to the list and {moved.dropped:,} "
        "dropped. In brackets: 95 % interval."
    )
    return "\n\n".join([result, table(["metric", "rows", "champion", "this one", "difference"], rows)])


def _format_interval(figure: Figure, sign: str = "") -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _measured_table(metrics: Mapping[str, float]) -> str:
    """Returns the metrics by source and cell as a table."""
    cells = [(source, cell) for source in ("evaluate", "verdict", "forward") for cell in ("seen", "unseen")]
    rows = []
    for metric, sources in METRIC_SOURCES.items():
        known = [metrics.get(f"{source}_{metric}_{cell}") if source in sources else None for source, cell in cells]
        rows.append([metric, *("" if value is None else f"{value:.3f}" for value in known)])
    return table(["", *(f"{source} {cell}" for source, cell in cells)], rows)


def mlflow_files(model: RiskModel) -> dict[str, bytes]:
    """Returns the files from which MLflow shows the signature and an input example (the baselines), by file name.

    They declare no flavour: MLflow shows the model, but only `ml/model.py` loads it, by its digests.
    """
    inputs = [{"name": name, "type": "double", "required": False} for name in model.columns]
    outputs = [{"name": name, "type": "double", "required": True} for name in ("score", "own_conduct_score")]
    describe_version = {
        "flavors": {},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }
    example = {"columns": list(model.columns), "data": [model.body["baseline"][EVERYWHERE]]}
    return dict(zip(MLFLOW_FILES, (canonical_json(describe_version), canonical_json(example)), strict=True))
