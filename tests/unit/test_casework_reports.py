"""Text of reports, suppression of small counts, and escaping."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchstone.casework.public_report import FEW, few, part, without_small
from touchstone.casework.report_charts import draw_charts
from touchstone.casework.reports import SECTIONS, definitions, render_html
from touchstone.cli.reports import render_public

FIGURES, TABLES = definitions()
COUNTS = st.integers(0, 40)
HOSTILE = '<script>alert("x")</script>'


def report(**figures: Any) -> dict[str, Any]:
    return {
        "as_of": "2026-06-30",
        "previous": "2026-06-15",
        "base_currency": "USD",
        "figures": [
            {"name": name.replace("__", "."), "label": HOSTILE, "unit": "count", "value": value, "before": 1}
            for name, value in figures.items()
        ],
        "tables": {
            name: {"title": table.title, "columns": ["name"], "rows": [[HOSTILE]]} for name, table in TABLES.items()
        },
        "notes": [HOSTILE],
    }


def test_every_figure_and_table_is_on_the_page_exactly_once():
    assert {name.split(".")[0] for name in FIGURES} | {"test_buys"} == {part.figures for part in SECTIONS}
    placed = [name for section in SECTIONS for name in section.tables]
    assert len(placed) == len(set(placed))
    assert set(placed) == set(TABLES)


def test_external_text_is_escaped():
    page = render_html(report(notices__submitted_count=2), {})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page


def test_changes_since_the_previous_report_are_listed():
    page = render_html(report(notices__submitted_count=2, appeals__appeal_count=1), {})
    changed = page.split("Changes since 2026-06-15")[1].split("<h2>")[0]
    assert changed.count("<tr><td>") == 1
    assert "<tr><td>Notices</td>" in changed


def test_empty_tables_give_no_chart():
    tables = {name: {"columns": [], "rows": []} for name in TABLES}
    assert draw_charts(tables) == {}


@given(COUNTS, COUNTS)
def test_no_small_count_can_be_derived_from_a_part_and_its_total(one: int, other: int):
    result, whole = part(one, one + other), few(one + other)
    for small in (one, other):
        if 0 < small < FEW:
            assert isinstance(result, str) or isinstance(whole, str)
    if one not in range(1, FEW) and other not in range(1, FEW):
        assert (result, whole) == (one, one + other)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12)))
def test_no_small_count_can_be_derived_from_kinds_and_their_sum(counts: dict[str, int]):
    result = without_small(counts)
    assert all(count >= FEW for count in result.values())
    rest = sum(counts.values()) - sum(result.values())
    assert rest == 0 or not result
    assert all(result[kind] == counts[kind] for kind in result if kind != "others")


@pytest.mark.parametrize(
    ("count", "whole", "result"),
    [(0, 9, 0), (4, 9, "<5"), (5, 9, ">4"), (9, 9, 9), (3, 3, "<5"), (5, 10, 5), (32, 33, ">28")],
)
def test_a_part_is_exact_only_if_it_and_its_complement_are_large(count: int, whole: int, result: int | str):
    assert part(count, whole) == result


def test_the_public_report_marks_suppressed_figures():
    text = render_public(
        {"from": "2026-04-01", "to": "2026-06-30", "appeals": {"received": "<5", "upheld_share": None}, "notes": ["n"]}
    )
    assert "- received: <5" in text
    assert "- upheld share: too few to show" in text


def test_the_public_report_shows_shares_in_percent():
    prevalence = {"test_buys": 1167, "counterfeit_share": 0.075537, "low": 0.027015, "high": 0.160916}
    text = render_public({"from": "2026-06-01", "to": "2026-06-30", "prevalence": prevalence, "notes": []})
    assert text.splitlines()[4:] == [
        "- test buys: 1,167",
        "- counterfeit share: 7.6%",
        "- 95 % interval, lower bound: 2.7%",
        "- 95 % interval, upper bound: 16.1%",
    ]
