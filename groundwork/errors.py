"""The errors that a person is meant to read, each with the exit code that the command line ends with.

Every message says what is wrong, where, why, and what to do. An exception that is none of these is a fault of ours
and ends with exit code 1.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended; the same for a person, a scheduler and a test."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    GATE_REFUSED = 3
    VERIFICATION_FAILED = 4


class TouchstoneError(Exception):
    """An expected failure whose message is written for the person who has to act on it."""

    exit_code: ExitCode = ExitCode.FAULT


class BadInputError(TouchstoneError):
    """Usage, configuration or a source is wrong; what was landed and published is as before."""

    exit_code = ExitCode.BAD_INPUT


class GateRefusedError(TouchstoneError):
    """A data-quality gate refused; the last good list stays."""

    exit_code = ExitCode.GATE_REFUSED


class VerificationError(TouchstoneError):
    """Something published does not match its recorded digests."""

    exit_code = ExitCode.VERIFICATION_FAILED
