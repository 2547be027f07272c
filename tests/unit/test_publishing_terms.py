"""Terms: their effective values by model, and the rows they list, checked against plain Python for any rated rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from touchstone.publishing.policy import Policy, Term
from touchstone.publishing.terms import AppliedTerm, applied_terms, decide, fallback_notes

FLAGGING: dict[str, Any] = {
    "threshold": 61.5,
    "floor": 9.0,
    "target": 0.9,
    "basis": "target",
    "expected_precision": 0.91,
    "table": [
        {"score": 50.0, "precision": 0.6, "low": 0.5, "high": 0.7, "verdicts": 31},
        {"score": 60.0, "precision": 0.85, "low": 0.8, "high": 0.9},
        {"score": 80.0, "precision": 0.96, "low": 0.9, "high": 1.0},
        {"score": 95.0, "precision": None, "low": None, "high": None},
    ],
}


def policy(*terms: dict[str, Any], **changes: Any) -> Policy:
    top = {"target_precision": 0.9, "action": "review", "allow_empty": False, "max_flagged_share": 0.1}
    return Policy.model_validate({**top, "lists": ["listings", "merchants"], "terms": terms, **changes})


def test_without_terms_a_list_has_one_default_term_with_the_model_threshold():
    (only,) = applied_terms(policy(), "listings", FLAGGING)
    assert (only.term, only.conditions, only.threshold, only.floor, only.basis) == (1, {}, 61.5, 9.0, "target")
    assert (only.capacity, only.corroboration, only.action) == (None, 1, "review")


def test_a_term_inherits_unset_values_from_the_policy():
    found = applied_terms(
        policy(
            {"list": "merchants", "action": "watch"},
            {"list": "listings", "category": "watches", "threshold": 40, "action": "remove"},
            {"list": "listings", "brand": "Acme", "country": "DE", "target_precision": 0.95, "capacity": 3},
            {"list": "listings", "country": "FR", "corroboration": 1},
            capacity=100,
            corroboration=2,
        ),
        "listings",
        FLAGGING,
    )
    assert [term.conditions for term in found] == [
        {"category": "watches"}, {"brand": "Acme", "country": "DE"}, {"country": "FR"}, {},
    ]  # fmt: skip
    assert [(term.threshold, term.basis, term.target_precision) for term in found] == [
        (40.0, "stated", None), (80.0, "target", 0.95), (61.5, "target", 0.9), (61.5, "target", 0.9),
    ]  # fmt: skip
    assert [(term.capacity, term.corroboration, term.action) for term in found] == [
        (100, 2, "remove"), (3, 2, "review"), (100, 1, "review"), (100, 2, "review"),
    ]  # fmt: skip
    assert {term.floor for term in found} == {9.0}
    assert fallback_notes("listings", found, FLAGGING) == []


def test_a_target_beyond_the_table_falls_back_and_is_noted():
    found = applied_terms(policy({"list": "listings", "brand": "Acme", "target_precision": 0.99}), "listings", FLAGGING)
    assert [(term.threshold, term.basis) for term in found] == [(50.0, "fallback"), (61.5, "target")]
    (note,) = fallback_notes("listings", found, FLAGGING)
    assert note.startswith(
        "listings, brand Acme: the fallback threshold of 50 applies, because the verdicts do not show"
    )
    assert "precision of 0.99 (at 50 the precision is 0.60, 95 % interval 0.50 to 0.70, from 31 verdicts)" in note
    assert "touchstone test-buys plan" in note


def test_a_fallback_without_verdicts_is_noted_with_the_decisions_needed():
    flagging = {**FLAGGING, "table": [{"score": 50.0, "precision": None, "low": None, "high": None, "verdicts": 0}]}
    found = applied_terms(policy(target_precision=0.95), "reviews", {**flagging, "basis": "fallback"})
    (note,) = fallback_notes("reviews", found, flagging)
    assert "reviews: the fallback threshold of 50 applies" in note
    assert "(there is no verdict at 50 or above)" in note
    assert "randomly drawn orders and reviews" in note
    assert "inclusion_probability" in note


def test_terms_are_rendered_as_text():
    found = applied_terms(
        policy(
            {"list": "listings", "category": "a", "country": "DE", "threshold": 40, "capacity": 3, "corroboration": 2}
        ),
        "listings",
        FLAGGING,
    )
    assert list(map(str, found)) == [
        "category a, country DE: review from 40, at most 3 a day, at least 2 signals",
        "all other rows: review from 61.5 (target 0.9, target)",
    ]


COLUMNS = {
    "listing_id": pa.string(), "category": pa.string(), "brand": pa.string(), "country": pa.string(), "score": pa.float64(),
    "own_conduct_score": pa.float64(), "margin": pa.float64(), "reasons": pa.string(), "signal_count": pa.int64(),
    "expected_precision": pa.float64(), "model_digest": pa.string(), "is_suppressed": pa.bool_(), "term": pa.int32(),
    "action": pa.string(), "is_flagged": pa.bool_(), "held_by": pa.string(),
}  # fmt: skip
CATEGORIES, BRANDS, COUNTRIES = ["a", "a/b", "ab", "a/b/c", "Ä"], ["Acme", "ACME", "other"], ["DE", "FR"]
rows = st.fixed_dictionaries(
    {
        "category": st.none() | st.sampled_from(CATEGORIES),
        "brand": st.none() | st.sampled_from(BRANDS),
        "country": st.none() | st.sampled_from(COUNTRIES),
        "score": st.integers(0, 10).map(lambda tenths: tenths * 10.0),
        "own_conduct_score": st.sampled_from([8.9, 9.0, 50.0]),
        "margin": st.sampled_from([0.0, 1.0]),
        "signal_count": st.none() | st.integers(0, 4),
        "is_suppressed": st.booleans(),
        "model_digest": st.sampled_from(["d", "d", "d", "another"]),
    }
)
stated = st.fixed_dictionaries(
    {
        "category": st.none() | st.sampled_from(CATEGORIES),
        "brand": st.none() | st.sampled_from(BRANDS),
        "country": st.none() | st.sampled_from(COUNTRIES),
        "threshold": st.sampled_from([1.0, 40.0, 60.0, 100.0]),
        "capacity": st.none() | st.integers(1, 3),
        "corroboration": st.integers(1, 4),
        "action": st.sampled_from(["watch", "remove"]),
    }
)


def expected(row: dict[str, Any], terms: list[AppliedTerm]) -> tuple[AppliedTerm, bool, str | None]:
    """Returns the deciding term of a row, whether it flags it, and what except capacity holds it; in plain Python."""

    def fits(term: AppliedTerm) -> bool:
        path, wanted = row["category"], term.category
        return (
            (wanted is None or (path is not None and path.split("/")[: len(wanted.split("/"))] == wanted.split("/")))
            and (term.brand is None or (row["brand"] is not None and row["brand"].lower() == term.brand.lower()))
            and term.country in (None, row["country"])
        )

    term = next(term for term in terms if fits(term))
    is_flagged = (
        row["model_digest"] == "d" and row["score"] >= term.threshold and row["own_conduct_score"] >= term.floor
    )
    is_thin = term.corroboration > 1 and (row["signal_count"] or 0) < term.corroboration
    return term, is_flagged, "suppression" if row["is_suppressed"] else "corroboration" if is_thin else None


@settings(max_examples=60, deadline=None)
@given(rated=st.lists(rows, max_size=25), conditions=st.lists(stated, max_size=4))
def test_the_first_matching_term_decides_and_capacity_keeps_the_highest_scores(
    rated: list[dict[str, Any]], conditions: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
):
    entities = [
        {**row, "listing_id": f"l{at:02}", "reasons": None if row["signal_count"] is None else "[]"}
        for at, row in enumerate(rated)
    ]
    last = {"threshold": 60.0, "capacity": 2, "action": "review"}
    terms = [
        AppliedTerm(term=at, basis="stated", floor=9.0, **found)
        for at, found in enumerate([*conditions, last], start=1)
    ]
    found = decided(entities, terms, tmp_path_factory.mktemp("mart") / "mart.parquet")
    free: Counter[int] = Counter()
    for row in sorted(entities, key=lambda row: (-row["score"], -row["margin"], row["listing_id"])):
        term, is_flagged, held_by = expected(row, terms)
        if is_flagged and held_by is None:
            free[term.term] += 1
            held_by = "capacity" if term.capacity is not None and free[term.term] > term.capacity else None
        is_known = row["model_digest"] == "d"
        assert found[row["listing_id"]] == (
            term.term if is_known else None,
            term.action if is_known else None,
            is_flagged,
            held_by if is_flagged else None,
        )


def decided(entities: list[dict[str, Any]], terms: list[AppliedTerm], mart: Path) -> dict[str, tuple[Any, ...]]:
    table = {name: pa.array([row.get(name) for row in entities], kind) for name, kind in COLUMNS.items()}
    pq.write_table(pa.table(table), mart)
    with duckdb.connect(":memory:") as connection:
        decide(connection, "decided", "listings", mart, terms, "d")
        rows = connection.execute(
            "select listing_id, term, action, is_flagged, held_by, is_listed, is_unexplained from decided"
        ).fetchall()
    explained = {row["listing_id"] for row in entities if row.get("reasons") is not None}
    for listing_id, *_, is_flagged, held_by, is_listed, is_unexplained in rows:
        assert is_listed == (is_flagged and held_by is None)
        assert is_unexplained == (held_by == "corroboration" and listing_id not in explained)
    return {listing_id: tuple(result) for listing_id, *result, _, _ in rows}


def test_without_a_term_nothing_is_listed(tmp_path: Path):
    row = {
        "listing_id": "l1",
        "score": 100.0,
        "own_conduct_score": 100.0,
        "margin": 9.0,
        "model_digest": "d",
        "is_suppressed": False,
    }
    assert decided([row], [], tmp_path / "mart.parquet") == {"l1": (None, None, False, None)}


def test_a_term_is_parsed_by_its_key_aliases():
    assert Term.model_validate({"list": "listings", "action": "watch"}).list_name == "listings"
