"""Reasons in words, and what importing the package costs."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.calibrate import Calibration
from ml.declarations import AUDIENCES, SIGNALS, Feature
from ml.explain import Explainer, describe_feature, for_audience
from ml.model import RiskModel, Scorer
from touchstone.core.errors import BadInputError


def feature(unit: str, words: str = "") -> Feature:
    return Feature("refund_rate", "order", unit, "About it.", "subject", 0, words)


@pytest.mark.parametrize(
    ("unit", "words", "value", "usual", "said"),
    [
        (
            "ratio",
            "price is {value} of the recommended price",
            0.41,
            0.93,
            "price is 0.41 of the recommended price; usual is 0.93",
        ),
        ("share", "", 0.25, 0.0312, "refund rate is 25 %; usual is 3.12 %"),
        ("share", "{value} were refunded", 0.25, 0.0, "25 % were refunded; usual is 0 %"),
        ("count", "", 3.0, 0.0, "refund rate is 3; usual is 0"),
        ("days", "", 12.0, 300.0, "refund rate is 12 days; usual is 300 days"),
        ("usd", "", 1234.5, 10.0, "refund rate is 1,234.50 USD; usual is 10.00 USD"),
        ("boolean", "", 1.0, 0.0, "refund rate is yes; usual is no"),
        ("ratio", "", float("nan"), 0.5, "not known: about it; usual is 0.5"),
        ("ratio", "", 0.5, float("nan"), "refund rate is 0.5"),
        ("ratio", "", 0.5, 0.5, "refund rate is 0.5"),
        ("ratio", "ask {value}", float("nan"), float("nan"), "not known: about it"),
    ],
)
def test_a_reason_is_said_in_its_unit(unit: str, words: str, value: float, usual: float, said: str) -> None:
    assert describe_feature(feature(unit, words), value, usual) == said


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = "declarations, training_set, calibrate, flagging, evaluate, explain, model, train, registry, score, plots"
    heavy = ("mlflow", "xgboost", "sklearn", "matplotlib", "pandas", "dagster", "scipy", "pyarrow")
    code = f"import sys; from ml import {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


READERS = {"price": ("authority", "brand"), "spec": ("authority", "merchant"), "text": ()}


@pytest.fixture(scope="module")
def either_is_enough() -> Explainer:
    """Explains a model that learned that a low price or a low spec is enough, and that text says nothing."""
    import xgboost

    features = [
        Feature(name, name, "ratio", "", "subject", 0, "", audiences=audiences) for name, audiences in READERS.items()
    ]
    rows = np.random.default_rng(7).integers(0, 2, (400, 3)).astype(np.float32)
    target = 4.0 * (rows[:, :2] == 0).any(axis=1)  # the margin itself, so that two are no more than one
    main = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(rows, target), 200)
    content = bytes(main.save_raw("ubj"))
    none = Calibration("none", 1.0, 0.0, (), 0, 0, 0, None).as_dict()
    body = {
        "features": [each.as_dict() for each in features],
        "baseline": {"": [1.0, 1.0, 1.0]},
        "calibration": {"main": none, "own": none},
    }
    return Explainer(Scorer(RiskModel(body, content, content)))


def test_where_no_signal_alone_lowers_the_margin_the_strongest_pair_is_named(either_is_enough: Explainer) -> None:
    rows = np.array([[0, 0, 0], [0, 1, 0]], dtype=np.float32)
    pair, alone = map(json.loads, either_is_enough.reasons(rows, ["", ""], np.array([True, True])))
    (told,) = pair
    assert (told["signal"], told["with_signal"]) == ("price", "spec")
    assert told["text"] == "price is 0; usual is 1; together with this: spec is 0; usual is 1"
    assert told["audiences"] == ["authority"]  # of both
    usual = np.array([[1, 1, 0]], dtype=np.float32)
    drop = either_is_enough.scorer.margin(rows[:1]) - either_is_enough.scorer.margin(usual)
    assert told["effect"] == pytest.approx(float(drop[0]), abs=1e-3)
    assert told["effect"] > 3
    assert [(reason["signal"], "with_signal" in reason) for reason in alone] == [("price", False)]


def test_whoever_is_not_flagged_is_told_no_pair(either_is_enough: Explainer) -> None:
    assert either_is_enough.reasons(np.zeros((1, 3), dtype=np.float32), [""], np.array([False])) == ["[]"]


def test_nobody_is_told_a_feature_that_is_not_for_them(either_is_enough: Explainer) -> None:
    rows = np.array(list(product((0, 1), repeat=3)), dtype=np.float32)
    told = either_is_enough.reasons(rows, [""] * len(rows), np.ones(len(rows), dtype=bool))
    for audience in AUDIENCES[1:]:
        texts = [reason["text"] for each in told for reason in json.loads(for_audience(each, audience))]
        assert texts, audience
        for name, readers in READERS.items():
            assert audience in readers or not any(f"{name} is" in text for text in texts), f"{name} to {audience}"


REASON = st.fixed_dictionaries(
    {
        "signal": st.sampled_from(SIGNALS),
        "effect": st.floats(0, 9),
        "audiences": st.lists(st.sampled_from(AUDIENCES[1:]), unique=True).map(sorted),
        "text": st.text(),
    },
    optional={"with_signal": st.sampled_from(SIGNALS), "attribution": st.floats(-9, 9), "quote": st.text()},
)


@given(st.lists(REASON), st.sampled_from(AUDIENCES[1:]))
def test_others_are_shown_their_reasons_in_order_and_no_figures(reasons: list[dict[str, Any]], audience: str) -> None:
    shown = for_audience(json.dumps(reasons), audience)
    internal = {"effect", "attribution"} | ({"quote"} if audience == "merchant" else set())
    assert json.loads(shown) == [
        {name: value for name, value in reason.items() if name not in internal}
        for reason in reasons
        if audience in reason["audiences"]
    ]
    assert for_audience(shown, audience) == shown
    assert for_audience(json.dumps(reasons), "internal") == json.dumps(reasons)


def test_reasons_from_before_there_were_audiences_are_internal() -> None:
    before = '[{"signal": "price", "effect": 1.0, "text": "a"}]'
    assert [for_audience(before, audience) for audience in AUDIENCES] == [before, "[]", "[]", "[]"]


def test_an_audience_that_is_none_is_named() -> None:
    with pytest.raises(BadInputError, match="no audience 'press'; there are internal, brand, authority, merchant"):
        for_audience("[]", "press")
