"""How several loads of a table become one present, and one past: full loads, increments, and what changed between them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_fixtures import make_warehouse, read_rows, run_dbt

AS_OF = "2026-03-31"
BEGINNING, END = date(1900, 1, 1), date(9999, 12, 31)


def load(number: int, landed_at: str, *rows: dict[str, Any], mode: str = "full") -> list[dict[str, Any]]:
    """The rows of one load."""
    return [row | {"load_id": f"load-{number}", "landed_at": landed_at, "mode": mode} for row in rows]


def listing(listing_id: str, **columns: Any) -> dict[str, Any]:
    return {
        "listing_id": listing_id,
        "merchant_id": "m1",
        "listed_at": "2026-01-01",
        "price": 10,
        "currency": "USD",
    } | columns


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three full loads of listings, merchants, brands and identifiers, and a full load of orders with two increments."""
    home = tmp_path_factory.mktemp("loads")
    order = {"listing_id": "l1", "merchant_id": "m1", "amount": 5, "currency": "USD", "placed_at": "2026-01-05"}
    identifier = {"kind": "phone", "value_hash": "x", "first_seen_at": "2026-01-01"}
    rows = {
        "listings": [
            *load(
                1,
                "2026-02-01 06:00:00",
                listing("l1", title="Shoe", last_seen_at="2026-01-31 09:00:00", brand_claimed="Newco"),
                listing("gone", title="Hat"),
            ),
            *load(2, "2026-02-02 06:00:00", listing("l1", title="Shoe", last_seen_at="2026-02-01 09:00:00")),
            *load(
                3,
                "2026-02-02 18:00:00",
                listing("l1", title="Real shoe", price=12, last_seen_at="2026-02-02 09:00:00", brand_claimed="Newco"),
                listing("new", title="Sock"),
            ),
            *load(
                4,
                "2026-02-05 06:00:00",
                listing("l1", title="Real shoe", price=12, last_seen_at="2026-02-02 09:00:00", brand_claimed="Newco"),
                listing("new", title="Sock"),
            ),
        ],
        "merchants": [
            *load(1, "2026-02-01", {"merchant_id": "m1", "country": "US"}, {"merchant_id": "m2", "country": "FR"}),
            *load(2, "2026-02-09", {"merchant_id": "m1", "country": None}, {"merchant_id": "m2", "country": "FR"}),
        ],
        "merchant_identifiers": [
            *load(
                1,
                "2026-02-01",
                identifier | {"merchant_id": "m1", "is_verified": True},
                identifier | {"merchant_id": "m2", "is_verified": False},
            ),
            *load(
                2,
                "2026-02-09",
                identifier | {"merchant_id": "m1", "is_verified": True},
                identifier | {"merchant_id": "m2", "is_verified": True},
            ),
        ],
        "brands": [
            *load(1, "2026-02-01", {"brand_id": "b1", "name": "Acme"}),
            *load(2, "2026-02-04", {"brand_id": "b1", "name": "Acme", "aliases": '["Newco"]'}),
        ],
        "orders": [
            *load(1, "2026-02-01", order | {"order_id": "kept"}, order | {"order_id": "corrected"}),
            *load(2, "2026-02-02", order | {"order_id": "corrected", "amount": 6}, mode="incremental"),
            *load(
                3,
                "2026-02-03",
                order | {"order_id": "corrected", "amount": 7},
                order | {"order_id": "added"},
                mode="incremental",
            ),
        ],
    }
    make_warehouse(home, rows, AS_OF)
    run_dbt(home, "build", "--select", "tag:shape", "--exclude-resource-type", "unit_test")
    return home


def test_the_newest_full_load_is_the_present(home: Path) -> None:
    listings = read_rows(home, "select listing_id, title, price_usd from stg_listings order by listing_id")
    assert [(row["listing_id"], row["title"], int(row["price_usd"])) for row in listings] == [
        ("l1", "Real shoe", 12),
        ("new", "Sock", 10),
    ]


def test_an_increments_row_takes_the_place_of_an_earlier_one(home: Path) -> None:
    orders = read_rows(home, "select order_id, amount from stg_orders order by order_id")
    assert [(row["order_id"], int(row["amount"])) for row in orders] == [("added", 5), ("corrected", 7), ("kept", 5)]


def test_a_later_loads_change_counts_from_the_day_it_landed(home: Path) -> None:
    """The first value counts from the beginning; of two loads on one day the later; what does not change begins nothing."""
    history = read_rows(
        home,
        "select listing_id, title, known_from, known_until from stg_listing_history order by listing_id, known_from",
    )
    assert [tuple(row.values()) for row in history] == [
        ("gone", "Hat", BEGINNING, END),
        ("l1", "Shoe", BEGINNING, date(2026, 2, 2)),
        ("l1", "Real shoe", date(2026, 2, 2), END),
        ("new", "Sock", BEGINNING, END),
    ]


def test_a_value_that_goes_away_is_a_change(home: Path) -> None:
    history = read_rows(
        home,
        "select merchant_id, country, known_from, known_until from stg_merchant_history order by merchant_id, known_from",
    )
    assert [tuple(row.values()) for row in history] == [
        ("m1", "US", BEGINNING, date(2026, 2, 9)),
        ("m1", None, date(2026, 2, 9), END),
        ("m2", "FR", BEGINNING, END),
    ]


def test_every_time_a_load_saw_a_listing_is_a_sighting(home: Path) -> None:
    seen = read_rows(home, "select day from int_sighting_days where listing_id = 'l1' order by all")
    assert [row["day"] for row in seen] == [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]


def test_a_spelling_names_a_brand_from_the_day_it_was_known(home: Path) -> None:
    brands = read_rows(
        home,
        """select known_from, known_until, brand_id, matched_by from int_listing_brands
        where listing_id = 'l1' order by known_from""",
    )
    assert [tuple(row.values()) for row in brands] == [
        (BEGINNING, date(2026, 2, 2), None, None),
        (date(2026, 2, 2), date(2026, 2, 4), None, None),
        (date(2026, 2, 4), END, "b1", "alias"),
    ]


def test_a_link_is_firm_from_the_day_both_ends_were_verified(home: Path) -> None:
    edges = read_rows(home, "select merchant_id_a, merchant_id_b, known_from, firm_from from int_merchant_edges")
    assert [tuple(row.values()) for row in edges] == [("m1", "m2", date(2026, 1, 1), date(2026, 2, 9))]
