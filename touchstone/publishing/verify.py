"""Recomputes every digest of what is published and says in words what does not hold.

Checked, for each list: history's chain and each of its lines, byte for byte; each version's files against its manifest,
the manifest against the version's name and history, the receipts against history; that nothing is missing and nothing
stands there that history does not name; and that LATEST names what history says. A publication that was cut short (its
`.publishing` is there) is no damage: readers never saw it. It reads only, and never repairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import TEMPORARY_PREFIX, sha256_file
from touchstone.core.text import visible
from touchstone.publishing.history import (
    HISTORY_FILE,
    LATEST_FILE,
    UNDER_WAY_FILE,
    Publication,
    Shelf,
    UnderWay,
    latest_version,
)
from touchstone.publishing.manifest import MANIFEST_FILE, version_name


@dataclass(frozen=True)
class Problem:
    """One thing that does not hold: in which list, at which file, and what is wrong with it."""

    list_name: str
    path: Path
    message: str

    def __str__(self) -> str:
        """Returns the problem as one line."""
        return f"{visible(str(self.path))}: {self.message}"


def verify(published: Path, list_name: str | None = None, version: str | None = None) -> list[Problem]:
    """Returns everything that does not hold among the published lists; nothing where all is as it was published.

    Args:
        published: Folder of published lists.
        list_name: Only this list.
        version: Only this version of it, beside the list's history and LATEST.

    Raises:
        BadInputError: There is no such list or version.
    """
    entries = sorted(published.iterdir()) if published.is_dir() else []
    if list_name is None:
        return [problem for entry in entries for problem in _verify_entry(entry)]
    shelf = Shelf(published, list_name)
    # What is asked for is looked up by name: as a path it could be too long for the disk, or lead elsewhere.
    if not any(entry.name == list_name and entry.is_dir() for entry in entries):
        raise BadInputError(f"no list {list_name!r} is published in {published}.")
    if version is not None and version not in _versions(shelf):
        raise BadInputError(f"list {list_name} has no version {version!r}. `touchstone lists show` names them.")
    return _verify_list(shelf, version)


def shelf_problems(shelf: Shelf) -> list[Problem]:
    """Returns what does not hold about a list's history, LATEST and folders, without reading the versions' files."""
    history, problems = _read_history(shelf)
    if history is None:
        return problems
    return problems + list(_latest_problems(shelf, history)) + list(_folder_problems(shelf, history))


def _verify_entry(entry: Path) -> list[Problem]:
    if entry.name.startswith(TEMPORARY_PREFIX):
        return []
    if not entry.is_dir():
        return [Problem("", entry, "does not belong among the published lists.")]
    return _verify_list(Shelf(entry.parent, entry.name), None)


def _verify_list(shelf: Shelf, version: str | None) -> list[Problem]:
    history, _ = _read_history(shelf)
    problems = shelf_problems(shelf)
    for name in _versions(shelf) if version is None else [version]:
        problems += _version_problems(shelf, name, history)
    return problems


def _versions(shelf: Shelf) -> list[str]:
    return sorted(
        entry.name
        for entry in shelf.directory.iterdir()
        if entry.is_dir() and not entry.name.startswith(TEMPORARY_PREFIX)
    )


def _read_history(shelf: Shelf) -> tuple[list[Publication] | None, list[Problem]]:
    """Returns the history, or None with the reason why it cannot be believed."""
    try:
        history = shelf.history()
        begun = shelf.under_way()
        allowed = b"" if begun is None else _line_of(shelf, begun)
    except VerificationError as error:
        return None, [Problem(shelf.list_name, shelf.log.path, str(error))]
    rest = shelf.log.unfinished()
    if rest and not (allowed.startswith(rest) and rest != allowed + b"\n"):
        return None, [
            Problem(shelf.list_name, shelf.log.path, "its last line was cut off or changed. Restore it from a backup.")
        ]
    return history, []


def _line_of(shelf: Shelf, begun: UnderWay) -> bytes:
    """Returns the line that the publication under way is about to add, or nothing where it has not come that far."""
    directory = shelf.version_directory(begun.version)
    if not (directory / begun.receipt).is_file():
        return b""
    return shelf.log.next_line(shelf.line(begun.version, begun.receipt).model_dump())


def _latest_problems(shelf: Shelf, history: Sequence[Publication]) -> Iterator[Problem]:
    allowed = {latest_version(history)}
    begun = shelf.under_way()
    if begun is not None and history and (history[-1].version, history[-1].receipt) == (begun.version, begun.receipt):
        allowed.add(latest_version(history[:-1]))
    content = shelf.latest_file.read_bytes() if shelf.latest_file.is_file() else None
    if content not in {None if version is None else f"{version}\n".encode() for version in allowed}:
        found = "is missing" if content is None else f"holds {content!r}"
        yield Problem(
            shelf.list_name, shelf.latest_file, f"{found}, but must name {latest_version(history)} by history."
        )


def _folder_problems(shelf: Shelf, history: Sequence[Publication]) -> Iterator[Problem]:
    begun = shelf.under_way()
    named = {line.version for line in history}
    for missing in sorted(named - set(_versions(shelf))):
        yield Problem(shelf.list_name, shelf.version_directory(missing), "is missing; history names it.")
    known = named | {HISTORY_FILE, LATEST_FILE, UNDER_WAY_FILE} | ({begun.version} if begun else set())
    for entry in sorted(shelf.directory.iterdir()):
        if entry.name not in known and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(shelf.list_name, entry, "stands there, but history does not name it.")


def _version_problems(shelf: Shelf, version: str, history: Sequence[Publication] | None) -> list[Problem]:
    """Returns what does not hold about one version's files; `history` is None where it cannot be believed."""
    directory = shelf.version_directory(version)
    manifest_path = directory / MANIFEST_FILE
    try:
        manifest = shelf.manifest(version)
    except VerificationError as error:
        return [Problem(shelf.list_name, manifest_path, str(error))]
    lines = [line for line in history or () if line.version == version]
    problems = []
    if version_name(manifest.as_of, manifest.sha256) != version or manifest.list_name != shelf.list_name:
        problems.append(Problem(shelf.list_name, manifest_path, "is not the manifest of this version."))
    if any(line.manifest_sha256 != manifest.sha256 for line in lines):
        problems.append(Problem(shelf.list_name, manifest_path, "is not the manifest that history names."))
    digests = {
        **manifest.files,
        MANIFEST_FILE: manifest.sha256,
        **{line.receipt: line.receipt_sha256 for line in lines},
    }
    problems += _file_problems(shelf, directory, digests)
    if history is not None:
        problems += _extra_problems(shelf, directory, set(digests))
    return problems


def _file_problems(shelf: Shelf, directory: Path, digests: dict[str, str]) -> Iterator[Problem]:
    for name in sorted({*digests, *shelf.list_files}):
        path = directory / name
        if not path.is_file():
            yield Problem(shelf.list_name, path, "is missing.")
        elif name not in digests:
            yield Problem(shelf.list_name, path, "is not named by its manifest.")
        elif (found := sha256_file(path)) != digests[name]:
            yield Problem(
                shelf.list_name, path, f"was changed: its SHA-256 is {found[:12]}…, recorded is {digests[name][:12]}…."
            )


def _extra_problems(shelf: Shelf, directory: Path, known: set[str]) -> Iterator[Problem]:
    begun = shelf.under_way()
    expected = known | ({begun.receipt} if begun is not None and begun.version == directory.name else set())
    for entry in sorted(directory.iterdir()):
        if entry.name not in {*expected, *shelf.list_files} and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(shelf.list_name, entry, "stands there, but neither manifest nor history names it.")
