"""The Dagster code location: it loads, its definitions are readable, and Dagster's own CLI runs the daily job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from conftest import FIRST_DAY, NEXT_DAY, ROOT, SmallHomes, limits_of, published_files, touchstone
from test_gates import dagster_run

from orchestration.assets import sources
from orchestration.automation import jobs, schedules
from orchestration.definitions import build_definitions
from orchestration.history import open_instance
from orchestration.resources import AS_OF_TAG
from touchstone.core.errors import BadInputError
from touchstone.core.files import write_json
from touchstone.core.home import prepare_home
from touchstone.core.lists import LISTS
from touchstone.core.run_record import RunRecord, process_started
from touchstone.core.settings import Settings, read_settings

ALONE = (
    ("landed", "listings"),
    ("shape", "stg_appeals"),
    ("signals", "pictures"),
    ("features", "listing_features"),
    ("models", "merchant_brushing"),
    ("scores", "listing_counterfeit"),
    ("marts", "rated_listings"),
    ("published", "listings"),
    ("reports", "outcomes"),
)
"""An asset of each group, in pipeline order."""
AFTER_LISTS = (dg.AssetKey(["leads", "ranked"]), dg.AssetKey(["reports", "outcomes"]))


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    """The definitions of an empty home."""
    before = os.environ.copy()
    yield build_definitions(read_settings(home=tmp_path_factory.mktemp("home")))
    os.environ.clear()
    os.environ.update(before)


def test_workspace_validates(tmp_path: Path):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dagster"), "definitions", "validate", "-w", "workspace.yaml"],
        env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_asset_has_a_stage_an_owner_and_a_description(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    keys = graph.materializable_asset_keys
    assert len(keys) > 60
    for key in keys:
        node = graph.get(key)
        assert node.group_name.startswith("stage_"), key
        assert node.owners, key
        assert node.description, key
        assert len(key.path) == 2, key


def test_every_dependency_of_an_asset_is_materializable(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    made = graph.materializable_asset_keys
    unmade = {
        (key.to_user_string(), parent.to_user_string())
        for key in made
        for parent in graph.get(key).parent_keys
        if parent not in made
    }
    assert unmade == set()


def test_everything_from_features_on_has_a_daily_partition(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        is_daily = graph.get(key).partitions_def is not None
        dated = {"features", "scores", "marts", "candidates", "published", "leads", "reports"}
        assert is_daily == (key.path[0] in dated), key


def test_every_gate_is_blocking_and_partitioned_by_day(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    gates = {key: graph.get(key) for key in graph.asset_check_keys if key.name.startswith("gate_")}
    assert {key.name for key in gates} == {"gate_landed", "gate_features", "gate_scores", "gate_candidate"}
    assert len(gates) == 1 + 3 * len(LISTS)
    for key, node in gates.items():
        assert node.blocking, key
        assert (node.partitions_def is not None) == (key.name != "gate_landed"), key


def test_jobs_and_schedules_are_defined(definitions: dg.Definitions):
    repository = definitions.get_repository_def()
    names = {job.name for job in jobs()}
    assert {"daily", "whole", "weekly_training", "land", "publish"} <= names
    assert names <= set(repository.job_names)
    assert {schedule.name for schedule in repository.schedule_defs} == {"daily_schedule", "weekly_training_schedule"}


def test_schedules_run_at_the_configured_times(tmp_path: Path):
    daily, weekly = schedules(read_settings(home=tmp_path, daily_cron="30 1 * * *", weekly_cron="0 5 * * SUN"))
    assert (daily.cron_schedule, weekly.cron_schedule) == ("30 1 * * *", "0 5 * * SUN")
    with pytest.raises(BadInputError, match="TOUCHSTONE_DAILY_CRON"):
        read_settings(home=tmp_path, daily_cron="at night")


def test_a_schedule_launches_the_last_complete_day(definitions: dg.Definitions):
    from datetime import UTC, datetime

    repository = definitions.get_repository_def()
    schedule = repository.get_schedule_def("daily_schedule")
    at = datetime(2026, 7, 1, 2, tzinfo=UTC)
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=repository)
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-06-30"


@pytest.mark.slow  # small version: the browser tests launch the same job
def test_the_daily_job_runs_from_dagster_s_own_command_line(home: Path):
    before = published_files(home)
    done = dagster_run(home, "daily", NEXT_DAY)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert published_files(home) == before
    assert touchstone(home, "verify").code == 0
    records = [json.loads(path.read_text()) for path in (home / "runs").glob("*.json")]
    assert {record["outcome"] for record in records} == {"done"}


def test_a_run_record_detects_whether_its_process_is_alive(tmp_path: Path):
    record = RunRecord.start(tmp_path, "abc", dagster_run_id="one")
    assert record.is_alive
    assert RunRecord.read_dead(tmp_path) == []
    again = RunRecord.start(tmp_path, "abc", dagster_run_id="two")
    assert again.dagster_run_ids == ["one", "two"]
    content = json.loads(record.path.read_text()) | {"process_started": "1"}
    write_json(record.path, content)
    assert [dead.run_id for dead in RunRecord.read_dead(tmp_path)] == ["abc"]
    assert process_started(2**22 + 1) == ""


@pytest.fixture(scope="module")
def rated(small_homes: SmallHomes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a copy of the home that was trained and rated as of one day."""
    home = tmp_path_factory.mktemp("alone") / "home"
    shutil.copytree(small_homes.rated, home)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (limits_of(small_homes.policy) | {"DAGSTER_HOME": "put back after the test"}).items():
            environment.setenv(name, value)
        settings = read_settings(home=home)
        prepare_home(settings)
        yield settings


