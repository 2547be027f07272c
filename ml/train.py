"""Trains a declared model: boosters, calibration, threshold, evaluation, and the version for review.

The booster that is evaluated is the one that can be approved: nothing is refitted. A training with the data, code and
parameters of an earlier one returns its version. The registry approves versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml import card, drift, explain, flagging, metrics, model, plots, review, starter
from ml.boosting import Forward, Parameters, fit_booster, forward_margins
from ml.calibrate import Calibration, calibrate, rank_calibration
from ml.compare import AgainstStarter, Comparison, Contender, calibration_figures, compare
from ml.coverage import active_coverage
from ml.declarations import Declaration
from ml.registry import Registry, Version
from ml.text_scores import TextModel, scored_by, with_text_scores
from ml.training_set import (
    EPOCH,
    Rows,
    Split,
    TrainingSet,
    component_folds,
    missing_columns,
    newest_verdicts,
    read_training_set,
    split_rows,
)
from touchstone.core.errors import VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import sha256_bytes, sha256_file, sha256_tree
from touchstone.core.home import Home

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
COMPARISON_RESAMPLES: Final = 200
"""Number of bootstrap resamples of components for the intervals of a comparison."""
FOLDS_AGAINST_STARTER: Final = 5
TEXT_WEIGHTS: Final = tuple(step / 10 for step in range(9))
"""Candidates for the weight of the scores of texts; the boosters always keep a fifth."""
HERE: Final = Path(__file__).resolve().parent

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TooFewLabels:
    """Why a model is off for the run: it has too few labels.

    Attributes:
        model: The model's name.
        positives: Entities with a positive label among the trainable rows.
        components: Components of merchants with such an entity.
    """

    model: str
    positives: int
    components: int

    @property
    def message(self) -> str:
        """The message for the user."""
        return (
            f"{self.model} is off: {self.positives} labelled positives in {self.components} groups of merchants to train "
            f"on; it takes {MIN_POSITIVES} in {MIN_COMPONENTS}. More decided notices, moderation decisions or "
            "enforcement outcomes would turn it on."
        )


@dataclass(frozen=True)
class Files:
    """The files that a training reads.

    Attributes:
        features: `training/<list>/as_of=<date>/features.parquet`.
        spine: `spine.parquet` in the same folder.
        edges: `edges.parquet` in the same folder, or None.
        active: `features/<list>/as_of=<date>/features.parquet` of the same day, for the baselines; None to use the
            newest rows.
        slices: `slices.parquet` in the same folder, for the slices of a comparison; None for category alone.
        texts: `texts.parquet` in the folder of the listings' features of the same day; None to score no texts.
    """

    features: Path
    spine: Path
    edges: Path | None = None
    active: Path | None = None
    slices: Path | None = None
    texts: Path | None = None

    def read(self, declaration: Declaration, cutoff_date: date) -> TrainingSet:
        """Reads a model's training set, with components as known at cutoff_date."""
        return read_training_set(
            declaration, self.features, self.spine, self.edges, self.active, cutoff_date, self.slices, self.texts
        )

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each file."""
        return {name: sha256_file(path) for name, path in self.__dict__.items() if path is not None}


@dataclass(frozen=True)
class TrainingResult:
    """A registered version.

    Attributes:
        version: The version in the registry.
        reused: Whether an earlier training of the same data, code and parameters produced it.
        metrics: Its metrics, by name.
    """

    version: Version
    reused: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Prepared:
    """A finished training that is not registered yet.

    Attributes:
        parameters: The training parameters.
        model: The model.
        evaluation: Its evaluation.
        facts: The content of `card.json`.
        files: The card and its charts, by their path among the run's artifacts.
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
    provided: Collection[str] | None = None,
    progress: Progress = lambda _: None,
) -> Prepared | TrainingResult | TooFewLabels:
    """Trains, calibrates and evaluates a model, compares it with the champion, applies the gate and renders the card.

    Nothing is written. Several models can be prepared in parallel.

    Args:
        declaration: The model.
        files: The training files.
        as_of: The training's cutoff_date.
        registry: Source of the champion and of earlier versions.
        provenance: Digests of loads, code revision and the like; logged with the run, not part of any digest here.
        parameters: The training parameters; the defaults if None.
        thresholds: The limits of the gate.
        provided: The source tables with rows and their columns (`table.column`) with values; None for a card without coverage.
        progress: Called with a line per step.

    Returns:
        A training to `register`; the version of an identical earlier training; or why the model is off.

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
    split = split_for(declaration, training_set, parameters)
    few = too_few(declaration.name, split)
    texts = None
    if few is None:
        texts, training_set = with_text_scores(declaration, training_set, parameters)
        # The same rows, now with scores of texts.
        split = split_for(declaration, training_set, parameters)
    champion = _champion_to_compare(declaration.name, registry)
    indicators = _starter_indicators(declaration, training_set, champion) if few is not None else ()
    if few is not None and not indicators:
        progress(few.message)
        return few
    if few is not None:
        progress(
            f"{few.message} Until then its starter model ranks, from {_describe_indicators(declaration, indicators)}."
        )
        trained = fit_starter(declaration, training_set, split, parameters, as_of)
    else:
        progress(f"{declaration.name}: {len(split.train)} training rows, {int(split.train.label.sum())} positive")
        trained = fit_model(declaration, training_set, split, parameters, as_of, texts)
    report = metrics.report(
        trained.model,
        split,
        trained.forward,
        parameters.resamples,
        parameters.seed,
        None if few is None else training_set.active.features,
    )
    importances = metrics.shares(report.importances)
    comparison = _compare_with_champion(
        declaration, trained, training_set, split, importances, files, parameters, champion
    )
    calibration = calibration_figures(trained.model, split.calibrate, (parameters.resamples, parameters.seed))
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
                    "active": training_set.active.features,
                },
            ),
            digests={**data, **provenance},
            comparison=comparison,
            against_starter=None if few is not None else _against_starter(declaration, split, parameters, champion),
        ),
        limits if few is None else {},
    )
    evaluation = review.Evaluation(report, calibration, comparison, judgement)
    origin = {"as_of": as_of.isoformat(), "training_digest": digest, "data": data, "provenance": dict(provenance)}
    facts = _facts(trained, training_set, split, origin) | {
        "importances": dict(report.importances),
        "coverage": {} if provided is None else active_coverage(declaration, training_set.active.features, provided),
    }
    pictures = plots.pictures(report, trained.model.threshold)
    page = card.render(declaration, trained.model, training_set, split, evaluation, facts, pictures)
    artifacts = {"card.html": page, **{f"plots/{name}": content for name, content in pictures.items()}}
    return Prepared(parameters, trained.model, evaluation, facts, artifacts)


def _against_starter(
    declaration: Declaration, split: Split, parameters: Parameters, champion: model.RiskModel | str | None
) -> AgainstStarter | None:
    """Compares a trained model out of fold with the starter that it would replace, if there are no rows of later dates."""
    if not isinstance(champion, model.RiskModel) or not champion.is_starter or len(split.evaluate):
        return None
    if not set(champion.columns) <= set(declaration.columns):
        return None  # the comparison says which columns no longer exist
    rows, columns = split.train, _booster_columns(declaration)["main"]
    signs = np.array([feature.monotone for feature in declaration.features])
    fold, margin = component_folds(rows, FOLDS_AGAINST_STARTER), np.zeros(len(rows))
    for number in range(FOLDS_AGAINST_STARTER):
        learned, judged = rows.take(fold != number), fold == number
        margin[judged] = _margins(fit_booster(learned, columns, signs, parameters), rows.features[judged], columns)
    theirs = [declaration.columns.index(name) for name in champion.columns]
    known = _margins(champion.main, rows.features, theirs).astype(np.float64)
    trained, started = (metrics.ranking(each, rows.label, rows.weight[None, :])[1][0] for each in (margin, known))
    return AgainstStarter(int(rows.label.sum()), float(started), float(trained))


def _starter_indicators(
    declaration: Declaration, training_set: TrainingSet, champion: model.RiskModel | str | None
) -> tuple[starter.Indicator, ...]:
    """Returns what a starter model would rank by; nothing if a trained model rates already, or no indicator has values."""
    if champion is not None and not (isinstance(champion, model.RiskModel) and champion.is_starter):
        return ()
    return starter.available(starter.read_scorecard(declaration), declaration, training_set.active.features)


def _describe_indicators(declaration: Declaration, indicators: Sequence[starter.Indicator]) -> str:
    """Returns a phrase such as `7 of 16 indicators (price, text)`."""
    signal_of = {feature.name: feature.signal for feature in declaration.features}
    signals = dict.fromkeys(signal_of[one.feature] for one in indicators)
    return f"{len(indicators)} of {len(starter.read_scorecard(declaration))} indicators ({', '.join(signals)})"


def register(
    prepared: Prepared, registry: Registry, *, trained_by: str = "unnamed", progress: Progress = lambda _: None
) -> TrainingResult:
    """Registers a prepared training's version, which waits for review.

    Args:
        prepared: The training.
        registry: The registry.
        trained_by: Who trains; this person may not approve it, unless a setting allows it.
        progress: Called with a line per step.
    """
    with failpoint("training.register", Home(registry.home).mlflow_database):
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
    """Returns the champion; why it cannot be read, since its successor must be trained all the same; or None."""
    try:
        champion = registry.champion(name)
        return None if champion is None else model.read_model(champion.folder, champion.model_digest)
    except VerificationError as error:
        return f"the champion is not what was reviewed: {error}"


def _compare_with_champion(
    declaration: Declaration,
    trained: Trained,
    training_set: TrainingSet,
    split: Split,
    importances: Mapping[str, float],
    files: Files,
    parameters: Parameters,
    champion: model.RiskModel | str | None,
) -> Comparison | str | None:
    """Compares a challenger with the champion on rows that neither was trained on.

    If the champion's training used some of these rows, its declaration is trained again on the challenger's rows.

    Returns:
        The comparison; why there is none; or None without a champion.
    """
    if not isinstance(champion, model.RiskModel):
        return champion
    if champion.digest == trained.model.digest:
        return "it is the champion itself, trained again"
    if champion.body["format"] != model.FORMAT:
        return "the champion was trained by an earlier release, which did not store what a comparison needs"
    declared = replace(declaration, features=champion.features)
    missing = missing_columns(declared, files.features, files.active)
    if missing:
        return f"the champion reads columns that no longer exist: {', '.join(missing)}"
    if not len(split.evaluate):
        return "there are no rows of later dates to compare on"
    as_of = date.fromisoformat(trained.model.body["training"]["as_of"])
    first = EPOCH + timedelta(days=int(split.evaluate.day.min()))
    training = champion.body["training"]
    stand_in, basis, unseen = champion, "as it rates", ~split.evaluate_seen
    if date.fromisoformat(training["learned_before"]) > first:
        texts, theirs = with_text_scores(declared, files.read(declared, as_of), parameters)
        split_of_theirs = split_for(declared, theirs, parameters)
        stand_in = fit_model(declared, theirs, split_of_theirs, parameters, as_of, texts).model
        basis = (
            f"trained again on the challenger's rows, because its training rows end before {training['learned_before']} "
            f"and these begin on {first}"
        )
    else:
        theirs = scored_by(champion, files.read(declared, date.fromisoformat(training["as_of"])))
        chance = theirs.rows.chance[theirs.rows.has_purpose("evaluate")]
        unseen = unseen & (chance < training["unseen_share"])
    evaluated = theirs.rows.features[theirs.rows.has_purpose("evaluate")]
    learned = training_set.rows.has_purpose("train") & training_set.rows.is_verdict
    verdicts = theirs.rows.features[newest_verdicts(theirs.rows, declaration.entity)]
    return compare(
        champion,
        Contender(stand_in, evaluated, verdicts, theirs.active.features),
        Contender(trained.model, split.evaluate.features, split.calibrate.features, training_set.active.features),
        split.evaluate,
        split.calibrate,
        unseen,
        training_set.labels,
        importances,
        learned=replace(training_set.rows.take(learned), features=theirs.rows.features[learned]),
        basis=basis,
        resamples=COMPARISON_RESAMPLES,
        seed=parameters.seed,
    )


def split_for(declaration: Declaration, training_set: TrainingSet, parameters: Parameters) -> Split:
    """Splits a training set by use."""
    most = (parameters.least_unlabelled, parameters.unlabelled_per_positive, parameters.forward_unlabelled)
    return split_rows(training_set.rows, declaration.entity, parameters.unseen_share, most, parameters.seed)


def training_digest(declaration: Declaration, data: Mapping[str, str], as_of: date, parameters: Parameters) -> str:
    """Returns one digest over the data, the code of this package, the declaration and the parameters."""
    recipe = {
        "data": dict(data),
        "as_of": as_of.isoformat(),
        "code": sha256_tree(HERE, ("*.py", "starter.yml")),
        "declaration": declaration.as_dict(),
        "parameters": asdict(parameters),
        "xgboost": installed_version("xgboost"),
    }
    return sha256_bytes(json.dumps(recipe, sort_keys=True).encode())


def too_few(name: str, split: Split) -> TooFewLabels | None:
    """Returns why the rows are too few for a training, or None."""
    positive = split.forward.take(split.forward.label & split.forward.has_purpose("train"))
    entities, components = len(np.unique(positive.entity)), len(np.unique(positive.component))
    learnable = bool(split.train.label.any()) and not bool(split.train.label.all())
    if entities < MIN_POSITIVES or components < MIN_COMPONENTS or not learnable:
        return TooFewLabels(name, entities, components)
    return None


@dataclass(frozen=True)
class Trained:
    """A model, and results of its training for evaluation and card.

    Attributes:
        model: The model.
        forward: Out-of-fold scores of forward folds.
        population: Scores of the entities that are active at cutoff_date and have no positive label.
    """

    model: model.RiskModel
    forward: Forward
    population: flagging.PopulationScores


def fit_model(
    declaration: Declaration,
    training_set: TrainingSet,
    split: Split,
    parameters: Parameters,
    as_of: date,
    texts: TextModel | None = None,
) -> Trained:
    """Fits boosters, calibrations, threshold, floor, baselines and the drift reference.

    Args:
        declaration: The model.
        training_set: Its data, with scores of texts.
        split: Its rows by use.
        parameters: The training parameters.
        as_of: The training's cutoff_date.
        texts: The models that scored the texts; None if there are none.
    """
    columns = _booster_columns(declaration)
    monotone_constraints = np.array([feature.monotone for feature in declaration.features])
    fits = [partial(fit_booster, split.train, chosen, monotone_constraints, parameters) for chosen in columns.values()]
    fitted = dict(zip(columns, model.in_parallel(fits), strict=True))
    forward = forward_margins(split.forward, monotone_constraints, parameters)
    weight = 0.0 if texts is None else _text_weight(declaration, forward)
    forward = _mix_forward(forward, declaration, weight)
    return _assemble(
        declaration, fitted, forward, training_set, split, parameters, as_of, texts=texts, text_weight=weight
    )


def _text_weight(declaration: Declaration, forward: Forward) -> float:
    """Returns the weight of the scores of texts that ranks the rows of forward folds best; the lowest of equal ones."""
    texts = forward.rows.features[:, model.text_positions(declaration.features)["main"]]
    known = np.isfinite(texts).any(axis=1) & np.isfinite(forward.unseen)
    rows, margin = forward.rows.take(known), forward.unseen[known].astype(np.float32)
    if int(rows.label.sum()) < MIN_POSITIVES or bool(rows.label.all()):
        return 0.0

    def quality(weight: float) -> float:
        auroc, precision = metrics.ranking(
            model.mix_texts(margin, texts[known], weight).astype(np.float64), rows.label, rows.weight[None, :]
        )
        return float(auroc[0] + precision[0])

    return max(TEXT_WEIGHTS, key=lambda weight: (quality(weight), -weight))


def _mix_forward(forward: Forward, declaration: Declaration, weight: float) -> Forward:
    """Returns the margins of forward folds, mixed with the scores of texts as those of the model are."""
    texts = forward.rows.features[:, model.text_positions(declaration.features)["main"]]
    unseen, seen = (
        model.mix_texts(margin.astype(np.float32), texts, weight).astype(np.float64)
        for margin in (forward.unseen, forward.seen)
    )
    return Forward(forward.rows, unseen, seen)


def fit_starter(
    declaration: Declaration, training_set: TrainingSet, split: Split, parameters: Parameters, as_of: date
) -> Trained:
    """Fits the starter model of a declaration, its scorecard, to the active entities; no label is used."""
    indicators, active = starter.read_scorecard(declaration), training_set.active.features
    fitted = {
        name: starter.fit_scorecard(
            indicators, [declaration.columns[index] for index in chosen], np.ascontiguousarray(active[:, chosen])
        )
        for name, chosen in _booster_columns(declaration).items()
    }
    nothing = split.forward.take(np.zeros(len(split.forward), dtype=bool))
    forward = Forward(nothing, np.zeros(0), np.zeros(0))
    return _assemble(declaration, fitted, forward, training_set, split, parameters, as_of, is_starter=True)


def _booster_columns(declaration: Declaration) -> dict[str, list[int]]:
    """Returns the positions of the features that each booster takes."""
    return {"main": list(range(len(declaration.features))), "own": list(declaration.own_conduct)}


def _assemble(
    declaration: Declaration,
    fitted: Mapping[str, bytes],
    forward: Forward,
    training_set: TrainingSet,
    split: Split,
    parameters: Parameters,
    as_of: date,
    *,
    is_starter: bool = False,
    texts: TextModel | None = None,
    text_weight: float = 0.0,
) -> Trained:
    """Adds to fitted boosters what a model needs besides: calibrations, threshold, floor, baselines, drift reference."""
    columns, active = _booster_columns(declaration), training_set.active
    text_columns = model.text_positions(declaration.features)

    def margins(name: str, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return model.mix_texts(
            _margins(fitted[name], features, columns[name]), features[:, text_columns[name]], text_weight
        )

    active_margins = {name: margins(name, active.features) for name in columns}
    calibrations = {
        name: rank_calibration(active_margins[name])
        if is_starter
        else _calibration(partial(margins, name), active_margins[name], training_set)
        for name in columns
    }
    if not calibrations["main"].is_calibrated:
        # The scores are ranks, both of them: a rank and a probability cannot be compared.
        calibrations = {name: rank_calibration(active_margins[name], calibrations[name]) for name in columns}
    prevalence = _prevalence(calibrations["main"], training_set)
    held_out = margins("main", split.calibrate.features)
    sample = scored_verdicts(split.calibrate, held_out, forward, calibrations["main"])
    scores = {name: model.points(calibrations[name].probability(margin)) for name, margin in active_margins.items()}
    unlabelled = ~active.is_labelled
    population = flagging.PopulationScores(
        scores["main"][unlabelled], scores["own"][unlabelled], active.merchant[unlabelled]
    )
    main, own = fitted["main"], fitted["own"]
    reference = drift.reference(active.features, declaration.columns)
    first = int(split.evaluate.day.min()) if len(split.evaluate) else (as_of - EPOCH).days
    is_ranking = not calibrations["main"].is_calibrated
    # The floor depends on how many of those who reach it are honest, which a rank does not say.
    weighed = replace(population, score=100.0 * flagging.rank_risk(population.score)) if is_ranking else population
    exposed = population.most_exposed(declaration.most_exposed) if is_ranking else declaration.most_exposed
    flags = flagging.flagging(sample, weighed, prevalence or 0.0, parameters.target_precision, exposed)
    if is_ranking:
        threshold = flagging.rank_threshold(len(active.features))
        flags = replace(flags, threshold=threshold, basis="ranking", expected_precision=None)
    text = b"" if texts is None else texts.to_bytes()
    body = model.describe(declaration, main, own, text) | {
        "training": {
            "as_of": as_of.isoformat(),
            # A starter was trained on no row: any row may be compared on.
            "learned_before": (EPOCH if is_starter else EPOCH + timedelta(days=first)).isoformat(),
            "unseen_share": 1.0 if is_starter else parameters.unseen_share,
        },
        "calibration": {name: calibration.as_dict() for name, calibration in calibrations.items()},
        "flagging": flags.as_dict(),
        "prevalence": prevalence,
        "baseline": explain.baseline_values(active, declaration.features),
        "population": drift.population(active),
        "reference": reference | drift.reference(scores["main"][:, None].astype(np.float32), ["score"]),
        "past_psi": drift.past_psi(training_set.rows, reference, declaration.columns, (as_of - EPOCH).days),
    }
    if is_starter:
        body["is_starter"] = True
    if texts is not None:
        body["text_weight"] = text_weight
    return Trained(model.RiskModel(body, main, own, text=text), forward, population)


def _calibration(
    margins: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    active_margins: npt.NDArray[np.float32],
    training_set: TrainingSet,
) -> Calibration:
    """Calibrates the margins of a booster.

    It uses all held-out verdicts, `split` the newest; known positives are part of the fit (docs/decisions/0010), training
    verdicts are not.
    """
    verdicts, known = (
        training_set.rows.take(training_set.rows.has_purpose(name)) for name in ("calibrate", "known_positive")
    )
    return calibrate(
        margins(verdicts.features),
        verdicts.label,
        verdicts.expansion_weight,
        verdicts.is_random_arm,
        is_known=np.isin(verdicts.entity, known.entity),
        known=margins(known.features),
        active=active_margins[~training_set.active.is_training_verdict],
    )


def _prevalence(calibration: Calibration, training_set: TrainingSet) -> float | None:
    """Estimates the share of positives among the active entities; None where no verdict allows it."""
    active, prevalence = training_set.active, calibration.prevalence
    if prevalence is None:
        return None
    training_labels = training_set.rows.label[training_set.rows.has_purpose("training_verdict")]
    if len(training_labels):
        prevalence = (prevalence * float((~active.is_training_verdict).sum()) + float(training_labels.sum())) / len(
            active.is_training_verdict
        )
    return prevalence


def _margins(fitted: bytes, features: npt.NDArray[np.float32], columns: list[int]) -> npt.NDArray[np.float32]:
    """Returns margins of a booster on some of the columns, in parts: the rows may be the whole population."""
    booster = model.load_booster(fitted)
    starts = range(0, max(len(features), 1), PART_ROWS)
    parts = (np.ascontiguousarray(features[start : start + PART_ROWS, columns]) for start in starts)
    return np.concatenate([model.margin_of(booster, part) for part in parts])


def scored_verdicts(
    verdicts: Rows, margin: npt.NDArray[np.float32], forward: Forward, calibration: Calibration
) -> flagging.ScoredSample:
    """Returns the sample for estimating precision: held-out verdicts if they contain 20 positives, else out-of-fold rows.

    Fewer positives cannot show a precision of 90 %.
    """
    if int(verdicts.label.sum()) >= flagging.ENOUGH_VERDICTS:
        score = model.points(calibration.probability(margin))
        return flagging.ScoredSample(
            "held_out", score, verdicts.label, verdicts.expansion_weight, verdicts.is_verdict, verdicts.merchant
        )
    margins = np.where(np.isnan(forward.seen), forward.unseen, forward.seen)
    known = ~np.isnan(margins)
    rows = forward.rows.take(known)
    score = model.points(calibration.probability(margins[known]))
    return flagging.ScoredSample("out_of_fold", score, rows.label, rows.weight, rows.is_verdict, rows.merchant)


def _facts(trained: Trained, training_set: TrainingSet, split: Split, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `card.json`: rows, labels, calibration, population, provenance."""
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
        "population": trained.population.counts(trained.model.threshold, trained.model.floor),
    }
