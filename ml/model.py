"""A risk model as data: two boosters as UBJ and one JSON with everything else that a score or a reason depends on.

`model_digest` is the SHA-256 of that JSON, which names the boosters' own digests; nothing in it depends on when or
where the model was trained. Boosters are loaded from bytes whose digest was checked, never through an MLflow flavour, which
could run code. Training, registration and scoring are elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.calibrate import Calibration, assume_prevalence
from ml.declarations import Declaration, Feature
from touchstone.core.errors import VerificationError
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.lists import CARRIED, ID_COLUMNS

MODEL_FILE: Final = "model.json"
MAIN_FILE: Final = "main.ubj"
OWN_FILE: Final = "own_conduct.ubj"
FILES: Final = (MODEL_FILE, MAIN_FILE, OWN_FILE)
TEXT_FILE: Final = "text.arrow"
"""The linear models of texts (`ml/text_scores.py`), which only a model with scores of texts has."""
# Files for MLflow (`card.mlflow_files`), which nothing here reads.
MLFLOW_FILES: Final = ("MLmodel", "input_example.json")
FORMAT: Final = 3
# Below this many rows exact TreeSHAP runs on one thread; it costs a thousand times a prediction.
SHAP_ALONE: Final = 500
# Rows per prediction task: enough to be worth a thread, and few enough that a batch occupies several.
ROWS_A_THREAD: Final = 16_384
# Advice if a file of a version is not what its training wrote.
RESTORE: Final = (
    "restore it from a backup, roll back (`touchstone models rollback`), or train (`touchstone run --train`) and approve the "
    "new version"
)

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RiskModel:
    """A model: the content of `model.json`, and the bytes of both boosters and of the models of texts.

    Attributes:
        body: The content of `model.json`.
        main: UBJ of the booster on all features.
        own: UBJ of the booster on the features that no third party controls.
        assumed_prevalence: The prevalence that a policy assumes where no verdict determines it; None for none. It is no part
            of the model.
        text: `text.arrow`, as `ml/text_scores.py` reads it; empty if the model scores no texts.
    """

    body: Mapping[str, Any]
    main: bytes
    own: bytes
    assumed_prevalence: float | None = None
    text: bytes = b""

    @property
    def digest(self) -> str:
        """The model_digest: SHA-256 of `model.json`, which holds the boosters' digests."""
        return sha256_bytes(canonical_json(self.body))

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features, in the order in which the main booster takes them."""
        return tuple(Feature.from_dict(feature) for feature in self.body["features"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Their columns."""
        return tuple(str(feature["name"]) for feature in self.body["features"])

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The columns of those that dbt makes; the others are scores of texts."""
        return tuple(feature.name for feature in self.features if not feature.text)

    @property
    def id_column(self) -> str:
        """The column that names a rated entity."""
        return ID_COLUMNS[self.body["entity"]]

    @property
    def carried(self) -> tuple[str, ...]:
        """Further ids of a rated entity, any of which may be null."""
        return CARRIED.get(self.body["entity"], ())

    @property
    def threshold(self) -> float:
        """The least score to flag."""
        return float(flagging_under(self.body, self.assumed_prevalence)["threshold"])

    @property
    def floor(self) -> float:
        """The least own_conduct_score to flag."""
        return float(self.body["flagging"]["floor"])

    @property
    def text_weight(self) -> float:
        """Weight of the mean score of texts against the boosters, 0 to 1; see `mix_texts`."""
        return float(self.body.get("text_weight", 0.0))

    @property
    def is_calibrated(self) -> bool:
        """Whether its scores are probabilities that verdicts determined."""
        return self.calibration("main").is_calibrated

    @property
    def is_starter(self) -> bool:
        """Whether it is a scorecard that no label was used for."""
        return bool(self.body.get("is_starter", False))

    def calibration(self, booster: str) -> Calibration:
        """Returns the calibration of a booster, `main` or `own`."""
        calibration = Calibration.from_dict(self.body["calibration"][booster])
        if booster == "main" and calibration.method == "ranking" and self.assumed_prevalence is not None:
            return assume_prevalence(calibration, self.assumed_prevalence)
        return calibration

    def files(self) -> dict[str, bytes]:
        """Returns the model's files by name."""
        text = {TEXT_FILE: self.text} if self.text else {}
        return {MODEL_FILE: canonical_json(self.body), MAIN_FILE: self.main, OWN_FILE: self.own, **text}


