"""The version of a list that a trace starts from, and the files that it was built from, each verified by its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from expectations.contract import Contract
from ml.approvals import Decision
from ml.model import RiskModel, read_model
from ml.registry import Registry
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.files import sha256_file
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS, ListDefinition
from touchstone.landing.ledger import Ledger, LoadRecord, LoadStatus, PinnedLoads, load_statuses, verify_files
from touchstone.publishing.candidate import Candidate, newest_candidate
from touchstone.publishing.history import HISTORY_FILE, ListStore, Publication, in_force
from touchstone.publishing.manifest import Manifest, version_date
from touchstone.publishing.publish import candidate_subject
from touchstone.publishing.verdict import CANDIDATE_GATE, VERDICT_FILE, Verdict, read_verdict
from touchstone.publishing.verify import verify


@dataclass(frozen=True)
class TracedVersion:
    """A list of one date: a published version, or a candidate that was not published.

    Attributes:
        manifest: Its manifest.
        directory: Its folder.
        publication: Its newest line of history; None for a candidate.
    """

    manifest: Manifest
    directory: Path
    publication: Publication | None

    @property
    def definition(self) -> ListDefinition:
        """The definition of the list."""
        return LISTS[self.manifest.list_name]

    @property
    def list_file(self) -> Path:
        """The Parquet file of the list."""
        return self.directory / f"{self.definition.list_name}.parquet"

    def __str__(self) -> str:
        """Returns its name, for messages."""
        kind = "candidate" if self.publication is None else "version"
        return f"{kind} {self.manifest.version} of list {self.definition.list_name}"


def find_version(home: Path, list_name: str, as_of: date | None, version: str | None) -> TracedVersion:
    """Finds a version of a list, and verifies its files.

    Args:
        home: The home.
        list_name: The list.
        as_of: The date: finds the version in force at it, or its candidate if none was published.
        version: A version; without it and without a date, the one that LATEST names.

    Returns:
        The version or candidate.

    Raises:
        BadInputError: There is no such list or version, or nothing was rated as of that date.
        VerificationError: Its files or its history were changed.
    """
    definition = next((one for name, one in LISTS.items() if name == list_name), None)
    if definition is None:
        raise BadInputError(f"There is no list {list_name!r}; the lists are {', '.join(LISTS)}.")
    store = ListStore(Home(home).published, list_name)
    history = store.history()
    if version is not None and all(line.version != version for line in history):
        raise BadInputError(
            f"List {list_name} has no version {version!r}. Its versions: {_format_versions(home, history)}"
        )
    if version is not None and as_of is not None and version_date(version) != as_of:
        raise BadInputError(f"Version {version} is not as of {as_of}. Leave out --as-of or --version.")
    name = version or (store.latest() if as_of is None else in_force(history, as_of))
    if name is not None:
        _refuse_damage(store, name)
        line = next(line for line in reversed(history) if line.version == name)
        return TracedVersion(store.manifest(name), store.version_directory(name), line)
    candidate = newest_candidate(definition.list_name, Home(home).candidates, as_of) if as_of else None
    if candidate is None:
        date_text = f" as of {as_of}" if as_of else ""
        raise BadInputError(
            f"List {list_name} has no version{date_text}. Its versions: {_format_versions(home, history)}"
        )
    traced = TracedVersion(candidate.manifest(), candidate.directory, None)
    recorded = traced.manifest.files[traced.list_file.name]
    actual = sha256_file(traced.list_file) if traced.list_file.is_file() else None
    if actual != recorded:
        raise _changed_file(traced.list_file, actual, recorded, traced)
    return traced


def _format_versions(home: Path, history: Sequence[Publication]) -> str:
    versions = list(dict.fromkeys(line.version for line in history))
    return f"{', '.join(versions)}." if versions else f"none yet. {what_is_missing(home, 'Run `touchstone run`.')}"


def _refuse_damage(store: ListStore, version: str) -> None:
    """Raises if the files of a version, or the history of its list, were changed."""
    problems = [
        str(problem)
        for problem in verify(store.published, store.list_name, version)
        if problem.path.is_relative_to(store.version_directory(version)) or problem.path.name == HISTORY_FILE
    ]
    if problems:
        raise VerificationError("\n".join([f"Version {version} of list {store.list_name} is damaged:", *problems]))


def read_receipt(traced: TracedVersion) -> dict[str, Any] | None:
    """Returns the receipt of the newest publication; None for a candidate."""
    if traced.publication is None:
        return None
    content: dict[str, Any] = json.loads((traced.directory / traced.publication.receipt).read_bytes())
    return content


def _changed_file(path: Path, actual: str | None, recorded: str, traced: TracedVersion) -> VerificationError:
    """Returns the error for a file whose SHA-256 (None if it is absent) differs from the recorded one."""
    return VerificationError(
        f"{path} is not the file that {traced} was built from: its SHA-256 is {actual[:12] if actual else 'missing'}…, "
        f"recorded is "
        f"{recorded[:12]}…. It was changed, or {traced.manifest.as_of} was rated again since. Restore it from a backup, or rate "
        f"the day again: `touchstone run --as-of {traced.manifest.as_of}`."
    )


def check_files(home: Path, traced: TracedVersion) -> tuple[dict[str, Path | None], list[str]]:
    """Checks the files that the list was built from.

    Args:
        home: The home.
        traced: The version.

    Returns:
        The paths of `features`, `scores` and `mart`, None for one that was removed or rebuilt; and a note for each of these.

    Raises:
        VerificationError: A file is neither the one that the list was built from nor one of a later run for the same date.
    """
    manifest, definition = traced.manifest, traced.definition
    day = manifest.as_of
    recorded = {
        "features": (Home(home).features(definition.list_name, day), manifest.inputs.features),
        "scores": (Home(home).scores(definition.model, day), manifest.inputs.scores),
        "mart": (Home(home).mart(definition.mart, day), manifest.mart),
    }
    files: dict[str, Path | None] = {}
    notes = []
    for name, (path, digest) in recorded.items():
        actual = sha256_file(path) if path.is_file() else None
        files[name] = path if actual == digest else None
        if actual is None:
            notes.append(f"{name} as of {manifest.as_of}: missing: pruned or removed.")
        elif actual != digest:
            later = _candidate_with_file(home, traced, actual)
            if later is None:
                raise _changed_file(path, actual, digest, traced)
            notes.append(f"{name} as of {manifest.as_of}: rebuilt for candidate {later}; the original is missing.")
    return files, notes


def _candidate_with_file(home: Path, traced: TracedVersion, digest: str) -> str | None:
    """Returns the candidate of the same date whose manifest names a file with this digest, or None."""
    for folder in sorted((Home(home).candidates / traced.manifest.list_name).glob("[0-9a-f]*/")):
        manifest = Candidate(folder, traced.manifest.list_name).manifest()
        digests = (manifest.inputs.features, manifest.inputs.scores, manifest.mart)
        if manifest.as_of == traced.manifest.as_of and digest in digests:
            return manifest.version
    return None


def read_checked_verdict(home: Path, traced: TracedVersion) -> tuple[Verdict, str] | None:
    """Reads the verdict and checks that it is about these files.

    Args:
        home: The home.
        traced: The version.

    Returns:
        The verdict and its SHA-256; None if it is missing.

    Raises:
        VerificationError: It is invalid, or about other files.
    """
    manifest = traced.manifest
    candidate = Candidate(Home(home).candidates / manifest.list_name / manifest.sha256, manifest.list_name)
    path = candidate.directory / VERDICT_FILE
    if not path.is_file():
        return None
    try:
        verdict = read_verdict(candidate)
    except GateRefusedError as error:
        raise VerificationError(f"{path} is invalid. Restore it from a backup.") from error
    subjects = {**manifest.inputs.subjects, CANDIDATE_GATE: candidate_subject(manifest)}
    mismatched = [gate for gate, result in verdict.gates.items() if subjects.get(gate) != result.subject_digest]
    if verdict.candidate != manifest.sha256 or mismatched:
        raise VerificationError(
            f"{path} is not about {traced}: {', '.join(mismatched) or 'it names another candidate'}. Restore it from a backup."
        )
    return verdict, sha256_file(path)


def read_model_and_approval(
    home: Path, traced: TracedVersion, receipt: Mapping[str, Any] | None
) -> tuple[Decision, RiskModel]:
    """Reads the approval that was in force when the list was rated, and the approved model.

    Args:
        home: The home.
        traced: The version.
        receipt: Its receipt.

    Returns:
        The decision, and the model with its verified bytes.

    Raises:
        VerificationError: The log of approvals or the model was changed.
    """
    rating = traced.manifest.inputs.model
    registry = Registry(home)
    head = (receipt or {}).get("run", {}).get("approvals_head")
    decision = registry.approvals.approval_of(rating.name, rating.digest, head)
    if decision is None:
        raise VerificationError(
            f"{registry.approvals.path} has no approval of {rating.name} {rating.digest[:12]}…, which rated {traced}. "
            f"Restore the log "
            "from a backup."
        )
    return decision, read_model(registry.home / decision.folder, rating.digest)


def read_loads(home: Path, traced: TracedVersion) -> list[LoadStatus]:
    """Reads the loads that the manifest names, and verifies the digests of those that still exist.

    Args:
        home: The home.
        traced: The version.

    Returns:
        Each load with its status.

    Raises:
        VerificationError: The ledger does not have a load, or a load was changed.
    """
    ledger = Ledger(Home(home).landing)
    statuses = load_statuses(ledger.lines())
    keys = [
        (table, load_id)
        for table, load_ids in sorted(traced.manifest.inputs.loads.tables.items())
        for load_id in dict.fromkeys(load_ids)
    ]
    unknown = [f"{table}/{load_id}" for table, load_id in keys if (table, load_id) not in statuses]
    if unknown:
        raise VerificationError(
            f"{ledger.log.path} has no load {', '.join(unknown)}, which {traced} was built from. Restore it from a backup."
        )
    loads = [statuses[key] for key in keys]
    verify_files(Home(home).landing, [load.current for load in loads if load.current is not None])
    return loads


def pin_remaining_loads(statuses: Sequence[LoadStatus], contract: Contract) -> PinnedLoads:
    """Returns the loads that hold the rows now, each once, in the order of landing."""
    by_table: dict[str, dict[str | None, LoadRecord]] = {}
    for status in statuses:
        load = status.current
        if load is not None and load.table in contract.tables:
            by_table.setdefault(load.table, {})[load.load_id] = load
    tables = {table: tuple(loads.values()) for table, loads in by_table.items()}
    return PinnedLoads(by_table=tables, current=tables)
