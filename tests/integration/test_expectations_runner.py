"""The runner on real files: unevaluable expectations block, no row values leak, and no thread outlives a run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from expectations_fixtures import GOOD

from expectations.results import subject_digest
from expectations.runner import run_suite
from expectations.suites import load_suite, suite_digest
from touchstone.core.errors import BadInputError

PERSONAL = "someone@example.com"


def test_a_missing_column_blocks_although_nothing_could_be_evaluated(tmp_path: Path):
    result = GOOD["scores"].broken("alter table scores drop column own_conduct_score").judge(tmp_path)
    failed = {failure.expectation: failure for failure in result.failures}
    assert {"scores_have_their_columns", "own_conduct_scores_are_in_range", "few_are_flagged"} <= failed.keys()
    assert "own_conduct_score" in failed["own_conduct_scores_are_in_range"].observed
    assert not result.success


def test_a_warning_that_cannot_be_evaluated_blocks(tmp_path: Path):
    result = GOOD["landed"].broken("alter table orders drop column refunded_at").judge(tmp_path)
    assert [(failure.expectation, failure.severity) for failure in result.failures] == [
        ("refunds_are_as_before", "critical")
    ]
    assert not result.success


def test_a_result_never_contains_row_values(tmp_path: Path):
    case = GOOD["candidate"].broken(
        f"update candidate set listing_id = '{PERSONAL}', action = '{PERSONAL}', reasons = '{PERSONAL}', band = '{PERSONAL}'",
        f"alter table rated alter score type varchar using '{PERSONAL}'",
    )
    result = case.judge(tmp_path)
    assert len(result.failures) >= 4
    assert PERSONAL not in result.model_dump_json()


def test_expectations_without_their_optional_table_are_listed_as_skipped(tmp_path: Path):
    case = GOOD["landed"].broken("drop table reviews", "drop table orders_before")
    rows = [row for row in case.parameters["loads"] if row["table_name"] != "reviews"]
    result = case.broken(loads=rows).judge(tmp_path)
    assert result.success
    assert result.skipped == ("ratings_are_as_before", "refunds_are_as_before")
    assert result.expectations_run == len(load_suite("landed").expectations) - 2


def test_an_empty_list_passes_only_where_the_policy_allows_it(tmp_path: Path):
    empty = GOOD["candidate"].broken(
        "delete from candidate", "update rated set is_flagged = false, held_by = null, score = 1"
    )
    (tmp_path / "refused").mkdir()
    refused = empty.judge(tmp_path / "refused")
    assert [failure.expectation for failure in refused.failures] == ["list_is_not_empty"]
    assert (refused.failures[0].observed, refused.failures[0].limit) == ("0", "at least 1")
    assert empty.broken(least_rows=0).judge(tmp_path).failures == ()


def test_digests_identify_the_suite_and_the_judged_bytes(tmp_path: Path):
    tables = GOOD["features"].write(tmp_path)
    result = run_suite("features", tables, GOOD["features"].parameters)
    assert result.suite_digest == suite_digest("features")
    assert result.subject_digest == subject_digest(tables)


def test_several_files_of_a_table_are_judged_as_one_and_paths_may_contain_any_character(tmp_path: Path):
    folder = tmp_path / "it's as_of=2026-06-30 $1"
    folder.mkdir()
    case = GOOD["scores"]
    tables = case.write(folder)
    twice = {**tables, "scores": [*tables["scores"], *tables["scores"]]}
    assert run_suite("scores", tables, case.parameters).success
    failed = {failure.expectation for failure in run_suite("scores", twice, case.parameters).failures}
    assert failed == {"scores_have_one_row_an_entity", "scores_are_of_the_entities_with_features"}


def test_a_table_may_have_other_columns_in_the_next_run(tmp_path: Path):
    assert GOOD["features"].judge(tmp_path).success
    changed = GOOD["features"].broken(
        "update features set merchant_id = listing_id",
        "alter table features drop column listing_id",
        "alter table features_before drop column listing_id",
        key="merchant_id",
    )
    result = changed.judge(tmp_path)
    assert result.failures == ()


def test_no_database_thread_outlives_its_run(tmp_path: Path):
    GOOD["scores"].judge(tmp_path)
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("needs /proc to count threads")
    before = len(list(tasks.iterdir()))
    for _ in range(3):
        GOOD["scores"].judge(tmp_path)
    assert len(list(tasks.iterdir())) <= before


def test_missing_tables_and_parameters_are_refused_before_anything_runs(tmp_path: Path):
    case = GOOD["scores"]
    tables = case.write(tmp_path)
    with pytest.raises(BadInputError, match="features is missing"):
        run_suite("scores", {"scores": tables["scores"]}, case.parameters)
    with pytest.raises(BadInputError, match="model_digest"):
        run_suite("scores", tables, {**case.parameters, "model_digest": None})


def test_suites_and_results_load_without_great_expectations():
    code = textwrap.dedent(
        """
        import sys
        import expectations.suites, expectations.results, expectations.runner
        expectations.suites.suites_digest()
        assert "great_expectations" not in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True)
