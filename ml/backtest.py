"""Walk-forward backtest: trains a model at past dates on what was known then, and compares its ratings with later outcomes.

A step is a folder with the model trained as of its date and its scores of the entities that were active then. Variants of a
model, such as the current one and one without a signal, use the same steps and outcomes. Rows and outcomes are given by the
caller; nothing here is registered or may rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.compare import CALIBRATION, LEAST_POSITIVES, Side
from ml.declarations import Declaration
from ml.model import RiskModel, read_model
from ml.plots import new_axes, png
from ml.score import rate
from ml.shadow import Bools, Outcomes, flagged_rows, match_outcomes
from ml.train import Files, Parameters, fit_model, split_for, too_few, training_digest
from ml.training_set import Floats
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import replacing_directory

STEP_FILE: Final = "step.json"
SCORES_FILE: Final = "scores.parquet"
OUTCOME_DAYS: Final = 28
"""Decisions within this many days after a date are its outcomes, the same for all dates."""
PANELS: Final = ("flagged", "precision", "recall", "calibration_slope")
COLOURS: Final = ("#33658a", "#c1121f")


@dataclass(frozen=True)
class Variant:
    """A variant of a model in a backtest.

    Attributes:
        name: Its name in tables and charts, such as `now` or `without link`.
        declaration: The model.
        parameters: The training parameters, including the policy's target precision.
    """

    name: str
    declaration: Declaration
    parameters: Parameters

    def digest(self, as_of: date, depends_on: Mapping[str, str]) -> str:
        """Returns a digest over everything that a step depends on: variant, code, date and digests of its inputs."""
        return training_digest(self.declaration, depends_on, as_of, self.parameters)


@dataclass(frozen=True)
class Measured:
    """The results of a variant at a date.

    Attributes:
        flagged: Entities at or above threshold and floor.
        precision: Share of positives among the flagged entities with an outcome; None without any.
        recall: Share of the positive outcomes that it flagged; None without positives.
        expected_precision: Mean probability of the flagged entities; None without any.
        calibration_slope: Of sampled outcomes (test buys, audits), weighted to the population; None under 5 positives.
        expected_share: Mean probability of the sampled outcomes, weighted; None without any.
        positive_share: Share of positives among them, weighted.
    """

    flagged: int
    precision: float | None
    recall: float | None
    expected_precision: float | None
    calibration_slope: float | None
    expected_share: float | None
    positive_share: float | None


@dataclass(frozen=True)
class Step:
    """A date of a backtest.

    Attributes:
        as_of: The date.
        rated: Entities active at the date.
        outcomes: Those with a decision within 28 days.
        positive_outcomes: Positives among these.
        both: Entities that all variants flag.
        variants: The results by variant; None if it had too few labels.
    """

    as_of: str
    rated: int
    outcomes: int
    positive_outcomes: int
    both: int
    variants: Mapping[str, Measured | None]

    def as_dict(self) -> dict[str, Any]:
        """Returns the step as JSON-serialisable data."""
        return asdict(self)


def without(declaration: Declaration, names: Sequence[str]) -> Declaration:
    """Returns a model without some features, each named directly or by its signal.

    Raises:
        BadInputError: A name is neither a feature nor a signal of the model, or the remaining features cannot flag anyone.
    """
    known = {feature.name for feature in declaration.features} | {feature.signal for feature in declaration.features}
    unknown = [name for name in names if name not in known]
    if unknown:
        signals = ", ".join(sorted({feature.signal for feature in declaration.features}))
        raise BadInputError(
            f"{declaration.name} has no feature and no signal {unknown[0]!r}. Its signals are {signals}; "
            "its features are listed in ml/models.yml."
        )
    left = tuple(feature for feature in declaration.features if not {feature.name, feature.signal} & set(names))
    if not any(feature.controlled_by != "third_party" for feature in left):
        raise BadInputError(
            f"{declaration.name} without {', '.join(names)} has no feature left that the subject or the platform controls."
        )
    return replace(declaration, features=left)


def run_step(variant: Variant, files: Files, as_of: date, folder: Path) -> str | None:
    """Trains a variant as of a date and rates the active entities, into a folder that is written atomically.

    Args:
        variant: The variant.
        files: The training rows and the active entities of that date; `active` must be given.
        as_of: The date.
        folder: Folder to write: the model's files, `scores.parquet`, and `step.json` with the model's digest or why it is off.

    Returns:
        Why the variant is off at that date, or None.
    """
    if files.active is None:
        raise ValueError("a step rates the active entities of its date")
    training_set = files.read(variant.declaration, as_of)
    split = split_for(variant.declaration, training_set, variant.parameters)
    few = too_few(variant.declaration.name, split)
    with replacing_directory(folder) as temporary:
        off = None if few is None else few.message
        record: dict[str, Any] = {"as_of": as_of.isoformat(), "off": off}
        if few is None:
            model = fit_model(variant.declaration, training_set, split, variant.parameters, as_of).model
            for name, content in model.files().items():
                (temporary / name).write_bytes(content)
            rate(model, files.active, temporary / SCORES_FILE, None)
            record["model_digest"] = model.digest
        (temporary / STEP_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return off


def measure_step(as_of: date, folders: Mapping[str, Path], outcomes: pa.Table) -> Step:
    """Compares the ratings of variants as of a date with the outcomes.

    Args:
        as_of: The date.
        folders: The folder of the step of each variant, by its name.
        outcomes: One row per decided entity: entity_id, is_positive, inclusion_probability (null if it was not sampled).

    Raises:
        VerificationError: A step's files are not what it wrote, or variants rated other entities.
    """
    models = {name: _model(folder) for name, folder in folders.items()}
    rates = {name: model for name, model in models.items() if model is not None}
    tables = {name: pq.read_table(folders[name] / SCORES_FILE, partitioning=None) for name in rates}
    measured: dict[str, Measured | None] = dict.fromkeys(folders)
    if not rates:
        return Step(as_of.isoformat(), 0, 0, 0, 0, measured)
    ids = [tables[name][model.id_column] for name, model in rates.items()]
    if not all(other.equals(ids[0]) for other in ids):
        raise VerificationError(f"{', '.join(map(str, folders.values()))}: rate different entities. Delete both.")
    matched = match_outcomes(ids[0], outcomes)
    flags = {name: flagged_rows(tables[name], model) for name, model in rates.items()}
    measured |= {name: _measured(tables[name]["score"].to_numpy(), flagged, matched) for name, flagged in flags.items()}
    both = int(np.logical_and.reduce(list(flags.values())).sum())
    return Step(as_of.isoformat(), len(ids[0]), len(matched.index), int(matched.is_positive.sum()), both, measured)


def why_off(folder: Path) -> str | None:
    """Returns why a variant was off at a step, or None."""
    why: str | None = _read_record(folder)["off"]
    return why


def _model(folder: Path) -> RiskModel | None:
    return None if why_off(folder) else read_model(folder, _read_record(folder)["model_digest"])


def _read_record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / STEP_FILE).read_bytes())
    return record


def _measured(score: Floats, flagged: Bools, matched: Outcomes) -> Measured:
    hits = flagged[matched.index]
    drawn = ~np.isnan(matched.inclusion)
    weight = 1.0 / matched.inclusion[drawn]
    side, label = Side(score[matched.index][drawn], hits[drawn]), matched.is_positive[drawn]
    enough = min(int(label.sum()), int((~label).sum())) >= LEAST_POSITIVES
    slope = float(CALIBRATION["calibration_slope"](side, label, weight[None, :])[0]) if enough else np.nan
    return Measured(
        flagged=int(flagged.sum()),
        precision=_mean(matched.is_positive[hits]),
        recall=_mean(hits[matched.is_positive]),
        expected_precision=_mean(score[flagged] / 100.0),
        calibration_slope=round(slope, 4) if np.isfinite(slope) else None,
        expected_share=_mean(side.score / 100.0, weight),
        positive_share=_mean(label, weight),
    )


def _mean(values: np.ndarray[Any, Any], weight: Floats | None = None) -> float | None:
    return round(float(np.average(values, weights=weight)), 4) if len(values) else None


def plot(model: str, steps: Sequence[Step]) -> bytes:
    """Draws volume, precision, recall and calibration of each variant over the dates, as PNG."""
    figure, axes = new_axes("", "", "", 8.0, 5.6)
    axes.remove()
    panels = figure.subplots(2, 2, sharex=True)
    figure.suptitle(f"{model}, retrained at each date", fontsize=11)
    dates = [step.as_of for step in steps]
    for axes, name in zip(panels.flat, PANELS, strict=True):
        for variant, colour in zip(steps[0].variants, COLOURS, strict=False):
            results = [getattr(step.variants[variant], name, None) for step in steps]
            values = [np.nan if value is None else float(value) for value in results]
            axes.plot(dates, values, marker="o", markersize=3.5, linewidth=1.2, color=colour, label=variant)
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", rotation=40)
    panels.flat[0].legend(fontsize=7)
    return png(figure)
