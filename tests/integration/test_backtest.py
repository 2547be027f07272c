"""A backtest over history by the real command: resumable, repeatable, and without effect on published files."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, published_files

from touchstone.core.failpoints import VARIABLE

MODEL = "merchant_counterfeit"
WALK = ("backtest", MODEL, "--from", "2026-06-12", "--to", "2026-06-15", "--every", "3d", "--without", "link")


@pytest.mark.slow
def test_an_interrupted_backtest_resumes_where_it_stopped(run_touchstone: Callable[..., Outcome], home: Path):
    before = published_files(home)
    features = {path: path.read_bytes() for path in (home / "features").rglob("*.parquet")}
    killed = run_touchstone(*WALK, **{VARIABLE: "backtest.step:after:kill:1"})
    assert killed.code == -signal.SIGKILL, killed.stderr
    (home / "backtests" / MODEL / ".tmp-1-half").mkdir()
    full = run_touchstone(*WALK, **{VARIABLE: "backtest.step:before:enospc:2"})
    assert full.code == 2
    assert "The disk is full" in full.stderr
    done = run_touchstone(*WALK, "--json")
    assert done.code == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("2026-")] == [
        "2026-06-12  up to date",
        "2026-06-15  taken",
    ]
    again = run_touchstone(*WALK, "--json")
    assert again.stdout == done.stdout
    assert again.stderr.count("up to date") == 2
    assert published_files(home) == before
    assert {path: path.read_bytes() for path in (home / "features").rglob("*.parquet")} == features
    assert not list(home.rglob(".tmp-*"))
    assert run_touchstone("doctor").code == 0

    steps = done.json["steps"]
    assert [step["as_of"] for step in steps] == ["2026-06-12", "2026-06-15"]
    for step in steps:
        now, other = step["variants"]["now"], step["variants"]["without link"]
        assert 0 < step["positive_outcomes"] < step["outcomes"] <= step["rated"]
        assert now["recall"] is not None
        assert now != other
        assert step["both"] <= min(now["flagged"], other["flagged"])
    folder = Path(done.json["folder"])
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")
    assert run_touchstone(*WALK).stdout.count("without link") == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"merchant_counterfeit": "merchant_risk"},
            "There is no model merchant_risk; the models are listing_counterfeit",
        ),
        ({"2026-06-12": "2026-06-16"}, "--from 2026-06-16 lies after --to 2026-06-15"),
        ({"2026-06-15": "2026-07-31"}, "the last complete day of what has landed"),
        ({"3d": "0d"}, "--every 0d: not a number of days. Write it as 7d."),
        ({"link": "magic"}, "has no feature and no signal 'magic'. Its signals are "),
    ],
)
def test_invalid_backtest_arguments_are_bad_input(
    run_touchstone: Callable[..., Outcome], home: Path, changed: dict[str, str], message: str
):
    outcome = run_touchstone(*(changed.get(word, word) for word in WALK))
    assert outcome.code == 2
    assert message in outcome.stderr
    assert not (home / "backtests").exists()
