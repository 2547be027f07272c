"""The real command in a process forked from one with its imports done: imports are a fifth of a small run.

Used by `touchstone` in `conftest.py`. Kills, exit codes, signals and output are the same as from a shell.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.warm_imports"])


ROOT = Path(__file__).resolve().parents[1]


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float, cwd: Path = ROOT
) -> tuple[int, str, str]:
    """Runs `touchstone` and returns its exit code (minus the signal that killed it), stdout and stderr.

    Args:
        arguments: Its arguments.
        environment: Its complete environment.
        folder: Receives two files with its output.
        seconds: The timeout.
        cwd: Its working folder.

    Raises:
        TimeoutError: It took longer, and was killed.
    """
    process, printed, errors = start(arguments, environment, folder, cwd)
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"touchstone {' '.join(arguments)} took over {seconds} s.\n{errors.read_text()}")
    return process.exitcode, printed.read_text(), errors.read_text()


def start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, cwd: Path = ROOT
) -> tuple[ForkServerProcess, Path, Path]:
    """Starts `touchstone`; returns its process, and the files with its stdout and stderr."""
    printed, errors = folder / "stdout", folder / "stderr"
    process = CONTEXT.Process(target=_command, args=(list(arguments), dict(environment), printed, errors, cwd))
    process.start()
    return process, printed, errors


def _command(arguments: list[str], environment: dict[str, str], printed: Path, errors: Path, cwd: Path) -> None:
    for path, descriptor in ((printed, 1), (errors, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["touchstone", *arguments]
    from touchstone.cli.start import main

    main()
