"""The whole pipeline from the command line: two Dagster jobs in this process, and how they ended; and backfills.

Landing comes first, since the default as-of date is the last complete day of what has landed. A backfill rates days of
what has landed already. Here is what a run means to whoever started it: its outcome, its exit code and the sentences to
print. What the stages do is in the assets.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from expectations.contract import load_contract
from expectations.suites import suites_digest
from ml.registry import Registry
from orchestration.automation import WITH_TRAINING
from orchestration.charts import text_of
from orchestration.definitions import build_definitions
from orchestration.history import open_instance
from orchestration.process import creating_demo, load_libraries
from orchestration.resources import AS_OF_TAG, PIPELINE_RUN_TAG
from touchstone.casework.leads import dates as lead_dates
from touchstone.core import interrupts
from touchstone.core.errors import (
    BadInputError,
    ExitCode,
    GateRefusedError,
    TouchstoneError,
    VerificationError,
    describe_disk_error,
)
from touchstone.core.home import Home, home_lock, prepare_home
from touchstone.core.lists import LISTS
from touchstone.core.revision import code_revision, project_digest
from touchstone.core.run_record import Outcome, RunRecord
from touchstone.core.settings import Settings
from touchstone.core.warehouse import WarehouseDamagedError
from touchstone.landing.as_of import default_as_of
from touchstone.landing.ledger import Ledger, PinnedLoads, pinned_loads
from touchstone.maintenance.alerts import Alert, alerts_for, could_not_run, send_alerts
from touchstone.publishing.history import ListStore, in_force, previous_version
from touchstone.publishing.policy import load_policy

logger = logging.getLogger("touchstone")
DayOutcome = Literal["rated", "up to date", "refused", "failed"]
ERRORS = {
    kind.__name__: kind
    for kind in (WarehouseDamagedError, BadInputError, GateRefusedError, VerificationError, TouchstoneError)
}
_DAY_OUTCOMES: dict[ExitCode, DayOutcome] = {
    ExitCode.DONE: "rated",
    ExitCode.INTERNAL_ERROR: "failed",
    ExitCode.BAD_INPUT: "failed",
    ExitCode.GATE_REFUSED: "refused",
    ExitCode.VERIFICATION_FAILED: "failed",
}
OUTCOMES: dict[ExitCode, Outcome] = {
    ExitCode.DONE: "done",
    ExitCode.INTERNAL_ERROR: "failed",
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
        train: Whether to train although there is a champion.
        approve_if_passing: Whether a first model that passes `ml/thresholds.yml` becomes champion without a person.

    Raises:
        BadInputError: The date is no day that can be rated, or the home cannot be used.
    """
    if as_of is not None:
        _check_first(settings, "--as-of", as_of)
        if as_of >= (today := datetime.now(UTC).date()):
            raise BadInputError(f"--as-of {as_of} is not over: today is {today} (UTC). Give a day before it.")
    load_policy(settings.policy)  # refused before anything lands
    prepare_home(settings)
    try:
        with home_lock(settings, "touchstone run"):
            result = _run_locked(settings, as_of=as_of, train=train, approve_if_passing=approve_if_passing)
    except Exception:
        send_alerts(settings, [could_not_run("`touchstone run`")])
        raise
    send_alerts(settings, alerts_for(result.record))
    return result


@dataclass(frozen=True)
class Day:
    """How one day of a backfill ended.

    Attributes:
        as_of: The day.
        outcome: `up to date` if its lists are already published from the same inputs, so that nothing was done.
        exit_code: The exit code of the day alone.
        messages: What stopped it, a sentence each.
    """

    as_of: date
    outcome: DayOutcome
    exit_code: ExitCode = ExitCode.DONE
    messages: tuple[str, ...] = ()


def backfill(
    settings: Settings, first: date, last: date, *, again: bool = False, on_day: Callable[[Day], None] = lambda _: None
) -> list[Day]:
    """Rates every day of a range over what has landed, oldest first, because a list depends on the one before it.

    The home's lock is held for one day at a time, so that a daily run need not wait for all. A day whose lists stand is
    passed over, so a backfill that was interrupted resumes. A day that a gate refuses does not keep the next
    ones from being rated; any other failure does, for they would meet it too.

    Args:
        settings: The settings.
        first: The first day.
        last: The last day.
        again: Whether days whose lists are up to date are rated too.
        on_day: Called after each day.

    Raises:
        BadInputError: The range is empty, its last day has not landed yet, or no model may rate.
    """
    load_policy(settings.policy)
    prepare_home(settings)
    check_range(settings, first, last)
    if not Registry(settings.home).has_any_champion():
        raise BadInputError("No model may rate yet. `touchstone run --approve-if-passing` trains; a backfill does not.")
    instance, definitions = open_instance(settings), build_definitions(settings)
    days: list[Day] = []
    while (as_of := first + timedelta(days=len(days))) <= last:
        alerts: list[Alert] = []
        with home_lock(settings, f"touchstone backfill, {as_of}"):
            if not again and _is_up_to_date(settings, as_of):
                days.append(Day(as_of, "up to date"))
            else:
                result = run_job(settings, definitions, instance, "rate", as_of)
                alerts = alerts_for(result.record)
                days.append(Day(as_of, _DAY_OUTCOMES[result.exit_code], result.exit_code, tuple(result.messages)))
        send_alerts(settings, alerts)
        on_day(days[-1])
        if days[-1].outcome == "failed":
            break
    return days


