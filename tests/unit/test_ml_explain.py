"""Reasons in words, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ml.declarations import Feature
from ml.explain import in_words


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
    assert in_words(feature(unit, words), value, usual) == said


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = "declarations, training_set, calibrate, flagging, evaluate, explain, model, train, registry, score, plots"
    heavy = ("mlflow", "xgboost", "sklearn", "matplotlib", "pandas", "dagster", "scipy", "pyarrow")
    code = f"import sys; from ml import {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
