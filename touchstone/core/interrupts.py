"""Stops a command on a signal, wherever it is: soon, with a message, and with exit code 128 + the signal's number.

Python runs a signal handler in the main thread, between two bytecode instructions: late or never while the main thread waits in
a library. Dagster replaces handlers while a job runs, defers signals, and drops them at the end of the job. So the handler here
only raises, and a thread does the rest: `signal.set_wakeup_fd` sends it the number of each signal, whichever handler is
installed. A command that has not ended when the grace period is over, or at a second signal, is terminated. Durable data
survives a kill at any moment (see `failpoints`), so nothing is lost.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 5.0
"""How long a command may take to clean up. On a busy machine, termination takes a few seconds longer."""
_lock = Lock()
_ending = Lock()
_received: list[signal.Signals] = []
_arriving: socket.socket | None = None


class StoppedError(KeyboardInterrupt):
    """A signal asked the command to stop. Not an `Exception`, so that no handler treats it as a recoverable failure."""


@contextmanager
def interruptible(message: str, grace_seconds: float = GRACE_SECONDS) -> Iterator[None]:
    """Lets signals end the process while the `with` block runs; the main thread alone may enter it.

    If a signal arrived, the process ends at the end of the block, even if the block returned or raised another exception:
    libraries turn `StoppedError` into other exceptions or into a failed step. A nested block raises `StoppedError` instead, and
    the outermost one ends the process.

    Args:
        message: Printed after the signal's name: the state of the home, and what to do.
        grace_seconds: How long the block may take to clean up.
    """
    if _arriving is not None:
        try:
            yield
        finally:
            check()
        return
    yield from _outermost(message, grace_seconds)


def _outermost(message: str, grace_seconds: float) -> Iterator[None]:
    global _arriving  # noqa: PLW0603  a process has one place where its signals arrive
    arriving, sending = socket.socketpair()
    sending.settimeout(0)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    woken_before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    _arriving = arriving
    # Python prints and drops what a signal's handler raises in a finalizer. The signal is not lost by that (`check`) and needs
    # no traceback, whether the handler is this module's or one that a library installed.
    unraisable_before = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if _is_of_a_signal(lost.exc_value) else unraisable_before(lost)
    watching = Thread(target=_watch, args=(arriving, message, grace_seconds), name="signals", daemon=True)
    watching.start()
    try:
        for number in SIGNALS:
            # `nohup` ignores SIGHUP on purpose; a shell's background job ignores SIGINT by default, and has to be stoppable.
            if (number, before[number]) != (signal.SIGHUP, signal.SIG_IGN):
                signal.signal(number, _raise)
        yield
    finally:
        if (stopped_by := received()) is not None:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            _end(stopped_by, message)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        sys.unraisablehook = unraisable_before
        sending.close()
        watching.join()
        _arriving = None
        arriving.close()
        _received.clear()


def received() -> signal.Signals | None:
    """Returns the first signal that asked this process to stop, or None; available before any handler has run."""
    with _lock:
        return next(iter([*_received, *_waiting(socket.MSG_PEEK)]), None)


def check() -> None:
    """Raises again if a signal asked the process to stop and a library swallowed the handler's exception.

    Raises:
        StoppedError: A signal asked the process to stop.
    """
    if (stopped_by := received()) is not None:
        raise StoppedError(f"Stopped by {stopped_by.name}.")


def _is_of_a_signal(error: BaseException | None) -> bool:
    # Handlers raise what no `except Exception` catches: KeyboardInterrupt, or Dagster's own.
    return error is not None and not isinstance(error, Exception) and received() is not None


def _raise(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(f"Stopped by {signal.Signals(number).name}.")


def _waiting(flags: int = 0) -> list[signal.Signals]:
    """Returns the signals that the watching thread has not read yet; without a flag, consumes them. The lock is held."""
    if _arriving is None:
        return []
    try:
        numbers = _arriving.recv(4096, socket.MSG_DONTWAIT | flags)
    except BlockingIOError:
        return []
    if not numbers:
        raise EOFError
    return [signal.Signals(number) for number in numbers if number in SIGNALS]


def _watch(arriving: socket.socket, message: str, grace_seconds: float) -> None:
    """Waits for a signal, then for the process to end, and terminates it if it does not. Only this thread consumes signals.

    The main thread only peeks: a handler's exception could make it lose a signal that it has consumed.
    """
    deadline = math.inf
    while len(_received) < 2 and time.monotonic() < deadline:
        select.select([arriving], [], [], None if deadline == math.inf else max(0.0, deadline - time.monotonic()))
        with _lock:
            try:
                _received.extend(_waiting())
            except EOFError:  # the command has ended
                return
        if _received:
            deadline = min(deadline, time.monotonic() + grace_seconds)
    _end(_received[0], message)


def _end(stopped_by: signal.Signals, message: str) -> None:
    # Never released: the main thread and the watching thread may both get here, and one message is enough.
    _ending.acquire()
    # Written to the descriptor, because the main thread may hold the stream; not if nobody reads it, which would block.
    with suppress(OSError):
        if select.select([], [2], [], 1)[1]:
            os.write(2, f"Stopped by {stopped_by.name}. {message}\n".encode())
    os._exit(128 + stopped_by)
