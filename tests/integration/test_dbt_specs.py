"""Free-form specifications: whatever they contain, a run succeeds, reads what it can and reports the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dbt_fixtures import make_warehouse, read_rows, run_dbt

AS_OF = "2026-03-31"
MEGABYTE = 1_048_576
UNREAD = {
    "no JSON": ["", "{oops", '{"case_mm": 38', "\ufeff{}", "case_mm: 38", '{"a": "\\ud800"}'],
    "no object": ["[1, 2]", '"case_mm"', "38", "null", "[" * 9_000 + "]" * 9_000],
    "too long": [
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"case_mm": 38, "a": ' + "[" * 10_000 + "]" * 10_000 + "}",
        json.dumps({"case_mm": "x" * MEGABYTE}),
    ],
    "too many fields": [json.dumps({f"{number}": number for number in range(201)})],
}
READ = {
    "huge numbers": json.dumps({"case_mm": "9" * 199, "weight_g": 1e300, "power_w": -1e-300}),
    "not finite": '{"case_mm": NaN, "weight_g": 1e999, "power_w": -Infinity}',
    "odd keys": json.dumps({"case_mm'; --": 1, 'a"b.c[0]': 2, "$.x": 3, "/~1": 4, "": 5, "\0": 6, "_mm": 7, "mm": 8}),
    "odd values": json.dumps(
        {"case_mm": "\0", "weight_g": {"g": 9}, "power_w": [], "plug": "\u202e\u200bUK", "x": None}
    ),
    "twice": '{"case_mm": 38, "case_mm": 42, "Case (mm)": "4.2 cm"}',
    "only signs": json.dumps({"case_mm": "1.2.3,4", "weight_g": "-", "power_w": "+", "plug": "1,,2 mm"}),
    # DuckDB's hash() of these two collides.
    "six": json.dumps(
        {
            "model_ref": "GE-73870",
            "driver_mm": 6,
            "battery_h": 30,
            "bluetooth": "5.0",
            "weight_g": 48,
            "noise_cancelling": "no",
        }
    ),
    "nine": json.dumps(
        {
            "model_ref": "GE-73870",
            "driver_mm": 9,
            "battery_h": 60,
            "bluetooth": "5.0",
            "weight_g": 48,
            "noise_cancelling": "no",
        }
    ),
    "fine": json.dumps({"model_ref": "r1", "case_mm": "3,8 cm", "weight_g": "0.09 kg", "power_w": 900, "plug": "uk"}),
}
PADDING = " \u00a0\u3000\u200b\t\n" * 50
SEVERAL = {"input_v": 230, "input_w": 65, "chest_s": "90-95", "chest_m": "96-99", "run_h": 5, "run_min": 30}
# Matched by the brand's name and a model, whatever punctuation is between them.
CLAIMS = {
    "as the brand": {"model_ref": "116610LN", **SEVERAL},
    "padded": {"model_ref": f"116610{PADDING}ln", "input_w": f"{PADDING}900{PADDING}"},
    "endless": {"model_ref": "116610-LN", "input_w": "9" * 201},
}
PRODUCT = {"case_mm": 38, "weight_g": 90, "power_w": 65, "plug": "UK"}


def listing(listing_id: str, specs: str) -> dict[str, str]:
    return {
        "listing_id": listing_id,
        "merchant_id": "m1",
        "listed_at": "2026-03-30",
        "brand_claimed": "Acme",
        "category": "chargers",
        "specs": specs,
        "title": "x" * MEGABYTE if listing_id == "fine" else "Charger",
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("specs")
    broken = [
        listing(f"{reason} {at}", specs) for reason, all_specs in UNREAD.items() for at, specs in enumerate(all_specs)
    ]
    product = {
        "brand_id": "b1",
        "model_ref": "r1",
        "category": "chargers",
        "specs": json.dumps(PRODUCT),
        "valid_from": "2026-03-30",
    }
    watch = {**product, "brand_id": "b2", "model_ref": "116610 LN", "category": "watches", "specs": json.dumps(SEVERAL)}
    claims = [
        {**listing(name, json.dumps(specs)), "brand_claimed": "Bolt", "category": "watches"}
        for name, specs in CLAIMS.items()
    ]
    rows = {
        "merchants": [{"merchant_id": "m1", "registered_at": "2026-03-30"}],
        "listings": [*broken, *(listing(name, specs) for name, specs in READ.items()), *claims],
        "brands": [{"brand_id": "b1", "name": "Acme"}, {"brand_id": "b2", "name": "Bolt"}],
        "brand_products": [product, watch],
    }
    make_warehouse(home, rows, AS_OF)
    run_dbt(home, "build", "--select", "tag:shape", "tag:features", "--exclude-resource-type", "unit_test")
    return home


def test_unreadable_specifications_are_counted_by_reason(home: Path) -> None:
    found = read_rows(home, "select part, reason, text_count from int_unread_texts")
    expected = {("specification", reason): len(all_specs) for reason, all_specs in UNREAD.items()}
    assert {(row["part"], row["reason"]): row["text_count"] for row in found} == {
        **expected,
        ("title or description", "too long"): 1,
        ("value in a specification", "too long"): 1,
    }


def test_features_of_unreadable_specifications_are_null(home: Path) -> None:
    rows = read_rows(home, "select listing_id, spec_discrepant_count, spec_impossible_count from listing_features")
    result = {row["listing_id"] for row in rows if row["spec_discrepant_count"] is not None}
    assert len(rows) == len(READ) + len(CLAIMS) + sum(map(len, UNREAD.values()))
    assert result == {"fine", *CLAIMS}
    assert {row["listing_id"] for row in rows if row["spec_impossible_count"] is not None} == {*READ, *CLAIMS}


def test_readable_specifications_are_compared(home: Path) -> None:
    rows = read_rows(
        home, "select field, claimed, expected from int_spec_fields where is_discrepant and brand_id = 'b1'"
    )
    assert rows == [{"field": "power_w", "claimed": "900", "expected": "65"}]
    impossible = read_rows(home, "select listing_id, field from int_impossible_specs where listing_id = 'fine'")
    assert impossible == [{"listing_id": "fine", "field": "power_w"}]
    assert read_rows(
        home, "select listing_id, words from listing_discrepancies where listing_id = 'fine' order by reference"
    ) == [
        {"listing_id": "fine", "words": 'power_w is "900" where the brand\'s product has "65"'},
        {"listing_id": "fine", "words": 'power_w is "900" where brands\' products of the category have "65 to 65 w"'},
    ]


def test_a_number_of_any_size_is_read_as_text_or_amount(home: Path) -> None:
    rows = read_rows(
        home, "select stated, amount from int_spec_statements where stated like '999%' or stated like '1,,2%'"
    )
    assert {row["amount"] for row in rows} == {None}


def test_similar_specifications_are_distinguished(home: Path) -> None:
    alike = f"select distinct hash(x) as number from (values ('{READ['six']}'), ('{READ['nine']}')) as t (x)"
    assert len(read_rows(home, alike)) == 1, "the two have become a bad example"
    stated = read_rows(
        home, "select specs_hash from int_spec_statements where field = 'driver_mm' and stated in ('6', '9')"
    )
    assert len({row["specs_hash"] for row in stated}) == 2


def test_a_specification_equal_to_the_brands_own_has_no_discrepancy(home: Path) -> None:
    counts = read_rows(
        home,
        """
        select compared_field_count, discrepant_field_count, omitted_field_count
        from int_spec_comparisons where listing_id = 'as the brand'
        """,
    )
    assert counts == [{"compared_field_count": 6, "discrepant_field_count": 0, "omitted_field_count": 0}]
    assert read_rows(home, "select * from listing_discrepancies where listing_id = 'as the brand'") == []


def test_spaces_in_the_model_or_padding_do_not_evade_the_comparison(home: Path) -> None:
    assert read_rows(
        home, "select words from listing_discrepancies where listing_id = 'padded' and reference = 'brand'"
    ) == [{"words": 'input_w is "900" where the brand\'s product has "65"'}]
    known = read_rows(home, "select listing_id, is_model_known from listing_features where is_model_known")
    assert {row["listing_id"] for row in known} >= CLAIMS.keys()
