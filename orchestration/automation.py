"""Jobs, schedules, the sensor and partitions: what runs together and when.

The daily job lands, shapes, rates, gates and publishes for the last complete day. The weekly job trains. A person who
starts a job in the UI picks the date as its partition. The sensor starts a run when a version was promoted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg

from ml.registry import AUTOMATIC, Registry
from touchstone.core.errors import BadInputError
from touchstone.core.home import Home, home_lock
from touchstone.core.settings import MAX_AGE, Settings
from touchstone.maintenance.approvals import newest_published_date, reconcile_alias_requests

LANDING_GROUP, SHAPE_GROUP, SIGNALS_GROUP = "stage_1_landing", "stage_2_shape", "stage_2_signals"
FEATURES_GROUP, MODELS_GROUP, SCORES_GROUP = "stage_3_features", "stage_4_models", "stage_4_scores"
MARTS_GROUP, LISTS_GROUP, REPORTS_GROUP = "stage_5_marts", "stage_6_lists", "stage_7_reports"
# Landed and published once a day: a day late is worth a warning, and a week late a failure, as `max_age` has it.
DAILY_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=MAX_AGE, warn_window=timedelta(days=2))
ONE_DAY_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
PROMOTION_TAG = "touchstone/promotion"
WITH_TRAINING = {"ops": {"features": {"config": {"with_training": True}}}}


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Returns the as-of dates: every complete day (UTC) since the settings' first."""
    return dg.DailyPartitionsDefinition(start_date=settings.first_day)


def jobs() -> list[Any]:
    """Returns the jobs: the whole, its parts, and the weekly training."""
    shaping = (SHAPE_GROUP, SIGNALS_GROUP)
    rating = (FEATURES_GROUP, SCORES_GROUP, MARTS_GROUP, LISTS_GROUP, REPORTS_GROUP)
    parts: dict[str, tuple[str, tuple[str, ...]]] = {
        "land": ("Pulls the source tables and checks them against the contract.", (LANDING_GROUP,)),
        "land_and_shape": ("Lands, then builds what does not depend on a date.", (LANDING_GROUP, *shaping)),
        "daily": ("Lands, shapes, rates, gates and publishes one day.", (LANDING_GROUP, *shaping, *rating)),
        "whole": ("The daily job with a training before the scores.", (LANDING_GROUP, *shaping, *rating, MODELS_GROUP)),
        "rate": ("Rates and publishes one day of what has landed.", (*shaping, *rating)),
        "train_and_rate": ("Trains on what has landed, then rates and publishes.", (*shaping, *rating, MODELS_GROUP)),
        "weekly_training": (
            "Lands, shapes, trains, evaluates, registers.",
            (LANDING_GROUP, *shaping, FEATURES_GROUP, MODELS_GROUP),
        ),
        "prepare_training": (
            "Shapes what has landed and makes a day's features and training rows.",
            (*shaping, FEATURES_GROUP),
        ),
        "publish": ("Makes, judges and publishes the lists of a day that is rated.", (LISTS_GROUP, REPORTS_GROUP)),
    }
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.groups(*groups),
            description=description,
            config=WITH_TRAINING if MODELS_GROUP in groups or name == "prepare_training" else None,
        )
        for name, (description, groups) in parts.items()
    ]


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Returns the daily and the weekly schedule; each runs the last complete day. Both start switched off."""

    def last_complete_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
        return dg.RunRequest(run_key=day, partition_key=day)

    return [
        dg.ScheduleDefinition(
            name=f"{job}_schedule",
            job_name=job,
            cron_schedule=cron,
            execution_timezone="UTC",
            execution_fn=last_complete_day,
            description=description,
        )
        for job, cron, description in (
            ("daily", settings.daily_cron, "Every night: rates and publishes the day that has ended."),
            ("weekly_training", settings.weekly_cron, "Every week: trains a new version of every model, for review."),
        )
    ]


def after_lists() -> dg.AutomationCondition[dg.AssetKey]:
    """Returns the condition of a day's leads and report: made again when what they are made of was made without them.

    The jobs make them with the lists and marts. The condition is for a list that a person publishes alone, which no schedule
    knows of. A list whose model is off is never published, and days are often rated late, so neither a missing list nor an
    older day keeps them from being made.
    """
    return (
        dg.AutomationCondition.eager()
        .without(~dg.AutomationCondition.any_deps_missing())
        .without(dg.AutomationCondition.in_latest_time_window())
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    )


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Returns the sensor that evaluates the conditions of assets. It starts switched off, as the schedules do."""
    return dg.AutomationConditionSensorDefinition(
        "after_lists",
        target=dg.AssetSelection.groups(LISTS_GROUP, REPORTS_GROUP),
        description="Makes the leads and the report of a day again after a list or mart of that day was made alone.",
    )


def promotion_sensor(settings: Settings) -> dg.SensorDefinition:
    """Returns the sensor that reconciles MLflow's aliases, and rates the newest day again after a champion was replaced.

    A person promotes by `touchstone models approve` and `rollback`, or by the alias in MLflow; all three end in the log of
    approvals, which is what this reads. It starts switched on: as long as the daemon runs, it looks every five seconds.
    """

    @dg.sensor(
        name="promotions",
        job_name="rate",
        minimum_interval_seconds=1,  # every round of the daemon (five seconds): at 5, every second round came too early
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reconciles aliases moved in MLflow; with a new champion, rates and publishes the newest day.",
    )
    def promotions(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        registry = Registry(settings.home)
        if not registry.approvals.path.exists():
            return dg.SkipReason("No model has been trained yet.")
        try:
            with home_lock(settings.model_copy(update={"lock_wait_seconds": 0}), "the sensor of promotions"):
                heads = registry.approvals.heads()
                reconcile_alias_requests(settings, registry)
        except BadInputError as error:
            return dg.SkipReason(f"Another process writes to the home; checked again in five seconds. {error}")
        seen = heads.index(context.cursor) if context.cursor in heads else len(heads) - 1
        decided = [line for line in registry.approvals.decisions()[seen:] if line.action in {"approve", "rollback"}]
        decided = [line for line in decided if line.who != AUTOMATIC]  # the run that trained it rates with it
        context.update_cursor(registry.approvals.head())
        if not decided:
            return dg.SkipReason("No champion was replaced.")
        day = newest_published_date(Home(settings.home).published)
        if day is None:
            return dg.SkipReason("Nothing is published yet: the next run rates with the new champion.")
        why = "; ".join(
            f"{line.action} {line.model} version {line.version} by {line.who}: {line.why}" for line in decided
        )
        return dg.RunRequest(run_key=registry.approvals.head(), partition_key=str(day), tags={PROMOTION_TAG: why})

    return promotions
