"""Serves both UIs over a copy of a home as `touchstone ui` does, and queries Dagster's GraphQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from conftest import FIRST_DAY, ROOT, SmallHomes

from tests.ml_fixtures import train_again

RUN_SECONDS = 600
READY = """{
  workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } }
  instance { daemonHealth { allDaemonStatuses { required healthy } } }
}"""
RUNS = """query($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 10) { ... on Runs { results { runId status } } }
}"""


@dataclass(frozen=True)
class Served:
    """The UIs of a home: their addresses, and queries to Dagster's GraphQL."""

    home: Path
    dagster: str
    mlflow: str

    def ask(self, query: str, **variables: Any) -> Any:
        """Returns the data of a GraphQL response."""
        body = {"query": query, "variables": variables}
        answer = requests.post(f"{self.dagster}/graphql", json=body, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self, **filters: Any) -> dict[str, str]:
        """Returns the status of every run that matches the filters, newest first, by run ID."""
        found = self.ask(RUNS, filter=filters)["runsOrError"]["results"]
        return {run["runId"]: run["status"] for run in found}

    def launched(self, **filters: Any) -> str:
        """Waits for a run that matches the filters and returns the newest one's ID."""
        return until(lambda: next(iter(self.runs(**filters)), None), f"a run of {filters} is launched")

    def ended(self, run: str) -> str:
        """Waits until a run has ended and returns its status."""

        def status() -> str | None:
            (found,) = self.runs(runIds=[run]).values()
            return found if found in {"SUCCESS", "FAILURE", "CANCELED"} else None

        return until(status, f"run {run} ends")


def until[T](found: Callable[[], T | None], what: str, seconds: float = RUN_SECONDS) -> T:
    """Polls `found` until it returns a truthy value and returns that; fails after a timeout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.5)
    raise AssertionError(f"{seconds} s were not enough until {what}")


def free_port() -> int:
    """Returns a free port whose successor is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def serving(homes: SmallHomes, folder: Path) -> Iterator[Served]:
    """Serves a home that was rated as of one day, with a daily schedule that ticks every minute, until the block ends.

    A second version of the listings' model was trained in it; the servers' output is in `log.txt` next to it.
    """
    port, home, log = free_port(), folder / "home", folder / "log.txt"
    shutil.copytree(homes.rated, home)
    train_again(home, "listing_counterfeit", FIRST_DAY, homes.policy.with_name("thresholds.yml"), rounds=100)
    settings = {
        "TOUCHSTONE_HOME": str(home),
        "TOUCHSTONE_POLICY": str(homes.policy),
        "TOUCHSTONE_DAILY_CRON": "* * * * *",
        "TOUCHSTONE_FIRST_DAY": "2025-06-01",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "touchstone"), "ui", "--port", str(port)],
            env=os.environ | settings,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = Served(home, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}")
        until(lambda: process.poll() is not None or _is_ready(found), f"the servers answer; see {log}")
        assert process.poll() is None, log.read_text()[-3000:]
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(served: Served) -> bool:
    try:
        answer = served.ask(READY)
        requests.get(f"{served.mlflow}/health", timeout=5).raise_for_status()
    except requests.RequestException:
        return False
    locations = answer["workspaceOrError"]["locationEntries"]
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    return [entry["locationOrLoadError"] for entry in locations] == [{"__typename": "RepositoryLocation"}] and all(
        daemon["healthy"] for daemon in daemons if daemon["required"]
    )
