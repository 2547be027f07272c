"""What a reviewer reads who was not there when the model was trained: the card, and the version's page in MLflow.

The card is one HTML file, readable offline (`ml/card.html`); the page is Markdown, beside the signature that MLflow shows. What
they say was measured elsewhere.
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
from ml.declarations import Declaration
from ml.evaluate import TOLD_BY, Report
from ml.explain import EVERYWHERE, Explainer
from ml.model import MLFLOW_FILES, RiskModel, Scorer
from ml.review import Evaluation
from ml.training_set import Rows, Split, TrainingSet
from touchstone.core.files import canonical_json
from touchstone.core.text import visible, visible_in_html

TEMPLATE: Final = Path(__file__).resolve().parent / "card.html"
EXAMPLES: Final = 10
GAP: Final = "\u00a0" * 3  # MLflow's page puts the columns of a table next to each other
MOST_FEATURES: Final = 20
PICTURES: Final = {
    "reliability.png": "Does 80 mean 80 %? On the dashed line it does.",
    "precision_recall.png": "Precision against recall; the dot is where the threshold stands, the floor not counted in.",
    "importances.png": "What moves the score: mean absolute attribution.",
}
SOURCES: Final = {
    "evaluate": "the last dates; unlabelled counts as genuine",
    "verdict": "held-out verdicts, weighted to all goods",
    "forward": "folds forward in time; every merchant weighs the same",
}
LIMITS: Final = (
    "What nothing labels counts as genuine while it learns, so recall on the last dates is of what somebody found.",
    "Verdicts are few and some are wrong; a band with fewer than 20 of them has no expected precision.",
    "It knows nothing of goods and merchants from before its history, and a new kind of counterfeiter looks like nobody.",
    "Third parties can move what buyers tell: nobody is flagged by that alone, as long as the floor holds.",
)


@dataclass(frozen=True)
class Example:
    """One held-out verdict, and what the model said.

    Attributes:
        entity: Its id.
        score: 0 to 100.
        own_conduct_score: 0 to 100.
        reasons: Sentences, from the strongest.
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
        declaration: What the model is.
        model: The model.
        training_set: What it was trained on.
        split: Which rows did what.
        evaluation: What was found out about it.
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
        signals=_signals(declaration),
        metrics=list(_metrics(evaluation.report.metrics)),
        features=list(_features(declaration, evaluation.report)),
        examples=examples(model, split.calibrate, training_set.entities),
        pictures=[(_embedded(pictures[name]), told) for name, told in PICTURES.items()],
        limits=LIMITS,
    )
    return page.encode()


