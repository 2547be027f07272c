"""How well the demo's listings are rated, on check seeds, against truth that the pipeline never reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quality import measure, measure_seeds

CHECK_SEEDS = [1001, 1002, 1003, 1004, 1005]


@pytest.mark.slow
def test_scores_rank_and_mean_what_they_say_over_check_seeds():
    median = measure_seeds(CHECK_SEEDS, scale=0.1)["median"]
    assert median["unlabelled_average_precision_over_prevalence"] >= 10
    assert 0.8 <= median["calibration_slope"] <= 1.25
    assert median["high_score_error"] <= 0.05
    assert median["brier_skill"] >= 0.3


def test_a_small_marketplace_is_ranked_above_chance(rated_home: Path):
    """Although it was taught nonsense (conftest.py): who joined last is seldom honest. How well models do is for above."""
    figures = measure(rated_home)
    assert figures["unlabelled_average_precision_over_prevalence"] >= 1.5
    assert figures["auroc"] >= 0.6
