"""Errors with messages for users, each with the exit code of the command line, and a helper that formats counts.

Every message says what is wrong, where, why, and what to do. Any other exception is an internal error (a bug in Touchstone); the
command then exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from traceback import format_exception

from touchstone.core.secrets import hide

# Messages of the operating system, SQLite and DuckDB about a disk that refuses: the cause, and what the user can do.
_DISK_ERRORS = {
    "No space left on device": ("The disk is full", "Free some space there"),
    "database or disk is full": ("The disk is full", "Free some space there"),
    "disk I/O error": (
        "The disk is full or broken",
        "Free some space there, or replace the disk",
    ),  # SQLite reports a full disk in this way, too
    "Input/output error": ("The disk is full or broken", "Free some space there, or replace the disk"),
    "Disk quota exceeded": ("The disk quota is used up", "Free some space there, or raise the quota"),
    "Permission denied": (
        "A permission is missing",
        "Give the user that runs Touchstone read and write permission there",
    ),
    "readonly database": (
        "A permission is missing",
        "Give the user that runs Touchstone read and write permission there",
    ),
    "Read-only file system": ("The disk is mounted read-only", "Mount it as writable"),
}


class ExitCode(IntEnum):
    """Exit codes of every command, unless a signal stopped it (see `interrupts`)."""

    DONE = 0
    INTERNAL_ERROR = 1
    BAD_INPUT = 2
    GATE_REFUSED = 3
    VERIFICATION_FAILED = 4


class TouchstoneError(Exception):
    """Base class of expected failures, whose messages are written for the user who has to act on them."""

    exit_code: ExitCode = ExitCode.INTERNAL_ERROR

    def __init__(self, message: str) -> None:
        """Stores the message, with every secret that this process knows replaced."""
        super().__init__(hide(message))


class BadInputError(TouchstoneError):
    """Usage, configuration or a source is invalid; what was landed and published is unchanged."""

    exit_code = ExitCode.BAD_INPUT


class GateRefusedError(TouchstoneError):
    """A data-quality gate refused; the last good list stays."""

    exit_code = ExitCode.GATE_REFUSED


class VerificationError(TouchstoneError):
    """Stored data does not match its recorded digests."""

    exit_code = ExitCode.VERIFICATION_FAILED


@contextmanager
def without_secrets() -> Iterator[None]:
    """Replaces an error that shows a secret, in its message or its causes, with one without the secret and without a cause.

    Raises:
        Exception: The original error, if it shows no secret.
        TouchstoneError: With the same exit code and a redacted message, if the original error was a `TouchstoneError`.
        RuntimeError: With the redacted traceback as its message, for every other error that shows a secret.
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
    # Raised outside the handler, which would keep the original error as the context.
    raise shown from None


def describe_disk_error(message: str) -> str | None:
    """Returns a message for the user if an error was caused by the disk, and None for any other error.

    Args:
        message: The error's own message. Disk errors are recognised by it, because Python, SQLite and DuckDB raise them as
            exceptions of many types. SQLite's also carry a whole statement, which is omitted.
    """
    for phrase, (what, remedy) in _DISK_ERRORS.items():
        line = next((line.strip() for line in message.splitlines() if phrase in line), None)
        if line is not None:
            return (
                f"{what}: {line}. Lists are published atomically: readers see the previous version or the new one. "
                f"{remedy}, then run the same command again: it completes the work."
            )
    return None


def format_count(count: int, word: str) -> str:
    """Returns a count with its noun in singular or plural: `1 row`, `2,000 rows`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
