"""A model walked forward over history: at each date trained on what was known by then, and held against what came out later.

A step is a folder with the model that a training as of its date gives, and what that rates of all that lived then. Two
variants of a model, such as today's and one without a signal, take the same steps and meet the same outcomes. Which rows a
date has, and what came out, is handed in; nothing here is registered or may rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml.compare import CALIBRATION, LEAST_POSITIVES, Side
from ml.declarations import Declaration
from ml.model import RiskModel, read_model
from ml.plots import new_axes, png
from ml.score import rate
from ml.shadow import Bools, Found, flags_of, found_among
from ml.train import Files, Parameters, fit_model, split_of, too_few, training_digest
from ml.training_set import Floats
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import replacing_directory

if TYPE_CHECKING:
    import pyarrow as pa

STEP_FILE: Final = "step.json"
SCORES_FILE: Final = "scores.parquet"
OUTCOME_DAYS: Final = 28
"""What is decided within so many days after a date is held against its scores, so that all dates are asked the same."""
PANELS: Final = ("flagged", "precision", "recall", "calibration_slope")
COLOURS: Final = ("#33658a", "#c1121f")


@dataclass(frozen=True)
class Variant:
    """What is walked forward.

    Attributes:
        name: What it is called in tables and plots, such as `now` or `without link`.
        declaration: The model.
        parameters: The choices of its trainings; the policy's target precision is one.
    """

    name: str
    declaration: Declaration
    parameters: Parameters

    def digest(self, as_of: date, stands_on: Mapping[str, str]) -> str:
        """Returns what a step depends on, as one digest: the variant, its code, the date and the digests of what it reads."""
        return training_digest(self.declaration, stands_on, as_of, self.parameters)


@dataclass(frozen=True)
class Measured:
    """What a variant did at a date.

    Attributes:
        flagged: Entities at or above threshold and floor.
        precision: Share of the flagged that have an outcome and were found positive; None where none has one.
        recall: Share of those found positive that it flagged; None where none was.
        expected_precision: Mean probability of the flagged, as the scores have it; None where none is flagged.
        calibration_slope: Of outcomes drawn by design (test buys, audits), weighted to all; None under 5 positives.
        expected_share: Mean probability of those, weighted; None where none was drawn.
        positive_share: The share of them that was found positive, weighted.
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
    """A date.

    Attributes:
        as_of: The date.
        rated: Entities that lived then.
        outcomes: Those on which a decision came within 28 days.
        positive_outcomes: Of these, those found positive.
        both: Entities that all variants flag.
        variants: What each did, by its name; None where it had too few labels to learn from.
    """

    as_of: str
    rated: int
    outcomes: int
    positive_outcomes: int
    both: int
    variants: Mapping[str, Measured | None]

    def as_dict(self) -> dict[str, Any]:
        """Returns the step as plain data."""
        return asdict(self)


def without(declaration: Declaration, names: Sequence[str]) -> Declaration:
    """Returns a model that lacks features, each named by itself or by its signal.

    Raises:
        BadInputError: A name is neither a feature of the model nor a signal, or what is left cannot flag anybody.
    """
    known = {feature.name for feature in declaration.features} | {feature.signal for feature in declaration.features}
    unknown = [name for name in names if name not in known]
    if unknown:
        signals = ", ".join(sorted({feature.signal for feature in declaration.features}))
        raise BadInputError(
            f"{declaration.name} has no feature and no signal {unknown[0]!r}. Its signals are {signals}; "
            "its features stand in ml/models.yml."
        )
    left = tuple(feature for feature in declaration.features if not {feature.name, feature.signal} & set(names))
    if not any(feature.controlled_by != "third_party" for feature in left):
        raise BadInputError(
            f"{declaration.name} without {', '.join(names)} has no feature left that the subject or the platform controls."
        )
    return replace(declaration, features=left)


