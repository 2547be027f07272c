"""The registry: registers trained versions and records the reviews that decide which of them may rate.

It joins three parts: the log of approvals, which decides (`ml/approvals.py`); MLflow's tags and aliases, which mirror the
log (`ml/mlflow_mirror.py`); and MLflow's runs (`ml/run_log.py`). Training, scoring and alias requests are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from ml import card
from ml.approvals import (
    CHAMPION,
    REJECTED,
    ApprovalLog,
    Champion,
    Decision,
    check_files,
    file_digests,
    require_who_and_why,
    utc_now,
)
from ml.mlflow_client import MlflowConnection
from ml.mlflow_mirror import MlflowMirror
from ml.model import RiskModel, read_model
from ml.review import Evaluation
from ml.run_log import RunLog
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.failpoints import Failpoint
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.home import Home
from touchstone.core.lists import LISTS

UNFINISHED: Final = "unfinished"
EVALUATION_FILE: Final = "evaluation.json"
AUTOMATIC: Final = "approve-if-passing"
DRIFT_PREFIX: Final = "drift_"
"""Prefix of the metrics that are measured while a version rates; all others are measured by its training."""


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        model: The model's name.
        version: MLflow's number.
        model_digest: Identifies it everywhere.
        training_digest: Digest over the data, code and parameters of its training.
        run_id: MLflow's run.
        status: `champion`, `challenger` (the newest that waits for review), `waiting` (an older one that does), `rejected`,
            `former` (a previous champion), or `unfinished` (its training ended before the log had it).
        folder: Folder of the model's files.
        metrics: What was measured, by name.
        failures: The checks of the gate that failed, a sentence each.
    """

    model: str
    version: int
    model_digest: str
    training_digest: str
    run_id: str
    status: str
    folder: Path
    metrics: Mapping[str, float]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class AutomaticReview:
    """Result of `approve_if_passing`.

    Attributes:
        passed: Whether all checks of `ml/thresholds.yml` passed.
        messages: The checks that failed, a sentence each; or one that says that all passed.
        champion: The champion afterwards; None if there is none.
    """

    passed: bool
    messages: tuple[str, ...]
    champion: Champion | None


