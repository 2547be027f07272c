"""Verification detects one flipped byte in any published file, and a file too many or too few, by name."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing_fixtures import AS_OF, Home, Rated

from touchstone.core.errors import BadInputError
from touchstone.publishing.history import ListStore
from touchstone.publishing.verify import verify

YESTERDAY = AS_OF - dt.timedelta(days=1)


def released(root: Path) -> Home:
    """Returns a home with two lists; one has an earlier day, a version replaced by a rollback, and a backfill."""
    home = Home(root)
    home.release([Rated("e1", 92.0)], as_of=YESTERDAY)
    home.release(code_revision="r1")
    home.release(code_revision="r2")
    home.publish(home.judge(home.build(code_revision="r1")), run_id="run4")
    home.release([Rated("e2", 93.0)], as_of=YESTERDAY - dt.timedelta(days=1))
    Home(root, "merchants").release()
    return home


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A released home that every test leaves unchanged."""
    return released(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def home(shared: Home, tmp_path: Path) -> Home:
    """A copy of the released home that a test may damage."""
    shutil.copytree(shared.root, tmp_path / "home")
    return Home(tmp_path / "home")


def published_files(home: Home) -> list[Path]:
    return sorted(path for path in home.published.rglob("*") if path.is_file())


def test_published_lists_verify(shared: Home):
    assert verify(shared.published) == []
    assert len(published_files(shared)) == 4 * 4 + 1 + 2 + 4 + 2, "every kind of file is there"
    store = ListStore(shared.published, "listings")
    assert all(verify(shared.published, "listings", line.version) == [] for line in store.history())


def assert_flip_is_detected(home: Home, path: Path, position: int, mask: int) -> None:
    """Flips bits of one byte, asserts that verification fails, and restores the byte."""
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[position] ^= mask
    path.write_bytes(flipped)
    try:
        problems = verify(home.published)
        assert problems, f"{path.relative_to(home.published)}, byte {position} xor {mask}: not seen"
        assert all(
            str(problem) and problem.list_name == path.relative_to(home.published).parts[0] for problem in problems
        )
    finally:
        path.write_bytes(content)


@settings(max_examples=300)
@given(data=st.data())
def test_one_flipped_byte_in_any_file_is_detected(shared: Home, data: st.DataObject):
    path = data.draw(st.sampled_from(published_files(shared)))
    position = data.draw(st.integers(0, path.stat().st_size - 1))
    assert_flip_is_detected(shared, path, position, data.draw(st.integers(1, 255)))


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x29])
def test_every_byte_of_latest_and_the_last_history_line_is_verified(shared: Home, mask: int):
    folder = shared.published / "listings"
    history = (folder / "history.jsonl").read_bytes()
    last_line = history.rstrip(b"\n").rfind(b"\n")
    for name, first in (("LATEST", 0), ("history.jsonl", last_line)):
        for position in range(first, (folder / name).stat().st_size):
            assert_flip_is_detected(shared, folder / name, position, mask)


def test_every_missing_file_is_detected(home: Home):
    for path in published_files(home):
        content = path.read_bytes()
        path.unlink()
        assert verify(home.published), f"{path} is missing"
        path.write_bytes(content)
    assert verify(home.published) == []


@pytest.mark.parametrize("where", ["", "listings", "listings/{version}"])
def test_an_extra_file_is_detected(home: Home, where: str):
    version = ListStore(home.published, "listings").latest()
    extra = home.published / where.format(version=version) / "notes.txt"
    extra.write_text("hello")
    (problem,) = verify(home.published)
    assert problem.path == extra


def test_a_version_that_is_not_in_the_history_is_detected(home: Home):
    folder = home.published / "listings"
    version = ListStore(home.published, "listings").latest()
    shutil.copytree(folder / str(version), folder / "2026-07-01-0123456789ab")
    assert {"2026-07-01-0123456789ab", "manifest.json"} <= {problem.path.name for problem in verify(home.published)}


def test_a_missing_version_is_detected(home: Home):
    version = str(ListStore(home.published, "listings").latest())
    shutil.rmtree(home.published / "listings" / version)
    assert any(version in str(problem) and "missing" in str(problem) for problem in verify(home.published))


def drop_last_line(folder: Path) -> None:
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "history.jsonl").write_bytes(b"".join(lines[:-1]))


def drop_middle_line(folder: Path) -> None:
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "history.jsonl").write_bytes(b"".join(lines[:1] + lines[2:]))


def truncate_last_line(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-10])


def name_another_version(folder: Path) -> None:
    store = ListStore(folder.parent, folder.name)
    other = next(line.version for line in store.history() if line.version != store.latest())
    store.latest_file.write_text(other + "\n")


def swap_versions(folder: Path) -> None:
    store = ListStore(folder.parent, folder.name)
    first, second = sorted({line.version for line in store.history()})[:2]
    (folder / first).rename(folder / "aside")
    (folder / second).rename(folder / first)
    (folder / "aside").rename(folder / second)


def swap_receipts(folder: Path) -> None:
    version = folder / str(ListStore(folder.parent, folder.name).latest())
    first = (version / "receipt.json").read_bytes()
    (version / "receipt.json").write_bytes((version / "receipt-2.json").read_bytes())
    (version / "receipt-2.json").write_bytes(first)


@pytest.mark.parametrize(
    "damage",
    [drop_last_line, drop_middle_line, truncate_last_line, name_another_version, swap_versions, swap_receipts],
    ids=lambda damage: damage.__name__,
)
def test_larger_damage_is_detected(home: Home, damage: Callable[[Path], None]):
    damage(home.published / "listings")
    problems = verify(home.published)
    assert problems
    assert {problem.list_name for problem in problems} == {"listings"}


def test_a_single_list_or_version_can_be_verified(home: Home):
    version = str(ListStore(home.published, "listings").latest())
    path = home.published / "listings" / version / "listings.csv"
    path.write_bytes(path.read_bytes() + b"\n")
    other = next(line.version for line in ListStore(home.published, "listings").history() if line.version != version)
    (problem,) = verify(home.published, "listings", version)
    assert problem.path == path
    assert "was changed" in problem.message
    assert verify(home.published, "listings") == [problem]
    assert verify(home.published, "merchants") == []
    assert verify(home.published, "listings", other) == []


def test_an_unknown_list_or_version_is_bad_input_and_not_damage(home: Home, tmp_path: Path):
    with pytest.raises(BadInputError, match="reviews"):
        verify(home.published, "reviews")
    with pytest.raises(BadInputError, match="2026-01-01-000000000000"):
        verify(home.published, "listings", "2026-01-01-000000000000")
    assert verify(tmp_path / "nothing") == []


def test_verifying_changes_nothing(home: Home):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in published_files(home)}
    verify(home.published)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in published_files(home)} == before
