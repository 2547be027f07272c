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
    ListStore,
    Publication,
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
    store = ListStore(published, list_name)
    # What is asked for is looked up by name: as a path it could be too long for the disk, or lead elsewhere.
    if not any(entry.name == list_name and entry.is_dir() for entry in entries):
        raise BadInputError(f"no list {list_name!r} is published in {published}.")
    if version is not None and version not in _versions(store):
        raise BadInputError(f"list {list_name} has no version {version!r}. `touchstone lists show` names them.")
    return _verify_list(store, version)


def store_problems(store: ListStore) -> list[Problem]:
    """Returns what does not hold about a list's history, LATEST and folders, without reading the versions' files."""
    history, problems = _read_history(store)
    if history is None:
        return problems
    return problems + list(_latest_problems(store, history)) + list(_folder_problems(store, history))


def _verify_entry(entry: Path) -> list[Problem]:
    if entry.name.startswith(TEMPORARY_PREFIX):
        return []
    if not entry.is_dir():
        return [Problem("", entry, "does not belong among the published lists.")]
    return _verify_list(ListStore(entry.parent, entry.name), None)


def _verify_list(store: ListStore, version: str | None) -> list[Problem]:
    history, _ = _read_history(store)
    problems = store_problems(store)
    for name in _versions(store) if version is None else [version]:
        problems += _version_problems(store, name, history)
    return problems


def _versions(store: ListStore) -> list[str]:
    return sorted(
        entry.name
        for entry in store.directory.iterdir()
        if entry.is_dir() and not entry.name.startswith(TEMPORARY_PREFIX)
    )


def _read_history(store: ListStore) -> tuple[list[Publication] | None, list[Problem]]:
    """Returns the history, or None with the reason why it cannot be believed."""
    try:
        history = store.history()
        begun = store.under_way()
        allowed = b"" if begun is None else _line_of(store, begun)
    except VerificationError as error:
        return None, [Problem(store.list_name, store.log.path, str(error))]
    rest = store.log.unfinished()
    if rest and not (allowed.startswith(rest) and rest != allowed + b"\n"):
        return None, [
            Problem(store.list_name, store.log.path, "its last line was cut off or changed. Restore it from a backup.")
        ]
    return history, []


def _line_of(store: ListStore, begun: UnderWay) -> bytes:
    """Returns the line that the publication under way is about to add, or nothing where it has not come that far."""
    directory = store.version_directory(begun.version)
    if not (directory / begun.receipt).is_file():
        return b""
    return store.log.next_line(store.line(begun.version, begun.receipt).model_dump())


def _latest_problems(store: ListStore, history: Sequence[Publication]) -> Iterator[Problem]:
    allowed = {latest_version(history)}
    begun = store.under_way()
    if begun is not None and history and (history[-1].version, history[-1].receipt) == (begun.version, begun.receipt):
        allowed.add(latest_version(history[:-1]))
    content = store.latest_file.read_bytes() if store.latest_file.is_file() else None
    if content not in {None if version is None else f"{version}\n".encode() for version in allowed}:
        found = "is missing" if content is None else f"holds {content!r}"
        yield Problem(
            store.list_name, store.latest_file, f"{found}, but must name {latest_version(history)} by history."
        )


def _folder_problems(store: ListStore, history: Sequence[Publication]) -> Iterator[Problem]:
    begun = store.under_way()
    named = {line.version for line in history}
    for missing in sorted(named - set(_versions(store))):
        yield Problem(store.list_name, store.version_directory(missing), "is missing; history names it.")
    known = named | {HISTORY_FILE, LATEST_FILE, UNDER_WAY_FILE} | ({begun.version} if begun else set())
    for entry in sorted(store.directory.iterdir()):
        if entry.name not in known and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(store.list_name, entry, "stands there, but history does not name it.")


def _version_problems(store: ListStore, version: str, history: Sequence[Publication] | None) -> list[Problem]:
    """Returns what does not hold about one version's files; `history` is None where it cannot be believed."""
    directory = store.version_directory(version)
    manifest_path = directory / MANIFEST_FILE
    try:
        manifest = store.manifest(version)
    except VerificationError as error:
        return [Problem(store.list_name, manifest_path, str(error))]
    lines = [line for line in history or () if line.version == version]
    problems = []
    if version_name(manifest.as_of, manifest.sha256) != version or manifest.list_name != store.list_name:
        problems.append(Problem(store.list_name, manifest_path, "is not the manifest of this version."))
    if any(line.manifest_sha256 != manifest.sha256 for line in lines):
        problems.append(Problem(store.list_name, manifest_path, "is not the manifest that history names."))
    digests = {
        **manifest.files,
        MANIFEST_FILE: manifest.sha256,
        **{line.receipt: line.receipt_sha256 for line in lines},
    }
    problems += _file_problems(store, directory, digests)
    if history is not None:
        problems += _extra_problems(store, directory, set(digests))
    return problems


def _file_problems(store: ListStore, directory: Path, digests: dict[str, str]) -> Iterator[Problem]:
    for name in sorted({*digests, *store.list_files}):
        path = directory / name
        if not path.is_file():
            yield Problem(store.list_name, path, "is missing.")
        elif name not in digests:
            yield Problem(store.list_name, path, "is not named by its manifest.")
        elif (found := sha256_file(path)) != digests[name]:
            yield Problem(
                store.list_name, path, f"was changed: its SHA-256 is {found[:12]}…, recorded is {digests[name][:12]}…."
            )


def _extra_problems(store: ListStore, directory: Path, known: set[str]) -> Iterator[Problem]:
    begun = store.under_way()
    expected = known | ({begun.receipt} if begun is not None and begun.version == directory.name else set())
    for entry in sorted(directory.iterdir()):
        if entry.name not in {*expected, *store.list_files} and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(store.list_name, entry, "stands there, but neither manifest nor history names it.")