@pytest.mark.parametrize("key", ALONE, ids="/".join)
def test_one_asset_of_each_group_can_be_materialised_alone(rated: Settings, key: tuple[str, str]):
    job = build_definitions(rated).resolve_implicit_global_asset_job_def()
    asset = dg.AssetKey(key)
    is_daily = job.asset_layer.get(asset).partitions_def is not None
    with open_instance(rated) as instance:
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[asset],
            partition_key=FIRST_DAY if is_daily else None,
            tags={AS_OF_TAG: FIRST_DAY},
            raise_on_error=True,
        )
    metadata = {event.asset_key: event.materialization.metadata for event in done.get_asset_materialization_events()}
    assert done.success
    assert asset in metadata
    if key[0] in {"features", "marts"}:
        columns = {column.name for column in metadata[asset]["dagster/column_schema"].value.columns}
        lineage = metadata[asset]["dagster/column_lineage"].value.deps_by_column
        assert metadata[asset]["dagster/row_count"].value > 0
        assert "listing_id" in columns
        assert lineage.keys() == columns
        parents = build_definitions(rated).resolve_asset_graph().get(asset).parent_keys
        assert {dep.asset_key for deps in lineage.values() for dep in deps} <= parents
        assert lineage["listing_id"]
    assert all(evaluation.passed for evaluation in done.get_asset_check_evaluations())


def test_the_assets_materialised_alone_cover_every_group(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.materializable_asset_keys}
    assert {graph.get(dg.AssetKey(key)).group_name for key in ALONE} == groups
    assert len(ALONE) == len(groups)


def test_landed_tables_and_published_lists_have_a_freshness_policy(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    fresh = {key for key in graph.materializable_asset_keys if graph.get(key).freshness_policy is not None}
    assert {key.path[0] for key in fresh} == {"landed", "published"}
    assert {key for key in graph.materializable_asset_keys if key.path[0] in {"landed", "published"}} == fresh


def test_leads_and_report_are_requested_again_when_a_list_alone_is_published(definitions: dg.Definitions):
    day, lists = "2026-06-30", [dg.AssetKey(["published", name]) for name in LISTS]
    marts = definitions.resolve_asset_graph().get(AFTER_LISTS[1]).parent_keys
    with dg.DagsterInstance.ephemeral() as instance:
        for key in [*lists, *marts, *AFTER_LISTS]:
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))
        first = dg.evaluate_automation_conditions(definitions, instance)
        unchanged = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
        assert [unchanged.get_num_requested(key) for key in AFTER_LISTS] == [0, 0]
        instance.report_runless_asset_event(dg.AssetMaterialization(lists[0], partition=day))
        again = dg.evaluate_automation_conditions(definitions, instance, cursor=unchanged.cursor)
    assert again.get_requested_partitions(AFTER_LISTS[0]) == {day}


def test_landing_is_retried_after_a_transient_error_but_not_after_bad_input(
    rated: Settings, monkeypatch: pytest.MonkeyPatch
):
    attempts: list[Exception] = [ConnectionError("reset by peer"), BadInputError("Correct the file.")]

    def fail(_run: object) -> None:
        raise attempts.pop(0)

    monkeypatch.setattr(sources, "land_sources", fail)
    monkeypatch.setattr(sources, "RETRIES", dg.RetryPolicy(max_retries=2))
    job = build_definitions(rated).resolve_job_def("land")
    with open_instance(rated) as instance:
        done = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    assert attempts == [], "once more after the first error, and not again after the second"
    assert len(done.filter_events(lambda event: event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY)) == 1


def test_a_stage_that_succeeds_on_retry_has_not_failed(tmp_path: Path):
    record = RunRecord.start(tmp_path, "abc")
    with pytest.raises(ConnectionError), record.stage("landing"):
        raise ConnectionError
    assert record.has_failed
    with record.stage("landing"):
        pass
    assert not record.has_failed
