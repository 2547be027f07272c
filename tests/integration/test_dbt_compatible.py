"""Compatible and refill products: which titles name a brand only as what the product fits, in several languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dbt_fixtures import make_warehouse, read_rows, run_dbt

AS_OF = "2026-01-09"
COMPATIBLE = (
    "Toner for Brother HL-2300",
    "Refill for the Brother label printer",
    "Brother compatible toner 2 pack",
    "Ink cartridge compatible with Brother, Canon",
    "Case fits Xylophon 12",
    "Patrone für Brother HL-2300",
    "Nachfülltinte passend für Canon",
    "Cartouche d'encre pour Brother",
    "Recharge compatible avec Canon",
    "Tóner para impresora Brother",
    "Cartucho compatível com Canon",
    "Cartuccia compatibile con Brother",
    "Toner zamiennik do Brother",
    "Картридж для Brother HL-2300",
    "Чернила совместимые с Canon",  # noqa: RUF001 (a Russian phrase)
    "Cartridge geschikt voor Brother",
    "Brother HL-2300 uyumlu toner",
    "Brother için toner",
    "适用于Brother墨盒",
    "Brother适用墨盒",
    "兼容Canon硒鼓",
    "ブラザー HL-2300 対応 トナー",
    "Brother用トナー",
    "ブラザー互換トナー",
    "브라더 호환 토너",
    "브라더용 토너",
    "Brother호환 토너",
    "Brother HL-2300 के लिए टोनर",
    "หมึกสำหรับ Brother",
    "Greenprint toner for Brother",
)
ORDINARY = (
    "Brother toner HL-2300",
    "Toner with box, for Men and Women",
    "Brother Toner for Men and Women",
    "Genuine Brother toner for Brother HL-2300",
    "Brother toner compatible with Canon",
    "Shoes for men Xylophon Air",
    "Xylophon erkek için ayakkabı",  # noqa: RUF001 (a Turkish title)
    "XYLOPHON メンズ用シューズ",
    "Xylophon 男性用 シューズ",
    "Xylophon 남성용 운동화",
    "Toner for Acme printers",
    "",
)
PICTURE = {"image_id": "i1", "listing_id": "logo", "sha256": "logo of brother"}


def listing(listing_id: str, title: str, **columns: Any) -> dict[str, Any]:
    return {"listing_id": listing_id, "merchant_id": "m1", "listed_at": "2026-01-01", "title": title} | columns


EVADERS = [
    listing("claims", "Toner for Brother", brand_claimed="Brother"),
    listing("claims a model", "Toner for Brother", specs='{"model_ref": "HL-2300"}'),
    listing("logo", "Toner for Brother"),
    listing("evasive", "Toner for Brother, mirror quality"),
    listing("hidden", "Toner for Brother, Xyl0phon"),
    listing("mixed", "Toner for Brother bоx"),  # noqa: RUF001 (a Cyrillic letter is what is tested)
    listing("too long", "Toner for Brother " * 2_000),
]
BRANDS = [
    {"brand_id": "brother", "name": "Brother", "aliases": '["ブラザー", "브라더"]'},
    {"brand_id": "canon", "name": "Canon"},
    {"brand_id": "xylophon", "name": "Xylophon"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compatible")
    rows = {
        "merchants": [{"merchant_id": "m1", "registered_at": "2025-01-01"}],
        "brands": BRANDS,
        "brand_products": [{"brand_id": "brother", "model_ref": "HL-2300", "valid_from": "2025-01-01"}],
        "brand_logos": [{"brand_id": "brother", "sha256": "logo of brother"}],
        "listing_images": [PICTURE],
        "pictures": [{"sha256": "logo of brother"}],
        "listings": [*(listing(title, title) for title in (*COMPATIBLE, *ORDINARY)), *EVADERS],
    }
    make_warehouse(home, rows, AS_OF)
    run_dbt(home, "build", "--select", "+listing_states", "--exclude-resource-type", "test", "unit_test")
    return home


def flags(home: Path) -> dict[str, bool | None]:
    rows = read_rows(home, "select listing_id, is_compatible_product from listing_states where is_active")
    return {row["listing_id"]: row["is_compatible_product"] for row in rows}


def test_titles_that_name_a_brand_only_as_what_the_product_fits(home: Path) -> None:
    found = flags(home)
    assert {title for title in COMPATIBLE if not found[title]} == set()
    assert {title for title in ORDINARY if found[title]} == set()


def test_who_claims_shows_or_hides_a_brand_is_not_let_off(home: Path) -> None:
    found = flags(home)
    assert [row["listing_id"] for row in EVADERS if found[row["listing_id"]]] == []
    assert found["too long"] is None
