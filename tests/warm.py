"""The real command in a process of its own, forked from one that has imported what it needs: a fifth of a small run is imports.

`touchstone` in `conftest.py` runs it so. A kill, an exit code, a signal and what is printed are as they are from a shell.
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
    """Runs `touchstone` and returns its exit code (minus the signal that killed it), and what it printed.

    Args:
        arguments: Its arguments.
        environment: All of its environment.
        folder: Receives two files with what it prints.
        seconds: How long it may take.
        cwd: The folder that it runs in.

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
    """Starts `touchstone`; returns its process, and the files with what it prints on stdout and stderr."""
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
