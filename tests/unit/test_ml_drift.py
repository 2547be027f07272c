"""Drift since a model's cutoff date: none by chance, and each disturbance is found in its feature."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.declarations import Declaration
from ml.drift import (
    SCHEMA,
    as_extreme_share,
    calibration,
    label_delay,
    measure,
    past_psi,
    population,
    psi,
    reference,
    table,
)
from ml.model import RiskModel
from ml.shadow import Outcomes
from ml.training_set import PURPOSES, ActiveEntities, Rows
from tests.ml_fixtures import LISTINGS

COLUMNS = LISTINGS.columns
ROWS = 4_000
Features = dict[str, list[Any]]


def drawn(seed: int, rows: int = ROWS) -> Features:
    """A random population; all of them have the same distribution."""
    dice = np.random.default_rng(seed)
    result: Features = {name: dice.lognormal(0, 0.3, rows).tolist() for name in COLUMNS}
    result["merchant_age_days"] = (dice.exponential(400, rows) + 30).tolist()
    result["is_authorised"] = (dice.random(rows) < 0.3).astype(float).tolist()
    result["refund_share"] = np.where(dice.random(rows) < 0.6, 0.0, dice.random(rows)).tolist()
    result["category"] = dice.choice(["watches", "chargers", "bags", "rare"], rows, p=[0.5, 0.3, 0.199, 0.001]).tolist()
    result["score"] = (100 * dice.beta(1, 20, rows)).tolist()
    return result


def model_of(features: Features) -> RiskModel:
    """A model trained on a population, with the parts that drift reads."""
    names = sorted(set(features["category"]))
    matrix = np.column_stack([np.array(features[name], dtype=np.float32) for name in (*COLUMNS, "score")])
    category = np.array([names.index(name) for name in features["category"]])
    no_flags = np.zeros(len(matrix), dtype=np.int64)
    active = ActiveEntities(no_flags, category, tuple(names), no_flags > 0, no_flags > 0, matrix)
    declared: Declaration = LISTINGS
    body = {
        **declared.as_dict(),
        "reference": reference(matrix, [*COLUMNS, "score"]),
        "population": population(active),
    }
    return RiskModel(json.loads(json.dumps(body)), b"", b"")


def measured(folder: Path, model: RiskModel, features: Features, days: int = 20) -> list[dict[str, Any]]:
    pq.write_table(pa.table({name: features[name] for name in (*COLUMNS, "category")}), folder / "features.parquet")
    pq.write_table(pa.table({"score": features["score"]}), folder / "scores.parquet")
    return measure(model, folder / "features.parquet", folder / "scores.parquet", days=days)


def moved(rows: list[dict[str, Any]], limit: float = 0.25) -> set[str]:
    return {row["name"] for row in rows if row["amount"] - row["allowed"] > (limit if row["measure"] == "psi" else 0)}


@pytest.mark.parametrize("rows", [60, 400, ROWS])
def test_a_resampled_population_has_no_drift(tmp_path: Path, rows: int) -> None:
    model = model_of(drawn(1, rows))
    for seed in range(2, 22):
        assert moved(measured(tmp_path, model, drawn(seed, rows)), limit=0.0) == set()


def test_an_identical_population_has_zero_drift(tmp_path: Path) -> None:
    features = drawn(1)
    assert {row["amount"] for row in measured(tmp_path, model_of(features), features)} == {0.0}


def higher_prices(features: Features) -> None:
    features["price_to_msrp_ratio"] = [value * 1.3 for value in features["price_to_msrp_ratio"]]


def null_delivery_days(features: Features) -> None:
    features["delivery_days"] = [None] * ROWS


def new_merchants(features: Features) -> None:
    features["merchant_age_days"] = [
        5.0 if at % 3 == 0 else age for at, age in enumerate(features["merchant_age_days"])
    ]


def vanished_category(features: Features) -> None:
    features["category"] = ["bags" if name == "chargers" else name for name in features["category"]]


def new_category(features: Features) -> None:
    features["category"] = ["phones" if at % 10 == 0 else name for at, name in enumerate(features["category"])]


@pytest.mark.parametrize(
    ("disturbed", "name"),
    [
        (higher_prices, "price_to_msrp_ratio"),
        (null_delivery_days, "delivery_days"),
        (new_merchants, "merchant_age_days"),
        (vanished_category, "chargers"),
        (new_category, "phones"),
    ],
)
def test_a_disturbance_is_found_in_its_feature(
    tmp_path: Path, disturbed: Callable[[Features], None], name: str
) -> None:
    features = drawn(2)
    disturbed(features)
    rows = measured(tmp_path, model_of(drawn(1)), features)
    assert moved(rows) == {name}
    if disturbed is null_delivery_days:
        (row,) = [row for row in rows if row["name"] == name]
        assert (row["before"], row["now"]) == (0.0, 1.0)
        assert row["amount"] > 4


def test_a_model_of_an_older_release_measures_no_categories_and_no_tolerance(tmp_path: Path) -> None:
    model, features = model_of(drawn(1)), drawn(2)
    vanished_category(features)
    old = RiskModel({name: value for name, value in model.body.items() if name != "population"}, b"", b"")
    rows = measured(tmp_path, old, features)
    assert {row["measure"] for row in rows} == {"psi"}
    assert {row["allowed"] for row in rows} == {0.0}


def ageing(cutoff_day: int, seed: int, days: int = 0, pace: float = 10.0) -> Features:
    """A population in which a feature rises by `pace` a day; `days` counts from the cutoff date."""
    features = drawn(seed)
    dice = np.random.default_rng(seed)
    features["refund_share"] = (dice.normal(100.0, 200.0, ROWS) + pace * (cutoff_day + days)).tolist()
    return features


def rows_of(days_back: Sequence[int], cutoff_day: int) -> Rows:
    """Training rows of some dates before the cutoff; one in ten is of a kind that is sampled ten times as often."""
    result = [ageing(cutoff_day, 100 + back, -back) for back in days_back]
    matrix = np.vstack([np.column_stack([each[name] for name in COLUMNS]) for each in result]).astype(np.float32)
    n, nothing = len(matrix), np.zeros(len(matrix), dtype=np.int64)
    day = np.repeat([cutoff_day - back for back in days_back], ROWS)
    return Rows(
        entity=np.arange(n), merchant=nothing, component=nothing, chance=nothing / 1.0, category=nothing,
        categories=("",), day=day, decided_day=nothing - 1, purpose=nothing + PURPOSES.index("train"),
        label=nothing > 0, is_verdict=nothing > 0, weight=nothing + 3.0, expansion_weight=nothing + 1.0,
        is_random_arm=nothing > 0, features=matrix,
    )  # fmt: skip


@pytest.mark.parametrize("days", [1, 7, 14, 20, 28])
def test_a_past_trend_is_no_drift_and_a_faster_one_is(tmp_path: Path, days: int) -> None:
    cutoff_day = 20_000
    model = model_of(ageing(cutoff_day, 1))
    own = past_psi(rows_of([14, 28], cutoff_day), model.body["reference"], COLUMNS, cutoff_day)
    assert set(own) == {"refund_share"}
    assert [back for back, _ in own["refund_share"]] == [14, 28]
    assert moved(measured(tmp_path, model, ageing(cutoff_day, 2, 28), days=28)) == {"refund_share"}
    aware = RiskModel({**model.body, "past_psi": own}, b"", b"")
    assert moved(measured(tmp_path, aware, ageing(cutoff_day, 2, days), days=days)) == set()
    assert moved(measured(tmp_path, aware, ageing(cutoff_day, 2, 4 * days + 28), days=days)) == {"refund_share"}


def test_dates_with_few_rows_or_long_ago_are_ignored() -> None:
    cutoff_day = 20_000
    reference = model_of(ageing(cutoff_day, 1)).body["reference"]
    rows = rows_of([14, 61], cutoff_day)
    assert [back for back, _ in past_psi(rows, reference, COLUMNS, cutoff_day)["refund_share"]] == [14]
    assert past_psi(rows.take(np.arange(len(rows)) % 40 == 0), reference, COLUMNS, cutoff_day) == {}
    assert past_psi(rows, reference, COLUMNS, cutoff_day + 100) == {}


def test_an_empty_population_has_no_drift(tmp_path: Path) -> None:
    assert measured(tmp_path, model_of(drawn(1)), drawn(2, 0)) == []


def outcomes(positive: npt.NDArray[np.bool_], inclusion: float = 0.1) -> Outcomes:
    return Outcomes(np.arange(len(positive)), positive, np.full(len(positive), inclusion))


def test_outcomes_are_compared_with_their_expectation() -> None:
    score = np.full(400, 20.0)
    (row,) = calibration(score, outcomes(np.arange(400) % 5 == 0))
    assert (row["before"], row["now"], row["amount"]) == (0.2, 0.2, 0.0)
    (row,) = calibration(score, outcomes(np.arange(400) % 2 == 0))
    assert row["amount"] == pytest.approx(0.3 / np.sqrt(0.2 * 0.8 / 400), abs=1e-3)
    assert not list(calibration(score, outcomes(np.arange(19) % 2 == 0)))
    assert not list(calibration(score, outcomes(np.arange(400) % 2 == 0, inclusion=np.nan)))


def test_a_label_delay_is_reported_if_both_values_are_known() -> None:
    assert list(label_delay("notice", 4.0, None)) == []
    (row,) = label_delay("notice", 4.0, 9.0)
    assert (row["before"], row["now"], row["amount"]) == (4.0, 9.0, 5.0)


def test_rows_are_ordered_by_the_amount_of_drift() -> None:
    rows = [
        {"measure": "psi", "name": name, "before": 0.0, "now": 0.0, "amount": amount, "allowed": 0.0}
        for name, amount in (("b", 0.1), ("c", 0.3), ("a", 0.1))
    ]
    result = table("digest", rows)
    assert tuple(result.column_names) == SCHEMA
    assert result["name"].to_pylist() == ["c", "a", "b"]
    assert set(result["model_digest"].to_pylist()) == {"digest"}
    assert table("digest", rows[::-1]).equals(result)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_the_index_is_symmetric_and_non_negative(one: list[float], other: list[float]) -> None:
    size = min(len(one), len(other))
    assert psi(one[:size], other[:size]) == pytest.approx(psi(other[:size], one[:size]))
    assert psi(one[:size], other[:size]) >= 0
    assert psi(one, one) == 0


@given(st.lists(st.floats(0, 9, width=32), min_size=30, max_size=200), st.floats(-1, 10, width=32))
def test_the_as_extreme_share_is_at_least_that_of_the_rarer_tail(known: list[float], value: float) -> None:
    kept = reference(np.array(known, dtype=np.float32)[:, None], ["a"])["a"]
    values = np.array(known, dtype=np.float32)
    rarer = min(np.mean(values <= value), np.mean(values >= value))
    assert rarer - 1e-5 <= as_extreme_share(kept, value) <= 1


def test_as_extreme_shares_of_typical_extreme_and_null_values() -> None:
    column = np.array([0.0] * 90 + [5.0] * 6 + [np.nan] * 4, dtype=np.float32)[:, None]
    kept = reference(column, ["a"])["a"]
    assert [as_extreme_share(kept, value) for value in (0.0, 5.0, None)] == [0.9, 0.06, 0.04]
