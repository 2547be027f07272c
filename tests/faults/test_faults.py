"""After a crash at any point nothing is half published and nothing is lost, and the next run completes the work.

Two kinds of runs are interrupted. The real command over a small home, at every failpoint of
`touchstone/core/failpoints.py`; one such case takes a minute, so all but one are slow. And a miniature run
(`small_run.py`: landing, candidate, verdict, publication, in the pipeline's own code) two hundred times, at a failpoint
or at any moment. A reader polls the lists throughout.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from conftest import FIRST_DAY, LIST_NAMES, NEXT_DAY, ROOT, Homes, published, run, touchstone
from small_run import PICTURES, store

from tests.landing_fixtures import Market
from touchstone.casework.leads import read_leads
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import FAILPOINTS, FAULTS, MOMENTS, VARIABLE, failpoint
from touchstone.core.lock import writer_lock
from touchstone.publishing.read import read_list
from touchstone.publishing.verify import verify

ONLY_IN_A_FIRST_RUN = tuple(
    name for name in FAILPOINTS if name.startswith(("landing.commit", "shape", "images", "training", "approval"))
)
OF_A_RUN = tuple(
    name for name in FAILPOINTS if not name.startswith(("prune", "erase", "backtest", "test_buys", "audits"))
)
SMALL = tuple(name for name in FAILPOINTS if name.startswith(("landing", "images", "candidate", "verdict", "publish")))
TRIALS = 200
QUICK_TRIALS = 4


# Faults, and the invariants that must hold ----------------------------------------------------------------------------


def latest(home: Path) -> dict[str, str | None]:
    """Returns the content of each list's `LATEST`."""
    files = {name: home / "published" / name / "LATEST" for name in LIST_NAMES}
    return {name: file.read_text() if file.exists() else None for name, file in files.items()}


@contextmanager
def reader(published: Path) -> Iterator[None]:
    """Polls both lists through `LATEST`, and fails if one was ever incomplete or disappeared."""
    stop, faults, seen = threading.Event(), [], set()

    def read_until_stopped() -> None:
        while not stop.wait(0.1):
            for name in LIST_NAMES:
                if name not in seen and not (published / name / "LATEST").exists():
                    continue
                seen.add(name)
                try:
                    found = read_list(published, name)
                    assert found.rows.num_rows == found.manifest.row_count
                except Exception as error:  # noqa: BLE001  # whatever a reader meets is a fault
                    faults.append(error)

    thread = threading.Thread(target=read_until_stopped)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert faults == []


def records(home: Path) -> list[dict[str, str]]:
    """Returns the records of the home's runs, oldest first."""
    found = [json.loads(path.read_text()) for path in (home / "runs").glob("*.json")]
    return sorted(found, key=lambda record: record["started_at"])


