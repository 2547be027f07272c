"""Serves the two UIs of a home on this machine: Dagster's (webserver and daemon) and MLflow's.

No page of another origin can use either: `ui_guard.py`. The home is initialised before they start: webserver and daemon that
both find an empty Dagster home race and break it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from ml.registry import Registry
from orchestration.resources import logger, mark_dead_runs
from orchestration.ui_servers import HOST, WORKSPACE
from touchstone.core.errors import TouchstoneError
from touchstone.core.home import Home, prepare_home
from touchstone.core.lists import LISTS
from touchstone.core.settings import PROJECT_ROOT, Settings

POLL_SECONDS = 0.5
STOP_SECONDS = 7  # less than the grace that start.py gives this process, which must not be ended before its servers


def commands(settings: Settings, port: int) -> dict[str, list[str]]:
    """Returns the commands that serve the UIs, by name."""
    scripts = Path(sys.executable).parent
    return {
        "Dagster's webserver": [sys.executable, "-m", "orchestration.ui_servers", str(port)],
        "Dagster's daemon": [str(scripts / "dagster-daemon"), "run", "-w", str(WORKSPACE)],
        "MLflow": [
            *(str(scripts / "mlflow"), "server", "--app-name", "touchstone", "--workers", "1"),
            *("--host", HOST, "--port", str(port + 1)),
            *("--backend-store-uri", f"sqlite:///{Home(settings.home).mlflow_database}"),
            *("--default-artifact-root", Home(settings.home).mlflow_artifacts.as_uri()),
        ],
    }


def serve(settings: Settings, *, port: int) -> None:
    """Starts the servers and waits until one ends or the person interrupts.

    Raises:
        TouchstoneError: A server ended by itself.
    """
    prepare_home(settings)
    instance = dg.DagsterInstance.get()
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    # A run that died with the machine would else count as running, and hold its place among a backfill's, for ever.
    for dead in mark_dead_runs(instance, Home(settings.home).runs):
        logger.warning("Run %s had died; it is marked as failed, and the next run completes its work.", dead)
    mlflow, registry = f"http://127.0.0.1:{port + 1}", Registry(settings.home)
    runs = {rated.model: registry.runs.page(rated.model) for rated in LISTS.values()}
    environment = os.environ | {"TOUCHSTONE_HOME": str(settings.home)}
    if "mlflow_address" not in settings.model_fields_set:
        environment["TOUCHSTONE_MLFLOW_ADDRESS"] = mlflow
    if settings.sources is not None:
        environment["TOUCHSTONE_SOURCES"] = str(settings.sources)
    with _started(commands(settings, port), environment) as running:
        print(  # noqa: T201  # the addresses are this command's result
            f"Dagster: http://127.0.0.1:{port}\n"
            f"MLflow:  {mlflow}/#/experiments?workflowType=machine_learning\n"
            + "".join(f"  {model:20} {mlflow}{page}\n" for model, page in runs.items() if page)
            + "Both are up in about 15 seconds. Press Ctrl+C to stop them.",
            flush=True,
        )
        _wait(running)


@contextmanager
def _started(
    commands: dict[str, list[str]], environment: dict[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Yields the server processes; when the block ends all are asked to stop, and those that do not in time are made to."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT)  # noqa: S603  # our own commands
        yield running
    finally:
        for process in running.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running.values():
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(running: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in running.items():
            if (code := process.poll()) is not None:
                raise TouchstoneError(f"{name} ended with code {code}; its lines above say why.")
        time.sleep(POLL_SECONDS)
