"""The writer's lock of a home: one writer at a time, freed by the kernel when its holder dies.

`flock` needs no clean-up after `kill -9`. The file's text names the holder, for the message that a waiting process
prints; it is never what decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from touchstone.core.errors import BadInputError

POLL_SECONDS = 0.2
_held: dict[Path, int] = {}


@contextmanager
def writer_lock(
    path: Path, *, purpose: str, wait_seconds: float, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Holds the lock at `path` for the duration of a `with` block; within one process it may be taken again.

    Args:
        path: The lock file; made if absent.
        purpose: What the holder does, in words, for whoever waits.
        wait_seconds: How long to wait for another process.
        on_wait: Called once, with a message that names the holder, when there is one to wait for.

    Raises:
        BadInputError: Another process held the lock for all of `wait_seconds`.
    """
    key = path.resolve()
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file.fileno(), path, wait_seconds, on_wait)
        _held[key] = 1
        try:
            _name_holder(path, purpose)
            yield
        finally:
            del _held[key]
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Tells whether a process holds the lock, without waiting for it.

    It asks the kernel for a shared hold and gives it back at once; the file is not written.
    """
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
    return False


def holder_pid(path: Path) -> int | None:
    """Returns the process that the lock's file names, which holds it or was the last to; None where it names none."""
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_holder(path: Path) -> str:
    """Returns who holds the lock, in words, as its file tells it."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} ({holder['purpose']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another process that has not given its name yet"


def _acquire(descriptor: int, path: Path, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                on_wait(f"Waiting for {describe_holder(path)}, which writes to {path.parent}.")
                told = True
            if time.monotonic() >= deadline:
                raise BadInputError(
                    f"{path.parent} is being written by {describe_holder(path)}, and {wait_seconds:g} s of "
                    "waiting were not enough. Try again when it has ended, or wait longer with TOUCHSTONE_LOCK_WAIT_SECONDS."
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return


def _name_holder(path: Path, purpose: str) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    path.write_text(json.dumps({"pid": os.getpid(), "purpose": purpose, "since": since}))
