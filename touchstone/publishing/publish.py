"""Publishes a candidate in one atomic step, after checking everything itself.

The order of writing makes publication atomic, wherever the process is interrupted:

    1. `.publishing` names the version and the receipt that are being added
    2. the folder of the version is written under a temporary name, synced and renamed (published before: only a new receipt)
    3. a line is appended to history.jsonl: from here on the version is published
    4. LATEST is replaced
    5. `.publishing` is removed

If it is interrupted before step 3, the next publication of the same candidate continues with the existing files, and any other
publication removes them; if it is interrupted after step 3, the next publication first does steps 4 and 5. There is one writer
at a
time: the caller holds the home's lock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expectations.results import digest_of_files
from touchstone.core.errors import GateRefusedError, VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import (
    TEMPORARY_PREFIX,
    canonical_json,
    replacing_directory,
    sha256_bytes,
    sync_directory,
    write_bytes,
    write_json,
)
from touchstone.publishing.candidate import Candidate
from touchstone.publishing.history import ListStore, PendingPublication, in_force, latest_version, previous_version
from touchstone.publishing.manifest import MANIFEST_FILE, Manifest
from touchstone.publishing.verdict import (
    CANDIDATE_GATE,
    GATES_BEFORE,
    VERDICT_FILE,
    Verdict,
    gate_date,
    read_verdict,
)
from touchstone.publishing.verify import store_problems

Outcome = Literal["published", "published_again", "unchanged"]


@dataclass(frozen=True)
class Published:
    """The result of a publication.

    Attributes:
        list_name: The list.
        version: The version in force at the candidate's as_of.
        outcome: A new version, one that was published before, or unchanged because it is in force already.
        latest: The version that `LATEST` names.
        directory: The folder of the version.
    """

    list_name: str
    version: str
    outcome: Outcome
    latest: str
    directory: Path


def publish(
    candidate: Candidate, published: Path, *, suites_digest: str, policy_digest: str, receipt: Mapping[str, Any]
) -> Published:
    """Publishes a candidate if every gate passed on exactly these bytes.

    Args:
        candidate: The candidate; its files and its verdict are read from its folder.
        published: Folder of published lists.
        suites_digest: Digest of the suites in force now.
        policy_digest: Digest of the policy in force now.
        receipt: What differs between equal runs: run ids, times, host, the head of the log of approvals. JSON values.

    Returns:
        The result.

    Raises:
        GateRefusedError: There is no verdict, it refuses, or it is about other bytes, suites, policy or previous version.
        VerificationError: The published versions do not match their digests.
    """
    contents, manifest = _read_candidate(candidate)
    _check_verdict(read_verdict(candidate), manifest, suites_digest, policy_digest)
    store = ListStore(published, manifest.list_name)
    store.directory.mkdir(parents=True, exist_ok=True)
    _refuse_damage(store)
    _finish_interrupted(store, keep=manifest.version)
    history = store.history()
    outcome: Outcome = "unchanged"
    if in_force(history, manifest.as_of) != manifest.version:
        _check_previous(manifest, previous_version(history, manifest.as_of))
        outcome = "published_again" if any(line.version == manifest.version for line in history) else "published"
        _add(store, manifest, contents, _receipt_bytes(candidate, manifest, receipt))
    return Published(
        list_name=manifest.list_name,
        version=manifest.version,
        outcome=outcome,
        latest=latest_version(store.history()) or manifest.version,
        directory=store.version_directory(manifest.version),
    )


def _refuse_damage(store: ListStore) -> None:
    problems = store_problems(store)
    if problems:
        lines = "\n".join(map(str, problems))
        raise VerificationError(f"List {store.list_name} is damaged, so nothing was published:\n{lines}")


def _check_previous(manifest: Manifest, previous: str | None) -> None:
    if manifest.previous != previous:
        raise GateRefusedError(
            f"List {manifest.list_name} of {manifest.as_of} was built on {manifest.previous or 'no version'}, but its previous "
            f"version is {previous or 'none'} now. Nothing was published. Build the list again."
        )


def _read_candidate(candidate: Candidate) -> tuple[dict[str, bytes], Manifest]:
    """Returns the files of a candidate and its manifest, after recomputing every digest from the returned bytes."""
    path = candidate.directory / MANIFEST_FILE
    if not path.is_file():
        raise GateRefusedError(
            f"There is no candidate of list {candidate.list_name} at {candidate.directory}. Build the list first."
        )
    content = path.read_bytes()
    try:
        manifest = Manifest.from_bytes(content, str(path))
        files = {name: (candidate.directory / name).read_bytes() for name in manifest.files}
    except (VerificationError, OSError) as error:
        raise GateRefusedError(
            f"The candidate is damaged: {error} Nothing was published. Build the list again."
        ) from error
    for name, digest in manifest.files.items():
        if sha256_bytes(files[name]) != digest:
            raise GateRefusedError(
                f"{candidate.directory / name} does not match its manifest: it was changed after it was built. "
                "Nothing was published. Build the list again."
            )
    if (
        set(files) != set(ListStore(Path(), candidate.list_name).list_files)
        or manifest.list_name != candidate.list_name
    ):
        raise GateRefusedError(
            f"{path} is not the manifest of list {candidate.list_name}. Nothing was published. Build the list again."
        )
    return {**files, MANIFEST_FILE: content}, manifest


def _check_verdict(verdict: Verdict, manifest: Manifest, suites_digest: str, policy_digest: str) -> None:
    """Raises unless the verdict passes for this candidate under the suites and the policy in force now."""
    problems = verdict.refusals()
    for problem, recorded, expected in (
        ("its verdict is about another candidate", verdict.candidate, manifest.sha256),
        ("the suites changed after it was judged", verdict.suites, suites_digest),
        ("the suites changed after it was built", manifest.inputs.suites, suites_digest),
        ("the policy changed after it was judged", verdict.policy, policy_digest),
        ("the policy changed after it was built", manifest.policy, policy_digest),
    ):
        if recorded != expected:
            problems.append(f"{problem} ({recorded[:12]}, not {expected[:12]})")
    problems += _mismatched_gates(verdict, manifest)
    if problems:
        reasons = "\n".join(problems)
        raise GateRefusedError(
            f"List {manifest.list_name} of {manifest.as_of} is not published; the previous version stays in force.\n{reasons}"
        )


def _mismatched_gates(verdict: Verdict, manifest: Manifest) -> list[str]:
    """Describes the gates that judged other files, or another date, than the manifest names."""
    subjects = {**manifest.inputs.subjects, CANDIDATE_GATE: candidate_subject(manifest)}
    problems = [f"the manifest does not name the files of gate {name}" for name in GATES_BEFORE if name not in subjects]
    for name, result in verdict.gates.items():
        if name in subjects and result.subject_digest != subjects[name]:
            problems.append(f"gate {name} judged other files than those that the list was built from")
        if (date := gate_date(result)) is not None and date != manifest.as_of:
            problems.append(f"gate {name} judged the date {date}")
    return problems


def candidate_subject(manifest: Manifest) -> str:
    """Returns the subject digest that the candidate's gate must have: of the list and the mart it was built from."""
    return digest_of_files({"candidate": [manifest.files[f"{manifest.list_name}.parquet"]], "rated": [manifest.mart]})


