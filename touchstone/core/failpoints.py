"""Failpoints: named steps at which tests make a process die or its disk refuse to write.

Every step that writes something durable runs inside `with failpoint(name, path)`. A failpoint does nothing unless the
environment variable `TOUCHSTONE_FAULT` arms it with `FAILPOINT:MOMENT:FAULT[:COUNT]`:

| part | meaning |
|---|---|
| FAILPOINT | one of `FAILPOINTS` |
| MOMENT | `before` or `after` the step |
| FAULT | `kill` (SIGKILL), `enospc` (the disk is full) or `permission` (permission denied) |
| COUNT | fail at the n-th time that the failpoint is reached; 1 by default |

Example: `TOUCHSTONE_FAULT=landing.write:after:enospc:3`.

The variable is for tests only and is read only here. An invalid value is an error. A process that a signal asked to stop
starts none of these steps.
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
Failpoint = Literal[
    "landing.write",  # the load's file is written
    "landing.commit",  # the load's folder gets its final name
    "landing.ledger",  # the load's line is appended to the ledger: it is accepted
    "shape.build",
    "images.write",  # the hashes of new images, which images resemble each other, and what was read in some
    "features.rings",  # which merchants form a ring at the requested dates
    "features.build",
    "features.export",
    "training.register",
    "training.log",
    "approval.append",
    "backtest.step",  # a model trained as of a past day, with its scores of that day
    "scores.write",
    "marts.build",
    "marts.export",
    "candidate.write",
    "candidate.point",  # it becomes the candidate of its date
    "verdict.write",
    "publish.begin",  # `.publishing` names the version that is about to be added
    "publish.version",  # the version's folder gets its final name
    "publish.history",  # the version's line is appended to the history: it is published
    "publish.latest",  # `LATEST` names the version
    "test_buys.plan",  # a plan of what to buy, with its sheet
    "audits.plan",  # a plan of what to decide on, with its sheet
    "leads.write",  # the leads of a date, with their members and their status
    "coverage.write",  # the coverage of a date
    "report.write",  # the report of the day gets its final name
    "prune.ledger",  # a line records that a load is pruned
    "prune.remove",  # an expired file or folder is removed
    "erase.ledger",  # a line records that a load without the person's rows replaces one with them
    "erase.remove",  # the replaced load is removed
]
Moment = Literal["before", "after"]
Fault = Literal["kill", "enospc", "permission"]
FAILPOINTS: tuple[Failpoint, ...] = get_args(Failpoint)
MOMENTS: tuple[Moment, ...] = get_args(Moment)
FAULTS: tuple[Fault, ...] = get_args(Fault)
_ERRNO = {"enospc": errno.ENOSPC, "permission": errno.EACCES}
_reached: Counter[str] = Counter()


@contextmanager
def failpoint(name: Failpoint, path: Path) -> Iterator[None]:
    """Lets a test make the step in the `with` block fail immediately before or after it.

    Args:
        name: The failpoint's name.
        path: What the step writes. The raised error names it, as the operating system's own error would.

    Raises:
        BadInputError: `TOUCHSTONE_FAULT` is set to something other than a failpoint, a moment and a fault.
        OSError: The failpoint is armed with `enospc` or `permission`.
        StoppedError: A signal asked the process to stop.
    """
    interrupts.check()
    _inject(name, "before", path)
    yield
    _inject(name, "after", path)


def _inject(name: Failpoint, moment: Moment, path: Path) -> None:
    armed = os.environ.get(VARIABLE)
    if armed is None:
        return
    target, fault, count = _parse(armed)
    if target != f"{name}:{moment}":
        return
    _reached[target] += 1
    if _reached[target] != count:
        return
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(_ERRNO[fault], os.strerror(_ERRNO[fault]), str(path))


def _parse(armed: str) -> tuple[str, str, int]:
    """Returns the failpoint with its moment, the fault, and at which time of reaching it the fault occurs."""
    pattern = rf"((?:{'|'.join(FAILPOINTS)}):(?:{'|'.join(MOMENTS)})):({'|'.join(FAULTS)})(?::([1-9][0-9]*))?"
    match = re.fullmatch(pattern, armed)
    if match is None:
        raise BadInputError(
            f"{VARIABLE}={armed}: not a valid fault. It is for tests: FAILPOINT:MOMENT:FAULT[:COUNT], with a failpoint of "
            f"{', '.join(FAILPOINTS)}; a moment of {', '.join(MOMENTS)}; a fault of {', '.join(FAULTS)}. Unset it."
        )
    return match[1], match[2], int(match[3] or 1)
