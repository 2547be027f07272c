"""Several loads of a table form one current state and one history: full loads, increments, and changes."""

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
    """Three full loads of most tables, and a full load of orders with two increments."""
    home = tmp_path_factory.mktemp("loads")
    order = {"listing_id": "l1", "merchant_id": "m1", "amount": 5, "currency": "USD", "placed_at": "2026-01-05"}
    identifier = {"kind": "phone", "value_hash": "x", "first_seen_at": "2026-01-01"}
    acme, bolt = {"brand_id": "b1", "name": "Acme"}, {"brand_id": "b2", "name": "Bolt"}
    newco = {"aliases": '["Newco"]'}
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
        "buyers": [
            *load(1, "2026-02-01", {"buyer_id": "u1", "device_hash": "d1"}, {"buyer_id": "u2", "device_hash": "d2"}),
            *load(2, "2026-02-09", {"buyer_id": "u1", "device_hash": "d2"}, {"buyer_id": "u2", "device_hash": "d2"}),
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
            *load(1, "2026-02-01", acme, bolt, {"brand_id": "b3", "name": "Gone"}),
            *load(2, "2026-02-04", acme | newco, bolt),
            *load(3, "2026-02-06", acme | newco, bolt | newco),
            *load(4, "2026-02-08", acme, bolt | newco),
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


def test_the_newest_full_load_is_the_current_state(home: Path) -> None:
    listings = read_rows(home, "select listing_id, title, price_base from stg_listings order by listing_id")
    assert [(row["listing_id"], row["title"], int(row["price_base"])) for row in listings] == [
        ("l1", "Real shoe", 12),
        ("new", "Sock", 10),
    ]


def test_an_incremental_row_replaces_an_earlier_one(home: Path) -> None:
    orders = read_rows(home, "select order_id, amount from stg_orders order by order_id")
    assert [(row["order_id"], int(row["amount"])) for row in orders] == [("added", 5), ("corrected", 7), ("kept", 5)]


def test_a_change_is_valid_from_the_day_its_load_landed(home: Path) -> None:
    """The first value is valid from the beginning; the later load of a day wins; unchanged values start no version."""
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


def test_a_removed_value_is_a_change(home: Path) -> None:
    history = read_rows(
        home,
        "select merchant_id, country, known_from, known_until from stg_merchant_history order by merchant_id, known_from",
    )
    assert [tuple(row.values()) for row in history] == [
        ("m1", "US", BEGINNING, date(2026, 2, 9)),
        ("m1", None, date(2026, 2, 9), END),
        ("m2", "FR", BEGINNING, END),
    ]


def test_a_changed_device_starts_a_version(home: Path) -> None:
    history = read_rows(
        home,
        "select buyer_id, device_hash, known_from, known_until from stg_buyer_history order by buyer_id, known_from",
    )
    assert [tuple(row.values()) for row in history] == [
        ("u1", "d1", BEGINNING, date(2026, 2, 9)),
        ("u1", "d2", date(2026, 2, 9), END),
        ("u2", "d2", BEGINNING, END),
    ]


def test_every_last_seen_time_in_a_load_is_a_sighting(home: Path) -> None:
    seen = read_rows(home, "select day from int_sighting_days where listing_id = 'l1' order by all")
    assert [row["day"] for row in seen] == [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]


def test_an_alias_matches_a_brand_from_the_day_it_was_known(home: Path) -> None:
    brands = read_rows(
        home,
        """select known_from, known_until, brand_id, matched_by from int_listing_brands
        where listing_id = 'l1' order by known_from""",
    )
    assert [tuple(row.values()) for row in brands] == [
        (BEGINNING, date(2026, 2, 2), None, None),
        (date(2026, 2, 2), date(2026, 2, 4), None, None),
        (date(2026, 2, 4), date(2026, 2, 8), "b1", "alias"),
        (date(2026, 2, 8), END, "b2", "alias"),
    ]


def test_a_removed_alias_passes_to_another_brand_or_expires(home: Path) -> None:
    names = read_rows(
        home, "select name_key, brand_id, known_from, known_until from int_brand_names order by name_key, known_from"
    )
    assert [tuple(row.values()) for row in names] == [
        ("acme", "b1", BEGINNING, END),
        ("bolt", "b2", BEGINNING, END),
        ("gone", "b3", BEGINNING, date(2026, 2, 4)),
        ("newco", "b1", date(2026, 2, 4), date(2026, 2, 8)),
        ("newco", "b2", date(2026, 2, 8), END),
    ]


def test_an_edge_is_verified_from_the_day_both_ends_were(home: Path) -> None:
    edges = read_rows(home, "select merchant_id_a, merchant_id_b, known_from, verified_from from int_merchant_edges")
    assert [tuple(row.values()) for row in edges] == [("m1", "m2", date(2026, 1, 1), date(2026, 2, 9))]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three loads of listings, images and logos.

    The second adds an altered copy of l1's image to an old listing of m2, l3's initial images, and a logo that
    resembles l1's image; it lacks a logo, and one image each of l1 and l4, of which the third restores one.
    """
    home = tmp_path_factory.mktemp("pictured")
    listings = [
        listing("l1", listed_at="2026-01-10", title="Shoe"),
        listing("l2", merchant_id="m2", listed_at="2026-01-01", title="Shoe"),
        listing("l4", merchant_id="m4", listed_at="2026-01-12", title="Acme shoe"),
    ]
    later = listing("l3", merchant_id="m3", listed_at="2026-02-03", title="Shoe")
    shown = {"v": ("l1", "p1"), "s": ("l1", "p8"), "t": ("l1", "p9"), "own": ("l2", "p0")}
    shown |= {"w": ("l4", "p1"), "s4": ("l4", "p8")}
    gone = {"x": ("l1", "p7"), "t4": ("l4", "p9")}
    new = {"copy": ("l2", "p2"), "with": ("l3", "p3")}

    def images(pictures: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
        return [{"image_id": i, "listing_id": of, "sha256": sha256} for i, (of, sha256) in pictures.items()]

    def logos(*digests: str) -> list[dict[str, Any]]:
        return [{"brand_id": "b1", "sha256": digest} for digest in digests]

    rows = {
        "listings": [
            *load(1, "2026-02-01 06:00:00", *listings),
            *load(2, "2026-02-05 06:00:01", *listings, later),
            *load(3, "2026-02-09 06:00:00", *listings, later),
        ],
        "listing_images": [
            *load(1, "2026-02-01 06:00:01", *images(shown | gone)),
            *load(2, "2026-02-05 06:00:00", *images(shown | new)),
            *load(3, "2026-02-09 06:00:01", *images(shown | new | {"x": gone["x"]})),
            *load(4, "2026-02-11 06:00:01", *images({"later": ("l3", "p5")}), mode="incremental"),
        ],
        "brand_logos": [
            *load(1, "2026-02-01", *logos("logo", "p0")),
            *load(2, "2026-02-05", *logos("logo", "logo2")),
        ],
        "brands": load(1, "2026-02-01", {"brand_id": "b1", "name": "Acme"}),
        "pictures": [{"sha256": digest} for digest in ("p0", "p1", "p2", "p3", "p5", "p7", "logo", "logo2")],
        "picture_matches": [
            {"sha256": "p1", "like_sha256": "p2"},
            {"sha256": "logo2", "like_sha256": "p1"},
            {"sha256": "p0", "like_sha256": "p3"},
        ],
    }
    make_warehouse(home, rows, AS_OF)
    selected = ["+picture_appearances", "+unnamed_logos", "+int_likeness_edges"]
    run_dbt(
        home, "build", "--select", *selected, "--exclude", "loads_are_fresh", "--exclude-resource-type", "unit_test"
    )
    return home


def test_a_later_image_counts_from_its_load(pictured: Path) -> None:
    """Until then no listing showed it, whenever listed; a new listing's initial images count from its listing date."""
    appearances = read_rows(
        pictured,
        """select image_id, shown_from, shown_until, is_altered from picture_appearances
        where image_id in ('v', 'own', 'copy', 'with', 'later') order by all""",
    )
    assert [tuple(row.values()) for row in appearances] == [
        ("copy", date(2026, 2, 5), END, True),
        ("later", date(2026, 2, 11), END, False),
        ("own", date(2026, 1, 1), END, False),
        ("v", date(2026, 1, 10), END, False),
        ("with", date(2026, 2, 3), END, True),
    ]


def test_an_image_missing_from_a_full_load_ends_at_that_load(pictured: Path) -> None:
    """Also if it is restored later, and for merchants that were linked by it."""
    appearances = read_rows(
        pictured, "select shown_from, shown_until from picture_appearances where image_id = 'x' order by shown_from"
    )
    assert [tuple(row.values()) for row in appearances] == [
        (date(2026, 1, 10), date(2026, 2, 5)),
        (date(2026, 2, 9), END),
    ]
    alike = read_rows(pictured, "select * from int_likeness_edges where kind = 'picture'")
    assert [tuple(row.values()) for row in alike] == [("m1", "m4", "picture", date(2026, 1, 12), date(2026, 2, 5))]


def test_a_logo_is_valid_from_its_load_until_a_load_lacks_it(pictured: Path) -> None:
    """An image shown before it is no altered copy of it, and the listing has no unnamed logo until then."""
    unnamed = read_rows(
        pictured, "select listing_id, unnamed_from, unnamed_until from unnamed_logos order by listing_id, unnamed_from"
    )
    assert [tuple(row.values()) for row in unnamed] == [
        ("l1", date(2026, 2, 5), END),
        ("l2", date(2026, 1, 1), date(2026, 2, 5)),
        ("l3", date(2026, 2, 3), date(2026, 2, 5)),
    ]
