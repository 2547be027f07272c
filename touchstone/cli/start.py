"""Entry point of the `touchstone` command: installs the signal handlers before the slow imports."""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager

from touchstone.core.interrupts import GRACE_SECONDS, interruptible

UI_GRACE_SECONDS = 9.0
"""Time for `touchstone ui` to stop its servers."""
RESUMABLE = {"run", "backfill", "backtest", "demo", "prune", "erase"}
"""Commands that resume when they are run again after an interruption."""


def main() -> None:
    """Runs the command line."""
    try:
        with stoppable():
            from touchstone.cli.main import main as command_line

            command_line()
    finally:
        # Ctrl+C during the interpreter's shutdown would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def stoppable() -> AbstractContextManager[None]:
    """Lets signals stop the command on the command line, with a suitable message."""
    command = set(sys.argv[1:2])
    message = "Lists are published atomically: readers see the previous version or the new one."
    if command & RESUMABLE:
        message += " Run the same command again to resume."
    return interruptible(message, UI_GRACE_SECONDS if command == {"ui"} else GRACE_SECONDS)
