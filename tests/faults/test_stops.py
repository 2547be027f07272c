"""A signal at any moment of a run stops it soon; nothing more is published, and the same command resumes the run.

A moment is the end of a stage, read from the run's record, so the signal arrives during whatever follows: dbt, DuckDB,
XGBoost, Dagster between two steps, a publication. Each moment takes a run and a half, so those tests are slow; the
quick test is one run that is stopped once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import FIRST_DAY, LIST_NAMES, NEXT_DAY, Homes, limits_of, published, run
from test_faults import latest, records, unfinished_dagster_runs

from tests import warm
from touchstone.publishing.verify import verify

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LONGEST_SECONDS = 10.0
START_SECONDS = 300.0
MOMENTS = (
    "start",
    "landing",
    "gate landed",
    "shape",
    "pictures",
    "features",
    "train merchant_counterfeit",
    "score listings",
    "marts",
    "publish merchants",
)
"""Stages of a first run after which the signal is sent."""


@dataclass(frozen=True)
class Stopped:
    """The outcome of a run that was sent a signal: exit code, stderr, duration, and its record."""

    code: int | None
    stderr: str
    seconds: float
    outcome: str
    message: str


def until(is_so: Callable[[], bool], process: ForkServerProcess, what: str) -> None:
    """Waits until a condition holds; fails if the process ends before, or on timeout."""
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        assert process.exitcode is None, f"the run ended before {what}"
        assert time.monotonic() < deadline, f"{START_SECONDS} s were not enough until {what}"
        time.sleep(0.02)


def stop(home: Path, folder: Path, number: signal.Signals, moment: str, *options: str, **environment: str) -> Stopped:
    """Starts a run, sends it a signal when a stage has ended, and waits for its end."""
    folder.mkdir()
    known = {path.name for path in (home / "runs").glob("*.json")} if (home / "runs").exists() else set()

    def is_reached() -> bool:
        started = [path for path in (home / "runs").glob("[!.]*.json") if path.name not in known]
        stages = [stage["name"] for path in started for stage in json.loads(path.read_text())["stages"]]
        return bool(started) if moment == "start" else moment in stages

    process, _, result = warm.start(
        ("run", *options), os.environ | {"TOUCHSTONE_HOME": str(home)} | environment, folder
    )
    until(is_reached, process, moment)
    sent = time.monotonic()
    os.kill(process.pid or 0, number)
    process.join(LONGEST_SECONDS)
    seconds = time.monotonic() - sent
    code = process.exitcode
    process.kill()
    process.join()
    (record,) = [json.loads(path.read_text()) for path in (home / "runs").glob("[!.]*.json") if path.name not in known]
    return Stopped(code, result.read_text(), seconds, record["outcome"], record["message"])


def check_stopped(stopped: Stopped, home: Path, number: signal.Signals) -> None:
    """Checks the invariants of a stopped run."""
    assert stopped.code == 128 + number, stopped
    assert f"Stopped by {number.name}. Lists are published atomically" in stopped.stderr
    assert "Run the same command again to resume." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "bug in Touchstone" not in stopped.stderr
    assert verify(home / "published") == []
    # A run that had to be killed is marked by the next run.
    assert (stopped.outcome, stopped.message) in {("stopped", f"Stopped by {number.name}."), ("running", "")}
    if stopped.outcome == "stopped":
        assert unfinished_dagster_runs(home) == []
        assert not list(home.rglob(".tmp-*"))


def options_of(homes: Homes, day: str) -> tuple[tuple[str, ...], dict[str, str]]:
    return ("--as-of", day, "--approve-if-passing"), limits_of(homes.policy)


def complete(homes: Homes, home: Path, day: str) -> None:
    """Runs the command once more, and compares its publication with that of an undisturbed run."""
    again = run(home, homes.policy, day)
    assert again.code == 0, again.stdout + again.stderr
    assert published(home) == homes.lists[day]
    assert verify(home / "published") == []
    assert records(home)[-1]["outcome"] == "done"
    assert {record["outcome"] for record in records(home)} <= {"done", "stopped", "killed"}
    assert unfinished_dagster_runs(home) == []
    assert not list((home / "published").glob("*/.*"))
    assert not list(home.rglob(".tmp-*"))


def test_a_stopped_run_leaves_the_lists_unchanged(homes: Homes, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    options, limits = options_of(homes, NEXT_DAY)
    before = latest(home)
    check_stopped(stop(home, tmp_path / "stopped", signal.SIGTERM, "landing", *options, **limits), home, signal.SIGTERM)
    assert latest(home) == before


@pytest.mark.slow
def test_a_run_that_is_stopped_repeatedly_is_completed(homes: Homes, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    options, limits = options_of(homes, NEXT_DAY)
    before = latest(home)
    for step, (moment, number) in enumerate(
        [("start", signal.SIGINT), ("landing", signal.SIGTERM), ("marts", signal.SIGINT)]
    ):
        check_stopped(stop(home, tmp_path / str(step), number, moment, *options, **limits), home, number)
        assert latest(home) == before
    complete(homes, home, NEXT_DAY)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_first_run_stopped_at_any_stage_is_completed(
    homes: Homes, tmp_path: Path, moment: str, number: signal.Signals
):
    home = tmp_path / "home"
    shutil.copytree(homes.made, home)
    options, limits = options_of(homes, FIRST_DAY)
    check_stopped(stop(home, tmp_path / "stopped", number, moment, *options, **limits), home, number)
    between = latest(home)
    if not moment.startswith("publish"):
        assert set(between.values()) == {None}
    after = {name: homes.lists[FIRST_DAY][f"published/{name}/LATEST"].decode() for name in LIST_NAMES}
    assert all(between[name] in {None, after[name]} for name in LIST_NAMES)
    complete(homes, home, FIRST_DAY)
    shutil.rmtree(home)


def test_ctrl_c_during_demo_generation_stops_it(tmp_path: Path):
    """A terminal sends it to the run and to the process that makes the demo; there is one message, and both end."""
    home = tmp_path / "home"
    process, _, result = warm.start(
        ("run",), os.environ | {"TOUCHSTONE_HOME": str(home), "TOUCHSTONE_DEMO_SCALE": "0.2"}, tmp_path
    )
    until(lambda: [*home.glob(".tmp-*-marketplace")] != [], process, "the demo is being made")
    children = children_of(process)
    assert children
    for pid in (process.pid or 0, *children):
        os.kill(pid, signal.SIGINT)
    process.join(LONGEST_SECONDS)
    assert process.exitcode == 130
    assert result.read_text().splitlines()[-1].startswith("Stopped by SIGINT. ")
    assert "Traceback" not in result.read_text()
    deadline = time.monotonic() + LONGEST_SECONDS
    while (left := [pid for pid in children if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert not (home / "marketplace").exists()
    (record,) = records(home)
    assert record["outcome"] in {"stopped", "running"}  # still "running" if it was killed; the next run marks it
    if record["outcome"] == "stopped":
        assert not list(home.rglob(".tmp-*"))


def children_of(process: ForkServerProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Images that are not regular files ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_path_that_is_no_regular_file_is_noted_in_the_run_record(homes: Homes, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    shutil.rmtree(home / "signals" / "pictures")
    market = home / "marketplace"
    logos = pq.read_table(market / "sources" / "brand_logos.parquet", columns=["uri"])["uri"].to_pylist()
    pipe, plugged, device, linked = (market / uri for uri in logos[:4])
    for path in (pipe, plugged, device, linked):
        path.unlink()
    os.mkfifo(pipe)
    os.mknod(plugged, 0o600 | stat.S_IFSOCK)
    if os.geteuid() == 0:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero is endless
    else:
        os.mkfifo(device)
    linked.symlink_to("/dev/zero")
    done = run(home, homes.policy, NEXT_DAY)
    assert done.code == 0, done.stderr
    assert "Images that cannot be read: 3 not a regular file, 1 outside the folder of pictures." in (
        done.stdout + done.stderr
    )
