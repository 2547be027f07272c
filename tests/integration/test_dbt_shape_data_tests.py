"""Every data test of the shape step is shown to fail on a bad row, and to pass without one.

The list below is complete: a data test that nothing here makes fail is itself a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.dbt_fixtures import compile_data_tests, fails_after, list_nodes, make_warehouse, open_warehouse, run_dbt

AS_OF = "2026-01-09"
ROWS = {
    "merchants": [{"merchant_id": f"m{i}", "registered_at": "2026-01-01"} for i in range(3)],
    "buyers": [{"buyer_id": "u1", "registered_at": "2026-01-01"}],
    "merchant_identifiers": [
        {"merchant_id": f"m{i}", "kind": "phone", "value_hash": "x", "first_seen_at": "2026-01-01"} for i in range(3)
    ],
    "brands": [{"brand_id": "b1", "name": "Acme", "aliases": '["acme inc"]'}],
    "brand_products": [
        {
            "brand_id": "b1",
            "model_ref": "r1",
            "category": "chargers",
            "specs": '{"watts": 65}',
            "valid_from": "2025-01-01",
            "currency": "USD",
        }
    ],
    "listings": [
        {
            "listing_id": "l1",
            "merchant_id": "m1",
            "title": "Charger 65 W",
            "gtin": "4006381333931",
            "brand_claimed": "ACME",
            "category": "chargers",
            "specs": '{"model_ref": "r1", "watts": 30, "grade": "first"}',
            "price": 10,
            "currency": "USD",
            "listed_at": "2026-01-02",
            "last_seen_at": "2026-01-08",
        }
    ],
    "listing_images": [{"image_id": "i1", "listing_id": "l1", "sha256": "p1"}],
    "brand_logos": [{"brand_id": "b1", "sha256": "p2"}],
    "listing_prices": [{"listing_id": "l1", "observed_at": "2026-01-03", "price": 10, "currency": "EUR"}],
    "orders": [
        {
            "order_id": "o1",
            "listing_id": "l1",
            "merchant_id": "m1",
            "amount": 10,
            "currency": "USD",
            "placed_at": "2026-01-04",
            "refunded_at": "2026-01-06",
            "refund_reason": "other",
        }
    ],
    "reviews": [
        {
            "review_id": "r1",
            "listing_id": "l1",
            "rating": 1,
            "text": "A fake, and not even a good one, I must say.",
            "language": "en",
            "created_at": "2026-01-05",
            "has_photo": True,
            "is_verified": True,
        }
    ],
    "notices": [
        {
            "notice_id": "n1",
            "listing_id": "l1",
            "submitted_at": "2026-01-05",
            "outcome": "upheld",
            "decided_at": "2026-01-08",
        }
    ],
    "merchant_snapshots": [{"merchant_id": "m1", "observed_at": "2026-01-07", "rating": 4.5}],
    "listing_snapshots": [{"listing_id": "l1", "observed_at": "2026-01-07", "rating": 4.5, "review_count": 2}],
    "fx_rates": [{"currency": "EUR", "date": "2026-01-03", "rate": 1.1}],
}

ALIKE = "'title', date '2026-01-01', date '9999-12-31'"
# The change to a valid warehouse, by the data test that has to detect it.
BAD_ROWS = {
    "accepted_values_authenticity_words_meaning__fake__genuine": "update authenticity_words set meaning = 'odd'",
    "accepted_values_compatible_phrases_meaning__compatible__compatible_after": "update compatible_phrases set meaning = 'odd'",
    "daily_tables_agree": "update int_merchant_days set amount_base = amount_base + 0.0001",
    "holds_int_authenticity_complaints": "update int_authenticity_complaints set mention_count = 0",
    "holds_int_likeness_edges": f"insert into int_likeness_edges values ('b', 'a', {ALIKE})",
    "holds_int_merchant_edges": "update int_merchant_edges set merchant_id_a = 'z'",
    "holds_int_review_texts": "update int_review_texts set text_hash = null",
    "holds_int_text_findings": "update int_text_findings set reason = 'too long'",
    "holds_int_impossible_specs": "update int_impossible_specs set known_until = known_from",
    "holds_int_transactions": "update int_transactions set occurred_at = null",
    "holds_int_unusual_fields": "update int_unusual_fields set known_until = known_from",
    "holds_int_spec_comparisons": "update int_spec_comparisons set discrepant_field_count = 9",
    "holds_int_spec_statements": "update int_spec_statements set unit = null",
    "holds_stg_fx_rates": "update stg_fx_rates set rate = 0 where is_newest",
    "int_labels_complete": "update int_labels set decided_at = null",
    "int_labels_known_values": "update int_labels set source = 'hearsay'",
    "int_labels_probabilities": "update int_labels set inclusion_probability = 1.5",
    "int_case_days_hang_together": "update int_case_days set counterfeit_notice_count = notice_count + 1",
    "int_order_days_hang_together": "update int_order_days set merchant_id = null where not is_marker",
    "int_review_days_hang_together": "update int_review_days set rating_count = 5",
    "int_sighting_days_hang_together": "update int_sighting_days set price_base_last = price_base_max + 1",
    "unique_combination_int_changed_days_part__day": "insert into int_changed_days from int_changed_days limit 1",
    "listing_days_hold_every_order": "delete from int_order_days where day = '2026-01-04'",
    "loads_are_fresh": "update landed.loads set newest_event_date = date '2026-01-01'",
    "one_digest_a_day_int_case_days": "update int_case_days set day_digest = null",
    "one_digest_a_day_int_order_days": "insert into int_order_days from int_order_days",
    "one_digest_a_day_int_review_days": "delete from int_review_days where is_marker",
    "one_digest_a_day_int_sighting_days": "update int_sighting_days set is_marker = true",
    "one_digest_a_day_int_merchant_days": "update int_merchant_days set is_marker = true where day = '2026-01-04'",
    "spans_apart_int_brand_products": """
        insert into int_brand_products by name select * replace (date '2025-02-01' as known_from) from int_brand_products""",
    "spans_apart_int_listing_brands": "update int_listing_brands set known_until = known_from",
    "spans_apart_int_listing_counters": "insert into int_listing_counters from int_listing_counters",
    "spans_apart_int_merchant_counters": "insert into int_merchant_counters from int_merchant_counters",
    "spans_apart_int_listing_texts": "insert into int_listing_texts from int_listing_texts",
    "spans_apart_int_spec_comparisons": "insert into int_spec_comparisons from int_spec_comparisons",
    "spans_apart_stg_brand_logo_history": "insert into landed.brand_logos from landed.brand_logos",
    "spans_apart_stg_buyer_history": "insert into landed.buyers from landed.buyers",
    "spans_apart_stg_listing_history": "insert into landed.listings from landed.listings",
    "spans_apart_stg_listing_image_history": "insert into landed.listing_images from landed.listing_images",
    "spans_apart_stg_merchant_history": "insert into landed.merchants from landed.merchants",
    "unique_combination_int_currency_days": "insert into int_currency_days from int_currency_days",
    "unique_combination_int_likeness_edges": f"insert into int_likeness_edges values ('a', 'b', {ALIKE}), ('a', 'b', {ALIKE})",
    "unique_combination_int_impossible_specs": "insert into int_impossible_specs from int_impossible_specs",
    "unique_combination_int_unusual_fields": "insert into int_unusual_fields from int_unusual_fields",
    "unique_combination_int_listing_gtins": "insert into int_listing_gtins from int_listing_gtins",
    "unique_combination_int_load_days": "insert into int_load_days from int_load_days",
    "unique_combination_int_merchant_days": "insert into int_merchant_days from int_merchant_days",
    "unique_combination_int_merchant_edges": "insert into int_merchant_edges from int_merchant_edges",
    "unique_combination_int_spec_statements": "insert into int_spec_statements from int_spec_statements",
    "unique_combination_int_text_quantities": "insert into int_text_quantities from int_text_quantities",
    "unique_combination_int_transactions": "insert into int_transactions from int_transactions",
    "unique_combination_stg_fx_rates": "insert into stg_fx_rates from stg_fx_rates",
    "spans_apart_int_brand_names": "insert into int_brand_names from int_brand_names",
    "unique_int_marked_titles_title_digest": "insert into int_marked_titles from int_marked_titles",
    "unique_int_text_codes_text_digest": "insert into int_text_codes from int_text_codes",
    "unique_int_text_findings_text_digest": "insert into int_text_findings from int_text_findings",
    "unique_spec_units_unit": "insert into spec_units from spec_units",
    "unique_stg_listings_listing_id": "insert into landed.listings from landed.listings",
    "unique_stg_merchants_merchant_id": "insert into landed.merchants from landed.merchants",
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid warehouse: each table of the shape step has a row, and every data test passes."""
    home = tmp_path_factory.mktemp("valid")
    make_warehouse(home, ROWS, AS_OF)
    run_dbt(home, "build", "--select", "tag:shape", "loads_are_fresh", "--exclude-resource-type", "unit_test")
    return home


