"""The candidate's gate and publishing together: only a built list that passes the real suite is published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from publishing_fixtures import AS_OF, POLICY, SUITES, TERMS, Home, Rated, passing_gates

from expectations.results import SuiteResult
from expectations.runner import run_suite
from orchestration.checks import TERM_PARAMETERS
from touchstone.core.errors import GateRefusedError
from touchstone.core.lists import LISTS, ListName
from touchstone.publishing.candidate import Candidate, list_columns
from touchstone.publishing.publish import candidate_subject
from touchstone.publishing.verdict import give_verdict

RATED = (
    Rated("a", 97.0),
    Rated("b", 91.0),
    *(Rated(f"c{number}", number / 10, is_flagged=False) for number in range(28)),
)


def judge(home: Home, candidate: Candidate, **parameters: Any) -> SuiteResult:
    """Judges a candidate by the suite, with the mart it was made from."""
    model = candidate.manifest().inputs.model
    bound = {
        "key": LISTS[candidate.list_name].key,
        "as_of": AS_OF,
        "columns": list(list_columns(candidate.list_name)),
        "least_rows": POLICY.least_rows(is_calibrated=model.is_calibrated),
        "max_flagged_share": POLICY.max_flagged_share,
        "floor": model.floor,
        "terms": [term.model_dump(include=set(TERM_PARAMETERS)) for term in TERMS],
    }
    return run_suite("candidate", {"candidate": [candidate.parquet], "rated": [home.mart()]}, {**bound, **parameters})


def give_candidate_verdict(candidate: Candidate, result: SuiteResult) -> None:
    """Gives the verdict: the candidate's real gate together with the earlier ones."""
    gates = [*passing_gates(candidate)[:3], result]
    give_verdict(candidate, gates, suites_digest=SUITES, policy_digest=POLICY.digest)


@pytest.mark.parametrize("list_name", LISTS)
def test_a_built_list_passes_its_gate_and_is_published(list_name: ListName, tmp_path: Path):
    home = Home(tmp_path, list_name)
    candidate = home.build(RATED)
    result = judge(home, candidate)
    assert result.failures == ()
    assert result.subject_digest == candidate_subject(candidate.manifest())
    give_candidate_verdict(candidate, result)
    assert home.publish(candidate).outcome == "published"


Rateds = tuple[Rated, ...]
BAD: dict[str, tuple[Callable[[Rateds], Rateds], dict[str, Any]]] = {
    "list_is_not_empty": (lambda rated: tuple(dataclasses.replace(item, is_flagged=False) for item in rated), {}),
    "scores_reach_the_threshold": (lambda rated: (*rated, Rated("low", 89.9)), {}),
    "own_conduct_scores_reach_the_floor": (lambda rated: (*rated, Rated("framed", 95.0, own_conduct_score=8.9)), {}),
    "flagged_share_is_small": (lambda rated: rated, {"max_flagged_share": 0.001}),
}


@pytest.mark.parametrize("expectation", BAD)
def test_a_list_refused_by_its_gate_is_not_published_and_the_reason_is_recorded(expectation: str, tmp_path: Path):
    home = Home(tmp_path)
    good = home.build(RATED)
    give_candidate_verdict(good, judge(home, good))
    in_force = home.publish(good).version
    spoil, parameters = BAD[expectation]
    candidate = home.build(spoil((*RATED, Rated("new", 1.5, is_flagged=False))))
    result = judge(home, candidate, **parameters)
    failed = next(failure for failure in result.failures if failure.expectation == expectation)
    give_candidate_verdict(candidate, result)
    with pytest.raises(GateRefusedError) as refused:
        home.publish(candidate)
    assert all(text in str(refused.value) for text in (expectation, failed.observed, failed.limit))
    assert (home.published / "listings" / "LATEST").read_text() == in_force + "\n"


def test_a_verdict_does_not_outlive_the_file_that_was_judged(tmp_path: Path):
    home = Home(tmp_path)
    candidate = home.build(RATED)
    give_candidate_verdict(candidate, judge(home, candidate))
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_parquet(str(candidate.parquet)).filter("rank = 1").to_arrow_table()
        connection.from_arrow(rows).write_parquet(str(candidate.parquet))
    with pytest.raises(GateRefusedError, match="does not match its manifest"):
        home.publish(candidate)
    give_candidate_verdict(candidate, judge(home, candidate))
    with pytest.raises(GateRefusedError, match="does not match its manifest"):
        home.publish(candidate)
