"""Faults on purpose, for tests: the named boundaries at which a process can be made to die or be refused by its disk.

Every step that leaves something durable stands in `with boundary(name, path)`. Nothing happens there unless the
environment variable `TOUCHSTONE_FAULT` arms it, as in `TOUCHSTONE_FAULT=publish.latest:before:kill`: which boundary,
`before` or `after` its step, and what happens. A number behind (`landing.write:after:enospc:3`) means the third time
that it is reached. It is no setting of a production's: it is read here alone, and a wrong value is an error.

A process that a signal asked to stop begins none of these steps.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from touchstone.core import interrupts
from touchstone.core.errors import BadInputError

VARIABLE = "TOUCHSTONE_FAULT"
Boundary = Literal[
    "landing.write",  # the load's file is written
    "landing.place",  # its folder gets its name
    "landing.ledger",  # its line is appended: it counts
    "shape.build",
    "pictures.write",  # the hashes of pictures that are new, and whom they resemble
    "features.rings",  # which merchants form a ring at the dates that are asked for
    "features.build",
    "features.export",
    "training.register",
    "training.log",
    "approval.append",
    "backtest.step",  # a model trained as of a past day, with what it rates of that day
    "scores.write",
    "marts.build",
    "marts.export",
    "candidate.write",
    "candidate.point",  # it becomes the candidate of its date
    "verdict.write",
    "publish.begin",  # `.publishing` names what is about to be added
    "publish.version",  # the version's folder gets its name
    "publish.history",  # its line is appended: it is published
    "publish.latest",  # readers are told
    "test_buys.plan",  # a plan of what to buy, with its sheet
    "leads.write",  # the leads of a date, with who is in each and what became of it
    "report.write",  # the report of the day gets its name
    "prune.ledger",  # a line says that a load is pruned
    "prune.remove",  # a file or folder that is too old goes
    "erase.ledger",  # a line says that a load without the person's rows stands in for one with them
    "erase.remove",  # the one with them goes
]
Moment = Literal["before", "after"]
Fault = Literal["kill", "enospc", "permission"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)
MOMENTS: tuple[Moment, ...] = get_args(Moment)
FAULTS: tuple[Fault, ...] = get_args(Fault)
_ERRNO = {"enospc": errno.ENOSPC, "permission": errno.EACCES}
_reached: Counter[str] = Counter()


@contextmanager
def boundary(name: Boundary, path: Path) -> Iterator[None]:
    """Marks the step of a `with` block as one that can be made to fail just before or just after it.

    Args:
        name: The boundary's name.
        path: What the step writes; the raised error names it, as the system's own would.

    Raises:
        BadInputError: The variable is set, and not to a boundary, a moment and a fault.
        StoppedError: A signal asked the process to stop.
    """
    interrupts.check()
    _strike(name, "before", path)
    yield
    _strike(name, "after", path)


def _strike(name: Boundary, moment: Moment, path: Path) -> None:
    armed = os.environ.get(VARIABLE)
    if armed is None:
        return
    target, fault, at = _read(armed)
    if target != f"{name}:{moment}":
        return
    _reached[target] += 1
    if _reached[target] != at:
        return
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(_ERRNO[fault], os.strerror(_ERRNO[fault]), str(path))


def _read(armed: str) -> tuple[str, str, int]:
    """Returns the boundary with its moment, the fault, and which time of reaching it counts."""
    pattern = rf"((?:{'|'.join(BOUNDARIES)}):(?:{'|'.join(MOMENTS)})):({'|'.join(FAULTS)})(?::([1-9][0-9]*))?"
    found = re.fullmatch(pattern, armed)
    if found is None:
        raise BadInputError(
            f"{VARIABLE}={armed}: no such fault. It is for tests: BOUNDARY:MOMENT:FAULT[:TIME], with a boundary of "
            f"{', '.join(BOUNDARIES)}; a moment of {', '.join(MOMENTS)}; a fault of {', '.join(FAULTS)}. Unset it."
        )
    return found[1], found[2], int(found[3] or 1)