def flagging_under(body: Mapping[str, Any], assumed_prevalence: float | None) -> Mapping[str, Any]:
    """Returns a model's stored flagging, with its threshold in the scores that an assumed prevalence gives.

    Args:
        body: The content of `model.json`.
        assumed_prevalence: See `RiskModel`; ignored if verdicts calibrated the model.
    """
    flagging: Mapping[str, Any] = body["flagging"]
    if flagging["basis"] != "ranking" or assumed_prevalence is None:
        return flagging
    ranking = Calibration.from_dict(body["calibration"]["main"])
    margins, below = np.array(ranking.knots, dtype=np.float64).T
    margin = np.interp([float(flagging["threshold"]) / 100.0], below, margins)
    return {
        **flagging,
        "threshold": float(points(assume_prevalence(ranking, assumed_prevalence).probability(margin))[0]),
    }


def describe(declaration: Declaration, main: bytes, own: bytes, text: bytes = b"") -> dict[str, Any]:
    """Returns the part of `model.json` that names the model, its boosters and its models of texts."""
    boosters = {"main": sha256_bytes(main), "own": sha256_bytes(own)}
    digest = {"text": sha256_bytes(text)} if text else {}
    return {"format": FORMAT, **declaration.as_dict(), "boosters": boosters, **digest}


