"""Trains a declared model: boosters, calibration, threshold, evaluation, and the version that a reviewer will see.

The booster that is evaluated is the one that can be approved: nothing is fitted again afterwards. A training whose
data, code and parameters were seen before returns the version they gave. Approving is the registry's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ml import card, drift, evaluate, explain, flagging, model, plots, review
from ml.boosting import Forward, Parameters, fit_booster, forward_margins
from ml.calibrate import Calibration, calibrate
from ml.compare import Comparison, Contender, compare, figures
from ml.declarations import Declaration
from ml.training_set import (
    EPOCH,
    Rows,
    Split,
    TrainingSet,
    missing_columns,
    newest_verdicts,
    read_training_set,
    split_rows,
)
from touchstone.core.errors import VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import sha256_bytes, sha256_file, sha256_tree

if TYPE_CHECKING:
    from ml.registry import Registry, Version

__all__ = [
    "Files",
    "Parameters",
    "Prepared",
    "TooFewLabels",
    "Trained",
    "TrainingResult",
    "fit_model",
    "prepare",
    "register",
    "training_digest",
]

MIN_POSITIVES: Final = 20
MIN_COMPONENTS: Final = 5
PART_ROWS: Final = 65_536
COMPARED_WITH: Final = 200
"""How often components are drawn for the intervals of a comparison."""
HERE: Final = Path(__file__).resolve().parent

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TooFewLabels:
    """Why a model is off for the run: it has too little to learn from.

    Attributes:
        model: The model's name.
        positives: Entities with a positive label among the rows that boosters may learn from.
        components: Components of merchants that hold one.
    """

    model: str
    positives: int
    components: int

    @property
    def message(self) -> str:
        """What a person is told."""
        return (
            f"{self.model} is off: {self.positives} labelled positives in {self.components} groups of merchants to learn "
            f"from; it takes {MIN_POSITIVES} in {MIN_COMPONENTS}. More decided notices, moderation decisions or "
            "enforcement outcomes would turn it on."
        )


@dataclass(frozen=True)
class Files:
    """What a training reads.

    Attributes:
        features: `training/<list>/as_of=<date>/features.parquet`.
        spine: `spine.parquet` beside it.
        edges: `edges.parquet` beside it, or None.
        live: `features/<list>/as_of=<date>/features.parquet` of the same day, from which usual values come; None for the
            newest rows instead.
        slices: `slices.parquet` beside the spine, by which a comparison is cut; None for category alone.
    """

    features: Path
    spine: Path
    edges: Path | None = None
    live: Path | None = None
    slices: Path | None = None

    def read(self, declaration: Declaration, cut: date) -> TrainingSet:
        """Reads a model's training set, with components as they were known at a cut."""
        return read_training_set(declaration, self.features, self.spine, self.edges, self.live, cut, self.slices)

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each file that is there."""
        return {name: sha256_file(path) for name, path in self.__dict__.items() if path is not None}


@dataclass(frozen=True)
class TrainingResult:
    """A registered version, new or known already.

    Attributes:
        version: The version in the registry.
        reused: Whether a training of the same data, code and parameters had given it already.
        metrics: What was measured, by name.
    """

    version: Version
    reused: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Prepared:
    """A training of which only the version is to be made.

    Attributes:
        parameters: The training's choices.
        model: The model.
        evaluation: What was found out about it.
        facts: What `card.json` will say.
        files: The card and its pictures, by where they lie among the run's artifacts.
    """

    parameters: Parameters
    model: model.RiskModel
    evaluation: review.Evaluation
    facts: Mapping[str, Any]
    files: Mapping[str, bytes]


def prepare(
    declaration: Declaration,
    files: Files,
    *,
    as_of: date,
    registry: Registry,
    provenance: Mapping[str, str],
    parameters: Parameters | None = None,
    thresholds: Path = review.THRESHOLDS_FILE,
    progress: Progress = lambda _: None,
) -> Prepared | TrainingResult | TooFewLabels:
    """Trains, calibrates, evaluates, sets beside the champion, judges and describes a model, and leaves nothing behind.

    Several models can be prepared side by side.

    Args:
        declaration: The model.
        files: What it learns from.
        as_of: The training's cut, a day.
        registry: Where the champion is, and the versions that there are.
        provenance: Digests of loads, code revision and the like; noted with the run, no part of any digest here.
        parameters: Choices of the training; the defaults if None.
        thresholds: What a version must hold.
        progress: Called with a line a step.

    Returns:
        What `register` takes; the version that the same training gave before; or why there is none.

    Raises:
        BadInputError: The files lack a declared column or do not belong together, or the thresholds cannot be read.
    """
    parameters, limits = parameters or Parameters(), review.read_limits(declaration.name, thresholds)
    data = files.digests()
    digest = training_digest(declaration, data, as_of, parameters)
    known = registry.version_of_training(declaration.name, digest)
    if known is not None:
        progress(f"{declaration.name}: version {known.version} was trained on the same data, code and parameters")
        return TrainingResult(known, reused=True, metrics=known.metrics)
    training_set = files.read(declaration, as_of)
    split = split_of(declaration, training_set, parameters)
    few = too_few(declaration.name, split)
    if few is not None:
        progress(few.message)
        return few
    progress(f"{declaration.name}: {len(split.train)} rows to learn from, {int(split.train.label.sum())} positive")
    trained = fit_model(declaration, training_set, split, parameters, as_of)
    report = evaluate.report(trained.model, split, trained.forward, parameters.resamples, parameters.seed)
    importances = evaluate.shares(report.importances)
    comparison = _beside_champion(declaration, trained, training_set, split, importances, files, parameters, registry)
    calibration = figures(trained.model, split.calibrate, (parameters.resamples, parameters.seed))
    judgement = review.judge(
        review.Measured(
            metrics=report.metrics,
            calibration=calibration,
            importances=importances,
            out_of_bounds=review.out_of_bounds(
                declaration.features,
                {
                    "training": split.train.features,
                    "later": split.evaluate.features,
                    "live": training_set.live.features,
                },
            ),
            digests={**data, **provenance},
            comparison=comparison,
        ),
        limits,
    )
    evaluation = review.Evaluation(report, calibration, comparison, judgement)
    origin = {"as_of": as_of.isoformat(), "training_digest": digest, "data": data, "provenance": dict(provenance)}
    facts = _facts(trained, training_set, split, origin) | {"importances": dict(report.importances)}
    pictures = plots.pictures(report, trained.model.threshold)
    page = card.render(declaration, trained.model, training_set, split, evaluation, facts, pictures)
    described = {"card.html": page, **{f"plots/{name}": content for name, content in pictures.items()}}
    return Prepared(parameters, trained.model, evaluation, facts, described)


def register(
    prepared: Prepared, registry: Registry, *, trained_by: str = "unnamed", progress: Progress = lambda _: None
) -> TrainingResult:
    """Registers a prepared training's version, which waits for review.

    Args:
        prepared: The training.
        registry: Where the version goes.
        trained_by: Who trains; whoever that is may not approve, unless a setting allows it.
        progress: Called with a line a step.
    """
    with failpoint("training.register", registry.home / "mlflow.db"):
        version = registry.register(
            prepared.model,
            facts=prepared.facts,
            evaluation=prepared.evaluation,
            files=prepared.files,
            parameters=asdict(prepared.parameters),
            trained_by=trained_by,
        )
    progress(f"{version.model}: version {version.version} is registered and waits for review")
    return TrainingResult(version, reused=False, metrics=prepared.evaluation.report.metrics)


def _champion_to_compare(name: str, registry: Registry) -> model.RiskModel | str | None:
    """Returns the champion; why it cannot be compared with, for what takes its place has to be trained all the same; or None."""
    try:
        champion = registry.champion(name)
        return None if champion is None else model.read_model(champion.folder, champion.model_digest)
    except VerificationError as error:
        return f"the champion is not what was reviewed: {error}"


def _beside_champion(
    declaration: Declaration,
    trained: Trained,
    training_set: TrainingSet,
    split: Split,
    importances: Mapping[str, float],
    files: Files,
    parameters: Parameters,
    registry: Registry,
) -> Comparison | str | None:
    """Sets a challenger beside the champion on rows that neither learned from.

    Where the champion's own training reached into these rows, its declaration is trained again on the challenger's.

    Returns:
        The comparison; why there is none; or None without a champion.
    """
    rates = _champion_to_compare(declaration.name, registry)
    if not isinstance(rates, model.RiskModel):
        return rates
    if rates.digest == trained.model.digest:
        return "it is the champion itself, trained again"
    if rates.body["format"] != model.FORMAT:
        return "the champion was trained by an earlier release, which did not keep what a comparison takes"
    declared = replace(declaration, features=rates.features)
    missing = missing_columns(declared, files.features, files.live)
    if missing:
        return f"the champion reads columns that there are no longer: {', '.join(missing)}"
    if not len(split.evaluate):
        return "no row is late enough to compare on"
    as_of = date.fromisoformat(trained.model.body["training"]["as_of"])
    first = EPOCH + timedelta(days=int(split.evaluate.day.min()))
    training = rates.body["training"]
    stands_in, basis, unseen = rates, "as it rates", ~split.evaluate_seen
    if date.fromisoformat(training["learned_before"]) > first:
        theirs = files.read(declared, as_of)
        stands_in = fit_model(declared, theirs, split_of(declared, theirs, parameters), parameters, as_of).model
        basis = (
            f"trained again on the challenger's rows, for it learned from rows before {training['learned_before']}, "
            f"and these begin on {first}"
        )
    else:
        theirs = files.read(declared, date.fromisoformat(training["as_of"]))
        chance = theirs.rows.chance[theirs.rows.purposed("evaluate")]
        unseen = unseen & (chance < training["unseen_share"])
    evaluated = theirs.rows.features[theirs.rows.purposed("evaluate")]
    learned = training_set.rows.purposed("train") & training_set.rows.is_verdict
    verdicts = theirs.rows.features[newest_verdicts(theirs.rows, declaration.entity)]
    return compare(
        rates,
        Contender(stands_in, evaluated, verdicts, theirs.live.features),
        Contender(trained.model, split.evaluate.features, split.calibrate.features, training_set.live.features),
        split.evaluate,
        split.calibrate,
        unseen,
        training_set.labels,
        importances,
        learned=replace(training_set.rows.take(learned), features=theirs.rows.features[learned]),
        basis=basis,
        resamples=COMPARED_WITH,
        seed=parameters.seed,
    )


def split_of(declaration: Declaration, training_set: TrainingSet, parameters: Parameters) -> Split:
    """Returns which rows of a training set do what."""
    most = (parameters.least_unlabelled, parameters.unlabelled_per_positive, parameters.forward_unlabelled)
    return split_rows(training_set.rows, declaration.entity, parameters.unseen_share, most, parameters.seed)


def training_digest(declaration: Declaration, data: Mapping[str, str], as_of: date, parameters: Parameters) -> str:
    """Returns one digest over the data, the code of this package, the declaration and the parameters."""
    recipe = {
        "data": dict(data),
        "as_of": as_of.isoformat(),
        "code": sha256_tree(HERE, ("*.py",)),
        "declaration": declaration.as_dict(),
        "parameters": asdict(parameters),
        "xgboost": _xgboost_version(),
    }
    return sha256_bytes(json.dumps(recipe, sort_keys=True).encode())


def _xgboost_version() -> str:
    from importlib.metadata import version

    return version("xgboost")


def too_few(name: str, split: Split) -> TooFewLabels | None:
    """Returns why the boosters cannot learn from these rows, or None if they can."""
    positive = split.forward.take(split.forward.label & split.forward.purposed("train"))
    entities, components = len(np.unique(positive.entity)), len(np.unique(positive.component))
    learnable = bool(split.train.label.any()) and not bool(split.train.label.all())
    if entities < MIN_POSITIVES or components < MIN_COMPONENTS or not learnable:
        return TooFewLabels(name, entities, components)
    return None


@dataclass(frozen=True)
class Trained:
    """A model with what its training left behind for evaluation and card.

    Attributes:
        model: The model.
        forward: Out-of-fold scores of forward folds.
        standing: Where those stand who live at the cut and have no positive label.
    """

    model: model.RiskModel
    forward: Forward
    standing: flagging.Standing


def fit_model(
    declaration: Declaration, training_set: TrainingSet, split: Split, parameters: Parameters, as_of: date
) -> Trained:
    """Fits both boosters, both calibrations, threshold, floor, usual values and the reference of drift."""
    columns = {"main": list(range(len(declaration.features))), "own": list(declaration.own_conduct)}
    signs = np.array([feature.monotone for feature in declaration.features])
    fits = [partial(fit_booster, split.train, chosen, signs, parameters) for chosen in columns.values()]
    fitted = dict(zip(columns, model.in_parallel(fits), strict=True))
    forward = forward_margins(split.forward, signs, parameters)
    # Calibration takes all verdicts that are held out, `split` the newest; what is known otherwise is part of the fit
    # (docs/decisions/0010), and who taught is not.
    verdicts, known = (
        training_set.rows.take(training_set.rows.purposed(name)) for name in ("calibrate", "known_positive")
    )
    is_known = np.isin(verdicts.entity, known.entity)
    live = training_set.live
    lives = {name: _margins(fitted[name], live.features, chosen) for name, chosen in columns.items()}
    calibrations = {
        name: calibrate(
            _margins(fitted[name], verdicts.features, chosen),
            verdicts.label,
            verdicts.expansion_weight,
            verdicts.is_random_arm,
            is_known=is_known,
            known=_margins(fitted[name], known.features, chosen),
            live=lives[name][~live.is_taught],
        )
        for name, chosen in columns.items()
    }
    prevalence = calibrations["main"].prevalence
    if prevalence is None:
        prevalence = float(np.average(split.forward.label, weights=split.forward.weight))
    taught = training_set.rows.label[training_set.rows.purposed("training_verdict")]
    if len(taught):
        prevalence = (prevalence * float((~live.is_taught).sum()) + float(taught.sum())) / len(live.is_taught)
    held_out = _margins(fitted["main"], split.calibrate.features, columns["main"])
    units = flag_units(split.calibrate, held_out, forward, calibrations["main"])
    scores = {name: model.points(calibrations[name].probability(margins)) for name, margins in lives.items()}
    unlabelled = ~live.is_labelled
    standing = flagging.Standing(scores["main"][unlabelled], scores["own"][unlabelled], live.merchant[unlabelled])
    main, own = fitted["main"], fitted["own"]
    reference = drift.reference(live.features, declaration.columns)
    first = int(split.evaluate.day.min()) if len(split.evaluate) else (as_of - EPOCH).days
    body = model.describe(declaration, main, own) | {
        "training": {
            "as_of": as_of.isoformat(),
            "learned_before": (EPOCH + timedelta(days=first)).isoformat(),
            "unseen_share": parameters.unseen_share,
        },
        "calibration": {name: calibration.as_dict() for name, calibration in calibrations.items()},
        "flagging": flagging.flagging(
            units, standing, prevalence, parameters.target_precision, declaration.most_exposed
        ).as_dict(),
        "prevalence": prevalence,
        "usual": explain.usual_values(live, declaration.features),
        "population": drift.population(live),
        "reference": reference | drift.reference(scores["main"][:, None].astype(np.float32), ["score"]),
        "moves": drift.moves(training_set.rows, reference, declaration.columns, (as_of - EPOCH).days),
    }
    return Trained(model.RiskModel(body, main, own), forward, standing)


def _margins(fitted: bytes, features: npt.NDArray[np.float32], columns: list[int]) -> npt.NDArray[np.float32]:
    """Margins of a booster that takes some of the columns, a part of the rows at a time: they may be all that live."""
    booster = model.load_booster(fitted)
    starts = range(0, max(len(features), 1), PART_ROWS)
    parts = (np.ascontiguousarray(features[start : start + PART_ROWS, columns]) for start in starts)
    return np.concatenate([model.margin_of(booster, part) for part in parts])


def flag_units(
    verdicts: Rows, margin: npt.NDArray[np.float32], forward: Forward, calibration: Calibration
) -> flagging.Units:
    """Returns the verdicts that precision is estimated from: the held-out ones where there are enough, else out-of-fold.

    Enough is 20 positives; fewer say nothing about a precision of 90 %.
    """
    if int(verdicts.label.sum()) >= flagging.ENOUGH_VERDICTS:
        score = model.points(calibration.probability(margin))
        return flagging.Units(
            "held_out", score, verdicts.label, verdicts.expansion_weight, verdicts.is_verdict, verdicts.merchant
        )
    margins = np.where(np.isnan(forward.seen), forward.unseen, forward.seen)
    known = ~np.isnan(margins)
    rows = forward.rows.take(known)
    score = model.points(calibration.probability(margins[known]))
    return flagging.Units("out_of_fold", score, rows.label, rows.weight, rows.is_verdict, rows.merchant)


def _facts(trained: Trained, training_set: TrainingSet, split: Split, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What `card.json` says: rows, labels, calibration, who stands where, where numbers come from."""
    body = trained.model.body
    parts = {"train": split.train, "evaluate": split.evaluate, "calibrate": split.calibrate}
    return {
        **origin,
        "model": body["name"],
        "model_digest": trained.model.digest,
        "rows": {name: len(rows) for name, rows in parts.items()},
        "positives": {name: int(rows.label.sum()) for name, rows in parts.items()},
        "components": training_set.components.as_dict(),
        "calibration": body["calibration"],
        "flagging": body["flagging"],
        "prevalence": body["prevalence"],
        "standing": trained.standing.counts(trained.model.threshold, trained.model.floor),
    }
