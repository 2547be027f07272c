"""The registry of model versions, and the review that decides which of them may rate.

MLflow holds runs, artifacts and versions for people to look at. What may rate is decided by an append-only,
hash-chained log of approvals beside it, which records the digest of what was reviewed: an alias that somebody moves in
MLflow's UI is a request, and changes nothing here. Training and scoring live elsewhere.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from groundwork.chain import ChainedLog
from groundwork.errors import BadInputError, VerificationError
from groundwork.faults import boundary
from groundwork.files import TEMPORARY_PREFIX, canonical_json, sha256_bytes, sync_directory, sync_file
from ml.model import RiskModel, read_model

if TYPE_CHECKING:
    from ml.evaluate import Report

ALIAS: Final = "champion"
HEAD_TAG: Final = "approvals_log_head"
THRESHOLDS_FILE: Final = Path(__file__).resolve().parent / "thresholds.yml"
AUTOMATIC: Final = "approve-if-passing"


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        model: The model's name.
        version: MLflow's number: its name in this registry, nothing more.
        model_digest: What identifies it anywhere.
        training_digest: Digest over the data, code and parameters it came from.
        run_id: MLflow's run.
        status: `champion`, `rejected`, `former` (a champion once) or `waiting` (for review).
        folder: Folder of the model's files.
        metrics: What was measured, by name.
    """

    model: str
    version: int
    model_digest: str
    training_digest: str
    run_id: str
    status: str
    folder: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Decision:
    """A line of the log of approvals.

    Attributes:
        action: `approve`, `reject` or `rollback`; the version is the one that it puts in force or refuses.
        model: The model's name.
        version: The version.
        model_digest: What was reviewed.
        folder: Folder of its files, relative to the home.
        files: SHA-256 of each file.
        who: Who decided.
        why: Why.
        at: When, ISO 8601 in UTC.
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


@dataclass(frozen=True)
class Champion:
    """The version that rates.

    Attributes:
        model: The model's name.
        version: Its version in this registry.
        model_digest: What identifies it.
        threshold: The least score to flag.
        floor: The least own_conduct_score to flag.
        bands: By band of ten points: band, verdicts, expected_precision (None where it is not well known).
        folder: Folder of its files.
        card: What the model's JSON says of features, calibration, flagging and prevalence.
        approved: The decision that put it in force.
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


@dataclass(frozen=True)
class Verdict:
    """What `approve_if_passing` found.

    Attributes:
        passed: Whether every minimum is reached.
        checks: One sentence a minimum, with the measured value and the limit.
        champion: The champion afterwards; None if there is none.
    """

    passed: bool
    checks: tuple[str, ...]
    champion: Champion | None


def utc_now() -> datetime:
    """Returns the time; the log of approvals is the one thing here that has one."""
    return datetime.now(UTC)


