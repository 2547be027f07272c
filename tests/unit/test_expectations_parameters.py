"""Suites as data: parameters are validated before anything runs, digests follow the content, results are JSON."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from expectations.results import Failure, SuiteResult, digest_of_files, subject_digest
from expectations.suites import Suite, load_suite, suite_digest, suite_names, suites_digest
from touchstone.core.errors import BadInputError, GateRefusedError
from touchstone.core.files import sha256_file

VALID: dict[str, Any] = {
    "suite": "s",
    "description": "d",
    "parameters": {
        "day": {"type": "date"},
        "limit": {"type": "number"},
        "count": {"type": "integer", "optional": True},
        "key": {"type": "column", "values": ["a", "b"]},
        "names": {"type": "strings"},
        "loads": {"type": "rows", "columns": {"name": "string", "day": "date"}},
    },
    "tables": {"t": {}, "u": {"optional": True}},
    "expectations": [
        {
            "name": "has_rows",
            "table": "t",
            "severity": "critical",
            "description": "there are rows",
            "gx": "ExpectTableRowCountToBeBetween",
            "arguments": {"min_value": 1},
        },
        {
            "name": "bad",
            "table": "t",
            "severity": "critical",
            "description": "x",
            "bad_rows": "t.{key} is null and '{limit}' = ''",
        },
    ],
}
VALUES: dict[str, Any] = {
    "day": dt.date(2026, 6, 30),
    "limit": Decimal("0.5"),
    "key": "a",
    "names": ["x"],
    "loads": [{"name": "listings", "day": None}],
}


def valid_suite(**changes: Any) -> Suite:
    """Returns a suite with every kind of parameter, with top-level keys replaced."""
    return Suite.model_validate({**VALID, **changes})


def test_valid_values_are_bound_and_absent_optional_ones_are_none():
    assert valid_suite().bind(VALUES) == {**VALUES, "count": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("day", "2026-06-30"),
        ("day", dt.datetime(2026, 6, 30, tzinfo=dt.UTC)),
        ("day", None),
        ("limit", "1; drop table t"),
        ("limit", True),
        ("limit", float("nan")),
        ("limit", Decimal("Infinity")),
        ("count", 1.5),
        ("count", False),
        ("key", 'a" or 1=1'),
        ("names", "x"),
        ("names", [1]),
        ("loads", [{"name": "listings"}]),
        ("loads", [{"name": 1, "day": None}]),
        ("unheard_of", 1),
    ],
)
def test_invalid_values_are_refused_by_name(name: str, value: Any):
    with pytest.raises(BadInputError, match=name):
        valid_suite().bind({**VALUES, name: value})


def test_only_identifiers_of_a_closed_list_are_inserted_into_sql():
    suite = valid_suite()
    spelled = suite.spelled_out(suite.expectations[1], suite.bind(VALUES))
    assert spelled.bad_rows == "t.\"a\" is null and '{limit}' = ''"


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({}, "t is missing"),
        ({"t": [Path("f")], "v": [Path("f")]}, "v is not one"),
        ({"t": [Path("f")], "u": []}, "u has no file"),
    ],
)
def test_missing_unknown_and_empty_tables_are_refused(tables: dict[str, list[Path]], complaint: str):
    with pytest.raises(BadInputError, match=complaint):
        valid_suite().check_tables(tables)


@pytest.mark.parametrize(
    "expectations",
    [
        [VALID["expectations"][1]],
        [VALID["expectations"][0], VALID["expectations"][0]],
        [VALID["expectations"][0], {**VALID["expectations"][1], "query": "select 1 from {batch}"}],
        [
            VALID["expectations"][0],
            {"name": "q", "table": "t", "severity": "warning", "description": "x", "query": "select 1"},
        ],
        [{**VALID["expectations"][0], "gx": "ExpectColumnValuesToMatchRegex"}],
    ],
    ids=["no row count", "duplicate names", "two forms", "not of the batch", "regex"],
)
def test_invalid_suites_do_not_load(expectations: list[dict[str, Any]]):
    with pytest.raises(ValidationError):
        valid_suite(expectations=expectations)


def test_suites_of_the_project_are_valid_and_have_distinct_digests():
    assert suite_names() == ["candidate", "features", "landed", "scores"]
    assert all(load_suite(name).suite == name for name in suite_names())
    assert len({suites_digest(), *(suite_digest(name) for name in suite_names())}) == 5


def test_an_unknown_suite_is_refused_with_the_existing_ones():
    with pytest.raises(BadInputError, match=r"(?s)'lists'.*candidate, features"):
        load_suite("lists")


def test_subject_digest_depends_on_bytes_and_tables_not_names_or_order(tmp_path: Path):
    for name, content in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).write_text(content)
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    assert subject_digest({"t": [a, b]}) == subject_digest({"t": [b, c]})
    assert subject_digest({"t": [a, b]}) == digest_of_files({"t": [sha256_file(b), sha256_file(a)]})
    others = [{"t": [a]}, {"t": [a, a]}, {"u": [a, b]}, {"t": [a], "u": [b]}]
    assert len({subject_digest(tables) for tables in [{"t": [a, b]}, *others]}) == 5


def _result(severity: str) -> SuiteResult:
    values = {"expectation": "e", "table": "t", "column": "c", "observed": "3", "limit": "2", "severity": severity}
    failure = Failure.model_validate({**values, "message": "e (t.c): expected x; observed 3, allowed 2."})
    return SuiteResult(
        suite="scores",
        suite_digest="d",
        subject_digest="s",
        parameters={"as_of": dt.date(2026, 6, 30), "limit": Decimal("0.5"), "loads": [{"day": dt.date(2026, 6, 1)}]},
        success=severity != "critical",
        expectations_run=1,
        skipped=("other",),
        failures=(failure,),
    )


def test_a_result_round_trips_through_json():
    written = json.dumps(_result("critical").as_dict())
    assert SuiteResult.model_validate_json(written).as_dict() == json.loads(written)


def test_a_refusal_names_expectation_observed_value_and_limit():
    with pytest.raises(GateRefusedError, match=r"(?s)gate scores refused:.*e \(t\.c\).*observed 3, allowed 2"):
        _result("critical").raise_if_refused()
    assert _result("warning").refusal() is None
