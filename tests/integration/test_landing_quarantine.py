"""Rows that break the contract are set aside up to the share that the sources file allows, counted and listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.landing_fixtures import CONTRACT, KEY, NOW, Market
from touchstone.core.errors import BadInputError
from touchstone.landing.land import check, land
from touchstone.landing.ledger import LoadRecord
from touchstone.landing.sources import read_sources

MERCHANTS = """
    select 'm' || i as merchant_id, timestamp '2026-01-01' as registered_at from range(1, 401) as r(i)
"""
LISTINGS = """
    select 'l' || if(i = 7, 6, i) as listing_id, if(i = 9, 'nobody', 'm' || i) as merchant_id, 'Watch' as title,
        if(i = 5, '-3', if(i = 8, 'ten', '10.5')) as price, 'USD' as currency,
        timestamp '2026-03-01' as listed_at
    from range(1, 401) as r(i)
"""
"""Of 400 rows five break the contract: a repeated key in two, a price below zero, one that is no number, and no such merchant."""
LISTED = """listing_id,columns,rule
l5,price,range
l6,listing_id,key
l6,listing_id,key
l8,price,type
l9,merchant_id,reference
"""


def landed(market: Market, quarantine: object) -> dict[str, LoadRecord]:
    """Lands a market with a quarantine."""
    file = market.write().path
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"quarantine": quarantine}))
    found = land(read_sources(file, {}), CONTRACT, market.landing, hmac_key=KEY, now=NOW)
    return {record.table: record for record in found}


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """A marketplace with five bad rows of 400."""
    return Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})


def test_up_to_the_share_bad_rows_are_set_aside_counted_and_listed(market: Market):
    record = landed(market, 0.0125)["listings"]
    assert (record.status, record.row_count, record.set_aside_rows) == ("accepted", 395, 5)
    assert record.message == (
        "395 rows landed; 5 rows set aside (listing_id: key 2, merchant_id: reference 1, price: range 1, price: type 1)"
    )
    assert (market.landing / "quarantine" / "listings.csv").read_text() == LISTED
    assert len(market.rows("listings")) == 395
    again = landed(market, 0.0125)["listings"]
    assert (again.status, again.set_aside_rows) == ("unchanged", 5)


@pytest.mark.parametrize("quarantine", [0, 0.0124])
def test_with_more_bad_rows_or_without_a_quarantine_the_load_is_refused(market: Market, quarantine: float):
    record = landed(market, quarantine)["listings"]
    assert (record.status, record.set_aside_rows) == ("refused", 0)
    assert "price: 1 of 400 rows are below 0 [range]" in record.message
    assert not (market.landing / "quarantine" / "listings.csv").exists()


def test_rows_that_refer_to_one_set_aside_are_bad_too(market: Market):
    market.tables["merchants"] = MERCHANTS.replace("'m' || i as", "if(i = 399, '', 'm' || i) as")
    found = landed(market, 0.02)
    assert (found["merchants"].row_count, found["merchants"].set_aside_rows) == (399, 1)
    assert (found["listings"].row_count, found["listings"].set_aside_rows) == (394, 6)


def test_a_load_that_is_wrong_as_a_whole_is_refused(market: Market):
    market.tables["listings"] = LISTINGS.replace("as title", "as heading")
    record = landed(market, 0.1)["listings"]
    assert record.status == "refused"
    assert "heading" in record.message


def test_the_list_goes_when_the_next_load_is_clean(market: Market):
    landed(market, 0.0125)
    market.tables["listings"] = LISTINGS.replace("range(1, 401)", "range(10, 401)")
    assert landed(market, 0.0125)["listings"].set_aside_rows == 0
    assert not (market.landing / "quarantine" / "listings.csv").exists()


def test_a_check_says_what_would_be_set_aside(market: Market):
    file = market.write().path
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"quarantine": 0.02}))
    (report,) = (one for one in check(read_sources(file, {}), CONTRACT, hmac_key=KEY) if one.table == "listings")
    assert report.accepted
    assert report.message.startswith("listings: 395 rows would land; 5 rows set aside (")


def test_a_share_that_is_no_share_is_refused(market: Market):
    with pytest.raises(BadInputError, match="quarantine"):
        landed(market, 0.5)
