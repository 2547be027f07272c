"""The writer lock of a home: one writer at a time, released by the kernel when its holder dies.

`flock` needs no clean-up after `kill -9`. The file's content names the holder for the message of a waiting process; it never
decides who holds the lock.
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
    """Holds the lock at `path` for the duration of a `with` block; reentrant within one process.

    Args:
        path: The lock file; created if absent.
        purpose: What the holder does, for the message of waiting processes.
        wait_seconds: How long to wait for another process.
        on_wait: Called once, with a message that names the holder, if another process holds the lock.

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
    """Returns whether a process holds the lock, without waiting for it.

    It requests a shared lock from the kernel and releases it immediately; the file is not written.
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
    """Returns the id of the process that the lock file names (the current or the last holder); None if it names none."""
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_holder(path: Path) -> str:
    """Returns a description of the holder that the lock file names, for a message."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} ({holder['purpose']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another process that has not written its name yet"


def _acquire(descriptor: int, path: Path, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
    deadline = time.monotonic() + wait_seconds
    is_reported = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_reported:
                on_wait(f"Waiting for {describe_holder(path)}, which writes to {path.parent}.")
                is_reported = True
            if time.monotonic() >= deadline:
                raise BadInputError(
                    f"{path.parent} is locked by {describe_holder(path)}, which did not finish within {wait_seconds:g} s. "
                    "Try again when it has ended, or increase TOUCHSTONE_LOCK_WAIT_SECONDS."
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return


def _name_holder(path: Path, purpose: str) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    path.write_text(json.dumps({"pid": os.getpid(), "purpose": purpose, "since": since}))
