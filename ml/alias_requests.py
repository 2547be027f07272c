"""Requests made in MLflow: an alias `champion` that somebody moved there is granted, or logged and put back.

MLflow's UI is not authenticated, so the alias itself decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ml.approvals import REJECTED, Decision
from ml.registry import Registry
from touchstone.core.errors import VerificationError

IN_MLFLOW: Final = "mlflow-ui, unauthenticated"
"""Recorded as the person: MLflow does not know who moved an alias."""


@dataclass(frozen=True)
class AliasRequest:
    """An alias `champion` that was moved in MLflow, and the outcome.

    Attributes:
        model: The model's name.
        version: The version that got the alias; None if it was removed.
        outcome: `approved`, `waits` (for `touchstone models approve`) or `undone`.
        message: Why, a sentence or more.
    """

    model: str
    version: int | None
    outcome: Literal["approved", "waits", "undone"]
    message: str


def reconcile_aliases(registry: Registry, *, may_approve: bool) -> list[AliasRequest]:
    """Grants or puts back each alias `champion` that was moved in MLflow, and logs it as a request.

    A move to a version that fails the gate, was rejected, or is not what its training wrote is put back.

    Args:
        registry: The registry.
        may_approve: Whether a valid move is granted; otherwise it waits for a person to confirm it.

    Returns:
        The moves and their outcomes, by model.

    Raises:
        VerificationError: The log is damaged or was cut short, or MLflow's database was restored from before.
    """
    requests = []
    for model in sorted({decision.model for decision in registry.approvals.decisions()}):
        registry.mirror.check(model)
        alias, current = registry.mirror.champion_alias(model), registry.approvals.in_force(model)
        if alias != (current.version if current else None):
            requests.append(_reconcile(registry, model, alias, current, may_approve=may_approve))
    return requests


def _reconcile(
    registry: Registry, model: str, version: int | None, current: Decision | None, *, may_approve: bool
) -> AliasRequest:
    failures: tuple[str, ...] = ()
    outcome: Literal["waits", "undone"]
    if version is None:
        outcome, message = "undone", "the alias was removed"
        advice = ". To put an earlier version in force: `touchstone models rollback`."
    else:
        outcome, message, failures = _validate(registry, model, version)
        advice = ""
        if outcome == "waits" and may_approve:
            registry.approve(model, version, who=IN_MLFLOW, why="the alias champion was set on it in MLflow")
            return AliasRequest(model, version, "approved", "it passed the gate, and is what its training wrote")
    rates = f"version {current.version} continues to rate" if current else "no version rates"
    message = f"{message}; {rates}{advice}"
    named = version if version is not None or current is None else current.version
    registry.record(
        Decision(
            action="request",
            model=model,
            version=named or 0,
            model_digest=registry.version(model, named).model_digest if named else "",
            folder="",
            files={},
            who=IN_MLFLOW,
            why=f"the alias champion was {'removed' if version is None else 'set on it'}: {outcome}, {message}",
            at=registry.approvals.timestamp(),
            failures=failures,
        )
    )
    return AliasRequest(model, version, outcome, message)


def _validate(registry: Registry, model: str, version: int) -> tuple[Literal["waits", "undone"], str, tuple[str, ...]]:
    """Returns whether a version may be approved by moving the alias, why, and the checks that it failed."""
    chosen = registry.version(model, version)
    try:
        _, training = registry.read_as_trained(chosen)
    except VerificationError as error:
        return "undone", str(error), ()
    if chosen.status == REJECTED:
        decisions = reversed(registry.approvals.decisions())
        rejection = next(line for line in decisions if (line.model, line.version) == (model, version))
        return "undone", f"it was rejected by {rejection.who} on {rejection.at} ({rejection.why})", ()
    if training.failures:
        return "undone", f"it fails the gate (ml/thresholds.yml): {'; '.join(training.failures)}", training.failures
    message = f"it waits for a person to confirm it by `touchstone models approve {model} {version} --why REASON`"
    return "waits", message, ()
