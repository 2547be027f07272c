"""Durable files: written under a temporary name, synced, renamed, and identified by their SHA-256.

`kill -9` during a plain write leaves a partial file under its final name, and a Parquet file with a flipped byte in its footer
can be read without an error. So every file that another stage reads is written by this module. Files whose paths users give
are also read by this module: such a path may lead to a pipe, which blocks its reader, or to a device, which has no end.
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
"""A larger file is not read as configuration."""
_SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class SpecialFileError(OSError):
    """A pipe, a socket or a device in place of a regular file."""


class LargeFileError(OSError):
    """A file that is larger than the caller allows."""


def sha256_bytes(content: bytes) -> str:
    """Returns the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as 64 hexadecimal digits, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(root: Path, patterns: tuple[str, ...] = ("**/*",)) -> str:
    """Returns one digest over the relative names and contents of the files under `root` that match `patterns`.

    Hidden files, caches and temporary files are excluded, so that running the code does not change its digest.
    """
    digest = hashlib.sha256()
    files = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if any(part.startswith((".", "__pycache__")) for part in relative.parts):
            continue
        digest.update(f"{relative.as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def special_file(path: Path, *, follow: bool = True) -> str | None:
    """Returns the kind of special file (pipe, socket or device) at a path; None for a file, a folder, or no file."""
    try:
        return _SPECIAL.get(stat.S_IFMT(path.stat(follow_symlinks=follow).st_mode))
    except OSError:
        return None


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Opens a file whose path a user gave for reading, without blocking.

    The file type is checked before opening, since opening a pipe or a device can have effects, and again afterwards, since the
    file may have been replaced in between.

    Args:
        path: The file.
        follow: Whether the last part of the path may be a symbolic link.

    Raises:
        SpecialFileError: The path leads to a pipe, a socket or a device.
        OSError: The file cannot be opened: for example, it does not exist, or is a folder.
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
    """Checks that a path leads to a regular file, before a library opens it that would block on a pipe.

    Raises:
        OSError: It is not a regular file, or cannot be opened.
    """
    open_regular(path).close()


def read_regular(path: Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """Reads a file whose path a user gave, opened by `open_regular`.

    Args:
        path: The file.
        most_bytes: Largest size that is read.
        follow: Whether the last part of the path may be a symbolic link.

    Raises:
        LargeFileError: The file is larger.
        OSError: It is not a regular file, or cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise LargeFileError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def canonical_json(value: Any) -> bytes:
    """Returns `value` as JSON bytes that depend only on the value: sorted keys, fixed spacing."""
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
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Adds the path of the file that is written to errors that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; on success it is synced and renamed to `path`, otherwise removed.

    The temporary name keeps the suffix of `path`, for writers that choose a format by suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    try:
        with name_file_in_errors(path):
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary directory next to `path`; on success it is synced and replaces `path`, otherwise removed.

    An existing directory is moved away first and removed last: a reader that opens `path` in between finds no directory, never
    a partial one. Use it for derived data (features, scores), not for published data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
    temporary.mkdir()
    try:
        with name_file_in_errors(path):
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


def remove_temporaries(folder: Path, name: str | None = None) -> None:
    """Removes the temporary files that killed writers left below a folder; no process may be writing there.

    Args:
        folder: The folder.
        name: Final name of the file or folder that was being written, directly in `folder`. By default, all temporary files
            are removed, at any depth.
    """
    pattern = f"{TEMPORARY_PREFIX}*"
    temporaries = folder.rglob(pattern) if name is None else folder.glob(f"{pattern}-{name}")
    for temporary in [*temporaries]:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Removes a file or a folder atomically: it is complete or absent, also after a kill. A missing path is no error."""
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
    """Returns the size in bytes of a file, or of all files below a folder; files that vanish meanwhile count zero."""
    total = 0
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as canonical JSON, atomically."""
    write_bytes(path, canonical_json(value))
