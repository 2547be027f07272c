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
from touchstone.core.home import home_lock
from touchstone.core.settings import Settings
from touchstone.maintenance.approvals import newest_day, settle_moves

LANDING, SHAPE, SIGNALS, FEATURES = "stage_1_landing", "stage_2_shape", "stage_2_signals", "stage_3_features"
MODELS, SCORES, MARTS, LISTS = "stage_4_models", "stage_4_scores", "stage_5_marts", "stage_6_lists"
REPORTS = "stage_7_reports"
ONE_DAY_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
PROMOTION_TAG = "touchstone/promotion"
WITH_TRAINING = {"ops": {"features": {"config": {"with_training": True}}}}


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Returns the as-of dates: every complete day (UTC) since the settings' first."""
    return dg.DailyPartitionsDefinition(start_date=settings.first_day)


def jobs() -> list[Any]:
    """Returns the jobs: the whole, its parts, and the weekly training."""
    shaping = (SHAPE, SIGNALS)
    rating = (FEATURES, SCORES, MARTS, LISTS, REPORTS)
    parts: dict[str, tuple[str, tuple[str, ...]]] = {
        "land": ("Pulls the source tables and checks them against the contract.", (LANDING,)),
        "land_and_shape": ("Lands, then builds what does not depend on a date.", (LANDING, *shaping)),
        "daily": ("Lands, shapes, rates, gates and publishes one day.", (LANDING, *shaping, *rating)),
        "whole": ("The daily job with a training before the scores.", (LANDING, *shaping, *rating, MODELS)),
        "rate": ("Rates and publishes one day of what has landed.", (*shaping, *rating)),
        "train_and_rate": ("Trains on what has landed, then rates and publishes.", (*shaping, *rating, MODELS)),
        "weekly_training": ("Lands, shapes, trains, evaluates, registers.", (LANDING, *shaping, FEATURES, MODELS)),
        "prepare_training": (
            "Shapes what has landed and makes a day's features and training rows.",
            (*shaping, FEATURES),
        ),
        "publish": ("Makes, judges and publishes the lists of a day that is rated.", (LISTS, REPORTS)),
    }
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.groups(*groups),
            description=description,
            config=WITH_TRAINING if MODELS in groups or name == "prepare_training" else None,
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


def promotion_sensor(settings: Settings) -> dg.SensorDefinition:
    """Returns the sensor that settles moves of MLflow's aliases and rates the newest day again once a champion is another.

    A person promotes by `touchstone models approve` and `rollback`, or by the alias in MLflow; all three end in the log of
    approvals, which is what this reads. It starts switched on: as long as the daemon runs, it looks every five seconds.
    """

    @dg.sensor(
        name="promotions",
        job_name="rate",
        minimum_interval_seconds=1,  # in each round of the daemon, every five seconds: at 5, each second round came too early
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Settles aliases that were moved in MLflow; rates, judges and publishes the newest day with a new champion.",
    )
    def promotions(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        registry = Registry(settings.home)
        if not registry.approvals.path.exists():
            return dg.SkipReason("No model was trained yet.")
        try:
            with home_lock(settings.model_copy(update={"lock_wait_seconds": 0}), "the sensor of promotions"):
                heads = registry.approvals.heads()
                settle_moves(settings, registry)
        except BadInputError as error:
            return dg.SkipReason(f"Somebody writes to the home; looked at again in five seconds. {error}")
        seen = heads.index(context.cursor) if context.cursor in heads else len(heads) - 1
        decided = [line for line in registry.approvals.decisions()[seen:] if line.action in {"approve", "rollback"}]
        decided = [line for line in decided if line.who != AUTOMATIC]  # the run that trained it rates with it
        context.update_cursor(registry.approvals.head())
        if not decided:
            return dg.SkipReason("No champion is another.")
        day = newest_day(settings.home / "published")
        if day is None:
            return dg.SkipReason("Nothing is published yet: the next run rates with the new champion.")
        why = "; ".join(
            f"{line.action} {line.model} version {line.version} by {line.who}: {line.why}" for line in decided
        )
        return dg.RunRequest(run_key=registry.approvals.head(), partition_key=str(day), tags={PROMOTION_TAG: why})

    return promotions
