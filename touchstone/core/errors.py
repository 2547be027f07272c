"""The errors that a person is meant to read, each with the exit code that the command line ends with, and how they say a count.

Every message says what is wrong, where, why, and what to do. An exception that is none of these is a fault of ours
and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from traceback import format_exception

from touchstone.core.secrets import hide

# What the system, SQLite and DuckDB say of a disk that refuses, and what it means to whoever runs this.
_REFUSALS = {
    "No space left on device": ("The disk is full", "Free some space there"),
    "database or disk is full": ("The disk is full", "Free some space there"),
    "disk I/O error": (
        "The disk is full or broken",
        "Free some space there, or mend it",
    ),  # SQLite's word for a full one too
    "Input/output error": ("The disk is full or broken", "Free some space there, or mend it"),
    "Disk quota exceeded": ("The disk quota is used up", "Free some space there, or have the quota raised"),
    "Permission denied": ("A permission is missing", "Let the user that runs this read and write there"),
    "readonly database": ("A permission is missing", "Let the user that runs this read and write there"),
    "Read-only file system": ("The disk is mounted read-only", "Mount it so that it can be written"),
}


class ExitCode(IntEnum):
    """How a command ended by itself; the same for a person, a scheduler and a test. Stopped by a signal: see `interrupts.py`."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    GATE_REFUSED = 3
    VERIFICATION_FAILED = 4


class TouchstoneError(Exception):
    """An expected failure whose message is written for the person who has to act on it."""

    exit_code: ExitCode = ExitCode.FAULT

    def __init__(self, message: str) -> None:
        """Takes the message, with every secret that this process knows replaced."""
        super().__init__(hide(message))


class BadInputError(TouchstoneError):
    """Usage, configuration or a source is wrong; what was landed and published is as before."""

    exit_code = ExitCode.BAD_INPUT


class GateRefusedError(TouchstoneError):
    """A data-quality gate refused; the last good list stays."""

    exit_code = ExitCode.GATE_REFUSED


class VerificationError(TouchstoneError):
    """Something published does not match its recorded digests."""

    exit_code = ExitCode.VERIFICATION_FAILED


@contextmanager
def without_secrets() -> Iterator[None]:
    """Replaces an error that shows a secret, itself or in what led to it, by one without the secret and without a cause.

    Raises:
        Exception: What was raised, where it shows no secret.
        TouchstoneError: The same message and exit code, where it was one; else a `RuntimeError` with the traceback as its text.
    """
    try:
        yield
    except Exception as error:
        text = "".join(format_exception(error))
        if hide(text) == text:
            raise
        shown = type(error)(str(error)) if isinstance(error, TouchstoneError) else RuntimeError(hide(text))
    else:
        return
    # Not in the handler above, which would keep the other error as this one's context.
    raise shown from None


def disk_refusal(said: str) -> str | None:
    """Returns what to tell a person of an error by which the disk refused, or None where it is another error.

    Args:
        said: The error's own text. It is told by its text alone because it comes from Python, SQLite and DuckDB in
            exceptions of many kinds; SQLite's carry a whole statement behind, which is left out.
    """
    for phrase, (what, remedy) in _REFUSALS.items():
        line = next((line.strip() for line in said.splitlines() if phrase in line), None)
        if line is not None:
            return (
                f"{what}: {line}. No list is half published: readers have the one before or the new one, whole. "
                f"{remedy}, then give the same command again: it completes the work."
            )
    return None


def counted(count: int, word: str) -> str:
    """Returns how many there are of what a word names: 1 row, 2,000 rows."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