def take_step(variant: Variant, files: Files, as_of: date, folder: Path) -> str | None:
    """Trains a variant as of a date and rates all that lives then, into a folder that is there whole or not at all.

    Args:
        variant: The variant.
        files: The training rows and the live entities of that date; `live` has to be given.
        as_of: The date.
        folder: Gets the model's files, `scores.parquet`, and `step.json`, which says why the variant is off or names the model.

    Returns:
        Why the variant is off at that date, or None.
    """
    if files.live is None:
        raise ValueError("a step rates the live entities of its date")
    training_set = files.read(variant.declaration, as_of)
    split = split_of(variant.declaration, training_set, variant.parameters)
    few = too_few(variant.declaration.name, split)
    with replacing_directory(folder) as temporary:
        off = None if few is None else few.message
        told: dict[str, Any] = {"as_of": as_of.isoformat(), "off": off}
        if few is None:
            model = fit_model(variant.declaration, training_set, split, variant.parameters, as_of).model
            for name, content in model.files().items():
                (temporary / name).write_bytes(content)
            rate(model, files.live, temporary / SCORES_FILE, None)
            told["model_digest"] = model.digest
        (temporary / STEP_FILE).write_text(json.dumps(told, indent=2) + "\n")
    return off


def hold(as_of: date, folders: Mapping[str, Path], outcomes: pa.Table) -> Step:
    """Holds what variants rated as of a date against what came out.

    Args:
        as_of: The date.
        folders: The folder of the step of each variant, by its name.
        outcomes: One row an entity on which a decision came: entity_id, is_positive, inclusion_probability (null where it
            was not drawn by design).

    Raises:
        VerificationError: A step's files are not what it wrote, or variants rated other entities.
    """
    import pyarrow.parquet as pq

    models = {name: _model(folder) for name, folder in folders.items()}
    rates = {name: model for name, model in models.items() if model is not None}
    tables = {name: pq.read_table(folders[name] / SCORES_FILE, partitioning=None) for name in rates}
    measured: dict[str, Measured | None] = dict.fromkeys(folders)
    if not rates:
        return Step(as_of.isoformat(), 0, 0, 0, 0, measured)
    ids = [tables[name][model.id_column] for name, model in rates.items()]
    if not all(other.equals(ids[0]) for other in ids):
        raise VerificationError(f"{', '.join(map(str, folders.values()))}: rate different entities. Delete both.")
    found = found_among(ids[0], outcomes)
    flags = {name: flags_of(tables[name], model) for name, model in rates.items()}
    measured |= {name: _measured(tables[name]["score"].to_numpy(), flagged, found) for name, flagged in flags.items()}
    both = int(np.logical_and.reduce(list(flags.values())).sum())
    return Step(as_of.isoformat(), len(ids[0]), len(found.at), int(found.is_positive.sum()), both, measured)


def why_off(folder: Path) -> str | None:
    """Returns why a variant was off when it took a step, or None."""
    why: str | None = _told(folder)["off"]
    return why


def _model(folder: Path) -> RiskModel | None:
    return None if why_off(folder) else read_model(folder, _told(folder)["model_digest"])


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / STEP_FILE).read_bytes())
    return told


def _measured(score: Floats, flagged: Bools, found: Found) -> Measured:
    hits = flagged[found.at]
    drawn = ~np.isnan(found.inclusion)
    weight = 1.0 / found.inclusion[drawn]
    side, label = Side(score[found.at][drawn], hits[drawn]), found.is_positive[drawn]
    enough = min(int(label.sum()), int((~label).sum())) >= LEAST_POSITIVES
    slope = float(CALIBRATION["calibration_slope"](side, label, weight[None, :])[0]) if enough else np.nan
    return Measured(
        flagged=int(flagged.sum()),
        precision=_mean(found.is_positive[hits]),
        recall=_mean(hits[found.is_positive]),
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
    figure.suptitle(f"{model}, trained anew at each date", fontsize=11)
    dates = [step.as_of for step in steps]
    for axes, name in zip(panels.flat, PANELS, strict=True):
        for variant, colour in zip(steps[0].variants, COLOURS, strict=False):
            told = [getattr(step.variants[variant], name, None) for step in steps]
            values = [np.nan if value is None else float(value) for value in told]
            axes.plot(dates, values, marker="o", markersize=3.5, linewidth=1.2, color=colour, label=variant)
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", rotation=40)
    panels.flat[0].legend(fontsize=7)
    return png(figure)
