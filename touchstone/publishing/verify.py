"""Verifies published lists: recomputes every digest and describes every mismatch.

Checked for each list: the hash chain of the history, byte for byte; the files of each version against its manifest, the
manifest against the version's name and the history, and the receipts against the history; that no file is missing and there is
none that history does not name; and that LATEST names the version in force. An interrupted publication (there is a
`.publishing`) is no damage, because readers never saw it. Verification only reads, and never repairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import TEMPORARY_PREFIX, sha256_file
from touchstone.core.last_run import what_is_missing
from touchstone.core.text import visible
from touchstone.publishing.history import (
    HISTORY_FILE,
    LATEST_FILE,
    PENDING_FILE,
    ListStore,
    PendingPublication,
    Publication,
    latest_version,
)
from touchstone.publishing.manifest import MANIFEST_FILE, version_name


@dataclass(frozen=True)
class Problem:
    """One problem: the list, the file, and the description."""

    list_name: str
    path: Path
    message: str

    def __str__(self) -> str:
        """Returns the problem in one line."""
        return f"{visible(str(self.path))}: {self.message}"


def verify(published: Path, list_name: str | None = None, version: str | None = None) -> list[Problem]:
    """Verifies published lists.

    Args:
        published: Folder of published lists.
        list_name: Only this list.
        version: Only this version, with the list's history and LATEST.

    Returns:
        The problems; empty if there are none.

    Raises:
        BadInputError: There is no such list or version.
    """
    entries = sorted(published.iterdir()) if published.is_dir() else []
    if list_name is None:
        return [problem for entry in entries for problem in _verify_entry(entry)]
    store = ListStore(published, list_name)
    # The list is looked up by name: used as a path, it could be too long, or lead elsewhere.
    if not any(entry.name == list_name and entry.is_dir() for entry in entries):
        missing = what_is_missing(published.parent, "`touchstone run` publishes lists.")
        raise BadInputError(f"No list {list_name!r} is published in {published}. {missing}")
    if version is not None and version not in _versions(store):
        raise BadInputError(
            f"List {list_name} has no version {version!r}. Its versions are the folders in {store.directory}."
        )
    return _verify_list(store, version)


def store_problems(store: ListStore) -> list[Problem]:
    """Verifies the history, LATEST and the folders of a list, without reading the files of its versions.

    Args:
        store: The list.

    Returns:
        The problems; empty if there are none.
    """
    history, problems = _read_history(store)
    if history is None:
        return problems
    return problems + list(_latest_problems(store, history)) + list(_folder_problems(store, history))


def _verify_entry(entry: Path) -> list[Problem]:
    if entry.name.startswith(TEMPORARY_PREFIX):
        return []
    if not entry.is_dir():
        return [Problem("", entry, "is not a published list.")]
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
    """Returns the history, or None with the problem if it is damaged."""
    try:
        history = store.history()
        pending = store.pending()
        allowed = b"" if pending is None else _pending_line(store, pending)
    except VerificationError as error:
        return None, [Problem(store.list_name, store.log.path, str(error))]
    rest = store.log.unfinished()
    if rest and not (allowed.startswith(rest) and rest != allowed + b"\n"):
        return None, [
            Problem(store.list_name, store.log.path, "its last line was cut off or changed. Restore it from a backup.")
        ]
    return history, []


def _pending_line(store: ListStore, pending: PendingPublication) -> bytes:
    """Returns the history line that the pending publication will append; empty if its receipt is not written yet."""
    directory = store.version_directory(pending.version)
    if not (directory / pending.receipt).is_file():
        return b""
    return store.log.next_line(store.line(pending.version, pending.receipt).model_dump())


def _latest_problems(store: ListStore, history: Sequence[Publication]) -> Iterator[Problem]:
    allowed = {latest_version(history)}
    pending = store.pending()
    if (
        pending is not None
        and history
        and (history[-1].version, history[-1].receipt) == (pending.version, pending.receipt)
    ):
        allowed.add(latest_version(history[:-1]))
    content = store.latest_file.read_bytes() if store.latest_file.is_file() else None
    if content not in {None if version is None else f"{version}\n".encode() for version in allowed}:
        state = "is missing" if content is None else f"holds {content!r}"
        yield Problem(
            store.list_name, store.latest_file, f"{state}, but by the history must name {latest_version(history)}."
        )


def _folder_problems(store: ListStore, history: Sequence[Publication]) -> Iterator[Problem]:
    pending = store.pending()
    named = {line.version for line in history}
    for missing in sorted(named - set(_versions(store))):
        yield Problem(store.list_name, store.version_directory(missing), "is missing, but history names it.")
    known = named | {HISTORY_FILE, LATEST_FILE, PENDING_FILE} | ({pending.version} if pending else set())
    for entry in sorted(store.directory.iterdir()):
        if entry.name not in known and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(store.list_name, entry, "is not in the history.")


def _version_problems(store: ListStore, version: str, history: Sequence[Publication] | None) -> list[Problem]:
    """Verifies the files of one version; `history` is None if it is damaged."""
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
        problems.append(Problem(store.list_name, manifest_path, "is not the manifest in the history."))
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
            yield Problem(store.list_name, path, "is not in its manifest.")
        elif (actual := sha256_file(path)) != digests[name]:
            yield Problem(
                store.list_name, path, f"was changed: its SHA-256 is {actual[:12]}…, recorded is {digests[name][:12]}…."
            )


def _extra_problems(store: ListStore, directory: Path, known: set[str]) -> Iterator[Problem]:
    pending = store.pending()
    expected = known | ({pending.receipt} if pending is not None and pending.version == directory.name else set())
    for entry in sorted(directory.iterdir()):
        if entry.name not in {*expected, *store.list_files} and not entry.name.startswith(TEMPORARY_PREFIX):
            yield Problem(store.list_name, entry, "is in neither the manifest nor the history.")
