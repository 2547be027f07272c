"""A command given a pipe, socket, device or folder instead of a file reports it and exits with 2, without blocking."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.contract import load_contract
from ml.labelled_table import Roles, read_table
from ml.review import read_limits
from touchstone.casework.outcomes import read_texts
from touchstone.casework.test_buys import read_certain
from touchstone.core.errors import BadInputError
from touchstone.core.files import (
    LargeFileError,
    SpecialFileError,
    check_regular,
    open_regular,
    read_regular,
    special_file,
)
from touchstone.landing.land import check
from touchstone.landing.sources import read_sources
from touchstone.publishing.policy import load_policy


@pytest.fixture(params=["pipe", "pipe behind a link", "socket", "device"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a special file with a name; a device is a link to one, which needs no privileges."""

    def make(name: str) -> Path:
        path = tmp_path / name
        match request.param:
            case "pipe":
                os.mkfifo(path)
            case "pipe behind a link":
                os.mkfifo(tmp_path / "pipe")
                path.symlink_to("pipe")
            case "socket":
                os.mknod(path, 0o600 | stat.S_IFSOCK)
            case "device":
                path.symlink_to("/dev/zero")
        return path

    return make


def test_a_special_file_is_named_and_never_read(special: Callable[[str], Path]):
    path = special("x")
    assert special_file(path) in {"a named pipe", "a socket", "a device"}
    for read in (open_regular, check_regular, lambda path: read_regular(path, 10)):
        with pytest.raises(SpecialFileError, match=r"it is a (named pipe|socket|device), not a regular file"):
            read(path)


def test_a_file_is_read_up_to_a_limit_and_folders_and_missing_files_raise(tmp_path: Path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"12345")
    link.symlink_to("file")
    assert read_regular(file, 5) == read_regular(link, 5) == read_regular(file, 5, follow=False) == b"12345"
    with pytest.raises(LargeFileError, match="more than 4 bytes"):
        read_regular(file, 4)
    with pytest.raises(OSError, match="symbolic link"):
        read_regular(link, 5, follow=False)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 5)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "gone", 5)
    assert [special_file(path) for path in (file, link, tmp_path, tmp_path / "gone")] == [None] * 4


def test_a_pipe_that_replaces_a_file_after_the_check_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / "x")
    monkeypatch.setattr("touchstone.core.files.special_file", lambda *_, **__: None)
    with pytest.raises(SpecialFileError, match="named pipe"):
        read_regular(tmp_path / "x", 5)


READERS: dict[str, Callable[[Path], object]] = {
    "sources.yml": lambda path: read_sources(path, {}),
    "policy.yml": load_policy,
    "thresholds.yml": lambda path: read_limits("listing_counterfeit", path),
    "table.csv": lambda path: read_table(path, Roles(label="fake")),
    "table.parquet": lambda path: read_table(path, Roles(label="fake")),
    "suppressions.csv": read_texts,
    "certain.txt": read_certain,
}


@pytest.mark.parametrize("name", READERS)
def test_every_file_argument_of_a_command_refuses_special_files(special: Callable[[str], Path], name: str):
    path = special(name)
    with pytest.raises(BadInputError, match=rf"{name}.*not a regular file"):
        READERS[name](path)


SOURCES = """
version: 1
name: odd
identifiers: public
inputs:
  rows: {{connector: {connector}, path: "{path}"{more}}}
tables:
  merchants:
    input: rows
  listings:
    input: rows
"""


@pytest.mark.parametrize(
    ("connector", "more"),
    [("csv", ""), ("parquet", ""), ("jsonl", ""), ("sqlite", ", table: t"), ("duckdb", ", table: t")],
)
def test_every_input_of_a_sources_file_refuses_special_files(
    special: Callable[[str], Path], tmp_path: Path, connector: str, more: str
):
    special("rows.csv")
    file = tmp_path / "market.yml"
    file.write_text(SOURCES.format(connector=connector, path="rows.csv", more=more))
    reports = check(read_sources(file, {}), load_contract(), hmac_key=b"a key")
    assert not any(report.accepted for report in reports)
    assert all("not a regular file. Put a file there" in report.message for report in reports[:2]), reports
