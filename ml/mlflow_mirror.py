"""Mirrors the log of approvals to MLflow, as tags and aliases, and detects where the two disagree.

A tag of each registered model holds the log's head as of the last update. Of all that MLflow holds only this tag is
trusted: it shows that the log was cut short, or that MLflow's database was restored from before. Then nothing is rated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ml.approvals import CHALLENGER, CHAMPION, ApprovalLog, Decision
from ml.mlflow_client import MlflowConnection
from touchstone.core.errors import VerificationError
from touchstone.core.files import write_bytes
from touchstone.core.hash_chain import GENESIS
from touchstone.core.home import Home

HEAD_TAG: Final = "approvals_log_head"


class MlflowMirror:
    """Keeps MLflow's tags and aliases equal to the state of the log of approvals."""

    def __init__(self, approvals: ApprovalLog, mlflow: MlflowConnection) -> None:
        """Sets the log and the connection."""
        self._approvals = approvals
        self._mlflow = mlflow
        self._pending = Home(approvals.home).unmirrored_approvals

    def update(self, model: str) -> None:
        """Writes a model's statuses, aliases and the log's head to MLflow."""
        client = self._mlflow.client()
        self._mlflow.ensure_model(model)
        present = {int(version.version) for version in self._mlflow.model_versions(model)}
        aliases = {}
        for (name, version), (status, _) in self._approvals.statuses().items():
            if name == model and version in present:
                client.set_model_version_tag(name, str(version), "review", status)
                aliases[status] = str(version)
        for alias in (CHAMPION, CHALLENGER):
            if alias in aliases:
                client.set_registered_model_alias(model, alias, aliases[alias])
            else:
                client.delete_registered_model_alias(model, alias)
        client.set_registered_model_tag(model, HEAD_TAG, self._approvals.head())
        self._pending.unlink(missing_ok=True)

    def prepare(self, model: str) -> None:
        """Notes that a line follows, so that a kill between the line and `update` differs from a restored database.

        Raises:
            VerificationError: The log was cut short.
        """
        heads = self._approvals.heads()
        self._finish_pending(heads)
        self._approvals.check_head(f"MLflow holds for {model}", self._mirrored_head(model), heads)
        write_bytes(self._pending, heads[-1].encode())

    def check(self, model: str) -> None:
        """Compares the head that MLflow holds with the log; completes an update that a kill prevented.

        Raises:
            VerificationError: The log was cut short, or MLflow's database was restored from before.
        """
        heads, decisions = self._approvals.heads(), self._approvals.decisions()
        self._finish_pending(heads)
        head = self._mirrored_head(model)
        self._approvals.check_head(f"MLflow holds for {model}", head, heads)
        newest = max((number for number, line in enumerate(decisions, start=1) if line.model == model), default=0)
        if heads.index(head) >= newest:
            return
        line = decisions[newest - 1]
        raise VerificationError(
            f"MLflow's database does not have the newest line of the log of approvals on {model} ({line.action} of version "
            f"{line.version} by {line.who}, {line.at}): it was restored from before. Restore "
            f"{self._mlflow.paths.mlflow_database} as of then or later; or decide again what rates, by "
            "`touchstone models approve`, among the versions that it has."
        )

    def models(self, decisions: Sequence[Decision]) -> list[str]:
        """Returns the models that have decisions in the log or a head in MLflow."""
        mirrored = {model.name for model in self._mlflow.registered_models() if HEAD_TAG in model.tags}
        return sorted(mirrored | {decision.model for decision in decisions})

    def champion_alias(self, model: str) -> int | None:
        """Returns the version that has the alias `champion` in MLflow; None if no version has it."""
        aliases = self._mlflow.registered_model(model).aliases
        return int(aliases[CHAMPION]) if CHAMPION in aliases else None

    def _mirrored_head(self, model: str) -> str:
        return str(self._mlflow.registered_model(model).tags.get(HEAD_TAG, GENESIS))

    def _finish_pending(self, heads: list[str]) -> None:
        """Updates MLflow with the log's newest line if a kill prevented it, before another line follows."""
        if len(heads) > 1 and self._pending.is_file() and self._pending.read_text() == heads[-2]:
            model = self._approvals.decisions()[-1].model
            self._approvals.check_head(f"MLflow holds for {model}", self._mirrored_head(model), heads)
            self.update(model)
