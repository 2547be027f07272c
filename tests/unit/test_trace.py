"""Rendering of a trace, the reasons why a row is not listed, and the source values known at a date."""

from __future__ import annotations

import copy
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.contract import load_contract
from ml.drift import reference
from ml.model import RiskModel
from tests.hostile import HOSTILE, unsafe_lines
from tests.ml_fixtures import FEATURES, LISTINGS
from touchstone.cli.trace import FEATURES_SHOWN, render_trace
from touchstone.core.text import WRAP_COLUMNS, terminal_lines
from touchstone.publishing.source_rows import as_known
from touchstone.publishing.trace import describe_features, why_not_listed

CONTRACT = load_contract()
AS_OF = date(2026, 6, 30)
SCORE = {
    "score": 91.25, "own_conduct_score": 80.5, "margin": 2.5, "band": "[90,100]", "expected_precision": 0.9,
    "is_flagged": True, "is_suppressed": False, "held_by": None, "model_digest": "f" * 64, "threshold": 60.0, "floor": 70.0,
    "term": {"capacity": 3, "corroboration": 2, "description": "watches: review"},
    "reasons": [{"signal": "price", "effect": 1.25, "text": "price is 12.00 USD; usual is 40.00 USD", "quote": "below all"}],
}  # fmt: skip


def feature(name: str, value: Any) -> dict[str, Any]:
    message = {
        "name": name,
        "signal": "price",
        "controlled_by": "subject",
        "unit": "base",
        "value": value,
        "typical": 40.0,
    }
    return message | {"as_extreme_share": 0.012, "signal_effect": 1.25}


def load(table: str, **changes: Any) -> dict[str, Any]:
    message = {
        "table": table,
        "load_id": "a" * 24,
        "landed_at": "2026-07-01T06:00:00+00:00",
        "mode": "full",
        "row_count": 1200,
        "is_recorded": False,
    }
    return message | {"state": "unchanged", "replaced_by": None, "removals": []} | changes


TRACE: dict[str, Any] = {
    "list": "listings", "entity_id": "l1", "as_of": "2026-06-30", "version": "2026-06-30-abc", "is_listed": True,
    "row": {
        "rank": 3, "title": "A watch", "brand": "Voltera", "category": "watches", "price": 12, "currency": "USD",
        "action": "review", "first_flagged_date": "2026-06-28", "days_on_list": 2,
    },
    "why_not_listed": [], "notes": [], "score": SCORE, "category": "watches",
    "publication": {"run": {"published_at": "2026-07-01T06:01:00+00:00", "run_id": "run1"}},
    "manifest": {
        "row_count": 40, "policy": "1" * 64,
        "inputs": {
            "loads": {"digest": "2" * 64}, "dbt_build": "3" * 64, "code_revision": "4" * 64, "suites": "5" * 64,
            "features": "6" * 64,
        },
    },
    "model": {
        "name": "listing_counterfeit", "version": 2, "digest": "f" * 64,
        "approval": {
            "action": "approve", "who": "A. Reviewer", "at": "2026-06-20", "why": "better on unseen merchants",
            "is_override": False, "failures": [],
        },
    },
    "features": [feature("price_base", 12.0), feature("is_brand_known", None)],
    "verdict": {"passed": True, "gates": [{"gate": "landed", "passed": True, "expectations_run": 8, "failures": []}]},
    "loads": [load("orders")],
    "source_rows": {
        "orders": {"row_count": 57, "rows": [{"load_ids": ["a" * 24], "row": {"order_id": "o1"}, "known_later": {}}]},
        "appeals": {"row_count": 0, "rows": []},
    },
}  # fmt: skip


def result(**changes: Any) -> str:
    return render_trace(copy.deepcopy(TRACE) | changes)


def test_sections_are_in_the_documented_order() -> None:
    message = result()
    heads = ["l1 is row 3 of 40 on listings", "SCORE", "MODEL", "FEATURES", "GATES", "LOADS", "SOURCE ROWS orders"]
    assert [message.index(head) for head in heads] == sorted(message.index(head) for head in heads)
    for part in (
        "A. Reviewer",
        "better on unseen merchants",
        "below all",
        "price_base",
        "57, the newest 1",
        "none in appeals",
        "by the policy's term: watches: review",
    ):
        assert part in message