class Registry:
    """Versions in MLflow below a home, and the log of approvals beside them."""

    def __init__(self, home: Path, now: Callable[[], datetime] = utc_now) -> None:
        """Names the home; nothing is opened or made before it is needed."""
        self.home = home.resolve()
        self.approvals = ChainedLog(self.home / "models" / "log.jsonl")
        self._now = now
        self._connected: Any = None

    # Versions -----------------------------------------------------------------------------------------------------

    def register(
        self,
        model: RiskModel,
        *,
        card: Mapping[str, Any],
        report: Report,
        parameters: Mapping[str, Any],
        provenance: Mapping[str, str],
        training_digest: str,
    ) -> Version:
        """Logs a run with everything that a reviewer needs and makes a version of it.

        Args:
            model: The model.
            card: Plain data for the reviewer.
            report: What was measured.
            parameters: The training's choices.
            provenance: Digests of what the data came from.
            training_digest: Digest over data, code and parameters.

        Returns:
            The version, which waits for review.
        """
        from ml import plots

        name = str(model.body["name"])
        client = self._client()
        run = client.create_run(self._experiment(name), run_name=f"{name} {card.get('as_of', '')}".strip())
        files = {f"model/{file}": content for file, content in model.files().items()}
        files |= {f"plots/{file}": content for file, content in plots.pictures(report).items()}
        files["card.json"] = canonical_json(
            {**card, "importances": dict(report.importances), "provenance": dict(provenance)}
        )
        self._log_run(run.info.run_id, files, report.metrics, parameters, {**provenance, **card["data"]})
        tags = {"model_digest": model.digest, "training_digest": training_digest}
        tags |= {name: str(count) for name, count in card["standing"].items()}
        self._ensure_model(name)
        made = client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/model",
            run_id=run.info.run_id,
            tags=tags,
            description=_described(run.info.run_id, card, report),
        )
        return self._version(made, {}, dict(report.metrics))

    def version_of_training(self, model: str, training_digest: str) -> Version | None:
        """Returns the newest intact version that a training of this digest gave, or None."""
        for version in reversed(self.versions(model)):
            if version.training_digest == training_digest and self._is_intact(version):
                return version
        return None

    def versions(self, model: str | None = None) -> list[Version]:
        """Returns the versions of a model, or of all models, by name and rising version."""
        if not (self.home / "mlflow.db").exists():
            return []
        client = self._client()
        query = f"name = '{model}'" if model else ""
        found = _all_pages(lambda token: client.search_model_versions(query, max_results=1000, page_token=token))
        statuses = self._statuses()
        listed = [self._version(made, statuses, client.get_run(made.run_id).data.metrics) for made in found]
        return sorted(listed, key=lambda version: (version.model, version.version))

    def version(self, model: str, version: int) -> Version:
        """Returns one version.

        Raises:
            BadInputError: There is no such version.
        """
        known = self.versions(model)
        for candidate in known:
            if candidate.version == version:
                return candidate
        numbers = ", ".join(str(candidate.version) for candidate in known) or "none"
        raise BadInputError(f"{model} has no version {version}; it has {numbers}. `touchstone models list` shows all.")

    # Review -------------------------------------------------------------------------------------------------------

    def approve(self, model: str, version: int, *, who: str, why: str) -> Champion:
        """Makes a version the champion. What is champion already stays so, and nothing is logged twice.

        Args:
            model: The model's name.
            version: The version that was reviewed.
            who: Who reviewed it.
            why: Why it may rate.

        Returns:
            The champion.

        Raises:
            BadInputError: There is no such version, or who or why is empty.
            VerificationError: A file of the version is not what its training wrote, or the log is damaged.
        """
        chosen = self.version(model, version)
        reviewed = read_model(chosen.folder, chosen.model_digest)
        present = self._in_force().get(model, [])
        if not present or present[-1].version != version or present[-1].model_digest != reviewed.digest:
            self._decide("approve", chosen, reviewed, who, why)
        self._mirror(model)
        return self._champion_of(self._in_force()[model][-1])

    def reject(self, model: str, version: int, *, who: str, why: str) -> Decision:
        """Notes that a version must not rate.

        Raises:
            BadInputError: There is no such version, it is the champion (roll back first), or who or why is empty.
        """
        chosen = self.version(model, version)
        if chosen.status == ALIAS:
            raise BadInputError(
                f"{model} version {version} is the champion. Approve another version or roll back first."
            )
        decision = self._decide("reject", chosen, read_model(chosen.folder, chosen.model_digest), who, why)
        self._mirror(model)
        return decision

    def rollback(self, model: str, *, who: str, why: str) -> Champion:
        """Puts the champion before the present one in force again.

        Raises:
            BadInputError: There is no earlier champion, or who or why is empty.
            VerificationError: A file of the earlier one is not what was reviewed.
        """
        history = self._in_force().get(model, [])
        if len(history) < 2:
            raise BadInputError(
                f"{model} has no earlier champion to roll back to. `touchstone models log` shows the reviews."
            )
        earlier = history[-2]
        read_model(self.home / earlier.folder, earlier.model_digest)
        self._append(Decision(**{**earlier.__dict__, "action": "rollback", "who": who, "why": why, "at": self._time()}))
        self._mirror(model)
        return self._champion_of(self._in_force()[model][-1])

    def approve_if_passing(self, version: Version, thresholds: Path = THRESHOLDS_FILE) -> Verdict:
        """Approves a model's first version if it reaches every minimum of `ml/thresholds.yml`.

        A model that has a champion keeps it: the next one is for a person to approve.

        Args:
            version: The version to judge.
            thresholds: YAML with `minimums: {model: {metric: value}}`.

        Returns:
            What was checked, and the champion afterwards.

        Raises:
            BadInputError: The file declares no minimums for the model.
        """
        present = self.champion(version.model)
        checks = _checks(version, _minimums(thresholds, version.model))
        passed = all(passing for passing, _ in checks)
        said = tuple(sentence for _, sentence in checks)
        if present is None and passed:
            why = f"passes {thresholds.name}: {'; '.join(said)}"
            present = self.approve(version.model, version.version, who=AUTOMATIC, why=why)
        return Verdict(passed, said, present)

    def champion(self, model: str) -> Champion | None:
        """Returns the version that rates, from the log alone; None before the first approval.

        Raises:
            VerificationError: The log is damaged, or a file is not what was reviewed.
        """
        history = self._in_force().get(model, [])
        return self._champion_of(history[-1]) if history else None

    def log(self) -> list[Decision]:
        """Returns every decision, oldest first, having checked the chain."""
        return [_decision(line) for line in self.approvals.read()]

    def head(self) -> str:
        """Returns the hash of the newest line of the log; receipts hold it."""
        return self.approvals.head()

    # Inside -------------------------------------------------------------------------------------------------------

    def _client(self) -> Any:
        if self._connected is None:
            self.home.mkdir(parents=True, exist_ok=True)
            _quiet_mlflow()
            from mlflow import MlflowClient

            store = f"sqlite:///{self.home / 'mlflow.db'}"
            self._connected = MlflowClient(tracking_uri=store, registry_uri=store)
        return self._connected

    def _experiment(self, name: str) -> str:
        found = self._client().get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        folder = self.home / "mlflow-artifacts" / name
        return str(self._client().create_experiment(name, artifact_location=folder.as_uri()))

    def _ensure_model(self, name: str) -> None:
        client = self._client()
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(
                name, description="Reviewed with `touchstone models`; the log of approvals decides."
            )

    def _log_run(
        self,
        run_id: str,
        files: Mapping[str, bytes],
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        """Logs a run whole; a run that fails half-way is marked failed, and no version is made of it."""
        from mlflow.entities import Metric, Param, RunTag

        client = self._client()
        at = int(self._now().timestamp() * 1000)
        try:
            self.approvals.path.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.approvals.path.parent, prefix=TEMPORARY_PREFIX) as folder:
                for name, content in files.items():
                    (Path(folder) / name).parent.mkdir(exist_ok=True)
                    (Path(folder) / name).write_bytes(content)
                client.log_artifacts(run_id, folder)
            client.log_batch(
                run_id,
                metrics=[Metric(name, value, at, 0) for name, value in metrics.items()],
                params=[Param(name, str(value)) for name, value in parameters.items()],
                tags=[RunTag(f"touchstone.{name}", str(value)) for name, value in tags.items() if value],
            )
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")

    def _version(self, made: Any, statuses: Mapping[tuple[str, int], str], metrics: Mapping[str, float]) -> Version:
        tags = dict(made.tags or {})
        return Version(
            model=made.name,
            version=int(made.version),
            model_digest=tags.get("model_digest", ""),
            training_digest=tags.get("training_digest", ""),
            run_id=made.run_id,
            status=statuses.get((made.name, int(made.version)), "waiting"),
            folder=self.home / "mlflow-artifacts" / made.name / made.run_id / "artifacts" / "model",
            metrics=dict(metrics),
        )

    def _is_intact(self, version: Version) -> bool:
        try:
            read_model(version.folder, version.model_digest)
        except VerificationError:
            return False
        return True

    def _in_force(self) -> dict[str, list[Decision]]:
        """By model the champions that stand on each other, the present one last; a rollback takes the last one off."""
        stacks: dict[str, list[Decision]] = {}
        for decision in self.log():
            stack = stacks.setdefault(decision.model, [])
            if decision.action == "approve":
                stack.append(decision)
            elif decision.action == "rollback":
                stack[-2:] = [decision]
        return stacks

    def _statuses(self) -> dict[tuple[str, int], str]:
        statuses: dict[tuple[str, int], str] = {}
        for decision in self.log():
            statuses[decision.model, decision.version] = "rejected" if decision.action == "reject" else "former"
        for model, stack in self._in_force().items():
            if stack:
                statuses[model, stack[-1].version] = ALIAS
        return statuses

    def _decide(self, action: str, version: Version, reviewed: RiskModel, who: str, why: str) -> Decision:
        decision = Decision(
            action=action,
            model=version.model,
            version=version.version,
            model_digest=reviewed.digest,
            folder=version.folder.relative_to(self.home).as_posix(),
            files=_digests(reviewed),
            who=who,
            why=why,
            at=self._time(),
        )
        self._append(decision)
        return decision

    def _append(self, decision: Decision) -> None:
        if not decision.who.strip() or not decision.why.strip():
            raise BadInputError("A review needs to say who decided and why; one of the two is empty.")
        folder = self.home / decision.folder
        for file in decision.files:
            sync_file(folder / file)
        sync_directory(folder)
        with boundary("approval.append", self.approvals.path):
            self.approvals.append({**decision.__dict__, "files": dict(decision.files)})

    def _time(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="seconds")

    def _mirror(self, model: str) -> None:
        """Shows the log's state in MLflow, for its UI; nothing here ever reads it back."""
        client = self._client()
        for (name, version), status in self._statuses().items():
            if name == model:
                client.set_model_version_tag(name, str(version), "review", status)
        stack = self._in_force().get(model, [])
        if stack:
            client.set_registered_model_alias(model, ALIAS, str(stack[-1].version))
        self._ensure_model(model)
        client.set_registered_model_tag(model, HEAD_TAG, self.head())

    def _champion_of(self, decision: Decision) -> Champion:
        folder = self.home / decision.folder
        model = read_model(folder, decision.model_digest)
        if _digests(model) != dict(decision.files):
            raise VerificationError(f"{folder}: its files are not those that the approval of {decision.at} recorded.")
        return Champion(
            model=decision.model,
            version=decision.version,
            model_digest=decision.model_digest,
            threshold=model.threshold,
            floor=model.floor,
            bands=tuple(model.body["flagging"]["bands"]),
            folder=folder,
            card={name: value for name, value in model.body.items() if name != "usual"},
            approved=decision,
        )


