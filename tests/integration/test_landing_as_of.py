"""Which day a home's loads can be rated as of, and how fresh a table is."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.landing_fixtures import LISTINGS, MERCHANTS, ORDERS, Market
from touchstone.landing.as_of import complete_days, default_as_of, fresh_date

DECISIONS = """
    select 'listing' as entity_kind, 'l' || i as entity_id, 'counterfeit' as violation_type, 'fake' as verdict,
        timestamp '{}' + interval (i) minute as decided_at
    from range(1, 4) as r(i)
"""
"""The newest order is of 2026-06-06, and the newest listing of 2026-03-07; all lands on 2026-07-01."""


def market(folder: Path, **tables: str) -> Market:
    """Returns a marketplace whose newest order is of 2026-06-06."""
    landed = Market(folder, {"merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS, **tables})
    landed.land()
    return landed


@pytest.mark.parametrize(
    ("decided", "as_of"),
    [
        ("2026-06-01", "2026-06-06"),
        ("2026-06-10", "2026-06-10"),
        ("2026-06-13", "2026-06-13"),
        ("2026-06-14", "2026-06-06"),
        ("2015-01-01", "2026-06-06"),
    ],
)
def test_a_label_dates_a_run_if_it_is_at_most_a_week_newer_than_all_observations(
    decided: str, as_of: str, tmp_path: Path
):
    landed = market(tmp_path, moderation_decisions=DECISIONS.format(decided))
    assert default_as_of(landed.landing, landed.pins()) == date.fromisoformat(as_of)


def test_a_label_of_the_week_after_dates_a_run_although_others_are_later(tmp_path: Path):
    both = f"{DECISIONS.format('2026-06-09')} union all {DECISIONS.format('2026-06-20')}"
    landed = market(tmp_path, moderation_decisions=both)
    days = complete_days(landed.landing, landed.pins())
    assert days == {
        "listings": date(2026, 3, 7),
        "orders": date(2026, 6, 6),
        "moderation_decisions": date(2026, 6, 9),
    }


def test_a_sighting_dates_a_run(tmp_path: Path):
    seen = f"select *, timestamp '2026-06-20 10:00:00' as last_seen_at from ({LISTINGS})"
    landed = market(tmp_path, listings=seen)
    assert default_as_of(landed.landing, landed.pins()) == date(2026, 6, 20)
    assert fresh_date(landed.landing, landed.pins(), "listings") == date(2026, 6, 20)


def test_listings_that_are_never_seen_are_as_fresh_as_their_load_and_orders_as_the_newest(tmp_path: Path):
    landed = market(tmp_path)
    assert fresh_date(landed.landing, landed.pins(), "listings") == date(2026, 7, 1)
    assert fresh_date(landed.landing, landed.pins(), "orders") == date(2026, 6, 6)
    assert fresh_date(landed.landing, landed.pins(), "reviews") is None


def test_the_age_that_a_table_may_have_is_in_the_ledger_and_lands_nothing_again(tmp_path: Path):
    landed = market(tmp_path)
    landed.entries["orders"] = {"max_age_days": 30}
    assert (record := landed.land(days=1)["orders"]).status == "unchanged"
    assert record.max_age_days == 30