def test_lines_are_wrapped_to_the_terminal_width() -> None:
    long = {"text": "word " * 200, "url": "https://market.example/" + "x" * 300}
    rows = {"reviews": {"row_count": 1, "rows": [{"load_ids": ["a" * 24], "row": long, "known_later": {}}]}}
    assert max(map(len, result(source_rows=rows).splitlines())) <= WRAP_COLUMNS


def test_merchant_text_cannot_move_the_cursor() -> None:
    message = result(row=TRACE["row"] | {"title": "a\x1b[2Jwatch\r\nSCORE 0"})
    assert "\x1b" not in message
    assert "\r" not in message
    assert "\nSCORE 0" not in message
    assert "name a⟨U+001B⟩[2Jwatch⟨U+000D⟩⟨U+000A⟩SCORE 0," in message


def test_no_hostile_value_of_a_trace_takes_effect_on_a_terminal() -> None:
    for value in HOSTILE:
        reason = {"signal": "price", "effect": 1.0, "text": value, "quote": value}
        approval = TRACE["model"]["approval"] | {"who": value, "why": value, "is_override": True, "failures": [value]}
        rows = {
            "reviews": {"row_count": 1, "rows": [{"load_ids": ["a" * 24], "row": {"text": value}, "known_later": {}}]}
        }
        removal = {"who": value, "at": "2026-07-02T08:00:00Z", "why": value}
        message = result(
            entity_id=value, row=TRACE["row"] | {"title": value, "brand": value, "category": value, "currency": value},
            score=SCORE | {"term": SCORE["term"] | {"description": value}, "reasons": [reason]}, notes=[value], category=value,
            model=TRACE["model"] | {"approval": approval}, loads=[load("orders", state="erased", removals=[removal])],
            features=[feature("price_base", value)], source_rows=rows,
        )  # fmt: skip
        assert not unsafe_lines(terminal_lines(message)), value[:40]
        assert {sign for sign in message if not sign.isprintable()} == {
            "\n"
        }  # values are escaped before the terminal guard


def test_an_override_is_shown_with_the_failed_checks() -> None:
    approval = TRACE["model"]["approval"] | {"is_override": True, "failures": ["recall is 0.2"]}
    message = result(model=TRACE["model"] | {"approval": approval})
    assert "OVERRIDE despite: recall is 0.2" in message


def test_a_refusing_gate_is_shown_with_its_failures() -> None:
    failed = {"severity": "critical", "message": "too many rows"}
    gate = {"gate": "candidate", "passed": False, "expectations_run": 16, "failures": [failed]}
    message = result(verdict={"passed": False, "gates": [gate]}, version=None, publication=None)
    assert "GATES REFUSED" in message
    assert "critical: too many rows" in message
    assert "no version" in message


def test_removed_loads_are_shown_with_who_why_and_replacement() -> None:
    line = {"who": "an officer", "at": "2026-07-02T08:00:00Z", "why": "request 17"}
    loads = [
        load("orders", state="erased", replaced_by="b" * 24, removals=[line]),
        load("reviews", state="pruned", removals=[line]),
    ]
    message = result(loads=loads)
    assert "ERASED" in message
    assert f"erased; replaced by {'b' * 24}" in message
    assert "PRUNED" in message
    assert "by an officer at 2026-07-02T08:00: request 17" in message


def test_missing_parts_are_mentioned_and_not_omitted() -> None:
    message = result(features=None, verdict=None, notes=["features of 2026-06-30 are missing"])
    assert "NOTE: features" in message
    assert "FEATURES are missing" in message
    assert "GATES: the verdict is missing" in message


def test_features_beyond_the_most_unusual_are_counted() -> None:
    message = result(features=[feature(f"f{number}", 1.0) for number in range(FEATURES_SHOWN + 7)])
    assert "and 7 more" in message
    assert f"f{FEATURES_SHOWN}" not in message


def test_an_unlisted_row_starts_with_the_reason() -> None:
    message = result(row=None, why_not_listed=["its score 12 is below the threshold 60"])
    assert message.splitlines()[:2] == [
        "l1 is not on the list listings of 2026-06-30 (2026-06-30-abc):",
        "  its score 12 is below the threshold 60",
    ]


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"score": 59.9}, ["score 59.9 is below the threshold 60"]),
        ({"own_conduct_score": 69.0}, ["own_conduct_score 69 is below the floor 70"]),
        ({"score": 1.0, "own_conduct_score": 1.0}, ["threshold", "floor"]),
        ({"is_suppressed": True}, ["it is suppressed"]),
        ({"is_suppressed": None}, ["the mart is missing"]),
        ({"held_by": "capacity"}, ["3 rows a day, went to higher scores (watches: review)"]),
        ({"held_by": "corroboration"}, ["fewer than 2 signals corroborate it"]),
        ({}, ["the policy 111111111111 excluded it"]),
    ],
)
def test_reasons_why_a_rated_row_is_not_listed(changes: dict[str, Any], messages: list[str]) -> None:
    reasons = why_not_listed(SCORE | changes, "1" * 64)
    assert len(reasons) == len(messages)
    assert all(message in reason for message, reason in zip(messages, reasons, strict=True))