def _quiet_mlflow() -> None:
    """Settings that MLflow reads from the environment when it is imported: no telemetry, no chatter."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def _all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _digests(model: RiskModel) -> dict[str, str]:
    return {name: sha256_bytes(content) for name, content in model.files().items()}


def _decision(line: Mapping[str, Any]) -> Decision:
    return Decision(**{name: line[name] for name in Decision.__dataclass_fields__})


def _minimums(path: Path, model: str) -> dict[str, float]:
    declared = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("minimums", {}).get(model)
    if not declared:
        raise BadInputError(f"{path}: no minimums for {model}; nothing can be approved without a person.")
    return {str(metric): float(value) for metric, value in declared.items()}


def _checks(version: Version, minimums: Mapping[str, float]) -> list[tuple[bool, str]]:
    checks = []
    for metric, least in sorted(minimums.items()):
        value = version.metrics.get(metric)
        said = "was not measured" if value is None else f"is {value:.4f}"
        checks.append((value is not None and value >= least, f"{metric} {said}, at least {least:g}"))
    return checks


SHOWN: Final = {
    "auroc": ("evaluate", "verdict", "forward"),
    "average_precision": ("evaluate", "verdict", "forward"),
    "precision": ("evaluate", "verdict"),
    "recall": ("evaluate", "verdict"),
    "calibration_slope": ("verdict",),
    "brier_skill": ("verdict",),
}


def _described(run_id: str, card: Mapping[str, Any], report: Report) -> str:
    """The version's page in MLflow: what a reviewer wants to see first; each figure where its source can tell it."""
    cells = [(source, cell) for source in ("evaluate", "verdict", "forward") for cell in ("seen", "unseen")]
    gap = "\u00a0" * 3  # MLflow's page puts the columns of a table next to each other
    heads = " | ".join(f"{source} {cell}{gap}" for source, cell in cells)
    lines = [f"| | {heads} |", "|---" * (len(cells) + 1) + "|"]
    for metric, sources in SHOWN.items():
        known = [
            report.metrics.get(f"{source}_{metric}_{cell}") if source in sources else None for source, cell in cells
        ]
        lines.append(
            f"| {metric}{gap} | " + " | ".join("" if value is None else f"{value:.3f}" for value in known) + " |"
        )
    flags, calibration = card["flagging"], card["calibration"]["main"]
    told = (
        f"Trained as of {card['as_of']}. Calibration: {calibration['method']} on {calibration['positives']} positives. "
    )
    told += f"Threshold {flags['threshold']:g} ({flags['basis']}), floor {flags['floor']:g}."
    standing = (
        "Of {live_count:,} that live and have no positive label, {flagged_count:,} would be flagged, "
        "{between_floor_and_threshold_count:,} lie between floor and threshold (third parties could push these onto a list, "
        "and no others), and {held_by_floor_count:,} are above the threshold but held off by the floor. "
        "An estimated {exposed:.1%} of the honest merchants reach the floor, themselves or with some of their goods."
    ).format(**card["standing"], exposed=flags["exposed_share"])
    pictures = [
        f"![{name}](/get-artifact?path=plots/{name}.png&run_uuid={run_id})" for name in ("reliability", "importances")
    ]
    return "\n\n".join([told, standing, "\n".join(lines), *pictures])
