"""Durable files, the hash-chained log and the writer's lock: guarantees, and detection of damage."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchstone.core.errors import (
    BadInputError,
    ExitCode,
    GateRefusedError,
    TouchstoneError,
    VerificationError,
    describe_disk_error,
)
from touchstone.core.files import (
    canonical_json,
    discard,
    replacing,
    replacing_directory,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    size_of,
    write_json,
)
from touchstone.core.hash_chain import GENESIS, ChainedLog
from touchstone.core.lock import describe_holder, holder_pid, is_held, writer_lock


def test_every_error_has_its_documented_exit_code():
    assert TouchstoneError.exit_code == ExitCode.INTERNAL_ERROR == 1
    assert BadInputError.exit_code == 2
    assert GateRefusedError.exit_code == 3
    assert VerificationError.exit_code == 4


def test_replacing_keeps_the_old_file_when_the_writer_fails(tmp_path: Path):
    target = tmp_path / "list.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_replacing_directory_swaps_whole_folders(tmp_path: Path):
    target = tmp_path / "as_of=2026-06-30"
    for content in ("first", "second"):
        with replacing_directory(target) as folder:
            (folder / "a.parquet").write_text(content)
    assert (target / "a.parquet").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_discard_removes_a_file_or_a_folder_completely(tmp_path: Path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").write_bytes(b"12345")
    (tmp_path / "file").write_bytes(b"123")
    assert [size_of(tmp_path / name) for name in ("folder", "file", "absent")] == [5, 3, 0]
    for name in ("folder", "file", "absent"):
        discard(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_replacing_directory_keeps_the_old_folder_when_the_writer_fails(tmp_path: Path):
    target = tmp_path / "as_of=2026-06-30"
    with replacing_directory(target) as folder:
        (folder / "a.parquet").write_text("old")
    with pytest.raises(RuntimeError), replacing_directory(target) as folder:
        (folder / "a.parquet").write_text("half")
        raise RuntimeError
    assert (target / "a.parquet").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("writer", [replacing, replacing_directory])
def test_the_error_of_a_full_disk_names_the_written_file(
    tmp_path: Path, writer: Callable[[Path], AbstractContextManager[Path]]
):
    """`/dev/full` behaves like a full disk: its error does not name the written file."""
    target = tmp_path / "target"
    with pytest.raises(OSError, match="No space") as caught, writer(target), Path("/dev/full").open("wb", 0) as full:
        full.write(b"x")
    assert str(caught.value) == f"[Errno 28] No space left on device: '{target}'"
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_a_full_disk_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"a": 1})

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=f"No space left on device: '{log.path}'"):
        log.append({"a": 2})


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (
            "[Errno 28] No space left on device: '/h/LATEST'",
            "The disk is full: [Errno 28] No space left on device: '/h/LATEST'.",
        ),
        (
            "[Errno 13] Permission denied: '/h/LATEST'",
            "A permission is missing: [Errno 13] Permission denied: '/h/LATEST'.",
        ),
        (
            "IO Error: Cannot open file /h/w: Permission denied",
            "A permission is missing: IO Error: Cannot open file /h/w:",
        ),
        (
            "(OperationalError) database or disk is full\n[SQL: insert x]",
            "The disk is full: (OperationalError) database or disk is full.",
        ),
        (
            "(OperationalError) disk I/O error\n[SQL: pragma x]",
            "The disk is full or broken: (OperationalError) disk I/O error.",
        ),
    ],
)
def test_a_disk_error_is_described_with_a_remedy(error: str, start: str):
    message = describe_disk_error(error)
    assert message is not None
    assert message.startswith(start)
    assert "[SQL" not in message
    assert message.endswith("then run the same command again: it completes the work.")
    assert describe_disk_error("list index out of range") is None


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans()))
def test_canonical_json_depends_only_on_the_value(value: dict[str, object]):
    shuffled = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(shuffled)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_refuses_nan():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"score": float("nan")})


def test_tree_digest_covers_content_and_names_but_not_caches(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1")
    before = sha256_tree(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("cache")
    (tmp_path / ".hidden").write_text("hidden")
    assert sha256_tree(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = sha256_tree(tmp_path)
    (tmp_path / "b.py").write_text("x = 2")
    assert len({before, renamed, sha256_tree(tmp_path)}) == 3


def test_file_digest_is_the_digest_of_its_bytes(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": 1})
    assert sha256_file(tmp_path / "a.json") == sha256_bytes(b'{\n  "b": 1\n}\n')


def test_each_log_line_contains_the_hash_of_the_previous_one(tmp_path: Path):
    log = ChainedLog(tmp_path / "log.jsonl")
    assert log.read() == []
    assert log.head() == GENESIS
    first = log.append({"version": 1})
    second = log.append({"version": 2})
    assert [entry["version"] for entry in log.read()] == [1, 2]
    assert log.read()[1]["previous_line_sha256"] == first
    assert log.head() == second


@given(st.data())
def test_log_detects_any_changed_byte_before_its_last_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    log = ChainedLog(path)
    for version in range(3):
        log.append({"version": version, "who": "é"})
    content = bytearray(path.read_bytes())
    checked = content.rstrip(b"\n").rfind(b"\n")  # the last line is protected by recorded log heads
    position = data.draw(st.integers(min_value=0, max_value=checked))
    content[position] ^= data.draw(st.integers(min_value=1, max_value=255))
    path.write_bytes(bytes(content))
    with pytest.raises(VerificationError):
        log.read()


def test_log_detects_a_last_line_that_is_formatted_differently(tmp_path: Path):
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"version": 1})
    log.path.write_bytes(log.path.read_bytes().replace(b": 1", b":\t1"))
    with pytest.raises(VerificationError, match="line 1"):
        log.read()


def test_log_returns_its_next_line_and_an_unfinished_one(tmp_path: Path):
    log = ChainedLog(tmp_path / "log.jsonl")
    assert log.unfinished() == b""
    log.append({"version": 1})
    line = log.next_line({"version": 2})
    with log.path.open("ab") as file:
        file.write(line[:9])
    assert log.unfinished() == line[:9]
    log.append({"version": 2})
    assert log.path.read_bytes().splitlines()[1] == line


def test_log_truncates_a_partially_written_last_line(tmp_path: Path):
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"version": 1})
    with log.path.open("ab") as file:
        file.write(b'{"version": 2, "previ')
    assert [entry["version"] for entry in log.read()] == [1]
    log.append({"version": 3})
    assert [entry["version"] for entry in log.read()] == [1, 3]


def test_log_appends_nothing_to_a_broken_chain(tmp_path: Path):
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"version": 1})
    log.append({"version": 2})
    lines = log.path.read_text().splitlines()
    log.path.write_text("\n".join(lines[1:]) + "\n")
    before = log.path.read_bytes()
    with pytest.raises(VerificationError, match="line 1"):
        log.append({"version": 3})
    assert log.path.read_bytes() == before


HOLDER = """
import sys, time
from pathlib import Path
from touchstone.core.lock import writer_lock
with writer_lock(Path(sys.argv[1]), purpose="a test", wait_seconds=0):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    """Starts a process that holds the lock, and waits until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_lock_names_its_holder_and_is_free_when_the_holder_is_killed(tmp_path: Path):
    path = tmp_path / "lock"
    holder = start_holder(path)
    try:
        messages: list[str] = []
        with (
            pytest.raises(BadInputError, match=rf"process {holder.pid} \(a test"),
            writer_lock(path, purpose="another", wait_seconds=0.3, on_wait=messages.append),
        ):
            pytest.fail("two writers")
        assert len(messages) == 1
        assert str(holder.pid) in messages[0]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with writer_lock(path, purpose="another", wait_seconds=1):
        assert "another" in describe_holder(path)


def test_whether_a_lock_is_held_is_determined_without_taking_it(tmp_path: Path):
    lock = tmp_path / "lock"
    assert not is_held(lock)
    with writer_lock(lock, purpose="a test", wait_seconds=0):
        assert is_held(lock)
        assert holder_pid(lock) == os.getpid()
    assert not is_held(lock)
    lock.write_text("not JSON")
    assert holder_pid(lock) is None


def test_lock_is_reentrant_within_its_process(tmp_path: Path):
    path = tmp_path / "lock"
    with writer_lock(path, purpose="outer", wait_seconds=0):
        with writer_lock(path, purpose="inner", wait_seconds=0):
            pass
        assert _is_held_elsewhere(path)
    assert not _is_held_elsewhere(path)


def _try_lock(path: Path, refused: multiprocessing.Queue[bool]) -> None:
    try:
        with writer_lock(path, purpose="probe", wait_seconds=0):
            refused.put(False)
    except BadInputError:
        refused.put(True)


def _is_held_elsewhere(path: Path) -> bool:
    context = multiprocessing.get_context("spawn")
    refused: multiprocessing.Queue[bool] = context.Queue()
    process = context.Process(target=_try_lock, args=(path, refused))
    process.start()
    answer = refused.get(timeout=30)
    process.join()
    return answer


def test_waiting_ends_as_soon_as_the_holder_exits(tmp_path: Path):
    path = tmp_path / "lock"
    holder = start_holder(path)
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with writer_lock(path, purpose="next", wait_seconds=30):
        pass
    assert time.monotonic() - began < 10