def run_job(
    settings: Settings,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    as_of: date,
    *,
    with_training: bool = False,
) -> PipelineResult:
    """Runs one job for one day as a run with a record of its own."""
    ops = WITH_TRAINING["ops"] if with_training else {}
    result = PipelineResult(RunRecord.start(Home(settings.home).runs, uuid.uuid4().hex[:12]), as_of)
    tags = {PIPELINE_RUN_TAG: result.record.run_id, "dagster/partition": str(as_of)}
    with _recording_a_stop(result):
        _judge(result, _execute_rebuilding(definitions, instance, job, tags, ops))
        _end(result)
    return result


def backfill_exit_code(days: Sequence[Day]) -> ExitCode:
    """Returns a backfill's exit code: the code of the day that stopped it, else 3 where a gate refused one, else 0."""
    if days and days[-1].outcome == "failed":
        return days[-1].exit_code
    return ExitCode.GATE_REFUSED if any(day.outcome == "refused" for day in days) else ExitCode.DONE


def check_range(settings: Settings, first: date, last: date) -> None:
    """Refuses an empty range of days, or one whose last day has not landed yet."""
    if first > last:
        raise BadInputError(f"--from {first} lies after --to {last}. Give the older day first.")
    _check_first(settings, "--from", first)
    newest = _newest_complete_day(settings)
    if last > newest:
        raise BadInputError(
            f"--to {last} lies after {newest}, the last complete day of what has landed. `touchstone run` lands."
        )


def _check_first(settings: Settings, option: str, day: date) -> None:
    """Refuses a day that lies before the first one there is."""
    if str(day) < settings.first_day:
        raise BadInputError(
            f"{option} {day} lies before {settings.first_day}, the first day there is (TOUCHSTONE_FIRST_DAY)."
        )


def _pins(settings: Settings) -> PinnedLoads:
    return pinned_loads(Ledger(Home(settings.home).landing).read(), load_contract())


def _newest_complete_day(settings: Settings) -> date:
    """Returns the last complete day of what has landed.

    Raises:
        BadInputError: There is none, or Dagster has no partition for it: it lies before the first day, or is not over by this
            machine's clock.
    """
    day = default_as_of(Home(settings.home).landing, _pins(settings))
    newest = f"The last complete day of what has landed is {day}"
    if str(day) < settings.first_day:
        raise BadInputError(
            f"{newest}, before {settings.first_day}, the first day there is. Set TOUCHSTONE_FIRST_DAY to {day} or earlier."
        )
    if day >= (today := datetime.now(UTC).date()):
        raise BadInputError(
            f"{newest}, but by this machine's clock today is {today} (UTC). Correct the clock, or rate an earlier day."
        )
    return day


def _is_up_to_date(settings: Settings, as_of: date) -> bool:
    """Returns whether every list of a day is published from the inputs that a run would use now."""
    policy, registry = load_policy(settings.policy), Registry(settings.home)
    loads = _pins(settings).digest
    has_lists = False
    for name, rated in LISTS.items():
        champion = registry.champion(rated.model)
        if name not in policy.lists or champion is None:
            continue
        store = ListStore(Home(settings.home).published, name)
        history = store.history()
        version = in_force(history, as_of)
        if version is None:
            return False
        manifest = store.manifest(version)
        inputs = manifest.inputs
        published = (inputs.loads.digest, inputs.dbt_build, inputs.model.digest, inputs.suites, inputs.code_revision)
        now = (loads, project_digest(), champion.model_digest, suites_digest(), code_revision())
        if (published, manifest.policy, manifest.previous) != (now, policy.digest, previous_version(history, as_of)):
            return False
        has_lists = True
    # A day that was published before leads were introduced has none.
    return not has_lists or as_of in lead_dates(settings.home)


def _run_locked(settings: Settings, *, as_of: date | None, train: bool, approve_if_passing: bool) -> PipelineResult:
    result = PipelineResult(RunRecord.start(Home(settings.home).runs, uuid.uuid4().hex[:12]))
    with _recording_a_stop(result):
        with creating_demo(settings):
            load_libraries()
        instance, definitions = open_instance(settings), build_definitions(settings)
        tags = {PIPELINE_RUN_TAG: result.record.run_id}
        landed = _execute(definitions, instance, "land", tags | ({AS_OF_TAG: str(as_of)} if as_of else {}), {})
        _judge(result, landed)
        if result.exit_code == ExitCode.DONE:
            _rate_after_landing(
                settings,
                result,
                definitions,
                instance,
                tags,
                as_of=as_of,
                train=train,
                approve_if_passing=approve_if_passing,
            )
        _end(result)
    return result


