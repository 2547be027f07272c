"""Backfills over landed data: oldest day first, no day twice, `LATEST` unchanged, resumable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from conftest import FIRST_DAY, NEXT_DAY, ROOT, Homes, Outcome
from test_gates import policy_with

from orchestration.pipeline import Day, DayOutcome, backfill, backfill_exit_code
from touchstone.core.errors import BadInputError, ExitCode
from touchstone.core.failpoints import VARIABLE
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import read_settings

FIRST, SECOND = "2026-06-20", "2026-06-21"


def publications(home: Path, name: str = "listings") -> list[str]:
    """Returns the days of a list's history, oldest line first."""
    lines = (home / "published" / name / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["version"][:10] for line in lines]


@pytest.mark.parametrize(
    ("first", "last", "message"), [(SECOND, FIRST, "older day first"), (FIRST, "2026-07-31", f"lies after {NEXT_DAY}")]
)
def test_an_invalid_range_is_bad_input(
    rated_home: Path, monkeypatch: pytest.MonkeyPatch, first: str, last: str, message: str
):
    monkeypatch.setenv("DAGSTER_HOME", "put back after the test")
    with pytest.raises(BadInputError, match=message):
        backfill(read_settings(home=rated_home), date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    ("days", "code"),
    [
        ([], ExitCode.DONE),
        ([("up to date", ExitCode.DONE), ("rated", ExitCode.DONE)], ExitCode.DONE),
        ([("refused", ExitCode.GATE_REFUSED), ("rated", ExitCode.DONE)], ExitCode.GATE_REFUSED),
        ([("refused", ExitCode.GATE_REFUSED), ("failed", ExitCode.BAD_INPUT)], ExitCode.BAD_INPUT),
    ],
)
def test_the_exit_code_reflects_the_failure_or_else_a_refusal(days: list[tuple[DayOutcome, ExitCode]], code: ExitCode):
    assert backfill_exit_code([Day(date(2026, 6, 1), outcome, ended) for outcome, ended in days]) == code


@pytest.mark.slow
def test_a_killed_backfill_resumes_where_it_stopped(run_touchstone: Callable[..., Outcome], home: Path):
    latest = (home / "published" / "listings" / "LATEST").read_text()
    command = ("backfill", "--from", FIRST, "--to", SECOND, "--json")
    assert run_touchstone(*command, **{VARIABLE: "publish.history:after:kill:3"}).code == -signal.SIGKILL
    assert run_touchstone("verify").code == 0
    again = run_touchstone(*command)
    assert again.code == 0, again.stderr
    assert [day["outcome"] for day in again.json["days"]] == ["up to date", "rated"]
    for name in ("listings", "merchants"):
        assert publications(home, name) == [FIRST_DAY, NEXT_DAY, FIRST, SECOND]
    assert (home / "published" / "listings" / "LATEST").read_text() == latest
    assert [day["outcome"] for day in run_touchstone(*command).json["days"]] == ["up to date", "up to date"]
    assert run_touchstone("doctor").code == 0


@pytest.mark.slow
def test_a_refused_day_is_reported_and_the_next_is_tried(
    run_touchstone: Callable[..., Outcome], homes: Homes, home: Path, tmp_path: Path
):
    policy = policy_with(homes.policy, tmp_path, max_flagged_share=0.00001)
    refused = run_touchstone("backfill", "--from", FIRST, "--to", SECOND, "--again", "--json", TOUCHSTONE_POLICY=policy)
    assert refused.code == 3, refused.stderr
    assert [day["outcome"] for day in refused.json["days"]] == ["refused", "refused"]
    assert f"{FIRST}  refused by a gate" in refused.stderr
    assert publications(home) == [FIRST_DAY, NEXT_DAY]


def dagster(home: Path, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts one of Dagster's own programs over the home."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / program), *arguments],
        env=os.environ | {"TOUCHSTONE_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
def test_dagster_backfill_rates_one_day_at_a_time_oldest_first(home: Path):
    """Equivalent of the UI's *Launch backfill*: runs that wait in the queue, which the daemon starts."""
    daemon = dagster(home, "dagster-daemon", "run", "-w", "workspace.yaml")
    try:
        launch = (
            "job",
            "backfill",
            "-w",
            "workspace.yaml",
            "-j",
            "rate",
            "--from",
            FIRST,
            "--to",
            SECOND,
            "--noprompt",
        )
        assert dagster(home, "dagster", *launch).wait(timeout=120) == 0
        deadline = time.monotonic() + 600
        while len(publications(home)) < 4 and time.monotonic() < deadline:
            running = [path for path in RunRecord.paths(home / "runs") if '"running"' in path.read_text()]
            assert len(running) <= 1
            time.sleep(0.5)
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
    assert publications(home) == [FIRST_DAY, NEXT_DAY, FIRST, SECOND]
    second = next((home / "published" / "listings").glob(f"{SECOND}-*")) / "manifest.json"
    assert json.loads(second.read_text())["previous"].startswith(FIRST)