def shape_tests() -> dict[str, str]:
    """The data tests of staging, intermediate models, seeds and loads: full name by the name used above."""
    names = {}
    for node in list_nodes("test"):
        judged = {parent.split(".")[-1] for parent in node.depends_on.nodes}
        if all(
            name.startswith(
                ("stg_", "int_", "loads", "run", "authenticity_", "compatible_phrases", "negation_", "spec_")
            )
            for name in judged
        ):
            names[short_name(node.name)] = node.name
    return names


def short_name(name: str) -> str:
    """Generic tests are named by model, without the arguments that dbt appends."""
    starts = [known for known in BAD_ROWS if name == known or name.startswith((f"{known}_", f"{known}__"))]
    return max(starts, key=len, default=name)


def test_every_data_test_is_shown_to_fail() -> None:
    assert sorted(shape_tests()) == sorted(BAD_ROWS)


@pytest.fixture(scope="module")
def compiled(valid: Path) -> dict[str, str]:
    """The SQL of each data test, by its full name."""
    return compile_data_tests(valid, shape_tests().values())


@pytest.fixture(scope="module")
def warehouse(valid: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The valid warehouse, in which each test rolls back its changes."""
    with open_warehouse(valid, read_only=False) as connection:
        yield connection


@pytest.mark.parametrize("test", sorted(BAD_ROWS))
def test_a_data_test_fails_on_a_bad_row_and_only_then(
    test: str, compiled: dict[str, str], warehouse: duckdb.DuckDBPyConnection
) -> None:
    sql = compiled[shape_tests()[test]]
    assert not fails_after(warehouse, lambda: None, sql)
    assert fails_after(warehouse, lambda: warehouse.execute(BAD_ROWS[test]), sql)


def test_dbt_reports_the_same_failure(valid: Path, tmp_path: Path) -> None:
    """A failure by the definition of the tests above is a failure in dbt."""
    test = "unique_combination_int_transactions"
    shutil.copy(valid / "warehouse.duckdb", tmp_path)
    with open_warehouse(tmp_path, read_only=False) as connection:
        connection.execute(BAD_ROWS[test])
    name = shape_tests()[test]
    assert run_dbt(tmp_path, "test", "--select", name, expect_success=False) == {name: "fail"}
