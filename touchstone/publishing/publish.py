"""Makes a candidate the list that readers see, in one atomic step, having checked everything itself.

The order of writing is what makes a list whole or absent, whatever dies when:

    1. `.publishing` names the version and the receipt that are about to be added
    2. the version's folder is written under a temporary name, synced and renamed (again published: only a new receipt)
    3. a line in history.jsonl: from here on it is published
    4. LATEST is replaced
    5. `.publishing` goes

Cut short before 3, the next publication of the same candidate adopts what is there, and any other one removes it; cut
short after 3, the next publication does 4 and 5 first. There is one writer at a time: the caller holds the home's lock.
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
from touchstone.publishing.history import ListStore, UnderWay, in_force, latest_version, previous_version
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
    """What a publication came to.

    Attributes:
        list_name: Which list.
        version: The version that is in force at the candidate's as_of.
        outcome: A new version, one that was published before, or nothing because it is in force already.
        latest: What `LATEST` names now.
        directory: The version's folder.
    """

    list_name: str
    version: str
    outcome: Outcome
    latest: str
    directory: Path


def publish(
    candidate: Candidate, published: Path, *, suites_digest: str, policy_digest: str, receipt: Mapping[str, Any]
) -> Published:
    """Publishes a candidate if every gate let exactly these bytes through.

    Args:
        candidate: What to publish; its files and its verdict are read from its folder.
        published: Folder of published lists.
        suites_digest: Digest of the suites in force now.
        policy_digest: Digest of the policy in force now.
        receipt: What differs by nature: run ids, times, host, the head of the log of approvals. JSON values.

    Raises:
        GateRefusedError: There is no verdict, it refuses, or it is about other bytes, suites, policy or previous version.
        VerificationError: What is published already does not match its digests.
    """
    contents, manifest = _read_candidate(candidate)
    _check_verdict(read_verdict(candidate), manifest, suites_digest, policy_digest)
    store = ListStore(published, manifest.list_name)
    store.directory.mkdir(parents=True, exist_ok=True)
    _refuse_damage(store)
    _finish_what_was_cut_short(store, keep=manifest.version)
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
        raise VerificationError(f"list {store.list_name} is damaged, so nothing is added to it:\n{lines}")


def _check_previous(manifest: Manifest, previous: str | None) -> None:
    if manifest.previous != previous:
        raise GateRefusedError(
            f"list {manifest.list_name} of {manifest.as_of} was built upon {manifest.previous or 'no version'}, but the "
            f"version before it is {previous or 'none'} now. Nothing was published. Build the list again."
        )


def _read_candidate(candidate: Candidate) -> tuple[dict[str, bytes], Manifest]:
    """Returns the bytes of a candidate's files and its manifest, every digest computed anew from these bytes."""
    path = candidate.directory / MANIFEST_FILE
    if not path.is_file():
        raise GateRefusedError(f"there is no candidate of list {candidate.list_name} at {candidate.directory}.")
    content = path.read_bytes()
    try:
        manifest = Manifest.from_bytes(content, str(path))
        files = {name: (candidate.directory / name).read_bytes() for name in manifest.files}
    except (VerificationError, OSError) as error:
        raise GateRefusedError(
            f"the candidate is damaged: {error} Nothing was published. Build the list again."
        ) from error
    for name, digest in manifest.files.items():
        if sha256_bytes(files[name]) != digest:
            raise GateRefusedError(
                f"{candidate.directory / name} is not what its manifest names: it was changed after it was built. "
                "Nothing was published. Build the list again."
            )
    if (
        set(files) != set(ListStore(Path(), candidate.list_name).list_files)
        or manifest.list_name != candidate.list_name
    ):
        raise GateRefusedError(f"{path} is not the manifest of a list {candidate.list_name}. Nothing was published.")
    return {**files, MANIFEST_FILE: content}, manifest