def unfinished_dagster_runs(home: Path) -> list[str]:
    """Returns the Dagster runs that still count as running."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [run.run_id for run in instance.get_runs() if not run.is_finished]


# The real command, at every failpoint --------------------------------------------------------------------------------


def leave_half_written(home: Path) -> None:
    """Leaves the remains of a kill during a write, wherever runs write files and folders atomically."""
    for folder in (
        "signals/pictures",
        "features/listings",
        "scores/listing_counterfeit",
        "candidates/listings",
        "leads",
        "models",
        "pinned",
    ):
        (home / folder / ".tmp-1-half").mkdir(parents=True)
        (home / folder / ".tmp-1-half" / "x.parquet").write_bytes(b"PAR1")
        (home / folder / ".tmp-1-y.json").write_bytes(b"{")


def check_interrupted_run(homes: Homes, home: Path, armed: str) -> None:
    """Runs the command with a fault armed, and again without it, and checks the invariants after both."""
    name, fault = armed.split(":", maxsplit=1)[0], armed.split(":")[2]
    is_first = name in ONLY_IN_A_FIRST_RUN
    day = FIRST_DAY if is_first else NEXT_DAY
    shutil.copytree(homes.made if is_first else homes.rated, home)
    before, known = latest(home), len(records(home)) if (home / "runs").exists() else 0
    with reader(home / "published"):
        broken = run(home, homes.policy, day, **{VARIABLE: armed})
        if fault == "kill":
            assert broken.code == -signal.SIGKILL, broken.stderr
            leave_half_written(home)
        else:
            assert broken.code == 2, broken.stderr
            message = " ".join(broken.stderr.split())  # long paths make its lines break
            assert {"enospc": "The disk is full", "permission": "A permission is missing"}[fault] in message
            assert str(home) in message
            assert "the same command again" in message
            assert "Traceback" not in broken.stderr
            assert "bug in Touchstone" not in broken.stderr
        checked = touchstone(home, "verify")
        assert checked.code == 0, checked.stdout
        after = {list_name: homes.lists[day][f"published/{list_name}/LATEST"].decode() for list_name in LIST_NAMES}
        between = latest(home)
        assert all(between[list_name] in {before[list_name], after[list_name]} for list_name in LIST_NAMES)
        again = run(home, homes.policy, day)
    assert again.code == 0, again.stdout + again.stderr
    assert published(home) == homes.lists[day]
    assert verify(home / "published") == []
    assert read_leads(home).as_of.isoformat() == day
    dead, last = records(home)[known:]
    assert dead["outcome"] == ("killed" if fault == "kill" else "refused")
    assert last["outcome"] == "done"
    assert unfinished_dagster_runs(home) == []
    assert not list((home / "published").glob("*/.*"))
    assert not list(home.rglob(".tmp-*"))


def test_a_killed_publication_is_completed_by_the_next_run(homes: Homes, tmp_path: Path):
    check_interrupted_run(homes, tmp_path / "home", "publish.history:after:kill:2")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", OF_A_RUN)
def test_every_fault_at_every_failpoint(homes: Homes, tmp_path: Path, name: str, moment: str, fault: str):
    check_interrupted_run(homes, tmp_path / "home", f"{name}:{moment}:{fault}")
    shutil.rmtree(tmp_path / "home")


@pytest.mark.slow
def test_of_two_concurrent_runs_one_waits_and_names_the_lock_holder(homes: Homes, tmp_path: Path):
    """One from the command line, one from Dagster's own; both complete, one after the other."""
    home = tmp_path / "home"
    shutil.copytree(homes.rated, home)
    programs = Path(sys.executable).parent
    tags = json.dumps({"dagster/partition": NEXT_DAY})
    commands = [
        [str(programs / "touchstone"), "run", "--as-of", NEXT_DAY],
        [
            str(programs / "dagster"),
            *("job", "execute", "-m", "orchestration.definitions", "-j", "daily", "--tags", tags),
        ],
    ]
    environment = os.environ | {
        "TOUCHSTONE_HOME": str(home),
        "TOUCHSTONE_POLICY": str(homes.policy),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    with reader(home / "published"):
        started = [
            subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for command in commands
        ]
        message = [process.communicate(timeout=600)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], message
    waited = [text for text in message if "Waiting for process" in text]
    assert len(waited) == 1, message
    holder = started[1 - message.index(waited[0])]
    assert f"Waiting for process {holder.pid} (" in waited[0]
    assert published(home) == homes.lists[NEXT_DAY]
    assert {record["outcome"] for record in records(home)} == {"done"}


@pytest.mark.parametrize(
    "command",
    [
        ("models", "approve", "listing_counterfeit", "1", "--why", "a test"),
        pytest.param(("models", "reject", "listing_counterfeit", "1", "--why", "a test"), marks=pytest.mark.slow),
        pytest.param(("models", "rollback", "listing_counterfeit", "--why", "a test"), marks=pytest.mark.slow),
        pytest.param(("demo", "--scale", "0.0001"), marks=pytest.mark.slow),
        pytest.param(("prune", "--keep-days", "1"), marks=pytest.mark.slow),
        pytest.param(("erase", "buyer", "0" * 32), marks=pytest.mark.slow),
        ("run",),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_writing_command_waits_for_the_writer_lock(tmp_path: Path, command: tuple[str, ...]):
    with writer_lock(tmp_path / "lock", purpose="a test", wait_seconds=0):
        refused = touchstone(tmp_path, *command, TOUCHSTONE_LOCK_WAIT_SECONDS="0.1")
    assert refused.code == 2, refused.stderr
    assert f"Waiting for process {os.getpid()} (a test, since" in refused.stderr
    assert "did not finish within 0.1 s" in refused.stderr


# The miniature run, two hundred times ---------------------------------------------------------------------------------


def start_small(folder: Path, line: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a miniature run and returns when it has begun its work."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("small_run.py")), str(folder), line],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@dataclass(frozen=True)
class Small:
    """A small home before and after an undisturbed run, and that run's duration."""

    before: Path
    after: Path
    seconds: float


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The state from which every trial starts."""
    before, after = (tmp_path_factory.mktemp("small") / name for name in ("before", "after"))
    before.mkdir()
    assert start_small(before, "first").wait(60) == 0
    shutil.copytree(before, after)
    began = time.monotonic()
    assert start_small(after, "next").wait(60) == 0
    return Small(before, after, time.monotonic() - began)


def landed_files(home: Path) -> dict[str, bytes]:
    """Returns the files of the newest accepted loads; those of `listing_snapshots` have a column of the market's own."""
    landing = Market(home).landing
    loads = Market(home).pins().current.values()
    paths = [path for loads_of_table in loads for load in loads_of_table for path in load.paths(landing)]
    return {str(path.relative_to(home)): path.read_bytes() for path in paths}


def trial(number: int) -> tuple[str | None, float]:
    """Returns the failpoint that a trial arms, or None and the fraction of the run after which it is killed."""
    dice = random.Random(number)
    if number % 2:
        return None, dice.random()
    name, moment, fault = dice.choice(SMALL), dice.choice(MOMENTS), dice.choice(FAULTS)
    return f"{name}:{moment}:{fault}:{dice.choice([1, 2])}", 0.0


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[pytest.mark.slow] * (number >= QUICK_TRIALS)) for number in range(TRIALS)]
)
def test_a_small_run_interrupted_anywhere_is_completed_by_the_next(small: Small, tmp_path: Path, number: int):
    home = tmp_path / "home"
    shutil.copytree(small.before, home)
    armed, share = trial(number)
    with reader(home / "published"):
        process = start_small(home, "next", **({VARIABLE: armed} if armed else {}))
        if armed is None:
            time.sleep(share * small.seconds)
            process.kill()
        message = process.communicate(timeout=60)[1]
        assert process.returncode in ({-signal.SIGKILL} if armed and "kill" in armed else {-signal.SIGKILL, 0, 2}), (
            message
        )
        if armed and "kill" not in armed:
            assert process.returncode == 2, message
            assert "then run the same command again" in message
        assert verify(home / "published") == []
        between, either = latest(home), (latest(small.before), latest(small.after))
        assert all(between[name] in {state[name] for state in either} for name in LIST_NAMES)
        again = start_small(home, "next")
        message = again.communicate(timeout=60)[1]
    assert again.returncode == 0, message
    assert published(home) == published(small.after)
    assert store(home).known() == store(small.after).known()
    assert store(home).known().num_rows == max(PICTURES["next"])
    assert landed_files(home) == landed_files(small.after)
    assert verify(home / "published") == []
    assert not [path for folder in ("published", "landing", "signals") for path in (home / folder).rglob(".*")]
    shutil.rmtree(home)


# The failpoint itself ------------------------------------------------------------------------------------------------


def test_a_failpoint_does_nothing_unless_armed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(VARIABLE, raising=False)
    with failpoint("publish.latest", tmp_path):
        pass
    monkeypatch.setenv(VARIABLE, "publish.latest:after:enospc:2")
    with failpoint("publish.history", tmp_path), failpoint("publish.latest", tmp_path):
        pass
    done = []
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"), failpoint("publish.latest", tmp_path):
        done.append("the step")
    assert done == ["the step"]


@pytest.mark.parametrize(
    "armed",
    [
        "",
        "publish",
        "publish.latest:before",
        "publish.latest:during:kill",
        "nothing:before:kill",
        "publish.latest:before:kill:0",
    ],
)
def test_an_unknown_fault_is_an_error_that_lists_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, armed: str
):
    monkeypatch.setenv(VARIABLE, armed)
    with (
        pytest.raises(BadInputError, match=r"not a valid fault.*publish\.latest.*Unset it"),
        failpoint("shape.build", tmp_path),
    ):
        raise AssertionError
