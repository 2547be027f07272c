"""A signal at any moment of a run: it stops soon, says so, publishes nothing more, and the same command completes the work.

A moment is the end of a stage, read off the run's record, so the signal meets whatever comes behind it: dbt, DuckDB, XGBoost,
Dagster between two steps, a publication. Each moment by itself costs a run and a half, so that is slow; quick is one run that
is stopped three times.
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
"""Behind which stage of a first run the signal comes."""


@dataclass(frozen=True)
class Stopped:
    """How a run that was sent a signal ended: its exit code, what it printed on stderr, how long that took, and its record."""

    code: int | None
    stderr: str
    seconds: float
    outcome: str
    message: str


def until(is_so: Callable[[], bool], process: ForkServerProcess, what: str) -> None:
    """Waits until something is so, and fails where the process ends before, or it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        assert process.exitcode is None, f"the run ended before {what}"
        assert time.monotonic() < deadline, f"{START_SECONDS} s were not enough until {what}"
        time.sleep(0.02)


def stop(home: Path, folder: Path, number: signal.Signals, moment: str, *options: str, **environment: str) -> Stopped:
    """Starts a run, sends it a signal when a stage has ended, and waits for its end."""
    folder.mkdir()
    known = {path.name for path in (home / "runs").glob("*.json")} if (home / "runs").exists() else set()

    def has_come() -> bool:
        started = [path for path in (home / "runs").glob("[!.]*.json") if path.name not in known]
        stages = [stage["name"] for path in started for stage in json.loads(path.read_text())["stages"]]
        return bool(started) if moment == "start" else moment in stages

    process, _, result = warm.start(
        ("run", *options), os.environ | {"TOUCHSTONE_HOME": str(home)} | environment, folder
    )
    until(has_come, process, moment)
    sent = time.monotonic()
    os.kill(process.pid or 0, number)
    process.join(LONGEST_SECONDS)
    seconds = time.monotonic() - sent
    code = process.exitcode
    process.kill()
    process.join()
    (record,) = [json.loads(path.read_text()) for path in (home / "runs").glob("[!.]*.json") if path.name not in known]
    return Stopped(code, result.read_text(), seconds, record["outcome"], record["message"])


def hold(stopped: Stopped, home: Path, number: signal.Signals) -> None:
    """Holds a stopped run to what is promised."""
    assert stopped.code == 128 + number, stopped
    assert f"Stopped by {number.name}. Lists are published atomically" in stopped.stderr
    assert "Run the same command again to resume." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "bug in Touchstone" not in stopped.stderr
    assert verify(home / "published") == []
    # One that had to be ended by force is marked by the next run.
    assert (stopped.outcome, stopped.message) in {("stopped", f"Stopped by {number.name}."), ("running", "")}
    if stopped.outcome == "stopped":
        assert unfinished_dagster_runs(home) == []
        assert not list(home.rglob(".tmp-*"))


def options_of(homes: Homes, day: str) -> tuple[tuple[str, ...], dict[str, str]]:
    return ("--as-of", day, "--approve-if-passing"), limits_of(homes.policy)


def complete(homes: Homes, home: Path, day: str) -> None:
    """Gives the command once more, and compares what it publishes with what an undisturbed run does."""
    again = run(home, homes.policy, day)
    assert again.code == 0, again.stdout + again.stderr
    assert published(home) == homes.lists[day]
    assert verify(home / "published") == []
    assert records(home)[-1]["outcome"] == "done"
    assert {record["outcome"] for record in records(home)} <= {"done", "stopped", "killed"}
    assert unfinished_dagster_runs(home) == []
    assert not list((home / "published").glob("*/.*"))
    assert not list(home.rglob(".tmp-*"))


def test_a_run_that_is_stopped_leaves_the_lists_as_they_were(homes: Homes, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    options, limits = options_of(homes, NEXT_DAY)
    before = latest(home)
    hold(stop(home, tmp_path / "stopped", signal.SIGTERM, "landing", *options, **limits), home, signal.SIGTERM)
    assert latest(home) == before


@pytest.mark.slow
def test_a_run_that_is_stopped_again_and_again_is_completed(homes: Homes, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    options, limits = options_of(homes, NEXT_DAY)
    before = latest(home)
    for step, (moment, number) in enumerate(
        [("start", signal.SIGINT), ("landing", signal.SIGTERM), ("marts", signal.SIGINT)]
    ):
        hold(stop(home, tmp_path / str(step), number, moment, *options, **limits), home, number)
        assert latest(home) == before
    complete(homes, home, NEXT_DAY)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_every_moment_of_a_first_run(homes: Homes, tmp_path: Path, moment: str, number: signal.Signals):
    home = tmp_path / "home"
    shutil.copytree(homes.made, home)
    options, limits = options_of(homes, FIRST_DAY)
    hold(stop(home, tmp_path / "stopped", number, moment, *options, **limits), home, number)
    between = latest(home)
    if not moment.startswith("publish"):
        assert set(between.values()) == {None}
    after = {name: homes.lists[FIRST_DAY][f"published/{name}/LATEST"].decode() for name in LIST_NAMES}
    assert all(between[name] in {None, after[name]} for name in LIST_NAMES)
    complete(homes, home, FIRST_DAY)
    shutil.rmtree(home)


def test_ctrl_c_while_the_demo_is_made_stops_it(tmp_path: Path):
    """A terminal sends it to the run and to the process that makes the demo: one message, and neither is left behind."""
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
    assert record["outcome"] in {"stopped", "running"}  # running: it was ended by force, and the next run marks it
    if record["outcome"] == "stopped":
        assert not list(home.rglob(".tmp-*"))


def children_of(process: ForkServerProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Pictures that are none -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_no_file_among_the_pictures_is_a_note_of_the_run(homes: Homes, tmp_path: Path):
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
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # zero, which has no end
    else:
        os.mkfifo(device)
    linked.symlink_to("/dev/zero")
    done = run(home, homes.policy, NEXT_DAY)
    assert done.code == 0, done.stderr
    assert "Images that cannot be read: 3 not a regular file, 1 outside the folder of pictures." in (
        done.stdout + done.stderr
    )
