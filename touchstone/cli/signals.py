"""Which signals stop a command, and the message that suits it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from touchstone.core.interrupts import GRACE_SECONDS, interruptible

UI_GRACE_SECONDS = 9.0
"""How long `touchstone ui` may take to stop its servers."""
COMPLETED_BY_THE_SAME = {"run", "backfill", "backtest", "demo", "prune", "erase"}
"""Commands that, given again after they were stopped, complete what they had begun."""


def stoppable() -> AbstractContextManager[None]:
    """Lets signals stop the command that is given on the command line, with a message that suits it."""
    command = set(sys.argv[1:2])
    message = "No list is half published: readers have the one before or the new one, whole."
    if command & COMPLETED_BY_THE_SAME:
        message += " The same command completes the work."
    return interruptible(message, UI_GRACE_SECONDS if command == {"ui"} else GRACE_SECONDS)
