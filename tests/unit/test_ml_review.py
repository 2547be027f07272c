"""The review's gate: each limit is shown to refuse, with a reason, and to pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.compare import AgainstStarter, Comparison, Figure, ListChanges, Pair, Slice
from ml.declarations import Feature, load_declarations
from ml.review import Measured, judge, out_of_bounds, read_limits
from touchstone.core.errors import BadInputError

LIMITS = {
    "minimums": {"forward_auroc_unseen": 0.55},
    "calibration": {"calibration_slope": [0.7, 1.4]},
    "against_champion": {"average_precision": 0.02},
    "labels": 0.05,
    "slices": {"rows": 200, "worse": 0.1},
    "most_importance": 0.5,
}
NOTHING = Figure(None, None, None)


def pair(champion: float, challenger: float, half: float = 0.01) -> Pair:
    gap = challenger - champion
    return Pair(
        Figure(champion, champion, champion),
        Figure(challenger, challenger, challenger),
        Figure(gap, gap - half, gap + half),
    )


def comparison(gap: Pair, *slices: Slice, labels: Pair | None = None) -> Comparison:
    list_changes = ListChanges(
        active=9,
        champion_flagged=1,
        challenger_flagged=1,
        added=0,
        dropped=0,
        added_precision=None,
        top_overlap=1,
        rank_correlation=1,
    )
    ranking = {cell: {"average_precision": gap} for cell in ("all", "seen", "unseen")}
    return Comparison(
        "c" * 64, "as it rates", 900, 90, ranking, labels or pair(0.8, 0.9), {}, (), slices, list_changes, {}, {}
    )


GOOD = Measured(
    metrics={"forward_auroc_unseen": 0.8},
    calibration={"calibration_slope": Figure(1.1, 0.9, 1.3)},
    importances={"price": 0.3, "complaints": 0.2},
    out_of_bounds=(),
    digests=dict.fromkeys(("features", "spine", "active", "loads_digest"), "a" * 64),
    comparison=comparison(pair(0.5, 0.52), Slice("country", "DE", 300, 30, pair(0.5, 0.45))),
)


def failures(**changes: object) -> tuple[str, ...]:
    return judge(replace(GOOD, **changes), LIMITS).failures


def test_a_good_version_passes() -> None:
    assert judge(GOOD, LIMITS).failures == ()
    assert {check.name for check in judge(GOOD, LIMITS).checks} == {*LIMITS, "bounds", "digests"}
    assert failures(comparison=None) == ()
    assert failures(comparison="it is the champion itself, trained again") == ()


def test_without_later_dates_a_starter_is_replaced_only_by_a_model_that_ranks_better_out_of_fold() -> None:
    none = "there are no rows of later dates to compare on"
    assert failures(comparison=none, against_starter=AgainstStarter(30, 0.3, 0.4)) == ()
    worse, few = (
        failures(comparison=none, against_starter=AgainstStarter(*each)) for each in ((30, 0.4, 0.4), (4, 0.3, 0.9))
    )
    assert len(worse) == len(few) == 1
    assert "0.400 against the starter model's 0.400" in worse[0]
    assert "too few positives" in few[0]


def test_a_metric_below_its_minimum_or_not_measured_fails() -> None:
    assert failures(metrics={"forward_auroc_unseen": 0.5}) == ("forward_auroc_unseen is 0.5000, at least 0.55",)
    measured = {"forward_auroc_unseen": 0.5, "forward_auroc_unseen_low": 0.41, "forward_auroc_unseen_high": 0.58}
    assert failures(metrics=measured) == ("forward_auroc_unseen is 0.5000 (95 %: 0.4100 to 0.5800), at least 0.55",)
    assert failures(metrics={}) == ("forward_auroc_unseen was not measured, at least 0.55",)


@pytest.mark.parametrize(
    ("figure", "fails"),
    [
        (Figure(0.5, 0.4, 0.65), True),
        (Figure(0.5, 0.3, 0.75), False),  # 0.75 is possible: no evidence against it
        (Figure(2.0, 1.5, 2.5), True),
        (Figure(2.0, 1.3, 2.7), False),
        (NOTHING, False),
    ],
)
def test_a_significantly_wrong_calibration_fails(figure: Figure, *, fails: bool) -> None:
    result = failures(calibration={"calibration_slope": figure})
    assert bool(result) is fails
    if fails:
        assert f"calibration_slope is {figure.value:.2f} on the held-out verdicts" in result[0]


@pytest.mark.parametrize(
    ("gap", "fails"),
    [
        (pair(0.5, 0.4), True),
        (pair(0.5, 0.49), False),  # significantly worse, but only slightly
        (pair(0.5, 0.4, half=0.2), False),  # much worse, but not significantly
        (pair(0.5, 0.6), False),
        (Pair(NOTHING, NOTHING, NOTHING), False),
    ],
)
def test_a_significantly_and_much_worse_version_fails(gap: Pair, *, fails: bool) -> None:
    result = failures(comparison=comparison(gap))
    assert len(result) == (3 if fails else 0)
    if fails:
        assert result[0].startswith(
            "average_precision of all rows is 0.400 against the champion's 0.500 (difference -0.100"
        )


@pytest.mark.parametrize(
    ("labels", "fails"),
    [
        (pair(0.9, 0.8), True),
        (pair(0.9, 0.86), False),
        (pair(0.9, 0.8, half=0.2), False),
        (Pair(NOTHING, NOTHING, NOTHING), False),
    ],
)
def test_labels_that_contradict_the_champion_fail(labels: Pair, *, fails: bool) -> None:
    result = failures(comparison=comparison(pair(0.5, 0.5), labels=labels))
    assert bool(result) is fails
    if fails:
        assert result[0].startswith("the champion's AUROC on the labels of this version's training is 0.800")


def test_a_large_slice_that_is_much_worse_fails_and_names_it() -> None:
    bad = Slice("country", "FR", 500, 50, pair(0.6, 0.3))
    (result,) = failures(comparison=comparison(pair(0.5, 0.55), bad, Slice("country", "DE", 500, 50, pair(0.5, 0.6))))
    assert result.startswith("average precision where country is FR (500 rows) is 0.300 against the champion's 0.600")
    assert failures(comparison=comparison(pair(0.5, 0.55), replace(bad, rows=200))) == ()


def test_a_dominating_feature_fails() -> None:
    assert failures(importances={"copied_label": 0.7, "price": 0.3}) == (
        "copied_label has 70% of the importance, at most 50%",
    )


def test_missing_digests_fail() -> None:
    assert failures(digests={**GOOD.digests, "spine": "", "active": "somewhere"}) == (
        "digests are missing: spine, active",
    )


def test_values_outside_the_declared_bounds_are_reported() -> None:
    share = Feature("refund_share", "order", "share", "", "third_party", 0, "")
    change = Feature("change_ratio", "review", "ratio", "", "third_party", 0, "", between=(-1.0, 1.0))
    fine = np.array([[0.0, -1.0], [np.nan, 1.0], [1.0, np.nan]], dtype=np.float32)
    assert out_of_bounds((share, change), {"live": fine}) == ()
    wrong = np.array([[1.5, 0.0], [0.5, -3.0], [-0.1, 0.0]], dtype=np.float32)
    result = out_of_bounds((share, change), {"live": fine, "training": wrong})
    assert result == (
        "refund_share is 1.5 in 2 of 3 training rows; it lies between 0 and 1",
        "change_ratio is -3 in 1 of 3 training rows; it lies between -1 and 1",
    )
    assert failures(out_of_bounds=result) == result


def test_every_declared_model_has_limits() -> None:
    for name in load_declarations():
        assert set(read_limits(name)) == set(LIMITS)


@pytest.mark.parametrize(
    ("content", "result"),
    [
        ("models: {}", "no entry for m"),
        ("models: {m: {minimum: {a: 1}}}", "unknown key minimum; it is one of minimums"),
        ("models: {m: [", "cannot be read as YAML"),
    ],
)
def test_invalid_limits_are_bad_input(tmp_path: Path, content: str, result: str) -> None:
    (tmp_path / "thresholds.yml").write_text(content)
    with pytest.raises(BadInputError, match=result):
        read_limits("m", tmp_path / "thresholds.yml")