def examples(model: RiskModel, verdicts: Rows, entities: Sequence[str]) -> dict[str, list[Example]]:
    """Picks up to ten of each of true and false positives and negatives among the held-out verdicts.

    Those that the model is surest of: flagged ones from the highest score, others from the lowest, but false negatives, the
    ones that it came nearest to finding, from the highest.
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
    explainer = Explainer(scorer)
    told = {}
    for kind, (order, chosen) in kinds.items():
        at = order[chosen[order]][:EXAMPLES]
        categories = [verdicts.categories[number] for number in verdicts.category[at]]
        reasons = explainer.reasons(verdicts.features[at], categories, flagged[at])
        told[kind] = [
            Example(
                entity=entities[verdicts.entity[row]],
                score=float(score[row]),
                own_conduct_score=float(own[row]),
                reasons=tuple(reason["text"] for reason in json.loads(said)),
            )
            for row, said in zip(at, reasons, strict=True)
        ]
    return told


def _windows(split: Split) -> Iterator[tuple[str, int, int, int, int]]:
    """What the rows did, how many there are, how many positives, and their first and last day."""
    for name, rows in (
        ("learned from", split.train),
        ("evaluated on", split.evaluate),
        ("calibrated on", split.calibrate),
    ):
        if len(rows):
            yield name, len(rows), int(rows.label.sum()), int(rows.day.min()), int(rows.day.max())


def _signals(declaration: Declaration) -> dict[str, dict[str, list[str]]]:
    """By signal and who controls them: the features."""
    told: dict[str, dict[str, list[str]]] = {}
    for feature in declaration.features:
        told.setdefault(feature.signal, {}).setdefault(feature.controlled_by, []).append(feature.name)
    return told


def _metrics(metrics: Mapping[str, float]) -> Iterator[tuple[str, str, str, dict[str, Figure]]]:
    for source, told in SOURCES.items():
        for cell in ("seen", "unseen"):
            found = {
                name: _named(metrics, f"{source}_{name}_{cell}") if source in sources else Figure(None, None, None)
                for name, sources in TOLD_BY.items()
            }
            if any(figure.value is not None for figure in found.values()):
                yield source, told, cell, found


def _named(metrics: Mapping[str, float], name: str) -> Figure:
    return Figure(metrics.get(name), metrics.get(f"{name}_low"), metrics.get(f"{name}_high"))


def _features(declaration: Declaration, report: Report) -> Iterator[dict[str, Any]]:
    of = {feature.name: feature for feature in declaration.features}
    total = sum(report.importances.values()) or 1.0
    for name, importance in list(report.importances.items())[:MOST_FEATURES]:
        direction = report.directions.get(name, 0.0)
        yield {
            "feature": of[name],
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


def _embedded(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def described(run_id: str, facts: Mapping[str, Any], evaluation: Evaluation) -> str:
    """Returns the version's page in MLflow, as Markdown: a plain sentence, what stands beside the champion, what was measured.

    Args:
        run_id: MLflow's run, whose artifacts it shows and links to.
        facts: `card.json`.
        evaluation: What was found out about the version.
    """
    judgement = evaluation.judgement
    failed = len(judgement.failures)
    gate = f"fails {failed} of what the gate asks for" if failed else "holds all that the gate asks for"
    flags, calibration = facts["flagging"], facts["calibration"]["main"]
    told = (
        f"Trained as of {facts['as_of']}, {gate}. What is to be decided, and on what evidence, is on "
        f"[the model card]({_artifact(run_id, 'card.html')})."
    )
    rests = (
        f"Calibration: {calibration['method']} on {calibration['positives']} positive verdicts and {calibration['known']} known "
        "otherwise. "
        f"Threshold {flags['threshold']:g} ({flags['basis']}), floor {flags['floor']:g}."
    )
    standing = (
        "Of {live_count:,} that live and have no positive label, {flagged_count:,} would be flagged, "
        "{between_floor_and_threshold_count:,} lie between floor and threshold (third parties could push these onto a list, "
        "and no others), and {held_by_floor_count:,} are above the threshold but held off by the floor. "
        "An estimated {exposed:.1%} of the honest merchants reach the floor, themselves or with some of their goods."
    ).format(**facts["standing"], exposed=flags["exposed_share"])
    failures = [f"- {sentence}" for sentence in judgement.failures]
    pictures = [picture(run_id, f"plots/{name}.png") for name in ("reliability", "importances")]
    return "\n\n".join(
        [
            told,
            *failures,
            _beside(evaluation.comparison),
            rests,
            standing,
            _measured_table(evaluation.report.metrics),
            *pictures,
        ]
    )


def picture(run_id: str, path: str) -> str:
    """Returns the Markdown that shows a picture among a run's artifacts."""
    return f"![{Path(path).stem}]({_artifact(run_id, path)})"


def _artifact(run_id: str, path: str) -> str:
    return f"/get-artifact?path={path}&run_uuid={run_id}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Returns a table as Markdown, with room between its columns in MLflow's pages."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(f"{visible(cell)}{GAP}" if cell != "---" else cell for cell in line) + " |" for line in lines
    )


def _beside(comparison: Comparison | str | None) -> str:
    """What stands beside the champion, as a table."""
    if comparison is None or isinstance(comparison, str):
        return f"Not compared: {comparison or 'there is no champion yet'}."
    rows = [
        [metric, cell, _said(pair.champion), _said(pair.challenger), _said(pair.difference, "+")]
        for cell, pairs in comparison.ranking.items()
        for metric, pair in pairs.items()
    ]
    moved = comparison.moves
    told = (
        f"Beside the champion ({comparison.champion_digest[:12]}, {comparison.basis}), on {comparison.rows:,} rows of later "
        f"dates that neither learned from: {moved.added:,} would come onto the list and {moved.dropped:,} leave it. "
        "In brackets: 95 %."
    )
    return "\n\n".join([told, table(["metric", "rows", "champion", "this one", "difference"], rows)])


def _said(figure: Figure, sign: str = "") -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _measured_table(metrics: Mapping[str, float]) -> str:
    """Each figure where its source can tell it, as a table."""
    cells = [(source, cell) for source in ("evaluate", "verdict", "forward") for cell in ("seen", "unseen")]
    rows = []
    for metric, sources in TOLD_BY.items():
        known = [metrics.get(f"{source}_{metric}_{cell}") if source in sources else None for source, cell in cells]
        rows.append([metric, *("" if value is None else f"{value:.3f}" for value in known)])
    return table(["", *(f"{source} {cell}" for source, cell in cells)], rows)


def mlflow_files(model: RiskModel) -> dict[str, bytes]:
    """Returns what MLflow reads a signature and an example from, by file name: the features that it takes, and usual ones.

    There is no flavour in it: MLflow shows the model, and only `ml/model.py` loads one, by its digests.
    """
    inputs = [{"name": name, "type": "double", "required": False} for name in model.columns]
    outputs = [{"name": name, "type": "double", "required": True} for name in ("score", "own_conduct_score")]
    described = {
        "flavors": {},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }
    example = {"columns": list(model.columns), "data": [model.body["usual"][EVERYWHERE]]}
    return dict(zip(MLFLOW_FILES, (canonical_json(described), canonical_json(example)), strict=True))
