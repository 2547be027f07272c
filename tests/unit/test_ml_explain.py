"""Reasons as text, audiences, and the import cost of the package."""

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
from ml.declarations import AUDIENCES, SIGNALS, Declaration, Feature, load_declarations
from ml.explain import Explainer, for_audience
from ml.model import RiskModel, Scorer
from ml.reason_text import LABELS, PLACEHOLDER, describe_feature
from touchstone.core.errors import BadInputError


def feature(unit: str, words: str = "") -> Feature:
    return Feature("refund_rate", "order", unit, "About it.", "subject", 0, words)


@pytest.mark.parametrize(
    ("unit", "words", "value", "typical", "sentence"),
    [
        ("ratio", "{relative} the recommended price", 0.39, 0.85, "61 % below the recommended price (typical: 15 % below)"),
        ("ratio", "{relative} the recommended price", 1.0, 1.2, "equal to the recommended price (typical: 20 % above)"),
        ("ratio", "paid {relative} the listed price", 0.874, 0.981, "paid 13 % below the listed price (typical: 1.9 % below)"),
        ("ratio", "a number differs by {percent}", 0.5, 0.0, "a number differs by 50 % (typical: 0 %)"),
        ("ratio", "{times} its daily orders", 3.21, 1.0, "3.2 times its daily orders (typical: 1 time)"),
        ("ratio", "the mean rating is {stars}", 0.82, 0.9, "the mean rating is 4.1 of 5 stars (typical: 4.5 of 5 stars)"),
        ("ratio", "the mean rating {change}", -0.1, 0.0, "the mean rating fell by 0.5 stars (typical: did not change)"),
        ("deviations", "{deviations} the median", -3.21, 0.0, "3.2 standard deviations below the median (typical: equal to)"),
        ("share", "", 0.25, 0.0312, "refund rate: 25 % (typical: 3.1 %)"),
        ("share", "{value} of the orders were refunded", 1.0, 0.0, "all of the orders were refunded (typical: 0 %)"),
        ("share", "{value} of the orders were refunded", 0.0, 0.5, "none of the orders were refunded (typical: 50 %)"),
        ("count", "", 3.0, 12_345.0, "refund rate: 3 (typical: 12,345)"),
        ("days", "", 1.0, 300.0, "refund rate: 1 day (typical: 300 days)"),
        ("base", "", 1234.5, 10.0, "refund rate: 1,234.50 EUR (typical: 10.00 EUR)"),
        ("boolean", "", 1.0, 0.0, "refund rate: yes (typical: no)"),
        ("boolean", "the brand is {known|unknown}", 0.0, 1.0, "the brand is unknown (typical: known)"),
        ("ratio", "", float("nan"), 0.5, "not known: about it (typical: 0.5)"),
        ("ratio", "", 0.5, float("nan"), "refund rate: 0.5"),
        ("ratio", "", 0.5, 0.5, "refund rate: 0.5"),
        ("ratio", "ask {value}", float("nan"), float("nan"), "not known: about it"),
    ],
)  # fmt: skip
def test_a_reason_states_a_value_and_the_typical_one(
    unit: str, words: str, value: float, typical: float, sentence: str
) -> None:
    assert describe_feature(feature(unit, words), value, typical, currency="EUR") == f"Orders: {sentence}"


def test_a_reason_names_the_category_if_the_typical_value_is_of_it() -> None:
    text = describe_feature(feature("count"), 3.0, 1.0, is_of_category=True)
    assert text == "Orders: refund rate: 3 (typical for this category: 1)"


@pytest.mark.parametrize("declaration", load_declarations().values(), ids=lambda each: each.name)
def test_every_feature_has_a_wording_for_any_value(declaration: Declaration) -> None:
    for each in declaration.features:
        assert len(PLACEHOLDER.findall(each.words)) == 1, each.name
        for value in (-1.0, 0.0, 0.5, 1.0, 250.0, float("nan")):
            text = describe_feature(each, value, 0.25)
            assert text.startswith(f"{LABELS[each.signal]}: "), text
            assert not set("{}|") & set(text), text


