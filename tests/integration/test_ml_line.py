"""The models' whole line on simulated files: train, register, approve, score, explain; and what must not work."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundwork.errors import BadInputError, VerificationError
from groundwork.files import sha256_file
from ml.registry import Champion, Registry
from ml.score import score
from ml.train import Parameters, TooFewLabels, TrainingResult, train
from tests.ml_fixtures import CUT, LISTINGS, Simulation, simulate

QUICK = Parameters(max_rounds=120, forward_blocks=2, forward_groups=2, resamples=50)
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def trained(home: Path, simulation: Simulation, parameters: Parameters = QUICK) -> TrainingResult:
    registry = Registry(home, now=lambda: NOW)
    result = train(
        LISTINGS,
        simulation.features,
        simulation.spine,
        simulation.edges,
        as_of=CUT,
        registry=registry,
        provenance={"loads": "0" * 64},
        parameters=parameters,
    )
    assert isinstance(result, TrainingResult)
    return result


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("simulation"))


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory, simulation: Simulation) -> Path:
    """A home with one approved version."""
    home = tmp_path_factory.mktemp("home")
    trained(home, simulation)
    Registry(home, now=lambda: NOW).approve(LISTINGS.name, 1, who="a reviewer", why="reads well")
    return home


@pytest.fixture
def home(tmp_path: Path, approved: Path) -> Path:
    """A copy of that home, to break. MLflow's own file paths point at the original; ours do not."""
    return Path(shutil.copytree(approved, tmp_path / "home"))


def champion_of(home: Path) -> Champion:
    champion = Registry(home).champion(LISTINGS.name)
    assert champion is not None
    return champion


def test_scores_hold_what_the_design_says(approved: Path, simulation: Simulation, tmp_path: Path) -> None:
    champion = champion_of(approved)
    result = score(champion, simulation.scoring, tmp_path / "scores.parquet", tmp_path / "reasons.parquet")
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == ["listing_id", "score", "own_conduct_score", "margin", "model_digest"]
    ids = table["listing_id"].to_pylist()
    assert ids == sorted(ids) == pq.read_table(simulation.scoring)["listing_id"].to_pylist()
    scores = table["score"].to_numpy()
    assert scores.min() >= 0
    assert scores.max() <= 100
    assert np.array_equal(scores, np.round(scores, 4))
    assert set(table["model_digest"].to_pylist()) == {champion.model_digest}
    assert result.rows == len(ids)
