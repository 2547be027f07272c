"""Retries work whose failure may be transient, such as reading from a server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

logger = logging.getLogger("touchstone")
ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS = 0.5
"""The pause after the first attempt; it doubles after each further one."""


def retry[T](action: str, work: Callable[[], T], transient_reason: Callable[[BaseException], str | None]) -> T:
    """Calls a function, up to `ATTEMPTS` times while it fails with a transient error.

    Each failed attempt that is followed by another is logged as a warning.

    Args:
        action: What is being done, for the log, such as `reading the table orders`. It must not contain secrets.
        work: The function.
        transient_reason: Returns the reason for the log if an error is transient, and None for any other error.

    Returns:
        What `work` returns.

    Raises:
        Exception: The error of `work`, if it is not transient or the last attempt failed.
    """

    def log(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = transient_reason(error) if error else None
        pause = state.next_action.sleep if state.next_action else 0
        message = "%s: attempt %d of %d failed (%s); the next one follows in %g s."
        logger.warning(message, action, state.attempt_number, ATTEMPTS, reason, pause)

    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS),
        retry=retry_if_exception(lambda error: transient_reason(error) is not None),
        before_sleep=log,
        reraise=True,
    )
    return retrying(work)
