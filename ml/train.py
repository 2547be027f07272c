"""Trains a declared model: boosters, calibration, threshold, evaluation, and the version that a reviewer will see.

The booster that is evaluated is the one that can be approved: nothing is fitted again afterwards. A training whose
data, code and parameters were seen before returns the version they gave. Approving is the registry's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from groundwork.files import sha256_bytes, sha256_file, sha256_tree
from ml import evaluate, explain, flagging, model
from ml.calibrate import Calibration, calibrate
from ml.declarations import Declaration
from ml.training_set import (
    Components,
    Flags,
    Integers,
    Matrix,
    Rows,
    Split,
    component_folds,
    forward_blocks,
    known_before,
    read_rows,
    split_rows,
)

if TYPE_CHECKING:
    from ml.registry import Registry, Version

MIN_POSITIVES: Final = 20
MIN_COMPONENTS: Final = 5
HERE: Final = Path(__file__).resolve().parent

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Parameters:
    """Everything about a training that is a choice, and part of its digest.

    The booster's are for few positives (100 to 1,500) among unlabelled rows some of which are positives too: shallow
    trees, slow steps, strong shrinkage.
    """

    seed: int = 7
    learning_rate: float = 0.05
    max_depth: int = 4
    min_child_weight: float = 1.0
    reg_lambda: float = 5.0
    subsample: float = 0.8
    colsample_bytree: float = 0.6
    max_bin: int = 128
    max_rounds: int = 400
    patience: int = 30
    rounds_without_stopping: int = 80
    stopping_folds: int = 5
    unseen_share: float = 0.2
    train_unlabelled: int = 60_000
    forward_unlabelled: int = 12_000
    forward_blocks: int = 4
    forward_groups: int = 4
    resamples: int = 500
    target_precision: float = flagging.DEFAULT_TARGET


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
class Fitted:
    """A booster after early stopping, cut to its best round."""

    ubj: bytes
    rounds: int


def train(
    declaration: Declaration,
    features: Path,
    spine: Path,
    edges: Path | None,
    *,
    as_of: date,
    registry: Registry,
    provenance: Mapping[str, str],
    parameters: Parameters | None = None,
    progress: Progress = lambda _: None,
) -> TrainingResult | TooFewLabels:
    """Trains, calibrates, evaluates and registers a model.

    Args:
        declaration: The model.
        features: `training/<entities>/as_of=<date>/features.parquet`.
        spine: `spine.parquet` beside it.
        edges: `edges.parquet` beside it, or None.
        as_of: The training's cut, a day.
        registry: Where the version goes.
        provenance: Digests of loads, code revision and the like; noted with the run, no part of any digest here.
        parameters: Choices of the training; the defaults if None.
        progress: Called with a line a step.

    Returns:
        The version, or why there is none.

    Raises:
        BadInputError: The files lack a declared column or do not belong together.
    """
    parameters = parameters or Parameters()
    data = {
        "features": sha256_file(features),
        "spine": sha256_file(spine),
        "edges": sha256_file(edges) if edges else "",
    }
    digest = training_digest(declaration, data, as_of, parameters)
    known = registry.version_of_training(declaration.name, digest)
    if known is not None:
        progress(f"{declaration.name}: version {known.version} was trained on the same data, code and parameters")
        return TrainingResult(known, reused=True, metrics=known.metrics)
    rows, components = read_rows(declaration, features, spine, edges, as_of)
    most = (parameters.train_unlabelled, parameters.forward_unlabelled)
    split = split_rows(rows, parameters.unseen_share, most, parameters.seed)
    few = too_few(declaration.name, split)
    if few is not None:
        progress(few.message)
        return few
    progress(f"{declaration.name}: {len(split.train)} rows to learn from, {int(split.train.label.sum())} positive")
    trained = fit_model(declaration, split, parameters)
    report = evaluate.report(trained.model, split, trained.forward, parameters.resamples, parameters.seed)
    card = _card(trained, split, components, data, as_of, digest)
    version = registry.register(
        trained.model,
        card=card,
        report=report,
        parameters=asdict(parameters),
        provenance=provenance,
        training_digest=digest,
    )
    progress(f"{declaration.name}: version {version.version} is registered and waits for review")
    return TrainingResult(version, reused=False, metrics=report.metrics)


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
        rounds: Rounds of each booster.
    """

    model: model.RiskModel
    forward: Forward
    rounds: Mapping[str, int]


