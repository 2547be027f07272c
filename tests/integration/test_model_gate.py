"""The review's gate on the demo at scale 0.1: training on newer rows passes, training on inverted labels does not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml.declarations import load_declarations
from ml.registry import Registry
from ml.train import Files, TrainingResult
from tests.conftest import touchstone
from tests.ml_fixtures import train

pytestmark = pytest.mark.slow
CHECK_SEED = 1057
BEFORE, NOW = "2026-05-31", "2026-06-30"
INVERTED = 0.2
MODELS = load_declarations()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marketplace whose models were trained and approved a month ago, and trained again now."""
    home = tmp_path_factory.mktemp("home")
    for command in (
        ("demo", "--scale", "0.1", "--seed", str(CHECK_SEED)),
        ("run", "--as-of", BEFORE, "--approve-if-passing"),
        ("run", "--as-of", NOW, "--train"),
    ):
        done = touchstone(home, *command)
        assert done.code == 0, done.stderr
    return home


@pytest.mark.parametrize("model", MODELS)
def test_training_on_newer_rows_passes(home: Path, model: str) -> None:
    first, *_ = Registry(home).versions(model)
    again = Registry(home).version(model, 2)
    assert first.status == "champion"
    described = json.loads((again.folder.parent / "evaluation.json").read_text())["comparison"]
    assert described["basis"] == "as it rates"
    assert again.failures == ()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("which", ["rows", "verdicts"])
def test_training_on_inverted_labels_is_refused(home: Path, model: str, which: str, tmp_path: Path) -> None:
    rates = MODELS[model].rates
    learned, active_entities = home / "training" / rates / f"as_of={NOW}", home / "features" / rates / f"as_of={NOW}"
    spine = pq.read_table(learned / "spine.parquet", partitioning=None)
    label = np.array(spine["label"].to_pylist())
    chosen = np.array(pc.equal(spine["purpose"], "train")) & (np.random.default_rng(3).random(len(label)) < INVERTED)
    if which == "verdicts":
        chosen &= np.array(pc.is_valid(spine["label_decided_date"]))
    inverted = pa.array(np.where(chosen, ~label, label).tolist(), pa.bool_())
    spine = spine.set_column(spine.column_names.index("label"), "label", inverted)
    pq.write_table(spine, tmp_path / "spine.parquet")
    files = Files(
        features=learned / "features.parquet",
        spine=tmp_path / "spine.parquet",
        edges=learned / "edges.parquet",
        active=active_entities / "features.parquet",
        slices=learned / "slices.parquet",
    )
    result = train(
        MODELS[model],
        files,
        as_of=date.fromisoformat(NOW),
        registry=Registry(home),
        provenance={"loads_digest": "0" * 64},
        trained_by="Tim",
    )
    assert isinstance(result, TrainingResult)
    described = [failure for failure in result.version.failures if "the champion's" in failure]
    assert described, result.version.failures
