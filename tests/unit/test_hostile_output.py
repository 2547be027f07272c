"""No command's output of user-written text takes effect on a terminal, and no page or Markdown file hides any of it.

Each function that renders a command's result is given every hostile value in every field that users fill in; its output
is printed as commands print. Commands as processes are tested in tests/integration/test_hostile_commands.py.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.pipeline import Day
from tests.hostile import HOSTILE, unsafe_lines
from touchstone.casework import reports as casework_reports
from touchstone.casework.outcomes import Suppression
from touchstone.casework.test_buys import buy_sheet_page
from touchstone.cli import evaluate as evaluation
from touchstone.cli import leads, lists, maintenance, models, outcomes, pipeline, policies, reports, summary, test_buys
from touchstone.cli.common import print_result
from touchstone.core.errors import ExitCode
from touchstone.landing.checks import Violation, refusal
from touchstone.maintenance.doctor import Finding
from touchstone.maintenance.verification import Verification
from touchstone.publishing.policy_trial import PolicyOutcome, PolicyTrial, TriedList
from touchstone.publishing.read import ChangedAction, ChangedPolicy, ChangedScore, ListChange, ListDiff
from touchstone.publishing.verify import Problem

DAY = dt.date(2026, 6, 30)
SIDE = PolicyOutcome(
    flagged=1, listed=1, held={}, by_scores=0.9, by_bands=None, refusal=None,
    terms=({"term": 1, "description": "all else", "rated": 1, "flagged": 1, "listed": 1},),
)  # fmt: skip


def run_summary(value: str) -> str:
    facts: dict[str, Any] = {
        "as_of": "2026-06-30", "rated": {"listings": {"rated": 3, "flagged": 1, "held": {}}}, "notes": [], "lists": {},
        "fallbacks": {},
        "worst": [{"score": 99.0, "title": value, "why": f"it is said to be {value}"}], "stage_seconds": {},
        "coverage": {
            "signals": {}, "base_currency": "USD",
            "without_rate": [{"table": "orders", "currency": value, "without_rate": 1, "amounts": 2}],
        },
    }  # fmt: skip
    return summary.render_summary(facts)


def published_list(value: str) -> str:
    reasons = json.dumps([{"text": f"a reason of {value}", "quote": value}] * 3)
    row = {"rank": 1, "score": 99.0, "listing_id": f"{value}1", "title": value, "reasons": reasons}
    return lists.render_list("listing_id", [row, row | {"title": None, "name": value, "reasons": None}], "internal")


def diff_of_lists(value: str) -> str:
    return lists.render_diff(
        ListDiff(
            "a", "b", ChangedPolicy("1" * 64, "2" * 64, (f"category {value}: review",), (f"brand {value}: review",)),
            (value,), (value,), (ChangedScore(value, 1, 2),), (ChangedAction(value, "review", "remove"),),
            (ListChange(value, "score", "its scores rose"),),
        )
    )  # fmt: skip


def decision(value: str) -> str:
    facts = {
        "at": "2026-06-30T00:00:00+00:00", "action": "approve", "model": "listing_counterfeit", "version": 1,
        "model_digest": "f" * 64, "who": value, "is_override": True, "why": value,
    }  # fmt: skip
    return models.render_decision(facts)


def backfilled_day(value: str) -> str:
    violation = Violation("unknown column", (value,), "not a column of the contract", 1, (f"key={value!r}",))
    return pipeline.render_day(
        Day(DAY, "failed", ExitCode.BAD_INPUT, (refusal("listings", [violation], "Correct it."),))
    )


def lead(value: str) -> str:
    row = {
        "merchant_id": value, "role": "member", "country": value, "score": 1.0, "brushing_score": None,
        "expected_harm_base": 1, "since_date": DAY,
    }  # fmt: skip
    facts: dict[str, Any] = {
        "lead_id": "lead-000000000000", "kind": "ring", "status": "found", "rank": 1, "merged_into": None, "since_date": DAY,
        "expected_harm_base": 1, "expected_harm_before_base": None, "listed_merchant_count": 1, "merchant_count": 1,
        "listed_listing_count": 1, "listing_count": 1, "merchants": [row], "history": [],
    }  # fmt: skip
    return leads.render_lead(DAY, facts, "EUR")


def exported(value: str) -> str:
    return leads.render_export({"as_of": DAY, "reader": f"brand {value}", "packs": [f"{value}/lead-000000000000"]})


def suppressions(value: str) -> str:
    row = Suppression("listing", value, dt.datetime(2026, 6, 30, tzinfo=dt.UTC), None, value)
    return outcomes.render_suppressions([row, row])


def policy(value: str) -> str:
    term = {"list": "listings", "category": value, "brand": value, "action": "review"}
    return policies.render_policy({"file": f"{value}.yml", "digest": "1" * 64, "terms": [term]})


def policy_trial(value: str) -> str:
    side = PolicyOutcome(**{**SIDE.__dict__, "terms": ({**SIDE.terms[0], "description": f"category {value}: review"},)})
    day = TriedList("listings", DAY, 1, 1, False, SIDE, side, 1, 1, 1, 1, {value: (1, 2)}, {})
    return policies.render_trial(
        PolicyTrial(Path(f"{value}x".replace("\0", "")), "1" * 64, "2" * 64, DAY, DAY, (day,), ())
    )


def test_buy_report(value: str) -> str:
    share = {"share": 0.5, "low": 0.1, "high": 0.9}
    return test_buys.render_estimates(
        {
            "plan_id": "p", "as_of": "2026-06-30", "picks": 1, "bought": 1, "verdicts": {"genuine": 1}, "pending": 0,
            "currency": "USD",
            "prevalence": share, "prevalence_by_category": {value: share}, "strata_without_verdict": 0, "hit_rate_by_arm": {},
            "hit_rate_by_band": {}, "paid": 1.0, "paid_per_counterfeit": None, "paid_in_other_currencies_count": 0,
            "budget_for_half_the_interval": None,
        }
    )  # fmt: skip


def public_report(value: str) -> str:
    return reports.render_public(
        {
            "from": "2026-06-01",
            "to": "2026-06-30",
            "enforcement": {"actions_by_kind": {value: 7}},
            "fallbacks": {},
            "notes": [],
        }
    )


def evaluated(value: str) -> str:
    metrics = {name: {"mean": 0.5, "sd": None, "low": None, "high": None} for name in evaluation.METRIC_NAMES}
    warning = f"The feature {value!r} alone separates positives from others. Leave it out: --drop {value}."
    return evaluation.render(
        {"rows": 9, "positives": 3, "metrics": metrics, "baseline": {}, "warnings": [warning]}, "#/1"
    )


def refused_load(value: str) -> str:
    violations = [Violation("unknown column", (value, f"{value}2"), "not a column of the contract", 1, ())]
    return refusal("listings", violations, "Correct it at the source.")


def findings(value: str) -> str:
    return maintenance.render_findings(
        Path("home"), [Finding("act", "is not a run record", f"home/runs/{value}", "remove it")]
    )


def verification(value: str) -> str:
    problem = Problem("listings", Path(f"published/{value}"), "is no version")
    return lists.render_verification(Path("home"), Verification([str(problem)], []))


RENDERED: dict[str, Callable[[str], str]] = {
    one.__name__: one
    for one in (
        run_summary, published_list, diff_of_lists, decision, backfilled_day, lead, exported, suppressions, policy, policy_trial,
        test_buy_report, public_report, evaluated, refused_load, findings, verification,
    )
}  # fmt: skip
del test_buy_report  # pytest would collect it as a test


@pytest.mark.parametrize("name", RENDERED)
def test_no_hostile_value_takes_effect_on_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(HOSTILE) >= 40
    for value in HOSTILE:
        print_result({"value": value}, False, lambda value=value: RENDERED[name](value))
        printed = capsys.readouterr().out
        assert not unsafe_lines(printed), (value[:40], unsafe_lines(printed))
        assert len(printed) < 50_000
        print_result({"value": value}, True, lambda: "")
        printed = capsys.readouterr().out
        assert printed.isascii()
        assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]
        assert json.loads(printed) == {"value": value}


def test_the_html_report_has_no_invisible_characters() -> None:
    _, tables = casework_reports.definitions()
    for value in HOSTILE:
        page = casework_reports.render_html(
            {
                "as_of": "2026-06-30", "previous": None, "base_currency": "USD", "figures": [], "fallbacks": {}, "notes": [value],
                "tables": {
                    name: {"title": table.title, "columns": ["name"], "rows": [[value]]} for name, table in tables.items()
                },
            },
            {},
        )  # fmt: skip
        assert not [sign for sign in page if not sign.isprintable() and sign != "\n"]


def test_a_printable_buy_sheet_has_no_invisible_characters() -> None:
    facts = {"plan_id": "p", "budget": 1.0, "currency": "USD"}
    names = ("listing_id", "merchant_id", "title", "url", "brand", "category")
    picks = [dict.fromkeys(names, value) | {"price": 1, "currency": "USD"} for value in HOSTILE]
    page = buy_sheet_page(facts, picks)
    assert not [sign for sign in page if not sign.isprintable() and sign != "\n"]
    assert len(page) < 500_000


def test_a_markdown_evaluation_has_no_invisible_characters() -> None:
    metrics = {name: {"mean": 0.5, "sd": None, "low": None, "high": None} for name in evaluation.METRIC_NAMES}
    for value in HOSTILE:
        result = {"rows": 9, "positives": 3, "metrics": metrics, "baseline": {}, "warnings": [f"leave out {value}"]}
        page = evaluation.describe(result, value)
        assert not [sign for sign in page if not sign.isprintable() and sign not in "\n\u00a0"]  # its tables are padded
