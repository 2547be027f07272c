"""What every test may use: homes that the whole pipeline ran in, made once a session and copied for each test.

A run of the whole pipeline costs about half a minute, so tests that need one share it. They get a copy, to break as
they like. With several workers the first to ask makes it and the others wait.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from groundwork.lock import writer_lock

ROOT = Path(__file__).resolve().parents[1]
SCALE, SEED = 0.02, 11
TRAINED_AS_OF, AS_OF = "2026-06-15", "2026-06-30"


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON object that it printed."""
        return json.loads(self.stdout)


def touchstone(home: Path, *arguments: str, **environment: str) -> Outcome:
    """Runs the real command in a process of its own, over `home`."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "touchstone"), *arguments],
        env=os.environ | {"TOUCHSTONE_HOME": str(home)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def make_demo_home(home: Path) -> None:
    """Makes a demo marketplace and runs the pipeline over it: trained and rated as of one date, rated as of a later one."""
    made = touchstone(home, "demo", "--scale", str(SCALE), "--seed", str(SEED))
    assert made.code == 0, made.stderr
    first = touchstone(home, "run", "--as-of", TRAINED_AS_OF, "--train", "--approve-if-passing", "--json")
    assert first.code == 0, first.stdout + first.stderr
    second = touchstone(home, "run", "--as-of", AS_OF, "--json")
    assert second.code == 0, second.stdout + second.stderr


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def rated_home(shared_folder: Path) -> Path:
    """A home that the pipeline ran in twice; not to be changed. See `home` for a copy."""
    home = shared_folder / "rated-home"
    with writer_lock(shared_folder / "rated-home.lock", purpose="making a home for tests", wait_seconds=900):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            make_demo_home(home)
            (home / "complete").touch()
    return home


@pytest.fixture
def home(rated_home: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the rated home, to break."""
    copy = tmp_path / "home"
    shutil.copytree(rated_home, copy)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@pytest.fixture
def run_touchstone(home: Path) -> Callable[..., Outcome]:
    """The command over the test's own home."""
    return lambda *arguments, **environment: touchstone(home, *arguments, **environment)


def shared_data(name: str) -> Path:
    """Returns a folder of real data outside the project, or skips the test and says where it was looked for."""
    folder = Path(os.environ.get("TOUCHSTONE_SHARED", ROOT.parent / "shared")) / "data" / name
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no {folder} (set TOUCHSTONE_SHARED to the folder that holds data/{name})")
    return folder