def _rate_after_landing(
    settings: Settings,
    result: PipelineResult,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    *,
    as_of: date | None,
    train: bool,
    approve_if_passing: bool,
) -> None:
    """Rates the day, having trained where that is due; what keeps it from being rated at all goes into the result."""
    registry = Registry(settings.home)
    try:
        result.as_of = as_of or _newest_complete_day(settings)
        with_training = train or _has_to_train(Home(settings.home).runs, registry)
        registry.check_log()
        if not with_training:
            for rated in LISTS.values():  # what may not rate is refused now, not after the features
                registry.champion(rated.model)
    except TouchstoneError as error:
        result.exit_code, result.messages = error.exit_code, [str(error)]
        return
    job = "train_and_rate" if with_training else "rate"
    training = {"train": {"config": {"approve_if_passing": approve_if_passing}}, **WITH_TRAINING["ops"]}
    tags |= {"dagster/partition": str(result.as_of)}
    _judge(result, _execute_rebuilding(definitions, instance, job, tags, training if with_training else {}))


@contextmanager
def _recording_a_stop(result: PipelineResult) -> Iterator[None]:
    """Records that a signal stopped the run, whatever the libraries in between made of the signal.

    Raises:
        StoppedError: A signal did.
    """
    try:
        yield
    except BaseException:
        if (stopped_by := interrupts.received()) is not None:
            record = RunRecord.read(result.record.path)
            record.end("stopped", f"Stopped by {stopped_by.name}.")
        interrupts.check()
        raise


def _has_to_train(runs: Path, registry: Registry) -> bool:
    """Returns whether training is due: no model may rate yet, or the last training was interrupted.

    A model that was trained and may not rate, for want of labels or of a reviewer, is no reason to train again.
    """
    waiting = {rated.training_stage for rated in LISTS.values() if not registry.has_champion(rated.model)}
    if len(waiting) == len(LISTS):
        return True
    trainings = [record for record in RunRecord.read_all(runs) if record.facts.get("with_training")]
    missed = waiting - {stage.name for stage in trainings[-1].stages if not stage.has_failed} if trainings else set()
    if missed:
        logger.info("The last training was interrupted before all models were trained; it is repeated.")
    return bool(missed)


def _end(result: PipelineResult) -> None:
    result.record = RunRecord.read(result.record.path)
    result.record.end(OUTCOMES[result.exit_code], " ".join(result.messages))


def _execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, tags: dict[str, str], ops: dict[str, Any]
) -> dg.ExecuteInProcessResult:
    run_config = {"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id = str(uuid.uuid4())
    try:
        executed = definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_config=run_config,
            tags=tags,
            partition_key=tags.get("dagster/partition"),
            raise_on_error=False,
            run_id=run_id,
        )
    except BaseException:  # one that Dagster did not get to write down: its run would count as running for ever
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "The run was cut short; the next run completes its work.")
        raise
    interrupts.check()  # what a signal stops comes back as a failed step, and one between two steps is forgotten
    return executed


def _execute_rebuilding(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, tags: dict[str, str], ops: dict[str, Any]
) -> dg.ExecuteInProcessResult:
    """Executes a job, and once more where it found the warehouse damaged, which then was removed and is rebuilt."""
    executed = _execute(definitions, instance, job, tags, ops)
    errors = [event.step_failure_data.error for event in executed.all_events if event.is_step_failure]
    damage = next(
        (each for error in errors for each in _causes(error) if each.cls_name == WarehouseDamagedError.__name__), None
    )
    if damage is None:
        return executed
    logger.warning("%s This run starts over with a new one.", _message_of(damage))
    return _execute(definitions, instance, job, tags, ops)


def _causes(error: Any) -> Iterator[Any]:
    """Yields an error that Dagster kept, and what caused it, outermost first."""
    while error is not None:
        yield error
        error = error.cause


def _message_of(error: Any) -> str:
    return str(error.message.partition(": ")[2].strip())


def _judge(result: PipelineResult, executed: dg.ExecuteInProcessResult) -> None:
    """Reads from a Dagster run's events what stopped it: a gate, an error with a message for the user, or an internal error."""
    for evaluation in executed.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.blocking and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            result.exit_code = ExitCode.GATE_REFUSED
            text = text_of(evaluation.description or f"The check {evaluation.check_name} failed.")
            result.messages.append(text)
    if executed.success or result.messages:
        return
    for event in executed.all_events:
        if event.is_step_failure:
            _explain(result, event.step_failure_data.error)
    if not result.messages:
        result.exit_code = ExitCode.INTERNAL_ERROR
        result.messages.append("The run failed outside any step. See the run in Dagster's UI.")


def _explain(result: PipelineResult, error: Any) -> None:
    last = error
    for last in _causes(error):
        kind, message = ERRORS.get(last.cls_name), _message_of(last)
        if kind in {None, TouchstoneError} and (refusal := describe_disk_error(message)) is not None:
            kind, message = BadInputError, refusal
        if kind is not None:
            result.exit_code = kind.exit_code
            result.messages.append(message)
            return
    result.exit_code = ExitCode.INTERNAL_ERROR
    result.messages.append(f"Internal error (this is a bug in Touchstone): {last.to_string()}")
