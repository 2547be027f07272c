"""What makes a process that runs stages faster, and changes no result. Figures: docs/performance.md, "What made it faster"."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context, parent_process
from threading import Thread

from ml.mlflow_client import load_mlflow
from orchestration.dbt_runner import read_project
from touchstone.core.errors import TouchstoneError
from touchstone.core.files import remove_temporaries
from touchstone.core.settings import Settings
from touchstone.demo.create import demo_is_due, make_demo

SLOW_LIBRARIES = ("great_expectations", "xgboost", "sklearn.model_selection", "scipy.stats")
"""They are imported where they are used; a run uses all of them."""


@functools.cache
def tune_garbage_collector() -> None:
    """Makes Python look for garbage rarely, and not at exit: libraries leave millions of objects that are never garbage."""
    gc.set_threshold(500_000)
    atexit.register(gc.freeze)


def load_libraries() -> None:
    """Imports slow libraries and reads dbt's project."""
    load_mlflow()
    for library in SLOW_LIBRARIES:
        import_module(library)
    read_project()


@contextmanager
def creating_demo(settings: Settings) -> Iterator[None]:
    """Creates the demo marketplace, if it is due, in another process while the block runs, and waits for it.

    If that process fails, landing finds no demo, creates it itself, and reports what fails.

    Args:
        settings: The settings, which name the home and the demo's parameters.
    """
    if not demo_is_due(settings):
        yield
        return
    creating = get_context("spawn").Process(target=_create_demo, args=(settings,))
    # Ctrl+C in a terminal reaches all of its processes; this one exits with its parent, and prints nothing of its own.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        creating.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
        creating.join()
    except BaseException:
        creating.kill()
        creating.join()
        remove_temporaries(settings.demo.parent, settings.demo.name)
        raise


def _create_demo(settings: Settings) -> None:
    parent = parent_process()

    def exit_with_parent() -> None:  # a killed run leaves no process that writes to the home
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=exit_with_parent, daemon=True).start()
    try:
        make_demo(settings)
    except (OSError, TouchstoneError) as error:
        sys.exit(f"The demo could not be created ahead of landing, which tries again: {error}")
