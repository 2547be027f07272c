"""The log of approvals: an append-only, hash-chained record of which model version may produce ratings.

The log alone decides what rates. Each line records the digest of what was reviewed and of every file of the version, so
that a changed file is refused. MLflow shows the same state to people (`ml/mlflow_mirror.py`); nothing here reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ml.model import MLFLOW_FILES, RESTORE, read_model
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.failpoints import Failpoint, failpoint
from touchstone.core.files import sha256_bytes, sync_directory, sync_file
from touchstone.core.hash_chain import ChainedLog
from touchstone.core.home import Home

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
WAITING: Final = "waiting"
REJECTED: Final = "rejected"
FORMER: Final = "former"
_STATUS_AFTER: Final = {"train": WAITING, "reject": REJECTED, "approve": FORMER, "rollback": FORMER}
_PUTS_IN_FORCE: Final = ("approve", "rollback")


@dataclass(frozen=True)
class Decision:
    """A line of the log of approvals.

    Attributes:
        action: `train`, `approve`, `reject` or `rollback`: the version that was registered, put in force, or refused.
            `request`: the alias `champion` was set on the version in MLflow, and was put back. `shadow`: the version rates
            next to the champion until it is approved or rejected, another one does so, or `unshadow`.
        model: The model's name.
        version: The version.
        model_digest: The digest of what was reviewed.
        folder: Folder of its files, relative to the home.
        files: SHA-256 of each file.
        who: Who decided, or trained.
        why: The reason.
        at: The time, ISO 8601 in UTC.
        evaluation: SHA-256 of the version's `evaluation.json`: the comparison and the results of the gate.
        failures: The checks of the gate that failed, a sentence each.
        is_override: Whether it was approved although a check failed.
        replaces: The version that rated before; None if there was none.
    """

    action: str
    model: str
    version: int
    model_digest: str
    folder: str
    files: Mapping[str, str]
    who: str
    why: str
    at: str
    evaluation: str = ""
    failures: tuple[str, ...] = ()
    is_override: bool = False
    replaces: int | None = None


@dataclass(frozen=True)
class Champion:
    """A version that rates, read from the log.

    Attributes:
        model: The model's name.
        version: Its version in the registry.
        model_digest: Its digest.
        threshold: The lowest score to flag.
        floor: The lowest own_conduct_score to flag.
        bands: By band of ten points: band, verdicts, expected_precision (None under 20 verdicts).
        folder: Folder of its files.
        card: The model's JSON without baselines and reference: features, calibration, flagging, prevalence.
        approved: The decision that put it in force.
        is_calibrated: Whether its scores are probabilities.
        is_starter: Whether it was made without labels.
    """

    model: str
    version: int
    model_digest: str
    threshold: float
    floor: float
    bands: tuple[Mapping[str, Any], ...]
    folder: Path
    card: Mapping[str, Any]
    approved: Decision
    is_calibrated: bool = True
    is_starter: bool = False


def utc_now() -> datetime:
    """Returns the current time; the log of approvals is the only part of `ml` that reads the clock."""
    return datetime.now(UTC)


class ApprovalLog:
    """Reads and appends decisions; the files that a decision names are relative to the home."""

    def __init__(self, home: Path, now: Callable[[], datetime] = utc_now) -> None:
        """Sets the home; no file is opened or created until it is needed."""
        self.home = home
        self.now = now
        self._log = ChainedLog(Home(home).approvals_log)
        self.path = self._log.path

    def decisions(self) -> list[Decision]:
        """Returns every decision, oldest first.

        Raises:
            VerificationError: The chain is broken.
        """
        return [_decision(line) for line in self._log.read()]

    def heads(self) -> list[str]:
        """Returns the head before the first line (64 zeros) and after each line, oldest first."""
        return self._log.heads()

    def head(self) -> str:
        """Returns the hash of the newest line; receipts hold it."""
        return self._log.head()

    def append(self, decision: Decision, step: Failpoint = "approval.append") -> None:
        """Appends a decision, after the files of its version were synced to disk.

        Raises:
            VerificationError: The log is damaged; nothing is appended to a broken chain.
        """
        folder = self.home / decision.folder
        for file in decision.files:
            sync_file(folder / file)
        sync_directory(folder)
        with failpoint(step, self.path):
            self._log.append({
                **decision.__dict__, "files": dict(decision.files), "failures": list(decision.failures)
            })  # fmt: skip

    def timestamp(self) -> str:
        """Returns the current time as decisions record it."""
        return self.now().astimezone(UTC).isoformat(timespec="seconds")

    def champion_stacks(self) -> dict[str, list[Decision]]:
        """Returns by model the decisions that put champions in force, the current one last.

        A rollback removes the last one.
        """
        stacks: dict[str, list[Decision]] = {}
        for decision in self.decisions():
            stack = stacks.setdefault(decision.model, [])
            if decision.action == "approve":
                stack.append(decision)
            elif decision.action == "rollback":
                stack[-2:] = [decision]
        return stacks

    def in_force(self, model: str) -> Decision | None:
        """Returns the decision that put the current champion in force; None without a champion."""
        stack = self.champion_stacks().get(model, [])
        return stack[-1] if stack else None

    def shadow(self, model: str) -> Decision | None:
        """Returns the decision by which a version rates in shadow; None if no version does."""
        shadow = None
        for decision in self.decisions():
            if decision.model != model:
                continue
            if decision.action == "shadow":
                shadow = decision
            elif shadow is not None and (
                decision.action == "unshadow"
                or (decision.action in {"approve", "reject"} and decision.version == shadow.version)
            ):
                shadow = None
        return shadow

    def statuses(self) -> dict[tuple[str, int], tuple[str, tuple[str, ...]]]:
        """Returns by model and version its status and the checks of the gate that it failed."""
        decisions = [decision for decision in self.decisions() if decision.action in _STATUS_AFTER]
        statuses = {(decision.model, decision.version): _STATUS_AFTER[decision.action] for decision in decisions}
        newest_waiting = {model: version for (model, version), status in sorted(statuses.items()) if status == WAITING}
        statuses |= dict.fromkeys(newest_waiting.items(), CHALLENGER)
        statuses |= {(model, stack[-1].version): CHAMPION for model, stack in self.champion_stacks().items() if stack}
        failures = {
            (decision.model, decision.version): decision.failures
            for decision in decisions
            if decision.action == "train"
        }
        return {version: (status, failures.get(version, ())) for version, status in statuses.items()}

    def training(self, model: str, version: int) -> Decision | None:
        """Returns the line that the training of a version wrote; None without one."""
        decisions = (line for line in reversed(self.decisions()) if line.action == "train")
        return next((line for line in decisions if (line.model, line.version) == (model, version)), None)

    def approval_of(self, model: str, model_digest: str, head: str | None = None) -> Decision | None:
        """Returns the newest decision that put a model with this digest in force; None if there is none.

        Args:
            model: The model's name.
            model_digest: Its digest.
            head: A head of the log, as receipts hold it: later decisions do not count.

        Raises:
            VerificationError: The log is damaged, or never had that head.
        """
        decisions = self.decisions()
        if head is not None:
            heads = self.heads()
            self.check_head("a receipt names", head, heads)
            decisions = decisions[: heads.index(head)]
        matches = (line for line in reversed(decisions) if (line.model, line.model_digest) == (model, model_digest))
        return next((line for line in matches if line.action in _PUTS_IN_FORCE), None)

    def read_champion(self, decision: Decision) -> Champion:
        """Reads the version that a decision names.

        Raises:
            VerificationError: A file is not the one that was reviewed.
        """
        folder = self.home / decision.folder
        model = read_model(folder, decision.model_digest)
        check_files(folder, decision)
        return Champion(
            model=decision.model,
            version=decision.version,
            model_digest=decision.model_digest,
            threshold=model.threshold,
            floor=model.floor,
            bands=tuple(model.body["flagging"]["bands"]),
            is_calibrated=model.is_calibrated,
            is_starter=model.is_starter,
            folder=folder,
            card={name: value for name, value in model.body.items() if name not in ("baseline", "reference")},
            approved=decision,
        )

    def check_head(self, source: str, head: str, heads: list[str]) -> None:
        """Checks that a head that is recorded elsewhere is one of the log's.

        Args:
            source: Where it is recorded, as a relative clause: `a receipt names`.
            head: The recorded head.
            heads: All heads of the log.

        Raises:
            VerificationError: It is not: lines were removed or replaced.
        """
        if head not in heads:
            raise VerificationError(
                f"{self.missing_head(source, head)} Restore it from a backup; do not edit it."
            )  # fmt: skip

    def missing_head(self, source: str, head: str) -> str:
        """Returns the sentence that says that no line of the log has a head that is recorded elsewhere."""
        return (
            f"{self.path}: no line of it has the head {head[:12]}…, which {source}: its end was cut off, or lines were "
            "replaced."
        )


def require_who_and_why(who: str, why: str) -> None:
    """Checks that a decision names a person and a reason.

    Raises:
        BadInputError: One of the two is empty.
    """
    if not who.strip() or not why.strip():
        raise BadInputError("A review needs to say who decided and why; one of the two is empty.")


def file_digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): sha256_bytes(file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def check_files(folder: Path, decision: Decision) -> None:
    """Compares the files in a version's folder with those that a decision recorded.

    Ratings read three of the files, by digest. MLflow and other tools that load models would follow the others: a flavour
    that names code, or a pickle, must not be among them.

    Raises:
        VerificationError: A file is missing, was changed or was added.
    """
    present, recorded = file_digests(folder), dict(decision.files)
    # Lines of early homes name only the files that ratings read.
    unrecorded = set(MLFLOW_FILES) if recorded.keys().isdisjoint(MLFLOW_FILES) else set()
    differences = [
        f"{name} {'is missing' if name not in present else 'was changed' if name in recorded else 'was added'}"
        for name in sorted((present.keys() | recorded.keys()) - unrecorded)
        if present.get(name) != recorded.get(name)
    ]
    if differences:
        raise VerificationError(
            f"{folder}: {', '.join(differences)} since the line of {decision.at} in the log of approvals. Nothing is rated "
            f"with it: {RESTORE}."
        )


def _decision(line: Mapping[str, Any]) -> Decision:
    fields = {name: line[name] for name in Decision.__dataclass_fields__ if name in line}
    return Decision(**{**fields, "failures": tuple(line.get("failures", ()))})