def read_model(folder: Path, digest: str) -> RiskModel:
    """Reads a model's files and checks each against what it should be.

    Args:
        folder: Folder with `model.json`, `main.ubj`, `own_conduct.ubj` and, if the model scores texts, `text.arrow`.
        digest: The model_digest that a review approved.

    Returns:
        The model, whose bytes are those that were reviewed.

    Raises:
        VerificationError: A file is missing, or is not the one that was reviewed.
    """
    content = {name: _read(folder / name) for name in FILES}
    _check(folder / MODEL_FILE, content[MODEL_FILE], digest)
    body = json.loads(content[MODEL_FILE])
    _check(folder / MAIN_FILE, content[MAIN_FILE], body["boosters"]["main"])
    _check(folder / OWN_FILE, content[OWN_FILE], body["boosters"]["own"])
    text = b""
    if "text" in body:
        text = _read(folder / TEXT_FILE)
        _check(folder / TEXT_FILE, text, body["text"])
    return RiskModel(body=body, main=content[MAIN_FILE], own=content[OWN_FILE], text=text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(
            f"{path}: a file of a registered model cannot be read ({error}). Nothing is rated with it: {RESTORE}."
        ) from error


def _check(path: Path, content: bytes, digest: str) -> None:
    actual = sha256_bytes(content)
    if actual != digest:
        raise VerificationError(
            f"{path}: its SHA-256 is {actual}, not {digest}, which is what was reviewed. Nothing is rated with it: {RESTORE}."
        )


class Scorer:
    """Both boosters of a model, loaded."""

    def __init__(self, model: RiskModel) -> None:
        """Loads the boosters from the model's bytes."""
        self.model = model
        self.own_columns = own_positions(model.features)
        self.text_columns = text_positions(model.features)
        self._boosters = {"main": load_booster(model.main), "own": load_booster(model.own)}
        self._calibrations = {name: model.calibration(name) for name in self._boosters}

    def margin(self, matrix: Matrix, booster: str = "main") -> npt.NDArray[np.float32]:
        """Returns raw log-odds of a booster, mixed with the scores of texts, for features of shape (n, number of features)."""
        taken = matrix if booster == "main" else np.ascontiguousarray(matrix[:, self.own_columns])
        margin = margin_of(self._boosters[booster], taken)
        return mix_texts(margin, matrix[:, self.text_columns[booster]], self.model.text_weight)

    def score(self, margin: npt.NDArray[np.float32], booster: str = "main") -> Floats:
        """Returns scores, 0 to 100 with 4 decimals, for margins of a booster."""
        return points(self._calibrations[booster].probability(margin))

    def rate(self, matrix: Matrix) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Returns score, own_conduct_score and whether each row is flagged, for features of shape (n, number of features)."""
        score, own = self.score(self.margin(matrix)), self.score(self.margin(matrix, "own"), "own")
        return score, own, (score >= self.model.threshold) & (own >= self.model.floor)

    def attributions(self, matrix: Matrix) -> Floats:
        """Returns exact attributions in log-odds, shape (n, number of features).

        They are the main booster's TreeSHAP values; a score of a text adds what it contributes to the mean of such scores.
        """
        if not len(matrix):
            return np.zeros(matrix.shape, dtype=np.float64)
        booster = self._boosters["main"]
        booster.set_param({"nthread": 0 if len(matrix) >= SHAP_ALONE else 1})
        contributions = booster.predict(load_xgboost().DMatrix(matrix, nthread=1), pred_contribs=True)
        booster.set_param({"nthread": 1})
        values = np.asarray(contributions[:, :-1], dtype=np.float64)
        texts = matrix[:, self.text_columns["main"]].astype(np.float64)
        known = np.isfinite(texts)
        weight = np.where(known.any(axis=1), self.model.text_weight, 0.0)[:, None]
        values *= 1.0 - weight
        values[:, self.text_columns["main"]] += (
            weight * np.where(known, texts, 0.0) / np.maximum(known.sum(axis=1), 1)[:, None]
        )
        return values


def own_positions(features: tuple[Feature, ...]) -> list[int]:
    """Returns the positions of the own-conduct booster's features."""
    return [index for index, feature in enumerate(features) if feature.controlled_by != "third_party"]


def text_positions(features: Sequence[Feature]) -> dict[str, list[int]]:
    """Returns, by booster, the positions of the features that are scores of texts."""
    texts = [index for index, feature in enumerate(features) if feature.text]
    return {"main": texts, "own": [index for index in texts if features[index].controlled_by != "third_party"]}


def mix_texts(margin: npt.NDArray[np.float32], texts: Matrix, weight: float) -> npt.NDArray[np.float32]:
    """Mixes a booster's margins with the mean of the scores of texts, which are margins of linear models.

    Boosters learn little from scores of texts where labelled merchants are few (docs/decisions/0025).

    Args:
        margin: Shape (n,).
        texts: Scores of texts, shape (n, k), nan if unknown; a row without any keeps its margin.
        weight: Weight of the texts, 0 to 1.
    """
    if not weight or not texts.shape[1]:
        return margin
    known = np.isfinite(texts)
    count = known.sum(axis=1)
    mean = np.where(known, texts, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, (1.0 - weight) * margin + weight * mean, margin).astype(np.float32)


def points(probability: Floats) -> Floats:
    """Returns probabilities as scores: 0 to 100, 4 decimals."""
    return np.round(100.0 * probability, 4)


def load_xgboost() -> Any:
    """Imports XGBoost, which takes seconds; the only function that imports it."""
    import xgboost

    return xgboost


def load_booster(content: bytes) -> Any:
    """Loads a booster from UBJ bytes; each of its predictions uses one thread."""
    booster = load_xgboost().Booster({"nthread": 1})
    booster.load_model(bytearray(content))
    return booster


def margin_of(booster: Any, matrix: Matrix) -> npt.NDArray[np.float32]:
    """Returns a booster's raw log-odds, float32, shape (n,); nan features count as missing.

    Parts of the rows are predicted in parallel: a row's log-odds do not depend on other rows.
    """
    if not len(matrix):
        return np.zeros(0, dtype=np.float32)
    predict = partial(booster.inplace_predict, predict_type="margin")
    parts = [partial(predict, matrix[start : start + ROWS_A_THREAD]) for start in range(0, len(matrix), ROWS_A_THREAD)]
    return np.concatenate(in_parallel(parts)).astype(np.float32).reshape(-1)


def in_parallel[Result](tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs independent tasks in threads, one per core; XGBoost releases the GIL."""
    if len(tasks) == 1:
        return [tasks[0]()]
    with ThreadPoolExecutor(max_workers=max(1, min(len(tasks), os.cpu_count() or 1))) as pool:
        return list(pool.map(lambda task: task(), tasks))
