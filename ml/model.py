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
    """A model: the content of `model.json`, and the bytes of both boosters.

    Attributes:
        body: The content of `model.json`.
        main: UBJ of the booster on all features.
        own: UBJ of the booster on the features that no third party controls.
        assumed_prevalence: The prevalence that a policy assumes where no verdict determines it; None for none. It is no part
            of the model.
    """

    body: Mapping[str, Any]
    main: bytes
    own: bytes
    assumed_prevalence: float | None = None

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
        return {MODEL_FILE: canonical_json(self.body), MAIN_FILE: self.main, OWN_FILE: self.own}


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


def describe(declaration: Declaration, main: bytes, own: bytes) -> dict[str, Any]:
    """Returns the part of `model.json` that names the model and its boosters."""
    boosters = {"main": sha256_bytes(main), "own": sha256_bytes(own)}
    return {"format": FORMAT, **declaration.as_dict(), "boosters": boosters}


def read_model(folder: Path, digest: str) -> RiskModel:
    """Reads a model's files and checks each against what it should be.

    Args:
        folder: Folder with `model.json`, `main.ubj` and `own_conduct.ubj`.
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
    return RiskModel(body=body, main=content[MAIN_FILE], own=content[OWN_FILE])


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
        self._boosters = {"main": load_booster(model.main), "own": load_booster(model.own)}
        self._calibrations = {name: model.calibration(name) for name in self._boosters}

    def margin(self, matrix: Matrix, booster: str = "main") -> npt.NDArray[np.float32]:
        """Returns raw log-odds of a booster for features of shape (n, number of features)."""
        taken = matrix if booster == "main" else np.ascontiguousarray(matrix[:, self.own_columns])
        return margin_of(self._boosters[booster], taken)

    def score(self, margin: npt.NDArray[np.float32], booster: str = "main") -> Floats:
        """Returns scores, 0 to 100 with 4 decimals, for margins of a booster."""
        return points(self._calibrations[booster].probability(margin))

    def rate(self, matrix: Matrix) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Returns score, own_conduct_score and whether each row is flagged, for features of shape (n, number of features)."""
        score, own = self.score(self.margin(matrix)), self.score(self.margin(matrix, "own"), "own")
        return score, own, (score >= self.model.threshold) & (own >= self.model.floor)

    def attributions(self, matrix: Matrix) -> Floats:
        """Returns exact TreeSHAP values of the main booster in log-odds, shape (n, number of features)."""
        if not len(matrix):
            return np.zeros(matrix.shape, dtype=np.float64)
        booster = self._boosters["main"]
        booster.set_param({"nthread": 0 if len(matrix) >= SHAP_ALONE else 1})
        contributions = booster.predict(load_xgboost().DMatrix(matrix, nthread=1), pred_contribs=True)
        booster.set_param({"nthread": 1})
        return np.asarray(contributions[:, :-1], dtype=np.float64)


def own_positions(features: tuple[Feature, ...]) -> list[int]:
    """Returns the positions of the own-conduct booster's features."""
    return [index for index, feature in enumerate(features) if feature.controlled_by != "third_party"]


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
