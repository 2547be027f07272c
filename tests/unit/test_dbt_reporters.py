"""The accuracy of reporters: the query of the macro, compared with an independent fit, and its invariants."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from tests.dbt_fixtures import PROJECT

Reporter = tuple[int, int]
"""The numbers of its judged notices that were right and wrong."""
REPORTERS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=12)


def accuracies(reporters: Sequence[Reporter]) -> list[tuple[float, float, float]]:
    """Returns accuracy, the prior's share and its weight for each reporter, as the marts compute them."""
    environment = Environment(autoescape=False)  # noqa: S701  # SQL, not HTML
    macros: Any = environment.from_string((PROJECT / "macros" / "outcomes.sql").read_text()).module
    with duckdb.connect() as connection:
        connection.execute(
            "create table known_notices (as_of date, reporter_id varchar, is_right boolean, outcome varchar, "
            "submitted_at timestamp)"
        )
        for number, (right, wrong) in enumerate(reporters):
            for is_right, count in ((True, right), (False, wrong), (None, 1)):
                connection.execute(
                    "insert into known_notices select '2026-03-31', ?, ?, 'pending', '2026-03-01' from range(?)",
                    [f"r{number:02}", is_right, count],
                )
        accuracy = macros.accuracy("reporter_counts.right_count", "reporter_counts.judged_count")
        found = connection.execute(
            f"with {macros.reporter_prior()} select {accuracy}, prior_share, prior_weight "
            "from reporter_counts cross join reporter_prior order by reporter_id"
        ).fetchall()
    return [(float(one), share, weight) for one, share, weight in found]


def fitted(reporters: Sequence[Reporter]) -> tuple[float, float]:
    """Returns share and weight of the prior, computed with fractions."""
    counts = [(right, right + wrong) for right, wrong in reporters if right + wrong]
    k, n, x = len(counts), sum(n for _, n in counts), sum(x for x, _ in counts)
    p = Fraction(x + 1, n + 2)
    if k < 2 or n - Fraction(sum(n * n for _, n in counts), n) == k - 1:
        return float(p), 2.0
    spread = sum(n * (Fraction(x, n) - p) ** 2 for x, n in counts)
    r = (spread / (p * (1 - p)) - (k - 1)) / (n - Fraction(sum(n * n for _, n in counts), n) - (k - 1))
    return float(p), float(1 / max(min(r, Fraction(1, 3)), Fraction(1, 51)) - 1)


@settings(max_examples=60)
@given(REPORTERS)
def test_the_prior_equals_the_method_of_moments(reporters: list[Reporter]):
    share, weight = fitted(reporters)
    for (right, wrong), (accuracy, prior_share, prior_weight) in zip(reporters, accuracies(reporters), strict=True):
        assert prior_share == pytest.approx(share, abs=1e-6)
        assert prior_weight == pytest.approx(weight, abs=1e-4)
        assert accuracy == pytest.approx((right + weight * share) / (right + wrong + weight), abs=1e-5)


@settings(max_examples=60)
@given(REPORTERS, st.integers(0, 40), st.integers(0, 40), st.integers(1, 100))
def test_a_reporter_with_more_wrong_notices_has_lower_accuracy(
    others: list[Reporter], right: int, wrong: int, more: int
):
    result = accuracies([*others, (right, wrong), (right, wrong + more), (right + more, wrong)])
    same, worse, better = (accuracy for accuracy, _, _ in result[-3:])
    assert 0 < worse < same < better < 1


@settings(max_examples=30)
@given(REPORTERS)
def test_a_hundred_false_notices_outweigh_any_prior(others: list[Reporter]):
    *_, (accuracy, share, _) = accuracies([*others, (0, 100)])
    assert accuracy <= share / 3 + 1e-6


def test_a_reporter_without_judged_notices_has_the_prior_share():
    *_, (accuracy, share, _) = accuracies([(10, 10), (3, 1), (0, 0)])
    assert accuracy == pytest.approx(share, abs=1e-6)