class Registry:
    """The versions of a home and their reviews."""

    def __init__(self, home: Path, now: Callable[[], datetime] = utc_now) -> None:
        """Sets the home; nothing is opened or created until it is needed."""
        self.home = home.resolve()
        self.approvals = ApprovalLog(self.home, now)
        self.mlflow = MlflowConnection(self.home)
        self.mirror = MlflowMirror(self.approvals, self.mlflow)
        self.runs = RunLog(self.mlflow, now)

    # Versions -----------------------------------------------------------------------------------------------------

    def register(
        self,
        model: RiskModel,
        *,
        facts: Mapping[str, Any],
        evaluation: Evaluation,
        files: Mapping[str, bytes],
        parameters: Mapping[str, Any],
        trained_by: str,
    ) -> Version:
        """Logs a run with everything that a reviewer needs and creates a version from it.

        Args:
            model: The model.
            facts: `card.json`: plain data for the reviewer, with as_of, data, provenance and training_digest.
            evaluation: The results of its evaluation.
            files: Further artifacts: the card and its plots.
            parameters: The training's choices.
            trained_by: Who trained.

        Returns:
            The version, which waits for review: the challenger.
        """
        name, training_digest = str(model.body["name"]), str(facts["training_digest"])
        failures, metrics = evaluation.judgement.failures, evaluation.report.metrics
        evaluated = canonical_json(_to_json(model, training_digest, evaluation))
        artifacts = {
            f"model/{file}": content for file, content in {**model.files(), **card.mlflow_files(model)}.items()
        }
        artifacts |= {**files, "card.json": canonical_json(facts), EVALUATION_FILE: evaluated}
        gate = {"gate": "failed" if failures else "passed"}
        run = self.runs.log_training(name, artifacts, metrics, {**gate, **parameters}, facts)
        self.mlflow.ensure_model(name)
        client = self.mlflow.client()
        created = client.create_model_version(
            name,
            source=f"{run.artifact_uri}/model",
            run_id=run.run_id,
            tags={
                "model_digest": model.digest,
                "training_digest": training_digest,
                **gate,
                "gate_failures": "; ".join(failures)[:5000],
                **{name: str(count) for name, count in facts["population"].items()},
            },
            description=card.describe_version(run.run_id, facts, evaluation),
        )
        client.log_param(run.run_id, "version", created.version)
        version = self._version(created, {}, metrics)
        why = "fails the gate: " + "; ".join(failures) if failures else "passes the gate"
        decision = self._decision("train", version, model, trained_by, why)
        self.record(replace(decision, evaluation=sha256_bytes(evaluated), failures=failures), "training.log")
        return self.version(name, version.version)

    def versions(self, model: str | None = None) -> list[Version]:
        """Returns the versions of a model, or of all models, by name and version."""
        created = self.mlflow.model_versions(model)
        statuses = self.approvals.statuses() if created else {}
        versions = [
            self._version(one, statuses, self.mlflow.client().get_run(one.run_id).data.metrics) for one in created
        ]
        return sorted(versions, key=lambda version: (version.model, version.version))

    def version(self, model: str, version: int) -> Version:
        """Returns one version.

        Raises:
            BadInputError: There is no such version.
        """
        versions = self.versions(model)
        for candidate in versions:
            if candidate.version == version:
                return candidate
        numbers = ", ".join(str(candidate.version) for candidate in versions) or "none"
        raise BadInputError(f"{model} has no version {version}; it has {numbers}. `touchstone models list` shows all.")

    def version_of_training(self, model: str, training_digest: str) -> Version | None:
        """Returns the newest unchanged version that a training with this digest produced, or None."""
        for version in reversed(self.versions(model)):
            if version.training_digest == training_digest and version.status != UNFINISHED and self._is_intact(version):
                return version
        return None

    def read_as_trained(self, version: Version) -> tuple[RiskModel, Decision]:
        """Reads a version's model and the line that its training wrote.

        Raises:
            VerificationError: The log has no such line, or a file is not what the training wrote.
        """
        model = read_model(version.folder, version.model_digest)
        training = self.approvals.training(version.model, version.version)
        if training is None:
            raise VerificationError(
                f"{version.model} version {version.version} is in MLflow, but the log of approvals has no training that "
                "produced it: `touchstone` did not create it, or its training was interrupted. Train again."
            )
        file = version.folder.parent / EVALUATION_FILE
        evaluated = sha256_bytes(file.read_bytes()) if file.is_file() else "missing"
        check_files(version.folder, training)
        if (model.digest, evaluated) != (training.model_digest, training.evaluation):
            what = "the model" if model.digest != training.model_digest else file.name
            raise VerificationError(
                f"{version.model} version {version.version}: {what} is not what its training of {training.at} wrote. It "
                f"cannot be approved: restore {version.folder.parent}, or train again."
            )
        return model, training

    # Review -------------------------------------------------------------------------------------------------------

    def approve(
        self, model: str, version: int, *, who: str, why: str, override: bool = False, by_trainer: bool = True
    ) -> Champion:
        """Makes a version the champion; approving the champion again logs nothing.

        Args:
            model: The model's name.
            version: The version that was reviewed.
            who: Who reviewed it.
            why: Why it may rate.
            override: Whether it may rate although a check of the gate failed.
            by_trainer: Whether the person who trained it may also approve it.

        Returns:
            The champion.

        Raises:
            BadInputError: There is no such version, who or why is empty, or its trainer must not approve it.
            GateRefusedError: A check of the gate failed, and there is no override.
            VerificationError: A file of the version is not what its training wrote, or the log is damaged.
        """
        chosen = self.version(model, version)
        reviewed, training = self.read_as_trained(chosen)
        current = self.approvals.in_force(model)
        if current is not None and (current.version, current.model_digest) == (version, reviewed.digest):
            self.mirror.update(model)
            return self.approvals.read_champion(current)
        if who == training.who and not by_trainer:
            raise BadInputError(
                f"{who} trained {model} version {version}, and a trainer may not approve. Let somebody else review it "
                "(--who), or set TOUCHSTONE_TRAINER_MAY_APPROVE=true."
            )
        if training.failures and not override:
            raise GateRefusedError(
                f"{model} version {version} fails the gate (ml/thresholds.yml): {'; '.join(training.failures)}. Train a "
                "better one; or approve it with --override and the reason in --why, which appears on every receipt made "
                "with it."
            )
        decision = replace(
            self._decision("approve", chosen, reviewed, who, why),
            evaluation=training.evaluation,
            failures=training.failures,
            is_override=bool(training.failures),
            replaces=current.version if current else None,
        )
        self.record(decision)
        return self.approvals.read_champion(decision)

    def approve_if_passing(self, version: Version) -> AutomaticReview:
        """Approves a model's first version if all checks of `ml/thresholds.yml` passed.

        A model that has a champion keeps it: a person approves the next one.
        """
        champion = self.champion(version.model)
        messages = version.failures or ("all checks of ml/thresholds.yml passed",)
        if champion is None and not version.failures:
            champion = self.approve(version.model, version.version, who=AUTOMATIC, why=messages[0])
        return AutomaticReview(not version.failures, messages, champion)

    def reject(self, model: str, version: int, *, who: str, why: str) -> Decision:
        """Records that a version must not rate.

        Raises:
            BadInputError: There is no such version, it is the champion (roll back first), or who or why is empty.
        """
        chosen = self.version(model, version)
        if chosen.status == CHAMPION:
            raise BadInputError(
                f"{model} version {version} is the champion. Approve another version or roll back first."
            )
        decision = self._decision("reject", chosen, read_model(chosen.folder, chosen.model_digest), who, why)
        self.record(decision)
        return decision

    def rollback(self, model: str, *, who: str, why: str) -> Champion:
        """Puts the previous champion in force again.

        Raises:
            BadInputError: There is no previous champion, or who or why is empty.
            VerificationError: A file of the previous one is not what was reviewed.
        """
        stack = self.approvals.champion_stacks().get(model, [])
        if len(stack) < 2:
            raise BadInputError(
                f"{model} has no earlier champion to roll back to. `touchstone models log` shows the reviews."
            )
        previous, current = stack[-2:]
        self.approvals.read_champion(previous)
        changes = {"action": "rollback", "who": who, "why": why, "at": self.approvals.timestamp()}
        decision = Decision(**{**previous.__dict__, **changes, "replaces": current.version})
        self.record(decision)
        return self.approvals.read_champion(decision)

    def shadow(self, model: str, version: int, *, who: str, why: str) -> Decision:
        """Lets a version rate next to the champion, in place of any other: its scores affect no list.

        Raises:
            BadInputError: There is no such version, it is the champion or was rejected, or who or why is empty.
            VerificationError: A file of it is not what its training wrote.
        """
        chosen = self.version(model, version)
        if chosen.status in {CHAMPION, REJECTED}:
            raise BadInputError(f"{model} version {version} is {chosen.status}: it cannot rate in shadow.")
        decision = self._decision("shadow", chosen, self.read_as_trained(chosen)[0], who, why)
        self.record(decision)
        return decision

    def unshadow(self, model: str, *, who: str, why: str) -> Decision:
        """Ends what `shadow` started.

        Raises:
            BadInputError: No version rates in shadow, or who or why is empty.
        """
        shadow = self.approvals.shadow(model)
        if shadow is None:
            raise BadInputError(f"No version of {model} rates in shadow. `touchstone models log` shows the decisions.")
        changes = {"action": "unshadow", "who": who, "why": why, "at": self.approvals.timestamp()}
        decision = Decision(**{**shadow.__dict__, **changes})
        self.record(decision)
        return decision

    def record(self, decision: Decision, step: Failpoint = "approval.append") -> None:
        """Appends a decision to the log and mirrors the new state to MLflow.

        Raises:
            BadInputError: Who or why is empty.
            VerificationError: The log is damaged or was cut short.
        """
        require_who_and_why(decision.who, decision.why)
        self.mirror.prepare(decision.model)
        self.approvals.append(decision, step)
        self.mirror.update(decision.model)

    # What rates ---------------------------------------------------------------------------------------------------

    def has_champion(self, model: str) -> bool:
        """Returns whether a version is in force; its files are not checked."""
        return self.approvals.in_force(model) is not None

    def has_any_champion(self) -> bool:
        """Returns whether any model may rate."""
        return any(self.has_champion(definition.model) for definition in LISTS.values())

    def champion(self, model: str) -> Champion | None:
        """Returns the version that rates, from the log alone; None before the first approval.

        Raises:
            VerificationError: The log is damaged, or a file is not what was reviewed.
        """
        current = self.approvals.in_force(model)
        return None if current is None else self.approvals.read_champion(current)

    def champion_to_rate(self, model: str) -> Champion | None:
        """Returns the champion, after MLflow and the log were compared.

        Raises:
            VerificationError: As `champion`; or the log was cut short, or MLflow's database was restored from before.
        """
        self.mirror.check(model)
        return self.champion(model)

    def once_champion(self, model: str, model_digest: str) -> Champion | None:
        """Returns the version with this digest as it was last in force; None if it never was.

        Raises:
            VerificationError: As `champion`.
        """
        decision = self.approvals.approval_of(model, model_digest)
        return None if decision is None else self.approvals.read_champion(decision)

    def shadowing(self, model: str) -> Champion | None:
        """Returns the version that rates next to the champion, or None.

        Raises:
            VerificationError: The log is damaged, or a file changed since the shadow started.
        """
        shadow = self.approvals.shadow(model)
        return None if shadow is None else self.approvals.read_champion(shadow)

    # Checks -------------------------------------------------------------------------------------------------------

    def check_log(self) -> None:
        """Compares the log with MLflow, for every model.

        Raises:
            VerificationError: The log was damaged or cut short, or MLflow's database was restored from before.
        """
        for model in self.mirror.models(self.approvals.decisions()):
            self.mirror.check(model)

    def problems(self, heads_elsewhere: Mapping[str, str]) -> list[str]:
        """Returns what is wrong with the log and the files that it names, a sentence each.

        Args:
            heads_elsewhere: Heads of the log that are recorded elsewhere, as in receipts, by where.
        """
        try:
            heads, decisions = self.approvals.heads(), self.approvals.decisions()
        except VerificationError as error:
            return [str(error)]
        problems = [
            f"{self.approvals.missing_head(f'{where} names', head)} Restore it from a backup."
            for where, head in heads_elsewhere.items()
            if head not in heads
        ]
        checks: list[Callable[[], object]] = [
            partial(self.mirror.check, model) for model in self.mirror.models(decisions)
        ]
        stacks = self.approvals.champion_stacks().values()
        checks += [partial(self.approvals.read_champion, stack[-1]) for stack in stacks if stack]
        for check in checks:
            try:
                check()
            except VerificationError as error:
                problems.append(str(error))
        return problems

    def _is_intact(self, version: Version) -> bool:
        try:
            self.read_as_trained(version)
        except VerificationError:
            return False
        return True

    def _version(
        self,
        created: Any,
        statuses: Mapping[tuple[str, int], tuple[str, tuple[str, ...]]],
        metrics: Mapping[str, float],
    ) -> Version:
        """Builds a version from MLflow's record of it and the log's statuses."""
        tags = dict(created.tags or {})
        status, failures = statuses.get((created.name, int(created.version)), (UNFINISHED, ()))
        return Version(
            model=created.name,
            version=int(created.version),
            model_digest=tags.get("model_digest", ""),
            training_digest=tags.get("training_digest", ""),
            run_id=created.run_id,
            status=status,
            folder=Home(self.home).mlflow_artifacts / created.name / created.run_id / "artifacts" / "model",
            metrics={name: value for name, value in metrics.items() if not name.startswith(DRIFT_PREFIX)},
            failures=failures,
        )

    def _decision(self, action: str, version: Version, model: RiskModel, who: str, why: str) -> Decision:
        return Decision(
            action=action,
            model=version.model,
            version=version.version,
            model_digest=model.digest,
            folder=version.folder.relative_to(self.home).as_posix(),
            files=file_digests(version.folder),
            who=who,
            why=why,
            at=self.approvals.timestamp(),
        )


def _to_json(model: RiskModel, training_digest: str, evaluation: Evaluation) -> dict[str, Any]:
    """Returns the content of `evaluation.json`."""
    comparison = evaluation.comparison
    return {
        "model": model.body["name"],
        "model_digest": model.digest,
        "training_digest": training_digest,
        "judgement": evaluation.judgement.as_dict(),
        "comparison": comparison if comparison is None or isinstance(comparison, str) else comparison.as_dict(),
    }
