"""Files that survive a kill: written under a temporary name, synced, renamed, and known by their SHA-256.

`kill -9` during a plain write leaves a partial file under its final name, and one flipped byte in a Parquet footer
reads without an error. So every file that another stage reads goes through here. So does, to be read, every file that
somebody else names: it may be a pipe, which keeps its reader waiting, or a device without an end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_PREFIX = ".tmp-"
MOST_CONFIGURATION_BYTES = 10_000_000
"""A file of settings that is larger is none."""
_SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class SpecialFileError(OSError):
    """A pipe, a socket or a device where a file is wanted."""


class LargeFileError(OSError):
    """A file that is larger than what is read."""


def sha256_bytes(content: bytes) -> str:
    """Returns the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as 64 hexadecimal digits, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(root: Path, patterns: tuple[str, ...] = ("**/*",)) -> str:
    """Returns one digest over the relative names and contents of the files under `root` that match `patterns`.

    Hidden files, caches and temporary files do not count, so that running the code does not change its digest.
    """
    digest = hashlib.sha256()
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(found, key=lambda file: file.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if any(part.startswith((".", "__pycache__")) for part in relative.parts):
            continue
        digest.update(f"{relative.as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def special_file(path: Path, *, follow: bool = True) -> str | None:
    """Returns what a path leads to where that is a pipe, a socket or a device; None for a file, a folder, or nothing."""
    try:
        return _SPECIAL.get(stat.S_IFMT(path.stat(follow_symlinks=follow).st_mode))
    except OSError:
        return None


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Opens a file that somebody else names for reading, without ever waiting for it.

    It is looked at before it is opened, since opening a pipe or a device can already do something, and once more after, since
    it may have been replaced in between.

    Args:
        path: The file.
        follow: Whether the last part of the path may be a symbolic link.

    Raises:
        SpecialFileError: It is a pipe, a socket or a device.
        OSError: It cannot be opened, as it is absent, or a folder.
    """
    if (kind := special_file(path, follow=follow)) is not None:
        raise _special(path, kind)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise _special(path, _SPECIAL.get(stat.S_IFMT(mode), "something else"))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _special(path: Path, kind: str) -> SpecialFileError:
    return SpecialFileError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def check_regular(path: Path) -> None:
    """Refuses what is no regular file, before a library opens it that would wait for a pipe.

    Raises:
        OSError: It is none, or cannot be opened.
    """
    open_regular(path).close()


def read_regular(path: Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """Reads a file that somebody else names, as `open_regular` opens it.

    Args:
        path: The file.
        most_bytes: How large it may be.
        follow: Whether the last part of the path may be a symbolic link.

    Raises:
        LargeFileError: It is larger.
        OSError: It is no regular file, or cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise LargeFileError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def canonical_json(value: Any) -> bytes:
    """Returns `value` as JSON bytes that depend on nothing but the value: sorted keys, fixed spacing."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sync_directory(path: Path) -> None:
    """Flushes a directory's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flushes a file's content to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an error that names no file, as that of a full disk, the name of the one that is written."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit it is synced and renamed to `path`, else removed.

    The temporary name keeps the suffix of `path`, for writers that choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    try:
        with naming(path):
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary directory beside `path`; on a clean exit it is synced and takes the place of `path`.

    An existing directory is moved aside first and removed last: a reader that opens `path` in between finds it
    absent, never half-written. Use it for what is rebuilt (features, scores), not for what is published.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    temporary.mkdir()
    try:
        with naming(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync_file(file)
            sync_directory(temporary)
            aside = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-old-{path.name}")
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
            sync_directory(path.parent)
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(folder: Path, of: str = "*") -> None:
    """Removes what writers that were killed left anywhere below a folder; nobody may be writing there.

    Args:
        folder: The folder.
        of: The name of what was written, where it lies in this very folder; else all is removed, at any depth.
    """
    found = folder.rglob(f"{TEMPORARY_PREFIX}*") if of == "*" else folder.glob(f"{TEMPORARY_PREFIX}*-{of}")
    for left in [*found]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Removes a file or a folder so that it is whole or absent, also to whoever looks after a kill; absent is fine."""
    aside = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-gone-{path.name}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    sync_directory(path.parent)
    if aside.is_dir():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def size_of(path: Path) -> int:
    """Returns the bytes that a file, or all files below a folder, take; what vanishes meanwhile counts nothing."""
    total = 0
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as canonical JSON, whole or not at all."""
    write_bytes(path, canonical_json(value))