@dataclass(frozen=True)
class Forward:
    """Out-of-fold margins of the forward rows; nan where no fold could score a row.

    Attributes:
        rows: The rows.
        unseen: Margins of boosters that saw no row of the row's component.
        seen: Margins of boosters that saw earlier rows of the row's component; nan where there were none.
    """

    rows: Rows
    unseen: npt.NDArray[np.float64]
    seen: npt.NDArray[np.float64]


def fit_model(declaration: Declaration, split: Split, parameters: Parameters) -> Trained:
    """Fits both boosters, both calibrations, threshold, floor and usual values."""
    own = list(declaration.own_conduct)
    signs = np.array([feature.monotone for feature in declaration.features])
    fitted = {
        "main": fit_booster(split.train, split.train.features, signs, parameters),
        "own": fit_booster(split.train, split.train.features[:, own], signs[own], parameters),
    }
    forward = forward_margins(split.forward, signs, parameters)
    verdicts = {"main": split.calibrate.features, "own": split.calibrate.features[:, own]}
    margins = {
        name: model.margin_of(model.load_booster(fit.ubj), np.ascontiguousarray(verdicts[name]))
        for name, fit in fitted.items()
    }
    calibrations = {name: _calibration(split.calibrate, margin) for name, margin in margins.items()}
    prevalence = calibrations["main"].prevalence
    if prevalence is None:
        prevalence = float(np.average(split.forward.label, weights=split.forward.weight))
    units = flag_units(split.calibrate, margins["main"], forward, calibrations["main"])
    flags = flagging.flagging(units, prevalence, parameters.target_precision)
    body = model.describe(
        declaration.name,
        declaration.entity,
        declaration.matter,
        declaration.features,
        fitted["main"].ubj,
        fitted["own"].ubj,
    )
    body |= {
        "calibration": {name: calibration.as_dict() for name, calibration in calibrations.items()},
        "flagging": flags.as_dict(),
        "prevalence": prevalence,
        "usual": explain.usual_values(split, declaration.features),
    }
    risk_model = model.RiskModel(body, fitted["main"].ubj, fitted["own"].ubj)
    return Trained(risk_model, forward, {name: fit.rounds for name, fit in fitted.items()})


def _calibration(verdicts: Rows, margin: npt.NDArray[np.float32]) -> Calibration:
    return calibrate(margin, verdicts.label, verdicts.inclusion, verdicts.is_random_arm)


def flag_units(
    verdicts: Rows, margin: npt.NDArray[np.float32], forward: Forward, calibration: Calibration
) -> flagging.Units:
    """Returns the verdicts that precision is estimated from: the held-out ones where there are enough, else out-of-fold.

    Enough is 20 positives; fewer say nothing about a precision of 90 %.
    """
    if int(verdicts.label.sum()) >= flagging.ENOUGH_VERDICTS:
        score = model.points(calibration.probability(margin))
        weight = 1.0 / np.nan_to_num(verdicts.inclusion, nan=1.0)
        return flagging.Units("held_out", score, verdicts.label, weight, np.ones(len(verdicts), dtype=bool))
    margins = np.where(np.isnan(forward.seen), forward.unseen, forward.seen)
    known = ~np.isnan(margins)
    rows = forward.rows.take(known)
    score = model.points(calibration.probability(margins[known]))
    return flagging.Units("out_of_fold", score, rows.label, rows.weight, rows.is_verdict)


def fit_booster(rows: Rows, matrix: Matrix, signs: Integers, parameters: Parameters) -> Fitted:
    """Fits a booster with early stopping on a fold of whole components.

    Args:
        rows: The rows; they give labels, weights and components.
        matrix: Their features, shape (len(rows), k).
        signs: Monotone constraint of each feature, shape (k,).
        parameters: The training's choices.

    Returns:
        The booster up to its best round. Where no fold holds enough positives to stop on, a fixed number of rounds.
    """
    import xgboost

    stopping = stopping_fold(rows, parameters.stopping_folds)
    settings = _settings(rows.take(~stopping), signs, parameters)

    def data(chosen: Flags) -> Any:
        weight, threads = rows.weight[chosen], settings["nthread"]
        return xgboost.DMatrix(matrix[chosen], rows.label[chosen], weight=weight, nthread=threads)

    if not stopping.any():
        booster = xgboost.train(settings, data(~stopping), parameters.rounds_without_stopping)
        return Fitted(bytes(booster.save_raw("ubj")), parameters.rounds_without_stopping)
    stop = xgboost.callback.EarlyStopping(rounds=parameters.patience, save_best=True)
    evals = [(data(stopping), "fold")]
    booster = xgboost.train(
        settings, data(~stopping), parameters.max_rounds, evals=evals, callbacks=[stop], verbose_eval=False
    )
    booster.set_attr(best_iteration=None, best_score=None)
    return Fitted(bytes(booster.save_raw("ubj")), int(booster.num_boosted_rounds()))


