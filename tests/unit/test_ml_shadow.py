"""A shadow version compared with the champion: metrics checked against manual calculations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.approvals import Champion, Decision
from ml.shadow import compare_day
from touchstone.core.errors import VerificationError

APPROVED = Decision("approve", "m", 1, "", "", {}, "Ada", "x", "2026-07-01T12:00:00+00:00")
OUTCOMES = pa.table(
    {
        "entity_id": ["a", "b", "d", "gone"],
        "is_positive": [True, False, True, True],
        "inclusion_probability": [None, 0.5, None, None],
    }
)


def rates(version: int, threshold: float = 50.0, floor: float = 10.0) -> Champion:
    return Champion("m", version, f"digest {version}", threshold, floor, (), Path(), {}, APPROVED)


def scores(folder: Path, version: int, score: list[float], own: list[float] | None = None, ids: str = "abcde") -> Path:
    path = folder / f"{version}.parquet"
    table = {
        "listing_id": list(ids),
        "score": score,
        "own_conduct_score": own or [100.0] * len(score),
        "margin": [value / 10 for value in score],
        "model_digest": [f"digest {version}"] * len(score),
    }
    pq.write_table(pa.table(cast("dict[str, Any]", table)), path)
    return path


def test_the_metrics_of_a_day_match_manual_calculations(tmp_path: Path) -> None:
    one = scores(tmp_path, 1, [90, 80, 70, 20, 10])
    other = scores(tmp_path, 2, [80, 40, 70, 90, 60], own=[100, 100, 5, 100, 100])
    day = compare_day("2026-06-30", rates(1), rates(2), (one, other), "listing_id", OUTCOMES)
    assert day.as_dict() == {
        "as_of": "2026-06-30",
        "rated": 5,
        "champion": {"flagged": 3, "precision": 0.5, "recall": 0.5},  # a and b of the decided ones; d is missed
        "shadow": {"flagged": 3, "precision": 1.0, "recall": 1.0},  # c is held by the floor
        "both": 1,
        "rank_correlation": 0.0,  # 1 - 6 * (1 + 9 + 0 + 9 + 1) / 120 = 0
        "positive_outcomes": 2,
        "outcomes": 3,
    }


def test_without_outcomes_the_metrics_are_none(tmp_path: Path) -> None:
    files = (scores(tmp_path, 1, [0.0] * 5), scores(tmp_path, 2, [90.0, 0, 0, 0, 0]))
    day = compare_day("2026-06-30", rates(1), rates(2), files, "listing_id", OUTCOMES.slice(0, 0))
    assert (day.champion.precision, day.champion.recall, day.rank_correlation, day.outcomes) == (None, None, None, 0)


def test_other_entities_or_another_model_are_refused(tmp_path: Path) -> None:
    one, other = scores(tmp_path, 1, [1.0] * 5), scores(tmp_path, 2, [1.0] * 5, ids="abcdf")
    with pytest.raises(VerificationError, match="rates other entities"):
        compare_day("2026-06-30", rates(1), rates(2), (one, other), "listing_id", OUTCOMES)
    with pytest.raises(VerificationError, match="not rated by m version 3"):
        compare_day("2026-06-30", rates(3), rates(2), (one, other), "listing_id", OUTCOMES)