def test_importing_the_package_loads_no_heavy_library() -> None:
    modules = "declarations, training_set, calibrate, flagging, metrics, explain, model, train, registry, score, plots"
    heavy = ("mlflow", "xgboost", "sklearn", "matplotlib", "pandas", "dagster", "scipy")
    code = f"import sys; from ml import {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


READERS = {"price": ("authority", "brand"), "spec": ("authority", "merchant"), "text": ()}


@pytest.fixture(scope="module")
def either_is_enough() -> Explainer:
    """Explains a model in which a low price or a low spec suffices, and text has no effect."""
    import xgboost

    features = [
        Feature(name, name, "ratio", "", "subject", 0, "", audiences=audiences) for name, audiences in READERS.items()
    ]
    rows = np.random.default_rng(7).integers(0, 2, (400, 3)).astype(np.float32)
    target = 4.0 * (rows[:, :2] == 0).any(axis=1)  # the target is the margin, so that two low values count like one
    main = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(rows, target), 200)
    content = bytes(main.save_raw("ubj"))
    none = Calibration("none", 1.0, 0.0, (), 0, 0, 0, None).as_dict()
    body = {
        "features": [each.as_dict() for each in features],
        "baseline": {"": [1.0, 1.0, 1.0]},
        "calibration": {"main": none, "own": none},
    }
    return Explainer(Scorer(RiskModel(body, content, content)))


def test_the_strongest_pair_is_named_if_no_single_signal_lowers_the_margin(either_is_enough: Explainer) -> None:
    rows = np.array([[0, 0, 0], [0, 1, 0]], dtype=np.float32)
    pair, alone = map(json.loads, either_is_enough.reasons(rows, ["", ""], np.array([True, True])))
    (result,) = pair
    assert (result["signal"], result["with_signal"]) == ("price", "spec")
    assert result["text"] == "Price: price: 0 (typical: 1); together with: Specification: spec: 0 (typical: 1)"
    assert result["audiences"] == ["authority"]  # the intersection of both
    usual = np.array([[1, 1, 0]], dtype=np.float32)
    drop = either_is_enough.scorer.margin(rows[:1]) - either_is_enough.scorer.margin(usual)
    assert result["effect"] == pytest.approx(float(drop[0]), abs=1e-3)
    assert result["effect"] > 3
    assert [(reason["signal"], "with_signal" in reason) for reason in alone] == [("price", False)]


def test_an_unflagged_entity_has_no_pair(either_is_enough: Explainer) -> None:
    assert either_is_enough.reasons(np.zeros((1, 3), dtype=np.float32), [""], np.array([False])) == ["[]"]


def test_no_audience_gets_a_feature_it_must_not_read(either_is_enough: Explainer) -> None:
    rows = np.array(list(product((0, 1), repeat=3)), dtype=np.float32)
    result = either_is_enough.reasons(rows, [""] * len(rows), np.ones(len(rows), dtype=bool))
    for audience in AUDIENCES[1:]:
        texts = [reason["text"] for each in result for reason in json.loads(for_audience(each, audience))]
        assert texts, audience
        for name, readers in READERS.items():
            assert audience in readers or not any(f"{name}: " in text for text in texts), f"{name} to {audience}"


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
def test_external_audiences_get_their_reasons_in_order_without_figures(
    reasons: list[dict[str, Any]], audience: str
) -> None:
    shown = for_audience(json.dumps(reasons), audience)
    internal = {"effect", "attribution"} | ({"quote"} if audience == "merchant" else set())
    assert json.loads(shown) == [
        {name: value for name, value in reason.items() if name not in internal}
        for reason in reasons
        if audience in reason["audiences"]
    ]
    assert for_audience(shown, audience) == shown
    assert for_audience(json.dumps(reasons), "internal") == json.dumps(reasons)


def test_reasons_of_older_releases_without_audiences_are_internal() -> None:
    before = '[{"signal": "price", "effect": 1.0, "text": "a"}]'
    assert [for_audience(before, audience) for audience in AUDIENCES] == [before, "[]", "[]", "[]"]


def test_an_unknown_audience_is_named() -> None:
    with pytest.raises(BadInputError, match="no audience 'press'; there are internal, brand, authority, merchant"):
        for_audience("[]", "press")
