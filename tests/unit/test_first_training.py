"""`touchstone run` trains without `--train` until every model was attempted, even if a run was interrupted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.pipeline import _has_to_train
from touchstone.core.files import TEMPORARY_PREFIX
from touchstone.core.lists import LISTS
from touchstone.core.run_record import RunRecord, Stage

MODELS = [rated.model for rated in LISTS.values()]


def ran(
    runs: Path, at: str, trained: Collection[str], *, failed: str | None = None, with_training: bool = True
) -> None:
    stages = [
        *(Stage(f"train {model}") for model in trained),
        *([Stage(f"train {failed}", has_failed=True)] if failed else []),
    ]
    RunRecord(
        runs / f"{at}.json", at, at, 1, "gone", stages=stages, facts={"with_training": with_training}, outcome="killed"
    ).write()


def trains(runs: Path, *champions: str) -> bool:
    registry: Any = SimpleNamespace(has_champion=lambda model: model in champions)
    return _has_to_train(runs, registry)


def test_a_run_trains_until_a_model_may_rate(tmp_path: Path):
    assert trains(tmp_path)
    ran(tmp_path, "2026-06-01T00:00:00", MODELS)
    assert trains(tmp_path)
    assert not trains(tmp_path, MODELS[0])


def test_a_model_that_may_rate_needs_no_training_record(tmp_path: Path):
    assert not trains(tmp_path, MODELS[0])


@pytest.mark.parametrize("failed", [None, MODELS[1]])
def test_an_interrupted_training_is_repeated(tmp_path: Path, failed: str | None):
    ran(tmp_path, "2026-06-01T00:00:00", MODELS[:1], failed=failed)
    ran(tmp_path, "2026-06-02T00:00:00", [], with_training=False)
    assert trains(tmp_path, MODELS[0])
    assert not trains(tmp_path, *MODELS)


def test_the_latest_training_decides(tmp_path: Path):
    ran(tmp_path, "2026-06-02T00:00:00", MODELS)
    ran(tmp_path, "2026-06-01T00:00:00", MODELS[:1])
    assert not trains(tmp_path, MODELS[0])


def test_a_partially_written_record_is_ignored(tmp_path: Path):
    ran(tmp_path, "2026-06-01T00:00:00", MODELS)
    (tmp_path / f"{TEMPORARY_PREFIX}0-2026-06-02.json").write_text("{")
    assert [record.run_id for record in RunRecord.read_all(tmp_path)] == ["2026-06-01T00:00:00"]
