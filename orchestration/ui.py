"""Serves the two UIs of a home on this machine: Dagster's (webserver and daemon) and MLflow's.

The home is initialised before they start: webserver and daemon that both find an empty Dagster home race and break it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from groundwork.errors import TouchstoneError
from orchestration.home import prepare_home
from orchestration.settings import PROJECT_ROOT, Settings

POLL_SECONDS = 0.5
STOP_SECONDS = 15


def commands(settings: Settings, port: int) -> dict[str, list[str]]:
    """Returns the commands that serve the UIs, by name."""
    scripts = Path(sys.executable).parent
    workspace = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    return {
        "Dagster's webserver": [str(scripts / "dagster-webserver"), *workspace, "-h", "127.0.0.1", "-p", str(port)],
        "Dagster's daemon": [str(scripts / "dagster-daemon"), "run", *workspace],
        "MLflow": [
            *(str(scripts / "mlflow"), "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port + 1)),
            *("--backend-store-uri", f"sqlite:///{settings.home / 'mlflow.db'}"),
            *("--default-artifact-root", (settings.home / "mlflow-artifacts").as_uri()),
        ],
    }


def serve(settings: Settings, *, port: int) -> None:
    """Starts the servers and waits until one ends or the person interrupts.

    Raises:
        TouchstoneError: A server ended by itself.
    """
    import dagster as dg

    # A scheduler stops us with SIGTERM; the servers have to end with us then, as on Ctrl+C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_home(settings)
    instance = dg.DagsterInstance.get()
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    environment = os.environ | {"TOUCHSTONE_HOME": str(settings.home)}
    if settings.sources is not None:
        environment["TOUCHSTONE_SOURCES"] = str(settings.sources)
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(_started(command, environment))
            for name, command in commands(settings, port).items()
        }
        print(  # noqa: T201  # the addresses are this command's result
            f"Dagster: http://127.0.0.1:{port}\n"
            f"MLflow:  http://127.0.0.1:{port + 1}/#/experiments?workflowType=machine_learning\n"
            "Both are up in about 15 seconds. Press Ctrl+C to stop them.",
            flush=True,
        )
        _wait(running)


@contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a server process that is asked to stop, then made to, when the block ends."""
    process = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT)  # noqa: S603  # our own commands
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(running: dict[str, subprocess.Popen[bytes]]) -> None:
    try:
        while True:
            for name, process in running.items():
                if (code := process.poll()) is not None:
                    raise TouchstoneError(f"{name} ended with code {code}; its lines above say why.")
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return