def _check_verdict(verdict: Verdict, manifest: Manifest, suites_digest: str, policy_digest: str) -> None:
    """Raises unless the verdict passes, on this candidate, by the suites and the policy in force now."""
    faults = verdict.refusals()
    for what, given, wanted in (
        ("its verdict is about another candidate", verdict.candidate, manifest.sha256),
        ("the suites changed after it was judged", verdict.suites, suites_digest),
        ("the suites changed after it was built", manifest.inputs.suites, suites_digest),
        ("the policy changed after it was judged", verdict.policy, policy_digest),
        ("the policy changed after it was built", manifest.policy, policy_digest),
    ):
        if given != wanted:
            faults.append(f"{what} ({given[:12]}, not {wanted[:12]})")
    faults += _strayed_gates(verdict, manifest)
    if faults:
        reasons = "\n".join(faults)
        raise GateRefusedError(
            f"list {manifest.list_name} of {manifest.as_of} is not published; the last good list stays.\n{reasons}"
        )


def _strayed_gates(verdict: Verdict, manifest: Manifest) -> list[str]:
    """Returns in words which gates judged other files, or another date, than the manifest names."""
    subjects = {**manifest.inputs.subjects, CANDIDATE_GATE: candidate_subject(manifest)}
    faults = [
        f"the manifest does not name what gate {name} had to judge" for name in GATES_BEFORE if name not in subjects
    ]
    for name, result in verdict.gates.items():
        if name in subjects and result.subject_digest != subjects[name]:
            faults.append(f"gate {name} judged other files than those that the list was made from")
        if (date := gate_date(result)) is not None and date != manifest.as_of:
            faults.append(f"gate {name} judged as of {date}")
    return faults


def candidate_subject(manifest: Manifest) -> str:
    """Returns the subject digest that the candidate's gate must have: the list beside the mart it was made from."""
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
    """Writes version, receipt, line and LATEST, in the order that the module's head gives."""
    directory = store.version_directory(manifest.version)
    name = _receipt_name(store, manifest.version)
    with failpoint("publish.begin", store.under_way_file):
        write_json(store.under_way_file, UnderWay(version=manifest.version, receipt=name).model_dump())
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
    times = sum(line.version == version for line in store.history())
    return "receipt.json" if times == 0 else f"receipt-{times + 1}.json"


def _check_unchanged(directory: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        if not (directory / name).is_file() or (directory / name).read_bytes() != content:
            raise VerificationError(
                f"{directory / name} is not as it was published. Restore it from a backup; `touchstone verify` lists all."
            )


def _set_latest(store: ListStore) -> None:
    """Makes LATEST name what history says, and ends the publication."""
    latest = latest_version(store.history())
    content = None if latest is None else f"{latest}\n".encode()
    if content is not None and (not store.latest_file.is_file() or store.latest_file.read_bytes() != content):
        with failpoint("publish.latest", store.latest_file):
            write_bytes(store.latest_file, content)
    store.under_way_file.unlink(missing_ok=True)
    sync_directory(store.directory)


def _finish_what_was_cut_short(store: ListStore, keep: str) -> None:
    """Brings a publication that was cut short to an end: what history names is completed, what it does not is removed.

    Args:
        store: The list.
        keep: The version that is about to be published; what is there of it already is kept for that.
    """
    for leftover in [*store.directory.glob(f"{TEMPORARY_PREFIX}*"), *store.directory.glob(f"*/{TEMPORARY_PREFIX}*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    begun = store.under_way()
    if begun is None:
        return
    history = store.history()
    if any((line.version, line.receipt) == (begun.version, begun.receipt) for line in history):
        _set_latest(store)
    elif begun.version != keep:
        _withdraw(store, begun, was_published_before=any(line.version == begun.version for line in history))


def _withdraw(store: ListStore, begun: UnderWay, *, was_published_before: bool) -> None:
    """Removes what a publication left that never came to its line in history: no reader has seen it."""
    if store.log.path.is_file():
        os.truncate(store.log.path, store.log.path.stat().st_size - len(store.log.unfinished()))
    directory = store.version_directory(begun.version)
    if was_published_before:
        (directory / begun.receipt).unlink(missing_ok=True)
    elif directory.is_dir():
        aside = directory.with_name(f"{TEMPORARY_PREFIX}withdrawn-{begun.version}")
        directory.rename(aside)
        shutil.rmtree(aside)
    _set_latest(store)