TYPICAL: dict[str, Any] = dict.fromkeys(LISTINGS.columns, 1.0) | {"category": "watches"}


def a_model(**body: Any) -> RiskModel:
    """A model with baseline values and a training population: all values are 1, but one in a hundred is 7."""
    baseline = {"": [0.0] * len(FEATURES), "watches": [float(at) for at in range(len(FEATURES))]}
    population = np.ones((100, len(FEATURES)), dtype=np.float32)
    population[0] = 7.0
    kept = {"features": [one.as_dict() for one in FEATURES], "baseline": baseline}
    return RiskModel(kept | {"reference": reference(population, LISTINGS.columns)} | body, b"", b"")


def test_features_are_shown_with_the_typical_values_of_their_category() -> None:
    row = TYPICAL | {"refund_share": 7.0, "delivery_days": None}
    result = describe_features(a_model(), row, []) or []
    assert {one["name"]: one["value"] for one in result} == {name: row[name] for name in LISTINGS.columns}
    assert {one["name"]: one["typical"] for one in result} == {
        name: float(at) for at, name in enumerate(LISTINGS.columns)
    }
    assert [one["name"] for one in result[:2]] == ["delivery_days", "refund_share"]
    assert [one["as_extreme_share"] for one in result[:3]] == [0.0, 0.01, 0.99]


def test_a_new_category_is_shown_with_the_overall_typical_values() -> None:
    result = describe_features(a_model(), TYPICAL | {"category": "boats"}, []) or []
    assert {one["typical"] for one in result} == {0.0}


def test_features_with_a_reason_are_shown_first_among_equally_extreme_ones() -> None:
    reasons = [{"signal": "order", "effect": 2.0}, {"signal": "text", "with_signal": "order", "effect": 1.0}]
    result = describe_features(a_model(), TYPICAL, reasons) or []
    effects = [(one["name"], one["signal_effect"]) for one in result]
    assert effects[:4] == [
        ("delivery_days", 2.0),
        ("refund_share", 2.0),
        ("noise_ratio", 1.0),
        ("complaint_share", None),
    ]


def test_a_model_of_an_earlier_release_has_no_as_extreme_shares() -> None:
    result = describe_features(a_model(reference={}), TYPICAL, [])
    assert {one["as_extreme_share"] for one in result or []} == {None}
    assert "one_star_share" in render_trace(TRACE | {"features": result})


SUBMITTED_AT, LATEST_AT = (
    datetime.fromisoformat("2026-06-01"),
    datetime.fromisoformat("2026-07-30"),
)  # naive, as landed
NOTICE = dict.fromkeys(CONTRACT.tables["notices"].columns) | {
    "notice_id": "n1", "submitted_at": SUBMITTED_AT, "outcome": "upheld", "reason": "seen",
}  # fmt: skip


@given(st.datetimes(SUBMITTED_AT, LATEST_AT))
def test_values_known_after_the_day_are_null_and_listed_separately(decided_at: datetime) -> None:
    landed = NOTICE | {"decided_at": decided_at, "load_ids": ["a"]}
    found = as_known(landed, CONTRACT.tables["notices"], AS_OF)
    assert {**found["row"], **found["known_later"], "load_ids": ["a"]} == landed
    is_later = decided_at.date() > AS_OF
    assert set(found["known_later"]) == ({"outcome", "reason", "decided_at"} if is_later else set())
    assert (found["row"]["outcome"] is None) == is_later
    assert found["row"]["submitted_at"] == SUBMITTED_AT


def test_values_without_a_moment_are_unchanged() -> None:
    found = as_known(NOTICE | {"outcome": "pending", "load_ids": ["a"]}, CONTRACT.tables["notices"], AS_OF)
    assert found["row"]["outcome"] == "pending"
    assert found["known_later"] == {}
