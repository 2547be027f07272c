"""How a signal stops a process: soon, with a message and its exit code, whatever the process is doing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from touchstone.core import interrupts
from touchstone.core.failpoints import failpoint
from touchstone.core.interrupts import SIGNALS, StoppedError, check, interruptible, received

BEGIN = """
import os, signal, sys, threading, time
from touchstone.core.interrupts import StoppedError, check, interruptible, received
grace = float(sys.argv[1])

def ready():
    print("ready", flush=True)
"""
SLEEPS = """
with interruptible("Nothing is lost.", grace):
    try:
        ready()
        time.sleep(60)
    finally:
        print("cleaned up")
"""
SWALLOWS = """
with interruptible("Nothing is lost.", grace):
    try:
        ready()
        time.sleep(60)
    except BaseException:
        pass
    print("went on")
"""
FAILS_BY_IT = """
with interruptible("Nothing is lost.", grace):
    try:
        ready()
        time.sleep(60)
    except StoppedError:
        raise RuntimeError("the library failed")
"""
WITHIN_ANOTHER = """
with interruptible("Nothing is lost.", grace):
    try:
        with interruptible("Nothing else.", grace):
            try:
                ready()
                time.sleep(60)
            except StoppedError:
                raise RuntimeError("the library failed")
    except StoppedError:
        print("stopped")
"""
IN_A_FINALIZER = """
class Waits:
    def __del__(self):
        time.sleep(60)  # the handler raises here, and Python drops what a finalizer raises

with interruptible("Nothing is lost.", grace):
    waits = Waits()
    ready()
    del waits
    check()
"""
IN_A_FINALIZER_BY_ANOTHER_HANDLER = """
class AnotherError(BaseException):
    pass  # as Dagster's


class Waits:
    def __del__(self):
        time.sleep(60)


def another(number, frame):
    raise AnotherError


with interruptible("Nothing is lost.", grace):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, another)
    waits = Waits()
    ready()
    del waits
    check()
"""
FORGETS = """
with interruptible("Nothing is lost.", grace):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)  # as Dagster's
    ready()
    while received() is None:
        time.sleep(0.01)
    check()
"""
WAITS_FOR_A_THREAD = """
with interruptible("Nothing is lost.", grace):
    os.mkfifo(sys.argv[2])
    thread = threading.Thread(target=open, args=(sys.argv[2],))
    thread.start()
    try:
        ready()
        time.sleep(60)
    finally:
        thread.join()
"""
NEVER_ENDS = """
with interruptible("Nothing is lost.", grace):
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    ready()
    while True:
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def reset_sighup() -> Iterator[None]:
    """A child inherits its parent's ignored signals: SIGHUP, if the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def start(program: str, folder: Path, *, grace: float = 60, **options: object) -> subprocess.Popen[str]:
    """Starts a program and returns once it is working."""
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BEGIN + program), str(grace), str(folder / "pipe")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a process and returns its exit code and output."""
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("program", "out"),
    [
        (SLEEPS, "cleaned up\n"),
        (SWALLOWS, "went on\n"),
        (FAILS_BY_IT, ""),
        (FORGETS, ""),
        (IN_A_FINALIZER, ""),
        (IN_A_FINALIZER_BY_ANOTHER_HANDLER, ""),
        (WITHIN_ANOTHER, "stopped\n"),
    ],
)
def test_a_process_cleans_up_and_exits_with_the_code_of_the_signal(
    tmp_path: Path, program: str, out: str, number: signal.Signals
):
    process = start(program, tmp_path)
    process.send_signal(number)
    assert outcome(process) == (128 + number, out, f"Stopped by {number.name}. Nothing is lost.\n")


@pytest.mark.parametrize("program", [WAITS_FOR_A_THREAD, NEVER_ENDS])
def test_a_process_that_does_not_end_in_time_is_terminated(tmp_path: Path, program: str):
    process = start(program, tmp_path, grace=0.2)
    process.terminate()
    assert outcome(process) == (143, "", "Stopped by SIGTERM. Nothing is lost.\n")


def test_a_second_signal_terminates_immediately(tmp_path: Path):
    process = start(WAITS_FOR_A_THREAD, tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert outcome(process) == (130, "", "Stopped by SIGINT. Nothing is lost.\n")


def test_ignored_sigint_is_handled_and_ignored_sighup_is_not(tmp_path: Path):
    """SIGINT, ignored in background jobs of a shell, is handled; SIGHUP, ignored under `nohup`, is not."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(SLEEPS, tmp_path, preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert outcome(process)[0] == 130


def test_a_blocked_stderr_does_not_delay_termination():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while select.select([], [writing], [], 0)[1]:
        os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BEGIN + SLEEPS), "60"], stdout=subprocess.PIPE, stderr=writing
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=20) == 143
    os.close(reading)
    os.close(writing)


def test_without_a_signal_process_state_is_restored():
    handlers = [signal.getsignal(number) for number in SIGNALS]
    threads = threading.active_count()
    for failing in (False, True):
        try:
            with interruptible("Nothing is lost."):
                assert [signal.getsignal(number) for number in SIGNALS] != handlers
                check()
                if failing:
                    raise ValueError
        except ValueError:
            assert failing
        assert [signal.getsignal(number) for number in SIGNALS] == handlers
        assert signal.set_wakeup_fd(-1) == -1
        assert threading.active_count() == threads
        assert received() is None


def test_no_durable_step_starts_after_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interrupts, "_received", [signal.SIGTERM])
    with pytest.raises(StoppedError, match="Stopped by SIGTERM"), failpoint("publish.history", tmp_path):
        pytest.fail("the step was begun")


def test_a_stop_is_a_keyboard_interrupt_and_not_an_exception():
    stopped: Callable[[], BaseException] = StoppedError
    assert isinstance(stopped(), KeyboardInterrupt)
    assert not isinstance(stopped(), Exception)
