"""The quality of the demo listings' scores, on check seeds, against the truth that the pipeline never reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quality import measure, measure_seeds

CHECK_SEEDS = [1001, 1002, 1003, 1004, 1005]


@pytest.mark.slow
def test_scores_rank_well_and_are_calibrated_over_check_seeds():
    median = measure_seeds(CHECK_SEEDS, scale=0.1)["median"]
    assert median["unlabelled_average_precision_over_prevalence"] >= 10
    assert 0.8 <= median["calibration_slope"] <= 1.25
    assert median["high_score_error"] <= 0.05
    assert median["brier_skill"] >= 0.3


def test_a_small_marketplace_is_ranked_above_chance(rated_home: Path):
    """Although the model was trained on meaningless labels (conftest.py): late joiners are rarely honest.

    Quality is tested above.
    """
    figures = measure(rated_home)
    assert figures["unlabelled_average_precision_over_prevalence"] >= 1.5
    assert figures["auroc"] >= 0.6
