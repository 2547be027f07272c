"""The registry of model versions, and the review that decides which of them may rate.

MLflow holds runs, artifacts and versions for people to look at. What may rate is decided by an append-only,
hash-chained log of approvals beside it, which records the digest of what was reviewed. MLflow mirrors it, and its tag
with the log's head tells where the log was cut or MLflow's database restored: then nothing rates. An alias that somebody
moves in MLflow's UI is a request, which `settle_moves` grants or puts back. Training and scoring live elsewhere.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal

from ml.model import MLFLOW_FILES, RESTORE, RiskModel, read_model
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.failpoints import Failpoint, failpoint
from touchstone.core.files import TEMPORARY_PREFIX, canonical_json, sha256_bytes, sync_directory, sync_file, write_bytes
from touchstone.core.hash_chain import GENESIS, ChainedLog
from touchstone.core.lists import LISTS

if TYPE_CHECKING:
    from ml.review import Evaluation

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
HEAD_TAG: Final = "approvals_log_head"
WAITING: Final = "waiting"
REJECTED: Final = "rejected"
UNFINISHED: Final = "unfinished"
EVALUATION_FILE: Final = "evaluation.json"
AUTOMATIC: Final = "approve-if-passing"
DRIFT_PREFIX: Final = "drift_"
"""What is measured of a version while it rates; everything else was measured by its training."""
IN_MLFLOW: Final = "mlflow-ui, unauthenticated"
"""Who moved an alias there: MLflow keeps no name of it."""
RUNS_VIEW: Final = "main_metrics"
RUNS_VIEW_TAG: Final = f"mlflow.sharedViewState.{RUNS_VIEW}"
RUNS_COLUMNS: Final = {
    "params.`version`": 90,
    "params.`as_of`": 90,
    "params.`gate`": 90,
    "metrics.`forward_auroc_unseen`": 150,
    "metrics.`forward_average_precision_unseen`": 230,
    "metrics.`verdict_precision_all`": 160,
    "metrics.`verdict_recall_all`": 160,
    "metrics.`verdict_calibration_slope_all`": 210,
    "metrics.`verdict_brier_skill_all`": 180,
}
"""The columns of a model's runs in the view that is saved for MLflow's pages, and their widths in pixels."""
TABLE_COLUMNS: Final = {
    "params.`label`": 120,
    "params.`rows`": 90,
    "params.`edges`": 120,
    "params.`cuts`": 70,
    "metrics.`auroc`": 90,
    "metrics.`average_precision`": 150,
    "metrics.`f1`": 80,
    "metrics.`precision_at_k`": 130,
    "metrics.`calibration_slope`": 140,
    "metrics.`brier_skill`": 110,
}
"""The same of tables that somebody brought."""


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        model: The model's name.
        version: MLflow's number: its name in this registry, nothing more.
        model_digest: What identifies it anywhere.
        training_digest: Digest over the data, code and parameters it came from.
        run_id: MLflow's run.
        status: `champion`, `challenger` (the newest that waits for review), `waiting` (an older one that does), `rejected`,
            `former` (a champion once), or `unfinished` (its training broke off before the log had it).
        folder: Folder of the model's files.
        metrics: What was measured, by name.
        failures: What the gate of the review found that does not hold, a sentence each.
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
class Decision:
    """A line of the log of approvals.

    Attributes:
        action: `train`, `approve`, `reject` or `rollback`; the version is the one that was registered, that it puts in force,
            or that it refuses. `request`: somebody set the alias `champion` on the version in MLflow, and it was put back.
            `shadow`: it rates beside the champion from then on, until it is approved or rejected, another one does, or
            `unshadow`.
        model: The model's name.
        version: The version.
        model_digest: What was reviewed.
        folder: Folder of its files, relative to the home.
        files: SHA-256 of each file.
        who: Who decided, or trained.
        why: Why.
        at: When, ISO 8601 in UTC.
        evaluation: SHA-256 of the version's `evaluation.json`: the comparison and what the gate found.
        failures: What the gate found that does not hold, a sentence each.
        is_override: Whether it was approved although something does not hold.
        replaces: The version that rated before; None if none did.
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
class Move:
    """What became of an alias `champion` that somebody moved in MLflow.

    Attributes:
        model: The model's name.
        version: Where the alias was put; None where it was taken away.
        outcome: `approved`, `waits` (for a person to confirm it by `touchstone models approve`) or `undone`.
        says: Why, a sentence or more.
    """

    model: str
    version: int | None
    outcome: Literal["approved", "waits", "undone"]
    says: str


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
        passed: Whether everything holds that `ml/thresholds.yml` asks for.
        says: Sentences: what does not hold, or that all does.
        champion: The champion afterwards; None if there is none.
    """

    passed: bool
    says: tuple[str, ...]
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
        self._unmirrored = self.home / "models" / "unmirrored"
        self._now = now
        self._connected: Any = None
        self._connecting = threading.Lock()

    def connect(self) -> None:
        """Opens MLflow's database, or makes it: some seconds, the first time, in which others can work."""
        self._client()

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
        """Logs a run with everything that a reviewer needs and makes a version of it.

        Args:
            model: The model.
            facts: `card.json`: plain data for the reviewer, with as_of, data, provenance and training_digest.
            evaluation: What was found out about it.
            files: Further artifacts: the card and its plots.
            parameters: The training's choices.
            trained_by: Who trained.

        Returns:
            The version, which waits for review: the challenger.
        """
        from ml import card

        name = str(model.body["name"])
        client = self._client()
        run = client.create_run(self._experiment(name), run_name=f"{name} {facts['as_of']}")
        training_digest = str(facts["training_digest"])
        failures, metrics = evaluation.judgement.failures, evaluation.report.metrics
        evaluated = canonical_json(_as_data(model, training_digest, evaluation))
        artifacts = {
            f"model/{name}": content for name, content in {**model.files(), **card.mlflow_files(model)}.items()
        }
        artifacts |= {**files, "card.json": canonical_json(facts), EVALUATION_FILE: evaluated}
        gate = {"gate": "failed" if failures else "passed"}
        self._log_run(
            run.info.run_id,
            artifacts,
            metrics,
            {"as_of": facts["as_of"], **gate, **parameters},
            facts["provenance"],
            facts["data"],
        )
        tags = {"model_digest": model.digest, "training_digest": training_digest}
        tags |= {**gate, "gate_failures": "; ".join(failures)[:5000]}
        tags |= {name: str(count) for name, count in facts["standing"].items()}
        self._ensure_model(name)
        made = client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/model",
            run_id=run.info.run_id,
            tags=tags,
            description=card.described(run.info.run_id, facts, evaluation),
        )
        client.log_param(run.info.run_id, "version", made.version)
        version = self._version(made, {}, metrics)
        why = "fails the gate: " + "; ".join(failures) if failures else "passes the gate"
        line = self._line("train", version, model, trained_by, why)
        self._record(replace(line, evaluation=sha256_bytes(evaluated), failures=failures), "training.log")
        return self.version(name, version.version)

    def version_of_training(self, model: str, training_digest: str) -> Version | None:
        """Returns the newest intact version that a training of this digest gave, or None."""
        for version in reversed(self.versions(model)):
            if version.training_digest == training_digest and version.status != UNFINISHED and self._is_intact(version):
                return version
        return None

    def versions(self, model: str | None = None) -> list[Version]:
        """Returns the versions of a model, or of all models, by name and rising version."""
        if not (self.home / "mlflow.db").exists():
            return []
        client = self._client()
        query = f"name = '{model}'" if model else ""
        found = _all_pages(lambda token: client.search_model_versions(query, max_results=1000, page_token=token))
        reviews = self._reviews()
        listed = [self._version(made, reviews, client.get_run(made.run_id).data.metrics) for made in found]
        return sorted(listed, key=lambda version: (version.model, version.version))

    def runs_page(self, model: str) -> str | None:
        """Returns where MLflow's pages show a model's runs by the saved view, below their address; None before a training."""
        if not (self.home / "mlflow.db").exists():
            return None
        found = self._client().get_experiment_by_name(model)
        if found is None or RUNS_VIEW_TAG not in found.tags:
            return None
        return f"/#/experiments/{found.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={RUNS_VIEW}"

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

    def approve(
        self, model: str, version: int, *, who: str, why: str, override: bool = False, by_trainer: bool = True
    ) -> Champion:
        """Makes a version the champion. What is champion already stays so, and nothing is logged twice.

        Args:
            model: The model's name.
            version: The version that was reviewed.
            who: Who reviewed it.
            why: Why it may rate.
            override: Whether it may although it does not hold what the gate of the review asks for.
            by_trainer: Whether whoever trained it may also approve it.

        Returns:
            The champion.

        Raises:
            BadInputError: There is no such version, who or why is empty, or who trained it is not to approve it.
            GateRefusedError: It does not hold what the gate asks for, and there is no override.
            VerificationError: A file of the version is not what its training wrote, or the log is damaged.
        """
        chosen = self.version(model, version)
        reviewed, trained = self._as_trained(chosen)
        present = self._present(model)
        if present is not None and (present.version, present.model_digest) == (version, reviewed.digest):
            self._mirror(model)
            return self._champion_of(present)
        if who == trained.who and not by_trainer:
            raise BadInputError(
                f"{who} trained {model} version {version}, and whoever trains may not approve. Let somebody else review it "
                "(--who), or set TOUCHSTONE_TRAINER_MAY_APPROVE=true."
            )
        if trained.failures and not override:
            raise GateRefusedError(
                f"{model} version {version} does not hold what ml/thresholds.yml asks for: {'; '.join(trained.failures)}. "
                "Train a better one; or approve it all the same with --override and the reason in --why, which goes on "
                "every receipt made with it."
            )
        decision = replace(
            self._line("approve", chosen, reviewed, who, why),
            evaluation=trained.evaluation,
            failures=trained.failures,
            is_override=bool(trained.failures),
            replaces=present.version if present else None,
        )
        self._record(decision)
        return self._champion_of(decision)

    def _as_trained(self, version: Version) -> tuple[RiskModel, Decision]:
        """Reads a version's model and its training's line in the log, having checked that files and line belong together."""
        reviewed = read_model(version.folder, version.model_digest)
        lines = [line for line in self.log() if line.action == "train" and line.model == version.model]
        trained = next((line for line in reversed(lines) if line.version == version.version), None)
        if trained is None:
            raise VerificationError(
                f"{version.model} version {version.version} is in MLflow, but the log of approvals has no training that gave "
                "it: it was not made by `touchstone`, or its training broke off. Train again."
            )
        file = version.folder.parent / EVALUATION_FILE
        evaluated = sha256_bytes(file.read_bytes()) if file.is_file() else "missing"
        _check_files(version.folder, trained)
        if (reviewed.digest, evaluated) != (trained.model_digest, trained.evaluation):
            what = "the model" if reviewed.digest != trained.model_digest else file.name
            raise VerificationError(
                f"{version.model} version {version.version}: {what} is not what its training of {trained.at} wrote and "
                f"judged. It cannot be approved: restore {version.folder.parent}, or train again."
            )
        return reviewed, trained

    def reject(self, model: str, version: int, *, who: str, why: str) -> Decision:
        """Notes that a version must not rate.

        Raises:
            BadInputError: There is no such version, it is the champion (roll back first), or who or why is empty.
        """
        chosen = self.version(model, version)
        if chosen.status == CHAMPION:
            raise BadInputError(
                f"{model} version {version} is the champion. Approve another version or roll back first."
            )
        decision = self._line("reject", chosen, read_model(chosen.folder, chosen.model_digest), who, why)
        self._record(decision)
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
        self._champion_of(earlier)
        back = {"action": "rollback", "who": who, "why": why, "at": self._time(), "replaces": history[-1].version}
        decision = Decision(**{**earlier.__dict__, **back})
        self._record(decision)
        return self._champion_of(decision)

    def shadow(self, model: str, version: int, *, who: str, why: str) -> Decision:
        """Lets a version rate beside the champion, in place of any that does: its scores touch no list.

        Raises:
            BadInputError: There is no such version, it is the champion or was rejected, or who or why is empty.
            VerificationError: A file of it is not what its training wrote.
        """
        chosen = self.version(model, version)
        if chosen.status in {CHAMPION, REJECTED}:
            raise BadInputError(f"{model} version {version} is {chosen.status}: it cannot rate in shadow.")
        decision = self._line("shadow", chosen, self._as_trained(chosen)[0], who, why)
        self._record(decision)
        return decision

    def unshadow(self, model: str, *, who: str, why: str) -> Decision:
        """Ends what `shadow` began.

        Raises:
            BadInputError: No version rates in shadow, or who or why is empty.
        """
        line = self._in_shadow(model)
        if line is None:
            raise BadInputError(
                f"No version of {model} rates in shadow. `touchstone models log` shows what was decided."
            )
        decision = Decision(**{**line.__dict__, "action": "unshadow", "who": who, "why": why, "at": self._time()})
        self._record(decision)
        return decision

    def shadowing(self, model: str) -> Champion | None:
        """Returns the version that rates beside the champion, or None.

        Raises:
            VerificationError: The log is damaged, or a file is not what it was when the shadow began.
        """
        line = self._in_shadow(model)
        return None if line is None else self._champion_of(line)

    def _in_shadow(self, model: str) -> Decision | None:
        found = None
        for line in self.log():
            if line.model != model:
                continue
            if line.action == "shadow":
                found = line
            elif found is not None and (
                line.action == "unshadow" or (line.action in {"approve", "reject"} and line.version == found.version)
            ):
                found = None
        return found

    def approve_if_passing(self, version: Version) -> Verdict:
        """Approves a model's first version if it holds all that `ml/thresholds.yml` asks for.

        A model that has a champion keeps it: the next one is for a person to approve.

        Args:
            version: The version to judge.

        Returns:
            What was found, and the champion afterwards.
        """
        present = self.champion(version.model)
        said = version.failures or ("it holds all that ml/thresholds.yml asks for",)
        if present is None and not version.failures:
            present = self.approve(version.model, version.version, who=AUTOMATIC, why=said[0])
        return Verdict(not version.failures, said, present)

    def has_champion(self, model: str) -> bool:
        """Tells whether a version is in force, be its files what was reviewed or not."""
        return self._present(model) is not None

    def has_any_champion(self) -> bool:
        """Tells whether any model may rate."""
        return any(self.has_champion(definition.model) for definition in LISTS.values())

    def champion(self, model: str) -> Champion | None:
        """Returns the version that rates, from the log alone; None before the first approval.

        Raises:
            VerificationError: The log is damaged, or a file is not what was reviewed.
        """
        present = self._present(model)
        return None if present is None else self._champion_of(present)

    def once_champion(self, model: str, model_digest: str) -> Champion | None:
        """Returns the version of such a digest as it was when it was in force last; None if it never was.

        Raises:
            VerificationError: As `champion`.
        """
        decision = self.approval_of(model, model_digest)
        return None if decision is None else self._champion_of(decision)

    def champion_to_rate(self, model: str) -> Champion | None:
        """Returns the same, having seen that MLflow knows of every line of the log, and the log of what MLflow was told.

        Raises:
            VerificationError: As `champion`; or the log was cut short, or MLflow's database was restored from before.
        """
        self._check_mirror(model)
        return self.champion(model)

    def settle_moves(self, *, may_approve: bool) -> list[Move]:
        """Grants or puts back each alias `champion` that somebody moved in MLflow, and logs it as a request.

        What fails the gate, was rejected, or is not what its training wrote, is put back.

        Args:
            may_approve: Whether a move that may be granted is; otherwise it waits for a person to confirm it.

        Returns:
            What became of each, by model.

        Raises:
            VerificationError: The log is damaged or was cut short, or MLflow's database was restored from before.
        """
        known = {line.model for line in self.log()}
        moves = []
        for model in sorted(known):
            self._check_mirror(model)
            aliases = self._registered(model).aliases
            moved = int(aliases[CHAMPION]) if CHAMPION in aliases else None
            present = self._present(model)
            if moved != (present.version if present else None):
                moves.append(self._settle(model, moved, present, may_approve=may_approve))
        return moves

    def log(self) -> list[Decision]:
        """Returns every decision, oldest first, having checked the chain."""
        return [_decision(line) for line in self.approvals.read()]

    def problems(self, heads_elsewhere: Mapping[str, str]) -> list[str]:
        """Returns what does not hold of the log and of what it names, a sentence each.

        Args:
            heads_elsewhere: Heads of the log that were written down elsewhere, as in receipts, by where.
        """
        try:
            heads, lines = self.approvals.heads(), self.log()
        except VerificationError as error:
            return [str(error)]
        found = [
            f"{self.approvals.path}: no line of it gave the head {head[:12]}…, which {where} names: its end was cut off, or "
            "lines were put in its place. Restore it from a backup."
            for where, head in heads_elsewhere.items()
            if head not in heads
        ]
        checks: list[Callable[[], object]] = [partial(self._check_mirror, model) for model in self._reviewed(lines)]
        checks += [partial(self._champion_of, stack[-1]) for stack in self._in_force().values() if stack]
        for check in checks:
            try:
                check()
            except VerificationError as error:
                found.append(str(error))
        return found

    def check_log(self) -> None:
        """Holds the log and what MLflow was told of it against each other, for every model.

        Raises:
            VerificationError: The log was damaged or cut short, or MLflow's database was restored from before.
        """
        for model in self._reviewed(self.log()):
            self._check_mirror(model)

    def approval_of(self, model: str, model_digest: str, head: str | None = None) -> Decision | None:
        """Returns the newest decision that put a model of such a digest in force; None if none ever did.

        Args:
            model: The model's name.
            model_digest: What identifies it.
            head: The log's head at a time, as receipts hold it: what was decided later does not count.

        Raises:
            VerificationError: The log is damaged, or never had that head.
        """
        lines = self.log()
        if head is not None:
            heads = self.approvals.heads()
            self._check_whole("a receipt names", head, heads)
            lines = lines[: heads.index(head)]
        found = (line for line in reversed(lines) if (line.model, line.model_digest) == (model, model_digest))
        return next((line for line in found if line.action in ("approve", "rollback")), None)

    def head(self) -> str:
        """Returns the hash of the newest line of the log; receipts hold it."""
        return self.approvals.head()

    # Inside -------------------------------------------------------------------------------------------------------

    def _all_registered(self) -> list[Any]:
        """Returns MLflow's registered models, whoever registered them, with their aliases and tags."""
        if not (self.home / "mlflow.db").exists():
            return []
        client = self._client()
        return _all_pages(lambda token: client.search_registered_models(page_token=token))

    def _reviewed(self, lines: Sequence[Decision]) -> list[str]:
        """Returns the models that the log or MLflow knows of decisions on."""
        told = {model.name for model in self._all_registered() if HEAD_TAG in model.tags}
        return sorted(told | {line.model for line in lines})

    def _registered(self, model: str) -> Any:
        """Returns what MLflow holds of a model; no alias and no tag where it does not know it."""
        found = [registered for registered in self._all_registered() if registered.name == model]
        return found[0] if found else SimpleNamespace(aliases={}, tags={})

    def _check_mirror(self, model: str) -> None:
        """Holds the head that MLflow was told last against the log; mends what a kill between the two left.

        Raises:
            VerificationError: The log was cut short, or MLflow's database was restored from before.
        """
        heads, lines = self.approvals.heads(), self.log()
        self._tell_the_untold(heads)
        told = self._registered(model).tags.get(HEAD_TAG, GENESIS)
        self._check_whole(f"MLflow was told of {model}", told, heads)
        newest = max((number for number, line in enumerate(lines, start=1) if line.model == model), default=0)
        if heads.index(told) >= newest:
            return
        line = lines[newest - 1]
        raise VerificationError(
            f"MLflow's database does not know the newest line of the log of approvals on {model} ({line.action} of version "
            f"{line.version} by {line.who}, {line.at}): it was restored from before. Restore {self.home / 'mlflow.db'} as of "
            "then or later; or decide again what rates, by `touchstone models approve`, of the versions that it still has."
        )

    def _tell_the_untold(self, heads: Sequence[str]) -> None:
        """Tells MLflow of the log's newest line where a kill came between the two, before another line follows it."""
        if len(heads) > 1 and self._unmirrored.is_file() and self._unmirrored.read_text() == heads[-2]:
            model = self.log()[-1].model
            told = self._registered(model).tags.get(HEAD_TAG, GENESIS)
            self._check_whole(f"MLflow was told of {model}", told, heads)
            self._mirror(model)

    def _check_whole(self, where: str, told: str, heads: Sequence[str]) -> None:
        if told not in heads:
            raise VerificationError(
                f"{self.approvals.path}: no line of it gave the head {told[:12]}…, which {where}: its end was cut off, or lines "
                "were put in its place. Restore it from a backup; do not edit it."
            )

    def _settle(self, model: str, version: int | None, present: Decision | None, *, may_approve: bool) -> Move:
        """Grants one move of the alias, or logs it as a request and puts the alias back."""
        rates = f"version {present.version} goes on to rate" if present else "no version rates"
        named = version if version is not None or present is None else present.version
        failures: tuple[str, ...] = ()
        if version is None:
            outcome: Literal["waits", "undone"] = "undone"
            says = (
                f"the alias was taken away; {rates}. To put an earlier version to work: `touchstone models rollback`."
            )
        else:
            outcome, says, failures = self._request(model, version)
            if outcome == "waits" and may_approve:
                self.approve(model, version, who=IN_MLFLOW, why="the alias champion was set on it in MLflow")
                return Move(model, version, "approved", "it passed the gate, and is what its training wrote and judged")
            says = f"{says}; {rates}"
        self._record(
            Decision(
                action="request",
                model=model,
                version=named or 0,
                model_digest=self.version(model, named).model_digest if named else "",
                folder="",
                files={},
                who=IN_MLFLOW,
                why=f"the alias champion was {'taken away' if version is None else 'set on it'}: {outcome}, {says}",
                at=self._time(),
                failures=failures,
            )
        )
        return Move(model, version, outcome, says)

    def _request(self, model: str, version: int) -> tuple[Literal["waits", "undone"], str, tuple[str, ...]]:
        """Says whether a version may be approved by moving an alias, why, and what it fails."""
        chosen = self.version(model, version)
        try:
            _, trained = self._as_trained(chosen)
        except VerificationError as error:
            return "undone", str(error), ()
        if chosen.status == REJECTED:
            by = next(line for line in reversed(self.log()) if (line.model, line.version) == (model, version))
            return "undone", f"it was rejected by {by.who} on {by.at} ({by.why})", ()
        if trained.failures:
            return (
                "undone",
                f"it does not hold what ml/thresholds.yml asks for: {'; '.join(trained.failures)}",
                trained.failures,
            )
        says = f"it waits for a person to confirm it by `touchstone models approve {model} {version} --why REASON`"
        return "waits", says, ()

    def _client(self) -> Any:
        with self._connecting:  # models are prepared side by side, and one of them makes the database
            if self._connected is None:
                self.home.mkdir(parents=True, exist_ok=True)
                store = f"sqlite:///{self.home / 'mlflow.db'}"
                self._connected = load_mlflow()(tracking_uri=store, registry_uri=store)
            return self._connected

    def _experiment(self, name: str, widths: Mapping[str, int] = RUNS_COLUMNS) -> str:
        """Returns an experiment whose artifacts lie in this home, with its saved view; one of before a move is put aside."""
        client = self._client()
        found = client.get_experiment_by_name(name)
        place = (self.home / "mlflow-artifacts" / name).as_uri()
        if found is not None and found.artifact_location != place:
            client.rename_experiment(found.experiment_id, f"{name}, until {found.experiment_id} moved")
            found = None
        made = client.create_experiment(name, artifact_location=place) if found is None else found.experiment_id
        # MLflow's pages keep a saved view as JSON in a tag of the experiment.
        columns = list(widths)
        state = canonical_json({"selectedColumns": columns, "columnOrder": columns, "columnWidths": dict(widths)})
        view = canonical_json({"name": "Main metrics", "createdAt": 0, "state": state.decode()}).decode()
        client.set_experiment_tag(made, RUNS_VIEW_TAG, view)
        return str(made)

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
        provenance: Mapping[str, str],
        data: Mapping[str, str],
    ) -> None:
        """Logs a run whole; a run that fails half-way is marked failed, and no version is made of it."""
        from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

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
                tags=[
                    RunTag(f"touchstone.{name}", str(value)) for name, value in {**provenance, **data}.items() if value
                ],
            )
            # MLflow keeps 36 characters of a digest; the whole one is the tag.
            read = [Dataset(name, digest[:36], "touchstone", name) for name, digest in sorted(data.items()) if digest]
            client.log_inputs(run_id, [DatasetInput(dataset) for dataset in read])
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")

    def log_evaluation(
        self,
        name: str,
        described: str,
        files: Mapping[str, bytes],
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        digest: str,
    ) -> str:
        """Logs what models are worth on a table of somebody's own, as a run of the experiment `evaluate`.

        Args:
            name: The table's name; that of the run.
            described: What came of it, as Markdown; the pictures among the files are shown below.
            files: Artifacts by name.
            metrics: What was measured.
            parameters: What was asked for.
            digest: SHA-256 of the table.

        Returns:
            Where MLflow's pages show the run, below their address.
        """
        from ml import card

        experiment = self._experiment("evaluate", TABLE_COLUMNS)
        run = self._client().create_run(experiment, run_name=name)
        self._log_run(run.info.run_id, files, metrics, parameters, {}, {name: digest})
        pictures = [card.picture(run.info.run_id, path) for path in files if path.endswith(".png")]
        self._client().set_tag(run.info.run_id, "mlflow.note.content", "\n\n".join([described, *pictures]))
        return f"/#/experiments/{experiment}/runs/{run.info.run_id}?workflowType=machine_learning"

    def log_drift(self, champion: Champion, figures: Mapping[str, float], as_of: date, *, days: int) -> None:
        """Adds what was measured of a rated day to the run of the version that rated it, for MLflow's charts.

        Args:
            champion: The champion.
            figures: What was measured, by names that begin with `drift_`.
            as_of: The day; the same day again adds nothing.
            days: Days since the champion's cut.
        """
        from mlflow.entities import Metric

        client = self._client()
        run_id = client.get_model_version(champion.model, str(champion.version)).run_id
        at = int(datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC).timestamp() * 1000)
        client.log_batch(run_id, metrics=[Metric(name, value, at, days) for name, value in sorted(figures.items())])

    def _version(
        self,
        made: Any,
        reviews: Mapping[tuple[str, int], tuple[str, tuple[str, ...]]],
        metrics: Mapping[str, float],
    ) -> Version:
        tags = dict(made.tags or {})
        status, failures = reviews.get((made.name, int(made.version)), (UNFINISHED, ()))
        return Version(
            model=made.name,
            version=int(made.version),
            model_digest=tags.get("model_digest", ""),
            training_digest=tags.get("training_digest", ""),
            run_id=made.run_id,
            status=status,
            folder=self.home / "mlflow-artifacts" / made.name / made.run_id / "artifacts" / "model",
            metrics={name: value for name, value in metrics.items() if not name.startswith(DRIFT_PREFIX)},
            failures=failures,
        )

    def _is_intact(self, version: Version) -> bool:
        try:
            self._as_trained(version)
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

    def _present(self, model: str) -> Decision | None:
        """The decision that put in force what rates now; None where nothing does."""
        stack = self._in_force().get(model, [])
        return stack[-1] if stack else None

    def _reviews(self) -> dict[tuple[str, int], tuple[str, tuple[str, ...]]]:
        """By model and version: its status, and what the gate found that does not hold."""
        after = {"train": WAITING, "reject": REJECTED, "approve": "former", "rollback": "former"}
        log = [line for line in self.log() if line.action in after]
        statuses = {(line.model, line.version): after[line.action] for line in log}
        waiting = {model: version for (model, version), status in sorted(statuses.items()) if status == WAITING}
        statuses |= dict.fromkeys(waiting.items(), CHALLENGER)
        statuses |= {(model, stack[-1].version): CHAMPION for model, stack in self._in_force().items() if stack}
        failures = {(line.model, line.version): line.failures for line in log if line.action == "train"}
        return {version: (status, failures.get(version, ())) for version, status in statuses.items()}

    def _line(self, action: str, version: Version, model: RiskModel, who: str, why: str) -> Decision:
        return Decision(
            action=action,
            model=version.model,
            version=version.version,
            model_digest=model.digest,
            folder=version.folder.relative_to(self.home).as_posix(),
            files=_digests(version.folder),
            who=who,
            why=why,
            at=self._time(),
        )

    def _record(self, decision: Decision, step: Failpoint = "approval.append") -> None:
        """Appends a decision to the log, its version's files synced before, and shows MLflow what the log says then."""
        if not decision.who.strip() or not decision.why.strip():
            raise BadInputError("A review needs to say who decided and why; one of the two is empty.")
        heads = self.approvals.heads()
        self._tell_the_untold(heads)
        told = self._registered(decision.model).tags.get(HEAD_TAG, GENESIS)
        self._check_whole(f"MLflow was told of {decision.model}", told, heads)
        folder = self.home / decision.folder
        for file in decision.files:
            sync_file(folder / file)
        sync_directory(folder)
        # Should a kill come between the line and its mirror in MLflow, this tells it from a database restored from before.
        write_bytes(self._unmirrored, heads[-1].encode())
        with failpoint(step, self.approvals.path):
            self.approvals.append(
                {**decision.__dict__, "files": dict(decision.files), "failures": list(decision.failures)}
            )
        self._mirror(decision.model)

    def _time(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="seconds")

    def _mirror(self, model: str) -> None:
        """Shows the log's state in MLflow, for its UI, and tells it the log's head; of all that only the head is believed."""
        client = self._client()
        self._ensure_model(model)
        there = {version.version for version in self.versions(model)}
        aliases = {}
        for (name, version), (status, _) in self._reviews().items():
            if name == model and version in there:
                client.set_model_version_tag(name, str(version), "review", status)
                aliases[status] = str(version)
        for alias in (CHAMPION, CHALLENGER):
            if alias in aliases:
                client.set_registered_model_alias(model, alias, aliases[alias])
            else:
                client.delete_registered_model_alias(model, alias)
        client.set_registered_model_tag(model, HEAD_TAG, self.head())
        self._unmirrored.unlink(missing_ok=True)

    def _champion_of(self, decision: Decision) -> Champion:
        folder = self.home / decision.folder
        model = read_model(folder, decision.model_digest)
        _check_files(folder, decision)
        return Champion(
            model=decision.model,
            version=decision.version,
            model_digest=decision.model_digest,
            threshold=model.threshold,
            floor=model.floor,
            bands=tuple(model.body["flagging"]["bands"]),
            folder=folder,
            card={name: value for name, value in model.body.items() if name not in ("usual", "reference")},
            approved=decision,
        )


