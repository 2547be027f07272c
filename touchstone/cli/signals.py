"""How signals stop a command, and the message that is printed then."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from touchstone.core.interrupts import GRACE_SECONDS, interruptible

UI_GRACE_SECONDS = 9.0
"""Time for `touchstone ui` to stop its servers."""
RESUMABLE = {"run", "backfill", "backtest", "demo", "prune", "erase"}
"""Commands that resume when they are run again after an interruption."""


def stoppable() -> AbstractContextManager[None]:
    """Lets signals stop the command on the command line, with a suitable message."""
    command = set(sys.argv[1:2])
    message = "Lists are published atomically: readers see the previous version or the new one."
    if command & RESUMABLE:
        message += " Run the same command again to resume."
    return interruptible(message, UI_GRACE_SECONDS if command == {"ui"} else GRACE_SECONDS)
