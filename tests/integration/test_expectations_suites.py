"""Every suite passes valid data, and every expectation of every suite is shown to fail on bad data."""

from __future__ import annotations

from pathlib import Path

import pytest
from expectations_fixtures import BAD, GOOD, Case, candidate_faults, landed_with

from expectations.suites import load_suite, suite_names
from touchstone.core.errors import GateRefusedError

SEVERITIES = {(suite, item.name): item.severity for suite in suite_names() for item in load_suite(suite).expectations}
CASES = [(suite, name) for suite, cases in BAD.items() for name in cases]
WARNINGS = [case for case, severity in SEVERITIES.items() if severity == "warning"]


@pytest.mark.parametrize("suite", suite_names())
def test_every_expectation_has_a_case_that_violates_it(suite: str):
    assert set(BAD[suite]) == {expectation.name for expectation in load_suite(suite).expectations}


@pytest.mark.parametrize("suite", suite_names())
def test_valid_data_passes(suite: str, tmp_path: Path):
    result = GOOD[suite].judge(tmp_path)
    assert result.failures == ()
    assert result.success
    assert result.skipped == ()
    assert result.expectations_run == len(load_suite(suite).expectations)
    result.raise_if_refused()


@pytest.mark.parametrize(("suite", "name"), CASES)
def test_bad_data_is_detected(suite: str, name: str, tmp_path: Path):
    severity = SEVERITIES[suite, name]
    result = BAD[suite][name].judge(tmp_path)
    failure = next(failure for failure in result.failures if failure.expectation == name)
    assert failure.severity == severity
    assert "evaluated" not in failure.limit
    assert failure.observed in failure.message
    assert failure.limit in failure.message
    if severity == "critical":
        with pytest.raises(GateRefusedError, match=name):
            result.raise_if_refused()


@pytest.mark.parametrize(("rows", "refusals"), [(99, 1), (100, 0)])
def test_shrinking_of_an_incrementally_pulled_table_is_detected_at_its_source(rows: int, refusals: int, tmp_path: Path):
    result = landed_with("reviews", source_row_count=rows, previous_source_row_count=200).judge(tmp_path)
    assert [failure.observed for failure in result.failures] == [f"{rows} rows at the source"] * refusals


@pytest.mark.parametrize(("suite", "name"), WARNINGS)
def test_a_warning_alone_does_not_block(suite: str, name: str, tmp_path: Path):
    result = BAD[suite][name].judge(tmp_path)
    assert [failure.severity for failure in result.failures] == ["warning"]
    assert result.success
    assert result.refusal() is None


@pytest.mark.parametrize(("before", "refusals"), [(0.9, 1), (1.0, 0)])
def test_a_feature_that_no_entity_had_at_the_cutoff_refuses_nothing_when_it_becomes_known(
    before: float, refusals: int, tmp_path: Path
):
    filled = GOOD["scores"].broken(
        f"update drift set amount = 10.7, now = 0.08, before = {before} where name = 'refund_share'"
    )
    result = filled.judge(tmp_path)
    assert len(result.of_severity("critical")) == refusals
    assert "population_is_as_at_the_cut" in {failure.expectation for failure in result.of_severity("warning")}


@pytest.mark.parametrize(("expectation", "case"), candidate_faults().values(), ids=candidate_faults())
def test_a_list_that_violates_a_term_is_refused(expectation: str, case: Case, tmp_path: Path):
    result = case.judge(tmp_path)
    assert expectation in {failure.expectation for failure in result.of_severity("critical")}
    with pytest.raises(GateRefusedError, match=expectation):
        result.raise_if_refused()
