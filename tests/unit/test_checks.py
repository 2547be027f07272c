"""When a gate has nothing to judge, so that one list's missing table does not block other lists."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from orchestration.checks import _is_off
from touchstone.core.lists import LISTS


@pytest.mark.parametrize("active_count", [0, 1])
@pytest.mark.parametrize("has_champion", [False, True])
@pytest.mark.parametrize("has_scores", [False, True])
def test_a_gate_is_off_only_if_nothing_is_rated(
    tmp_path: Path, active_count: int, *, has_champion: bool, has_scores: bool
):
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(warehouse) as connection:
        connection.execute(f"create table listing_spine as select 'score' as purpose from range({active_count})")
        connection.execute("insert into listing_spine values ('train')")
    scores = tmp_path / "scores.parquet"
    if has_scores:
        scores.touch()
    run: Any = SimpleNamespace(
        as_of=date(2026, 6, 30),
        registry=SimpleNamespace(has_champion=lambda _: has_champion),
        warehouse=SimpleNamespace(connect=lambda: duckdb.connect(warehouse, read_only=True)),
        paths=SimpleNamespace(scores=lambda *_: scores),
    )
    off = {suite: _is_off(run, suite, LISTS["listings"]) for suite in ("features", "scores", "candidate")}
    assert off == {"features": not active_count and not has_champion, "scores": not has_scores, "candidate": False}