def stopping_fold(rows: Rows, folds: int) -> Flags:
    """Returns the rows to stop on: a fold of components with at least 5 positives, else none."""
    chosen = component_folds(rows, folds) == folds - 1
    enough = int(rows.label[chosen].sum()) >= 5 and int(rows.label[~chosen].sum()) >= 5
    return chosen if enough else np.zeros(len(rows), dtype=bool)


def _settings(rows: Rows, signs: Integers, parameters: Parameters) -> dict[str, Any]:
    """XGBoost's parameters; `hist` gives the same trees at any number of threads."""
    share = float(np.average(rows.label, weights=rows.weight))
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "device": "cpu",
        "nthread": model.threads(len(rows)),
        "seed": parameters.seed,
        "base_score": float(np.clip(share, 1e-6, 1 - 1e-6)),
        "learning_rate": parameters.learning_rate,
        "max_depth": parameters.max_depth,
        "min_child_weight": parameters.min_child_weight,
        "reg_lambda": parameters.reg_lambda,
        "subsample": parameters.subsample,
        "colsample_bytree": parameters.colsample_bytree,
        "max_bin": parameters.max_bin,
        "monotone_constraints": tuple(int(sign) for sign in signs),
    }


def forward_margins(rows: Rows, signs: Integers, parameters: Parameters) -> Forward:
    """Scores each row by boosters that know neither its future nor, in one of two ways, its component.

    Blocks of dates go forward. A row of a later block is scored twice: by a booster on all rows known before its
    block (`seen`, where those hold its component), and by one on those of other component folds (`unseen`). In the
    first block there is no past: its rows are scored by folds of components inside it.

    Args:
        rows: Rows to learn from and to score, shape (n,).
        signs: Monotone constraint of each feature.
        parameters: The training's choices.

    Returns:
        Margins of shape (n,), nan where the known rows held too few positives to fit anything.
    """
    block, group = forward_blocks(rows, parameters.forward_blocks), component_folds(rows, parameters.forward_groups)
    unseen, seen = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for at in range(int(block.max(initial=-1)) + 1):
        inside = block == at
        known = known_before(rows, int(rows.day[inside].min())) if at else inside
        for fold in range(parameters.forward_groups):
            judged = inside & (group == fold)
            unseen[judged] = _fold_margins(rows, known & (group != fold), judged, signs, parameters)
        if at:
            judged = inside & np.isin(rows.component, np.unique(rows.component[known]))
            seen[judged] = _fold_margins(rows, known, judged, signs, parameters)
    return Forward(rows, unseen, seen)


def _fold_margins(
    rows: Rows, learn: Flags, judged: Flags, signs: Integers, parameters: Parameters
) -> npt.NDArray[np.float64]:
    if int(rows.label[learn].sum()) < 5 or bool(rows.label[learn].all()) or not judged.any():
        return np.full(int(judged.sum()), np.nan)
    taken = rows.take(learn)
    fitted = fit_booster(taken, taken.features, signs, replace(parameters, max_rounds=parameters.max_rounds // 2))
    return model.margin_of(model.load_booster(fitted.ubj), rows.features[judged]).astype(np.float64)


def _card(
    trained: Trained, split: Split, components: Components, data: Mapping[str, str], as_of: date, digest: str
) -> dict[str, Any]:
    """What a reviewer reads beside the metrics: rows, labels, components, calibration and where numbers come from."""
    body = trained.model.body
    return {
        "model": body["name"],
        "model_digest": trained.model.digest,
        "training_digest": digest,
        "as_of": as_of.isoformat(),
        "data": dict(data),
        "rounds": dict(trained.rounds),
        "rows": {
            "train": len(split.train),
            "train_positives": int(split.train.label.sum()),
            "evaluate": len(split.evaluate),
            "evaluate_positives": int(split.evaluate.label.sum()),
            "calibrate": len(split.calibrate),
            "calibrate_positives": int(split.calibrate.label.sum()),
        },
        "components": components.as_dict(),
        "calibration": body["calibration"],
        "flagging": body["flagging"],
        "prevalence": body["prevalence"],
    }