def load_mlflow() -> Any:
    """Imports MLflow, which takes seconds, and returns its client's class: without telemetry, without chatter."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow import MlflowClient

    return MlflowClient


def _all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): sha256_bytes(file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _check_files(folder: Path, decision: Decision) -> None:
    """Holds all that lies in a version's folder against what a line of the log recorded.

    What rates is read from three of the files, by digest. The others are what MLflow and who else loads models would follow:
    a flavour that names code, or a pickle, has no business there.

    Raises:
        VerificationError: A file is missing, was changed or was added.
    """
    found, recorded = _digests(folder), dict(decision.files)
    unrecorded = (
        set(MLFLOW_FILES) if recorded.keys().isdisjoint(MLFLOW_FILES) else set()
    )  # by lines of before, which named what rates alone
    wrong = [
        f"{name} {'is missing' if name not in found else 'was changed' if name in recorded else 'was added'}"
        for name in sorted((found.keys() | recorded.keys()) - unrecorded)
        if found.get(name) != recorded.get(name)
    ]
    if wrong:
        raise VerificationError(
            f"{folder}: {', '.join(wrong)} since the line of {decision.at} in the log of approvals. Nothing is rated with it: "
            f"{RESTORE}."
        )


def _decision(line: Mapping[str, Any]) -> Decision:
    told = {name: line[name] for name in Decision.__dataclass_fields__ if name in line}
    return Decision(**{**told, "failures": tuple(line.get("failures", ()))})


def _as_data(model: RiskModel, training_digest: str, evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluation.json` says."""
    comparison = evaluation.comparison
    return {
        "model": model.body["name"],
        "model_digest": model.digest,
        "training_digest": training_digest,
        "judgement": evaluation.judgement.as_dict(),
        "comparison": comparison if comparison is None or isinstance(comparison, str) else comparison.as_dict(),
    }