def _receipt_bytes(candidate: Candidate, manifest: Manifest, receipt: Mapping[str, Any]) -> bytes:
    verdict_sha256 = sha256_bytes((candidate.directory / VERDICT_FILE).read_bytes())
    return canonical_json(
        {
            "version": manifest.version,
            "manifest_sha256": manifest.sha256,
            "verdict_sha256": verdict_sha256,
            "run": dict(receipt),
        }
    )


def _add(store: ListStore, manifest: Manifest, contents: Mapping[str, bytes], receipt: bytes) -> None:
    """Writes version, receipt, history line and LATEST, in the order given at the top of the module."""
    directory = store.version_directory(manifest.version)
    name = _receipt_name(store, manifest.version)
    with failpoint("publish.begin", store.pending_file):
        write_json(store.pending_file, PendingPublication(version=manifest.version, receipt=name).model_dump())
    if not directory.is_dir():
        with failpoint("publish.version", directory), replacing_directory(directory) as temporary:
            for file, content in {**contents, name: receipt}.items():
                (temporary / file).write_bytes(content)
    _check_unchanged(directory, contents)
    if not (directory / name).is_file():
        write_bytes(directory / name, receipt)
    with failpoint("publish.history", store.log.path):
        store.log.append(store.line(manifest.version, name).model_dump())
    _set_latest(store)


def _receipt_name(store: ListStore, version: str) -> str:
    count = sum(line.version == version for line in store.history())
    return "receipt.json" if count == 0 else f"receipt-{count + 1}.json"


def _check_unchanged(directory: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        if not (directory / name).is_file() or (directory / name).read_bytes() != content:
            raise VerificationError(
                f"{directory / name} was changed after it was published. Restore it from a backup; `touchstone verify` "
                f"lists all changes."
            )


def _set_latest(store: ListStore) -> None:
    """Updates LATEST from the history, and ends the publication."""
    latest = latest_version(store.history())
    content = None if latest is None else f"{latest}\n".encode()
    if content is not None and (not store.latest_file.is_file() or store.latest_file.read_bytes() != content):
        with failpoint("publish.latest", store.latest_file):
            write_bytes(store.latest_file, content)
    store.pending_file.unlink(missing_ok=True)
    sync_directory(store.directory)


def _finish_interrupted(store: ListStore, keep: str) -> None:
    """Completes an interrupted publication if history names it, and removes its files if not.

    Args:
        store: The list.
        keep: The version that is about to be published, whose existing files are kept.
    """
    for leftover in [*store.directory.glob(f"{TEMPORARY_PREFIX}*"), *store.directory.glob(f"*/{TEMPORARY_PREFIX}*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    interrupted = store.pending()
    if interrupted is None:
        return
    history = store.history()
    if any((line.version, line.receipt) == (interrupted.version, interrupted.receipt) for line in history):
        _set_latest(store)
    elif interrupted.version != keep:
        _withdraw(store, interrupted, was_published_before=any(line.version == interrupted.version for line in history))


def _withdraw(store: ListStore, interrupted: PendingPublication, *, was_published_before: bool) -> None:
    """Removes the files of a publication without a line in history; no reader has seen them."""
    if store.log.path.is_file():
        os.truncate(store.log.path, store.log.path.stat().st_size - len(store.log.unfinished()))
    directory = store.version_directory(interrupted.version)
    if was_published_before:
        (directory / interrupted.receipt).unlink(missing_ok=True)
    elif directory.is_dir():
        removed = directory.with_name(f"{TEMPORARY_PREFIX}withdrawn-{interrupted.version}")
        directory.rename(removed)
        shutil.rmtree(removed)
    _set_latest(store)
