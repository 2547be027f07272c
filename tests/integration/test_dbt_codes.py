"""Product codes in titles and descriptions: a table of hard cases by hand, in several languages and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dbt_fixtures import make_warehouse, open_warehouse, read_rows, run_dbt

AS_OF = "2026-03-31"
EAN = "04006381333931"
Found = tuple[list[str], list[str], list[str]]
# Title: GTINs, announced numbers with a wrong check digit, model numbers.
CASES: dict[str, Found] = {
    "Pen 4006381333931 blue": ([EAN], [], []),
    "Pen EAN:4006381333931, new": ([EAN], [], []),
    "Pen EAN 4 006381 333931": ([EAN], [], []),
    "Шариковая ручка штрихкод 4006381333931": ([EAN], [], []),
    "圆珠笔条码4006381333931全新": ([EAN], [], []),
    "ボールペン ＪＡＮ：４００６３８１３３３９３１": ([EAN], [], []),  # noqa: RUF001 (full width is what is tested)
    "Stift 4006381333931.": ([EAN], [], []),
    "UPC 036000291452 tissues": (["00036000291452"], [], []),
    "Gum EAN-8 96385074": (["00000096385074"], [], []),
    "Box of 12, GTIN 10614141000415": (["10614141000415"], [], []),
    "Novel ISBN 978-3-16-148410-0": (["09783161484100"], [], []),
    "Pen EAN 4006381333932": ([], ["04006381333932"], []),
    "Pen 4006381333932": ([], [], []),
    "Gum 96385074": ([], [], []),
    "Made on 20251203": ([], [], []),
    "Call +4006381333931": ([], [], []),
    "WhatsApp: 4006381333931": ([], [], []),
    "微信4006381333931": ([], [], []),
    "Order 4006381333931": ([], [], []),
    "订单 4006381333931": ([], [], []),
    "Заказ 4006381333931": ([], [], []),
    "In-store 2000000000008": ([], [], []),
    "ID40063813339310 and 40063813339311111": ([], [], ["ID40063813339310"]),
    "Toner Brother TN-2420 black": ([], [], ["TN-2420"]),
    "Tinte CLI-551XL/PGI-550XL": ([], [], ["CLI-551XL", "PGI-550XL"]),
    "Наушники WH-1000XM4 чёрные": ([], [], ["WH-1000XM4"]),
    "耳机WH-1000XM4黑色 3个 500毫升": ([], [], ["WH-1000XM4"]),
    "Watch 116610LN (2024)": ([], [], ["116610LN"]),
    "iPhone 12 128GB 5G": ([], [], []),
    "Case 10x15cm, 2er Pack, 500ml, 5000mAh 65W 1080p": ([], [], []),
    "Картридж 3 шт. 250мл": ([], [], []),
    "Levi 1960s jacket, 2nd, 4K, MP3, IP68, K38, USB3.0": ([], [], []),
    "Poster 100x150x200mm 1000pcs 2,500g 1/2in": ([], [], []),
    "See www.shop123.com": ([], [], []),
    "": ([], [], []),
}


def listing(listing_id: str, title: str, **columns: Any) -> dict[str, Any]:
    return {"listing_id": listing_id, "merchant_id": "m1", "listed_at": "2026-01-01", "title": title} | columns


def build(home: Path, listings: list[dict[str, Any]], digest: str = "project") -> None:
    make_warehouse(home, {"listings": listings}, AS_OF, project_digest=digest)
    run_dbt(home, "run", "--select", "+int_text_codes")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("codes")
    described = listing("described", "Pen", description="For desks. EAN 4006381333931 or TN-2420.")
    long = listing("long", "TN-2420 " * 3_000)
    build(home, [*(listing(title, title) for title in CASES), described, long])
    return home


def codes(home: Path) -> dict[str, Found]:
    query = """
        select
            listing_id,
            coalesce(gtins, []) as gtins,
            coalesce(invalid_gtins, []) as invalid_gtins,
            coalesce(model_numbers, []) as model_numbers
        from stg_listing_history as listings
        inner join int_text_codes
            on text_digest = md5(coalesce(title, '') || chr(10) || coalesce(description, ''))"""
    rows = read_rows(home, query)
    return {row["listing_id"]: (row["gtins"], row["invalid_gtins"], row["model_numbers"]) for row in rows}


def test_codes_in_titles_of_several_languages(home: Path) -> None:
    found = codes(home)
    assert {title: found[title] for title in CASES} == CASES


def test_descriptions_are_read_and_endless_texts_are_not(home: Path) -> None:
    found = codes(home)
    assert found["described"] == ([EAN], [], ["TN-2420"])
    assert found["long"] == ([], [], [])


def test_a_text_is_examined_once_and_again_when_the_code_changes(tmp_path: Path) -> None:
    listings = [listing("l1", "Toner TN-2420"), listing("l2", "Pen 4006381333931")]
    build(tmp_path, listings)
    with open_warehouse(tmp_path, read_only=False) as connection:
        connection.execute("update int_text_codes set model_numbers = ['tampered']")
    build(tmp_path, [listings[0], listing("l3", "Ink CLI-551XL")])
    assert codes(tmp_path) == {"l1": ([], [], ["tampered"]), "l3": ([], [], ["CLI-551XL"])}
    assert len(read_rows(tmp_path, "select 1 from int_text_codes")) == 2
    build(tmp_path, listings[:1], digest="other")
    assert codes(tmp_path) == {"l1": ([], [], ["TN-2420"])}
