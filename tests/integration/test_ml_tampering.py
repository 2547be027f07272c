"""Tampering with what was reviewed prevents any list: the real command, over a home in which one thing was changed."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import NEXT_DAY, SmallHomes, published_files, run, touchstone

from ml.mlflow_client import load_mlflow
from ml.registry import Registry
from ml.review import Check, Judgement
from tests.ml_fixtures import register_again

MODEL = "listing_counterfeit"
Change = Callable[[Path], None]


class Planted:
    """Creates a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def folder_of(home: Path, model: str = MODEL) -> Path:
    champion = Registry(home).champion(model)
    assert champion is not None
    return champion.folder


def one_byte(home: Path) -> None:
    file = folder_of(home) / "main.ubj"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def booster_of_another_model(home: Path) -> None:
    shutil.copy(folder_of(home, "merchant_counterfeit") / "main.ubj", folder_of(home) / "main.ubj")


def another_calibration(home: Path) -> None:
    file = folder_of(home) / "model.json"
    body = json.loads(file.read_bytes())
    body["calibration"]["main"]["intercept"] += 1
    file.write_text(json.dumps(body, sort_keys=True, separators=(",", ":")))


def pickle_for_the_booster(home: Path) -> None:
    (folder_of(home) / "main.ubj").write_bytes(pickle.dumps(Planted(home / "planted")))


def additional_pickle(home: Path) -> None:
    (folder_of(home) / "python_model.pkl").write_bytes(pickle.dumps(Planted(home / "planted")))


def loader_module(home: Path) -> None:
    file = folder_of(home) / "MLmodel"
    described = json.loads(file.read_bytes())
    file.write_text(json.dumps(described | {"flavors": {"python_function": {"loader_module": "planted", "data": "."}}}))


def no_booster(home: Path) -> None:
    (folder_of(home) / "own_conduct.ubj").unlink()


def changed_lines(change: Callable[[list[str]], list[str]]) -> Change:
    def edit(home: Path) -> None:
        file = home / "models" / "log.jsonl"
        lines = change(file.read_text().splitlines())
        file.write_text("".join(f"{line}\n" for line in lines))

    return edit


def reworded(lines: list[str]) -> list[str]:
    return [*lines[:-2], json.dumps(json.loads(lines[-2]) | {"who": "Mallory"}, sort_keys=True), lines[-1]]


def no_log(home: Path) -> None:
    (home / "models" / "log.jsonl").unlink()


def older_mlflow_database(home: Path) -> None:
    """Restores MLflow's database to its state before a second version was approved."""
    kept = (home / "mlflow.db").read_bytes()
    version = register_again(home, MODEL, raised_by=0.001)
    approved = touchstone(home, "models", "approve", MODEL, str(version), "--who", "Ada", "--why", "reads well")
    assert approved.code == 0, approved.stderr
    (home / "mlflow.db").write_bytes(kept)


CHANGES: dict[str, tuple[Change, str]] = {
    "one byte of the booster": (one_byte, r"main\.ubj: its SHA-256 is"),
    "the booster of another model": (booster_of_another_model, r"main\.ubj: its SHA-256 is"),
    "the calibration": (another_calibration, r"model\.json: its SHA-256 is"),
    "a pickle instead of the booster": (pickle_for_the_booster, r"main\.ubj: its SHA-256 is"),
    "an additional pickle": (additional_pickle, r"python_model\.pkl was added"),
    "a loader_module": (loader_module, r"MLmodel was changed"),
    "a missing booster": (no_booster, r"own_conduct\.ubj: a file of a registered model cannot be read"),
    "a changed log line": (changed_lines(reworded), "chain is broken"),
    "a missing log line": (changed_lines(lambda lines: lines[:2] + lines[3:]), "chain is broken"),
    "a truncated log": (changed_lines(lambda lines: lines[:-1]), "its end was cut off"),
    "no log": (no_log, "its end was cut off"),
    "an older MLflow database": (older_mlflow_database, "it was restored from before"),
}


@pytest.fixture
def home(small_homes: SmallHomes, tmp_path: Path) -> Path:
    copy = tmp_path / "home"
    shutil.copytree(small_homes.rated, copy)
    return copy


@pytest.mark.parametrize(("change", "pattern"), CHANGES.values(), ids=CHANGES)
def test_modified_reviewed_files_prevent_rating(
    small_homes: SmallHomes, home: Path, change: Change, pattern: str
) -> None:
    before = published_files(home)
    change(home)
    done = run(home, small_homes.policy, NEXT_DAY)
    assert done.code == 4, done.stderr
    assert re.search(pattern, done.stderr)
    assert "Traceback" not in done.stderr
    assert published_files(home) == before
    assert not (home / "planted").exists(), "a pickle was read"
    verified = touchstone(home, "models", "log", "--verify")
    assert verified.code == 4
    assert re.search(pattern, verified.stdout + verified.stderr)


@pytest.mark.slow
def test_an_alias_moved_to_a_failed_version_is_restored_and_does_not_rate(small_homes: SmallHomes, home: Path) -> None:
    failed = Judgement((Check("average precision", passed=False, message="average precision is 0.1"),))
    version = register_again(home, MODEL, failed, raised_by=0.001)
    client = load_mlflow().MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    client.set_registered_model_alias(MODEL, "champion", str(version))
    done = run(home, small_homes.policy, NEXT_DAY)
    assert done.code == 0, done.stderr
    assert "average precision is 0.1" in done.stdout + done.stderr
    assert client.get_model_version_by_alias(MODEL, "champion").version == 1
    (receipt,) = (home / "published" / "listings").glob(f"{NEXT_DAY}-*/receipt.json")
    assert json.loads(receipt.read_bytes())["run"]["approval"]["version"] == 1


@pytest.mark.slow
def test_a_lost_champion_does_not_prevent_training_another(small_homes: SmallHomes, home: Path) -> None:
    """The message pattern to train and approve; so that has to work."""
    one_byte(home)
    limits = {
        "TOUCHSTONE_POLICY": str(small_homes.policy),
        "TOUCHSTONE_THRESHOLDS": str(small_homes.policy.with_name("thresholds.yml")),
    }
    done = touchstone(home, "run", "--as-of", NEXT_DAY, "--train", **limits)
    assert done.code == 4, done.stderr
    approved = touchstone(
        home, "models", "approve", MODEL, "2", "--who", "Ada", "--why", "the first is lost", "--override"
    )
    assert approved.code == 0, approved.stderr
    assert run(home, small_homes.policy, NEXT_DAY).code == 0
