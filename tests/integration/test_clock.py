"""A clock behind the landed data: the run exits with 2 and a message, and changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import touchstone

from tests.landing_fixtures import NOW, Market
from touchstone.core.run_record import RunRecord

AHEAD = (datetime.now(UTC) - NOW).days + 30
"""Days after the fixtures' own time at which the market landed: a month from today."""


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """A market that landed a month in the future, with a listing of the day before."""
    found = Market(tmp_path)
    found.tables["listings"] = f"""
        select 'l1' as listing_id, 'm1' as merchant_id, 'Watch' as title, 10.5 as price, 'USD' as currency,
            timestamptz '{NOW + timedelta(days=AHEAD - 1):%Y-%m-%d} 00:00:00+00' as listed_at
    """
    found.land(days=AHEAD)
    return found


@pytest.mark.parametrize(
    "command",
    [("run", "--sources", "sources.yml"), ("backfill", "--from", "2026-06-01", "--to", "2026-06-02")],
    ids=lambda command: command[0],
)
def test_a_clock_behind_the_landed_data_is_reported(market: Market, command: tuple[str, ...]) -> None:
    """The end of the newest day has no partition yet; this used to be a traceback of Dagster's."""
    arguments = [str(market.folder / word) if word.endswith(".yml") else word for word in command]
    done = touchstone(market.folder, *arguments, TOUCHSTONE_HMAC_KEY="a key for these tests")
    assert done.code == 2, done.stderr
    assert f"The last complete day of what has landed is {NOW + timedelta(days=AHEAD - 1):%Y-%m-%d}" in done.stderr
    assert f"today is {datetime.now(UTC):%Y-%m-%d}" in done.stderr
    assert "Correct the clock" in done.stderr
    assert "Traceback" not in done.stderr
    assert [record.outcome for record in RunRecord.read_all(market.folder / "runs")] == (
        ["refused"] if command[0] == "run" else []
    )
