"""The whole pipeline from the command line: two Dagster jobs in this process, and how they ended.

Landing comes first, since the default as-of date is the last complete day of what has landed. Here is what a run means
to whoever started it: its outcome, its exit code and the sentences to print. What the stages do is in the assets.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from expectations.contract import load_contract
from groundwork.errors import (
    BadInputError,
    ExitCode,
    GateRefusedError,
    TouchstoneError,
    VerificationError,
    disk_refusal,
)
from orchestration.home import home_lock, prepare_home
from orchestration.resources import AS_OF_TAG, PIPELINE_RUN_TAG, default_as_of
from orchestration.run_record import Outcome, RunRecord
from orchestration.settings import Settings

logger = logging.getLogger("touchstone")
ERRORS = {kind.__name__: kind for kind in (BadInputError, GateRefusedError, VerificationError, TouchstoneError)}
OUTCOMES: dict[ExitCode, Outcome] = {
    ExitCode.DONE: "done",
    ExitCode.FAULT: "failed",
    ExitCode.BAD_INPUT: "refused",
    ExitCode.GATE_REFUSED: "refused",
    ExitCode.VERIFICATION_FAILED: "failed",
}


@dataclass
class PipelineResult:
    """How a run of the whole pipeline ended.

    Attributes:
        record: The run's record: stages, rows, facts.
        as_of: The date that was rated; None where landing had already failed.
        exit_code: The command's exit code.
        messages: What stopped it, a sentence each; empty where nothing did.
    """

    record: RunRecord
    as_of: date | None = None
    exit_code: ExitCode = ExitCode.DONE
    messages: list[str] = field(default_factory=list)


def run_pipeline(
    settings: Settings, *, as_of: date | None = None, train: bool = False, approve_if_passing: bool = False
) -> PipelineResult:
    """Runs everything from landing to publication in this process, under the home's lock.

    Args:
        settings: The settings; with `sources` unset, the demo marketplace is made if absent.
        as_of: The date to rate; by default the last complete day of what has landed.
        train: Whether to train although every model has a champion.
        approve_if_passing: Whether a first model that passes `ml/thresholds.yml` becomes champion without a person.
    """
    prepare_home(settings)
    with home_lock(settings, "touchstone run"):
        return _run_locked(settings, as_of=as_of, train=train, approve_if_passing=approve_if_passing)


def _run_locked(settings: Settings, *, as_of: date | None, train: bool, approve_if_passing: bool) -> PipelineResult:
    import dagster as dg

    from orchestration.definitions import build_definitions

    result = PipelineResult(RunRecord.start(settings.home / "runs", uuid.uuid4().hex[:12]))
    instance = dg.DagsterInstance.get()
    definitions = build_definitions(settings)
    tags = {PIPELINE_RUN_TAG: result.record.run_id}
    landed = _execute(definitions, instance, "land", tags | ({AS_OF_TAG: str(as_of)} if as_of else {}), {})
    _judge(result, landed)
    if result.exit_code == ExitCode.DONE:
        result.as_of = as_of or default_as_of(settings, load_contract())
        with_training = train or not _has_every_champion(settings)
        job = "train_and_rate" if with_training else "rate"
        ops = {"train": {"config": {"approve_if_passing": approve_if_passing}}} if with_training else {}
        if with_training:
            ops["features"] = {"config": {"with_training": True}}
        tags |= {"dagster/partition": str(result.as_of)}
        _judge(result, _execute(definitions, instance, job, tags, ops))
    result.record = RunRecord.read(result.record.path)
    result.record.end(OUTCOMES[result.exit_code], " ".join(result.messages))
    return result


def _has_every_champion(settings: Settings) -> bool:
    from ml.declarations import load_declarations
    from ml.registry import Registry

    registry = Registry(settings.home)
    return all(registry.champion(name) is not None for name in load_declarations())


def _execute(definitions: Any, instance: Any, job: str, tags: dict[str, str], ops: dict[str, Any]) -> Any:
    run_config = {"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        run_config=run_config,
        tags=tags,
        partition_key=tags.get("dagster/partition"),
        raise_on_error=False,
    )


def _judge(result: PipelineResult, executed: Any) -> None:
    """Reads a Dagster run's events for what stopped it: a gate, an error with a message for people, or a fault."""
    for evaluation in executed.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.blocking:
            result.exit_code = ExitCode.GATE_REFUSED
            result.messages.append(evaluation.description or f"The check {evaluation.check_name} failed.")
    if executed.success or result.messages:
        return
    for event in executed.all_events:
        if event.is_step_failure:
            _explain(result, event.step_failure_data.error)
    if not result.messages:
        result.exit_code = ExitCode.FAULT
        result.messages.append("The run failed outside any step. See the run in Dagster's UI.")


def _explain(result: PipelineResult, error: Any) -> None:
    while error is not None:
        kind, said = ERRORS.get(error.cls_name), error.message.partition(": ")[2].strip()
        if kind in {None, TouchstoneError} and (refusal := disk_refusal(said)) is not None:
            kind, said = BadInputError, refusal
        if kind is not None:
            result.exit_code = kind.exit_code
            result.messages.append(said)
            return
        last, error = error, error.cause
    result.exit_code = ExitCode.FAULT
    result.messages.append(f"A fault of ours: {last.to_string()}")
