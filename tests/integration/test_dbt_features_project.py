"""The features and marts steps follow their own rules, and each of their data tests is shown to fail on a bad row."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ml.declarations import SIGNALS
from ml.extra import PLACES
from tests.dbt_fixtures import (
    compile_data_tests,
    fails_after,
    list_nodes,
    make_warehouse,
    open_warehouse,
    read_rows,
    run_dbt,
)

LAYERS = ("features", "marts", "leads")
FEATURE_TABLES = {
    "listing_features": {"listing_id"},
    "merchant_features": {"merchant_id"},
    "review_features": {"review_key", "order_id", "review_id"},
    "brushing_merchant_features": {"merchant_id"},
}
"""The tables that models read, each with the IDs of the entities of its rows."""
UNITS = {
    "count": "_count",
    "share": "_share",
    "ratio": "_ratio",
    "days": ("_days", "days_to_look"),
    "hours": "_hours",
    "stars": "rating",
    "base": "_base",
    "deviations": "_deviation",
}

DOUBLES = {
    "held_out_probability",
    "sampling_share",
    "inclusion_probability",
    "expansion_weight",
    "drawn_share",
    "chance_ratio",
    "score",
    "own_conduct_score",
    "value",
}
DOUBLES |= {
    "weight_ratio",
    "delivery_ratio",
    "delivery_route_ratio",
    "day_burst_ratio",
    "hour_order_buyer_ratio",
}
DOUBLES |= {"held_out_probability", "raw_rating", "adjusted_rating"}
"""DOUBLE columns of tables that others read: shares, and values that are only compared."""

LISTING = {"listing_id": "l1", "merchant_id": "m1", "as_of_date": "2026-01-31", "is_active": True, "sampling_share": 1}
SCORED = LISTING | {"purpose": "score"}
RATED = {
    "listing_id": "l1",
    "as_of_date": "2026-01-31",
    "score": 95,
    "own_conduct_score": 80,
    "margin": 3,
    "model_digest": "d",
    "band": "[90,100]",
    "is_suppressed": False,
    "term": 1,
    "action": "review",
    "is_flagged": True,
    "reasons": "[]",
}
RING = {
    "as_of_date": "2026-01-31",
    "ring_id": "m1",
    "merchant_id": "m1",
    "merchant_count": 2,
    "since_date": "2026-01-01",
}
RING_EDGE = {
    "as_of_date": "2026-01-31",
    "ring_id": "m1",
    "merchant_id_a": "m1",
    "merchant_id_b": "m2",
    "kind": "device",
    "bearer_count": 2,
    "since_date": "2026-01-01",
}
WHOLE = {"unit_count", "is_listed", "expected_harm_base"}  # integers, truth values and a DECIMAL
SHARED = {name: value for name, value in RING_EDGE.items() if name != "ring_id"}
HARM = {
    "as_of_date": "2026-01-31",
    "listing_id": "l1",
    "unit_count": 0,
    "seriousness": 1,
    "stake_base": 10,
    "expected_harm_base": 5,
}
SUSPECT = {
    "as_of_date": "2026-01-31",
    "kind": "ring",
    "merchant_id": "m1",
    "listing_count": 1,
    "listed_listing_count": 1,
    "expected_harm_base": 0,
}
TRADE = {"as_of_date": "2026-01-31", "review_key": "order:o1", "merchant_id": "m1"}
SEEN = TRADE | {"order_id": "o1", "is_order": True, "occurred_date": "2026-01-02"}
SHOWN = SEEN | {"buyer_id": "b1", "buyer_here_count": 1, "buyer_transaction_count": 1}
COUNTED = {
    "as_of_date": "2026-01-31",
    "merchant_id": "m1",
    "transaction_count": 2,
    "order_count": 1,
    "lone_review_count": 1,
    "buyer_count": 2,
    "light_count": 0,
    "light_known_count": 1,
    "hasty_count": 1,
    "hasty_known_count": 1,
    "fast_known_count": 1,
}
BRUSHING_LABEL = {
    "entity_kind": "review",
    "entity_id": "order:o1",
    "case_id": "order:o1",
    "decided_at": "2026-01-02 10:00:00",
    "decided_date": "2026-01-02",
    "is_standalone": False,
}
PLACE = {"as_of_date": "2026-01-31", "merchant_id": "m1", "drawn_share": 0.5}
TIE = {
    "as_of_date": "2026-01-31",
    "merchant_id": "m1",
    "other_id": "m2",
    "common_buyer_count": 4,
    "chance_ratio": 20,
}
RANKED = {
    "as_of_date": "2026-01-31",
    "listing_id": "l1",
    "raw_sales_count": 2,
    "adjusted_sales_count": 1,
    "suspected_count": 1,
    "places_lost": 1,
}
SERVED = {
    "as_of_date": "2026-01-31",
    "service_id": "m1",
    "buyer_id": "b1",
    "merchant_id": "m1",
    "buyer_merchant_count": 2,
    "shares_device": False,
    "shares_payer": False,
}
FOUND = {"as_of_date": "2026-01-31", "rule": "a", "review_key": "order:o1", "value": 1}
BUYER = {
    "as_of_date": "2026-01-31", "rule": "a", "merchant_id": "m1", "buyer_id": "b1", "transaction_count": 1,
    "merchant_transaction_count": 2, "first_date": "2026-01-30", "last_date": "2026-01-31",
}  # fmt: skip
CURRENCY = {
    "as_of_date": "2026-01-31",
    "table_name": "orders",
    "currency": "EUR",
    "amount_count": 2,
    "no_rate_count": 1,
}
CONTRADICTED = {"listing_id": "l1", "as_of_date": "2026-01-31", "reference": "brand", "field": "f", "words": "f is odd"}
MERCHANT = {"as_of_date": "2026-01-31", "merchant_id": "m1"}
REPORTER = {"accuracy_share": 0.5, "notice_count": 2, "judged_count": 1, "right_count": 1, "pending_count": 1}
NOTICE = {"as_of_date": "2026-01-31", "notice_id": "n1", "outcome": "pending", "place": 1, "worth_share": 0.5}
STAGE = {
    "as_of_date": "2026-01-31",
    "violation_type": "counterfeit",
    "entity_kind": "merchant",
    "entity_id": "m1",
    "stage": "flagged",
}
LEAD = {
    "rank": 1, "lead_id": "lead-a", "family": "goods", "violation_type": "counterfeit", "status": "found",
    "merchant_count": 1, "listed_merchant_count": 1, "listed_brusher_count": 0, "listed_listing_count": 0,
    "listed_transaction_count": 0, "expected_harm_base": 1,
}  # fmt: skip
BAD_ROWS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "unique_combination_listed_candidates_kind__merchant_id": (
        "listed_candidates",
        [{"kind": "ring", "merchant_id": "m1"}] * 2,
    ),
    "unique_combination_lead_groups_family__merchant_id": (
        "lead_groups",
        [{"family": "goods", "merchant_id": "m1"}] * 2,
    ),
    "unique_combination_lead_ids_family__group_id": ("lead_ids", [{"family": "goods", "group_id": "r1"}] * 2),
    "unique_lead_ids_lead_id": ("lead_ids", [{"lead_id": "lead-a"}] * 2),
    "not_null_lead_ids_lead_id": ("lead_ids", [{"lead_id": None}]),
    "unique_merged_leads_lead_id": ("merged_leads", [{"lead_id": "lead-a"}] * 2),
    "unique_combination_lead_memberships_lead_id__merchant_id": (
        "lead_memberships",
        [{"lead_id": "lead-a", "merchant_id": "m1"}] * 2,
    ),
    "holds_leads_status": ("leads", [LEAD | {"merchant_count": 0}]),
    "ranked_by_harm_leads": ("leads", [LEAD, LEAD | {"lead_id": "lead-b", "rank": 2, "expected_harm_base": 2}]),
    "unique_leads_lead_id": ("leads", [LEAD, LEAD]),
    "relationships_leads_lead_id__lead_id__ref_lead_changes": ("leads", [LEAD]),
    "relationships_leads_merged_into__lead_id__ref_leads": ("leads", [LEAD | {"merged_into": "lead-z"}]),
    "accepted_values_lead_changes_change": ("lead_changes", [{"lead_id": "lead-a", "change": "other"}]),
    "unique_rating_dates_as_of_date": ("rating_dates", [{"as_of_date": "2026-01-31", "purpose": "score"}] * 2),
    "not_null_rating_dates_as_of_date": ("rating_dates", [{"as_of_date": None, "purpose": "score"}]),
    "holds_rating_dates": ("rating_dates", [{"as_of_date": "2026-01-31", "purpose": "other"}]),
    "unique_combination_listing_picture_findings_listing_id__as_of_date": (
        "listing_picture_findings",
        [{"listing_id": "l", "as_of_date": "2026-01-04"}] * 2,
    ),
    "holds_picture_findings": (
        "picture_findings",
        [{"kind": "logo", "found_from": "2026-01-04", "found_until": "2026-01-04"}],
    ),
    "unique_combination_listing_pictures_listing_id__as_of_date": (
        "listing_pictures",
        [{"listing_id": "l1", "as_of_date": "2026-01-31"}] * 2,
    ),
    "unique_combination_listing_spec_peers_listing_id__as_of_date__field": (
        "listing_spec_peers",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "field": "f"}] * 2,
    ),
    "unique_combination_busiest_hours_as_of_date__transaction_hash": (
        "busiest_hours",
        [{"as_of_date": "2026-01-31", "transaction_hash": 1}] * 2,
    ),
    "unique_combination_listing_titles_listing_id__as_of_date": (
        "listing_titles",
        [{"listing_id": "l1", "as_of_date": "2026-01-31"}] * 2,
    ),
    "unique_combination_picture_merchants_sha256__merchant_id": (
        "picture_merchants",
        [{"sha256": "p1", "merchant_id": "m1"}] * 2,
    ),
    "unique_combination_title_merchants_band__title_band__merchant_id": (
        "title_merchants",
        [{"band": 0, "title_band": 7, "merchant_id": "m1"}] * 2,
    ),
    "unique_combination_listing_gtins_listing_id__as_of_date__gtin": (
        "listing_gtins",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "gtin": "04006381333931"}] * 2,
    ),
    "unique_combination_compatible_listings_listing_id__as_of_date": (
        "compatible_listings",
        [{"listing_id": "l1", "as_of_date": "2026-01-31"}] * 2,
    ),
    "unique_combination_copied_titles_listing_id__copied_from": (
        "copied_titles",
        [{"listing_id": "l1", "copied_from": "2026-01-31"}] * 2,
    ),
    "holds_relistings": (
        "relistings",
        [{"listing_id": "l1", "removed_listing_id": "l1", "known_from": "2026-01-01", "known_until": "2026-01-02"}],
    ),
    "unique_combination_listing_test_buys_listing_id__as_of_date": (
        "listing_test_buys",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "bought_count": 2, "counterfeit_count": 0}] * 2,
    ),
    "holds_listing_test_buys": (
        "listing_test_buys",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "bought_count": 2, "counterfeit_count": 3}],
    ),
    "holds_merchant_findings": (
        "merchant_findings",
        [{"merchant_id": "m1", "decided_date": "2026-01-31", "reversed_date": "2026-01-30"}],
    ),
    "unique_combination_listing_findings_listing_id__as_of_date": (
        "listing_findings",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "finding_weight": 1}] * 2,
    ),
    "holds_listing_findings": (
        "listing_findings",
        [{"listing_id": "l1", "as_of_date": "2026-01-31", "finding_weight": -1}],
    ),
    "unique_combination_linked_findings_merchant_id__as_of_date": (
        "linked_findings",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "finding_weight": 1, "active_listing_count": 1}] * 2,
    ),
    "holds_linked_findings": (
        "linked_findings",
        [
            {
                "merchant_id": "m1",
                "as_of_date": "2026-01-31",
                "finding_weight": 1,
                "active_listing_count": -1,
            }
        ],
    ),
    "unique_combination_merchant_conduct_merchant_id__as_of_date": (
        "merchant_conduct",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31"}] * 2,
    ),
    **{
        f"unique_combination_spine_{table}_relation__entity_id__as_of_date{'__purpose' if has_purpose else ''}": (
            f"spine_{table}",
            [
                {"relation": "listing", "entity_id": "l1", "as_of_date": "2026-01-31"}
                | ({"purpose": "train"} if has_purpose else {})
            ]
            * 2,
        )
        for table, has_purpose in {
            "candidates": False,
            "known_positives": False,
            "labelled_rows": True,
            "unlabelled_rows": True,
            "verdicts": False,
            "calibration_rows": False,
        }.items()
    },
    "unique_combination_listing_spine": ("listing_spine", [SCORED] * 2),
    "unique_combination_merchant_spine": (
        "merchant_spine",
        [{k: v for k, v in SCORED.items() if k != "listing_id"}] * 2,
    ),
    "sound_spine_listing_spine": ("listing_spine", [SCORED | {"is_active": False}]),
    "sound_spine_merchant_spine": (
        "merchant_spine",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "guess"}],
    ),
    "unique_combination_listing_features": (
        "listing_features",
        [{"listing_id": "l1", "merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}] * 2,
    ),
    "unique_combination_merchant_features": (
        "merchant_features",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}] * 2,
    ),
    "as_many_rows_listing_features": ("listing_spine", [SCORED]),
    "as_many_rows_merchant_features": (
        "merchant_spine",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}],
    ),
    "unique_combination_merchant_neighbours": (
        "merchant_neighbours",
        [{"merchant_id": "m1", "neighbour_id": "m2", "as_of_date": "2026-01-31", "hop_count": 1, "is_spoofable": False}]
        * 2,
    ),
    "holds_merchant_neighbours": (
        "merchant_neighbours",
        [
            {
                "merchant_id": "m1",
                "neighbour_id": "m1",
                "as_of_date": "2026-01-31",
                "hop_count": 2,
                "is_spoofable": False,
            }
        ],
    ),
    "unique_combination_merchant_rings": (
        "merchant_rings",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "verified_count": 1, "spoofable_count": 1}] * 2,
    ),
    "holds_merchant_rings": (
        "merchant_rings",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "verified_count": 0, "spoofable_count": 200}],
    ),
    "unique_combination_discrepancies": ("discrepancies", [CONTRADICTED] * 2),
    "holds_discrepancies": ("discrepancies", [CONTRADICTED | {"reference": "hearsay"}]),
    "unique_combination_rated_listings": ("rated_listings", [RATED] * 2),
    "unique_combination_rated_merchants": (
        "rated_merchants",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31"}] * 2,
    ),
    "unique_combination_rings": ("rings", [RING] * 2),
    "holds_rings": ("rings", [RING | {"merchant_count": 201}]),
    "unique_combination_ring_edges": ("ring_edges", [RING_EDGE] * 2),
    "holds_ring_edges": ("ring_edges", [RING_EDGE | {"bearer_count": 21}]),
    "unique_combination_merchant_ties": ("merchant_ties", [SHARED] * 2),
    "holds_merchant_ties": ("merchant_ties", [SHARED | {"bearer_count": 1}]),
    "unique_combination_expected_harms": ("expected_harms", [HARM] * 2),
    "holds_expected_harms": ("expected_harms", [HARM | {"expected_harm_base": 11}]),
    "unique_combination_lead_merchants": ("lead_merchants", [SUSPECT] * 2),
    "holds_lead_merchants": ("lead_merchants", [SUSPECT | {"listed_listing_count": 2}]),
    "sound_rating_rated_listings": ("rated_listings", [RATED | {"reasons": None}]),
    "sound_rating_rated_merchants": ("rated_merchants", [{"merchant_id": "m1", "score": 101}]),
    "unique_combination_brushing_labels": ("brushing_labels", [BRUSHING_LABEL] * 2),
    "holds_brushing_labels": ("brushing_labels", [BRUSHING_LABEL | {"inclusion_probability": 1.5}]),
    "unique_combination_brushing_places": ("brushing_places", [PLACE] * 2),
    "holds_brushing_places": ("brushing_places", [PLACE | {"drawn_share": 0}]),
    "unique_combination_brushing_transactions": ("brushing_transactions", [SEEN] * 2),
    "holds_brushing_transactions": ("brushing_transactions", [SEEN | {"occurred_date": "2026-02-01"}]),
    "unique_combination_co_purchases": ("co_purchases", [TIE] * 2),
    "holds_co_purchases": ("co_purchases", [TIE | {"other_id": "m1"}]),
    "unique_combination_transaction_indicators": ("transaction_indicators", [SHOWN] * 2),
    "as_many_rows_transaction_indicators": ("brushing_transactions", [SEEN]),
    "holds_transaction_indicators": ("transaction_indicators", [SHOWN | {"buyer_here_count": 2}]),
    "unique_combination_merchant_transactions": ("merchant_transactions", [COUNTED] * 2),
    "holds_merchant_transactions": ("merchant_transactions", [COUNTED | {"light_count": 2}]),
    "unique_combination_review_spine": ("review_spine", [TRADE | {"purpose": "score"}] * 2),
    "unique_combination_brushing_merchant_spine": (
        "brushing_merchant_spine",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}] * 2,
    ),
    "sound_spine_review_spine": (
        "review_spine",
        [TRADE | {"purpose": "score", "is_active": True, "sampling_share": 1, "label": False}],
    ),
    "sound_spine_brushing_merchant_spine": (
        "brushing_merchant_spine",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "guess"}],
    ),
    "unique_combination_review_features": ("review_features", [TRADE | {"purpose": "score"}] * 2),
    "unique_combination_brushing_merchant_features": (
        "brushing_merchant_features",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}] * 2,
    ),
    "as_many_rows_review_features": ("review_spine", [TRADE | {"purpose": "score"}]),
    "as_many_rows_brushing_merchant_features": (
        "brushing_merchant_spine",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31", "purpose": "score"}],
    ),
    "unique_combination_rated_reviews": ("rated_reviews", [TRADE] * 2),
    "sound_rating_rated_reviews": ("rated_reviews", [TRADE | {"score": 95, "band": "[80,90)"}]),
    "unique_combination_rated_brushing_merchants": (
        "rated_brushing_merchants",
        [{"merchant_id": "m1", "as_of_date": "2026-01-31"}] * 2,
    ),
    "sound_rating_rated_brushing_merchants": ("rated_brushing_merchants", [{"merchant_id": "m1", "score": 101}]),
    "unique_combination_brushed_orders": ("brushed_orders", [TRADE | {"order_id": "o1"}] * 2),
    "holds_brushed_orders": ("brushed_orders", [TRADE]),
    "unique_combination_adjusted_rank": ("adjusted_rank", [RANKED] * 2),
    "holds_adjusted_rank": ("adjusted_rank", [RANKED | {"suspected_count": 0}]),
    "unique_combination_brushing_services": ("brushing_services", [SERVED] * 2),
    "holds_brushing_services": ("brushing_services", [SERVED | {"buyer_merchant_count": 1}]),
    "unique_combination_rule_findings": ("rule_findings", [FOUND] * 2),
    "holds_rule_findings": ("rule_findings", [FOUND | {"value": None}]),
    "unique_combination_rule_buyers": ("rule_buyers", [BUYER] * 2),
    "holds_rule_buyers": ("rule_buyers", [BUYER | {"transaction_count": 3}]),
    "unique_combination_currencies": ("currencies", [CURRENCY] * 2),
    "holds_currencies": ("currencies", [CURRENCY | {"no_rate_count": 3}]),
    "holds_reporters": ("reporters", [REPORTER | {"accuracy_share": 1.1}]),
    "unique_combination_notices": ("notices", [NOTICE] * 2),
    "holds_notices": ("notices", [NOTICE | {"place": None}]),
    "unique_combination_appeals": ("appeals", [{"as_of_date": "2026-01-31", "appeal_id": "a1"}] * 2),
    "holds_overturn_rates": ("overturn_rates", [{"appeal_count": 1, "decided_count": 1, "upheld_count": 2}]),
    "unique_combination_banned_merchants": ("banned_merchants", [MERCHANT] * 2),
    "unique_combination_enforcement_results": (
        "enforcement_results",
        [{"as_of_date": "2026-01-31", "action_id": "e1"}] * 2,
    ),
    "unique_combination_funnel": ("funnel", [STAGE] * 2),
    "unique_combination_case_register": ("case_register", [MERCHANT | {"case_id": "c1"}] * 2),
    "unique_combination_confirmed_counterfeiters": ("confirmed_counterfeiters", [MERCHANT] * 2),
}
TRAINED = LISTING | {"purpose": "train", "label": True, "label_source": "notice", "label_decided_date": "2026-02-03"}
CALIBRATING = LISTING | {
    "purpose": "calibrate",
    "label": False,
    "label_source": "test_buy",
    "label_decided_date": "2026-01-02",
    "inclusion_probability": 0.1,
    "expansion_weight": 10.0,
}
KNOWN = SCORED | {
    "purpose": "known_positive",
    "label": True,
    "label_source": "notice",
    "label_decided_date": "2026-01-02",
}
BROKEN_RULES = {
    "an unknown purpose": SCORED | {"purpose": "other"},
    "a scored label": SCORED | {"label": True, "label_source": "notice", "label_decided_date": "2026-02-03"},
    "a trained row without a label": TRAINED | {"label": None, "label_source": None, "label_decided_date": None},
    "a source without a day": TRAINED | {"label_decided_date": None},
    "an unlabelled positive": TRAINED | {"label_source": None, "label_decided_date": None},
    "an inactive calibration row": CALIBRATING | {"is_active": False},
    "a calibration row without inclusion probability": CALIBRATING | {"inclusion_probability": None},
    "a calibration row with weight zero": CALIBRATING | {"expansion_weight": 0},
    "an inactive known positive": KNOWN | {"is_active": False},
    "a known positive labelled negative": KNOWN | {"label": False},
    "a sampling share of zero": TRAINED | {"sampling_share": 0},
    "a share above one": TRAINED | {"sampling_share": 1.1},
    "a labelled row that was sampled": TRAINED | {"sampling_share": 0.5},
    "a label decided before its date": TRAINED | {"label_decided_date": "2026-01-30"},
    "a training label decided in the evaluation period": TRAINED | {"label_decided_date": "2026-02-10"},
    "a training row in the evaluation period": TRAINED
    | {"as_of_date": "2026-02-10", "label_decided_date": "2026-02-10"},
}


SUPPRESSED = RATED | {"is_suppressed": True, "suppressed_until_date": "9999-12-31", "held_by": "suppression"}
BROKEN_RATINGS = {
    "flagged without reasons": RATED | {"reasons": None},
    "flagged by no term": RATED | {"term": None},
    "flagged for no action": RATED | {"action": None},
    "held but not flagged": RATED | {"is_flagged": False, "held_by": "capacity"},
    "held by a missing suppression": RATED | {"held_by": "suppression"},
    "suppressed and listed": SUPPRESSED | {"held_by": None},
    "suppressed and held by capacity": SUPPRESSED | {"held_by": "capacity"},
    "suppressed without an end date": SUPPRESSED | {"suppressed_until_date": None},
    "an end date without a suppression": RATED | {"suppressed_until_date": "2026-02-01"},
}


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty warehouse, built: unit tests need the relations to exist."""
    home = tmp_path_factory.mktemp("empty")
    make_warehouse(home, {}, "2026-01-31")
    run_dbt(
        home,
        "build",
        "--select",
        "+tag:features",
        "+tag:marts",
        "tag:leads",
        "--exclude-resource-type",
        "unit_test",
        "test",
    )
    return home


@pytest.fixture(scope="module")
def judged(empty_home: Path) -> dict[str, str]:
    """Each data test's result on the empty warehouse, by full name."""
    return run_dbt(empty_home, "test", "--select", *data_tests().values())


@pytest.fixture(scope="module")
def compiled(empty_home: Path) -> dict[str, str]:
    """The SQL of each data test, by full name."""
    return compile_data_tests(empty_home, data_tests().values())


@pytest.fixture(scope="module")
def warehouse(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the empty warehouse, in which each test rolls back its changes."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(empty_home / "warehouse.duckdb", folder)
    with open_warehouse(folder, read_only=False) as connection:
        yield connection


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    """A copy of the empty warehouse, for bad rows."""
    shutil.copy(empty_home / "warehouse.duckdb", tmp_path)
    return tmp_path


def layer_of(node: Any) -> str:
    return str(Path(node.original_file_path).parts[1])


def models() -> list[Any]:
    return [node for node in list_nodes("model") if layer_of(node) in LAYERS]


def data_tests() -> dict[str, str]:
    """The data tests of these layers: full names by the names used above."""
    names = [node.name for node in list_nodes("test") if layer_of(node) in LAYERS]
    return {short_name(name): name for name in names}


def short_name(name: str) -> str:
    """Generic tests are named by model, without the arguments that dbt appends."""
    starts = [known for known in BAD_ROWS if name == known or name.startswith(f"{known}_")]
    return max(starts, key=len, default=name)


def insert(home: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """Inserts rows into a table of a home."""
    with open_warehouse(home, read_only=False) as connection:
        insert_into(connection, table, rows)


def insert_into(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Inserts rows into a built table, without the not-null constraints of its contract."""
    connection.execute(f"create or replace table main.{table} as from main.{table}")
    for row in rows:
        columns, marks = ", ".join(row), ", ".join("?" for _ in row)
        connection.execute(f"insert into main.{table} ({columns}) values ({marks})", list(row.values()))


def test_an_empty_marketplace_has_no_features(empty_home: Path) -> None:
    """No table landed a row; every table exists, and only the scoring date is not empty."""
    counts = {
        model.name: read_rows(empty_home, f"select count(*) as n from {model.name}")[0]["n"] for model in models()
    }
    assert {name: count for name, count in counts.items() if count} == {"rating_dates": 1, "currencies": 1}


def test_unit_tests_pass(empty_home: Path) -> None:
    selected = [f"path:models/{layer}" for layer in LAYERS]
    results = run_dbt(empty_home, "test", "--select", *selected, "--resource-type", "unit_test")
    assert set(results.values()) == {"pass"}
    assert len(results) == len([node for node in list_nodes("unit_test") if layer_of(node) in LAYERS])


def test_every_model_has_a_unit_test() -> None:
    # The spines are tested as a chain (test_dbt_spines.py).
    chain = {model.name for model in models() if model.name.startswith("spine") or model.name.endswith("_spine")}
    assert {model.name for model in models()} - chain <= {node.model for node in list_nodes("unit_test")}


def test_every_data_test_is_shown_to_fail() -> None:
    assert sorted(data_tests()) == sorted(BAD_ROWS)


@pytest.mark.parametrize("name", sorted(BAD_ROWS))
def test_a_data_test_fails_on_a_bad_row_and_only_then(
    judged: dict[str, str], compiled: dict[str, str], warehouse: duckdb.DuckDBPyConnection, name: str
) -> None:
    whole_name = data_tests()[name]
    assert judged[whole_name] == "pass"
    assert fails_after(warehouse, lambda: insert_into(warehouse, *BAD_ROWS[name]), compiled[whole_name])


def test_the_spine_test_checks_every_rule(home: Path) -> None:
    insert(home, "rating_dates", [{"as_of_date": "2026-02-10", "purpose": "evaluate"}])
    valid = [SCORED, TRAINED | {"listing_id": "l2"}, CALIBRATING, KNOWN]
    insert(home, "listing_spine", valid)
    selected = ["--select", data_tests()["sound_spine_listing_spine"]]
    assert list(run_dbt(home, "test", *selected).values()) == ["pass"]
    broken = [row | {"listing_id": f"b{number}"} for number, row in enumerate(BROKEN_RULES.values())]
    insert(home, "listing_spine", [*broken, TRAINED | {"listing_id": "l1"}])
    assert list(run_dbt(home, "test", *selected, "--store-failures", expect_success=False).values()) == ["fail"]
    failures = "main_dbt_test__audit." + data_tests()["sound_spine_listing_spine"]
    found = {row["listing_id"] for row in read_rows(home, f"select listing_id from {failures}")}
    rules = dict(zip((row["listing_id"] for row in broken), BROKEN_RULES, strict=True)) | {
        "l1": "also a calibration row"
    }
    assert {rules[listing_id] for listing_id in found} == set(rules.values())


def test_the_rating_test_checks_every_rule(home: Path) -> None:
    name = data_tests()["sound_rating_rated_listings"]
    broken = [row | {"listing_id": f"b{number}"} for number, row in enumerate(BROKEN_RATINGS.values())]
    insert(home, "rated_listings", [*broken, RATED, SUPPRESSED | {"listing_id": "l2"}])
    judged = run_dbt(home, "test", "--select", name, "--store-failures", expect_success=False)
    assert list(judged.values()) == ["fail"]
    found = {row["listing_id"] for row in read_rows(home, f"select listing_id from main_dbt_test__audit.{name}")}
    assert found == {row["listing_id"] for row in broken}


@pytest.mark.parametrize(("table", "ids"), FEATURE_TABLES.items())
def test_every_feature_declares_its_signal_and_unit(table: str, ids: set[str]) -> None:
    model = next(model for model in models() if model.name == table)
    assert model.config.contract.enforced
    own_columns = {
        place for places in PLACES.values() for place in places.values()
    }  # their features are named at the export
    result = {"purpose", *ids, "merchant_id", "category", "as_of_date", *own_columns}
    for name, column in model.columns.items():
        assert column.description, name
        assert (name in result) is not (column.config.meta.get("signal") in SIGNALS), name
        if name not in result:
            unit = column.config.meta["unit"]
            assert name.endswith(UNITS[unit]) if unit in UNITS else name.startswith(("is_", "has_")), name


def test_every_column_of_marts_and_spines_is_described(empty_home: Path) -> None:
    for model in models():
        described = {name for name, column in model.columns.items() if column.description}
        if model.config.contract.enforced or model.patch_path.endswith("brushing.yml"):
            assert {row["column_name"] for row in read_rows(empty_home, f"describe {model.name}")} == described
        assert model.description, model.name


def test_brushing_columns_have_their_declared_types_and_units(empty_home: Path) -> None:
    """These tables have no contract, because a contract would write them through a cast of every column."""
    for model in models():
        if model.patch_path.endswith("brushing.yml"):
            types = {row["column_name"]: row["column_type"] for row in read_rows(empty_home, f"describe {model.name}")}
            assert {name: column.data_type.upper() for name, column in model.columns.items()} == types, model.name
            quantities = {name for name in types if types[name] in ("BIGINT", "INTEGER", "DOUBLE")} - {"strength"}
            assert {name for name, column in model.columns.items() if column.config.meta.get("unit")} == quantities


def test_floats_are_never_summed(empty_home: Path) -> None:
    """Sums of DOUBLE vary between runs: a DOUBLE is never added up, and final tables have no readers.

    Exception: models that only select rows of the features or of the ratings, without grouping.
    """
    final = {*FEATURE_TABLES, *(model.name for model in models() if model.name.startswith(("rated_", "discrepancies")))}
    doubles = {
        row["column_name"]
        for model in models()
        if model.name not in final
        for row in read_rows(empty_home, f"describe {model.name}")
        if row["column_type"] in ("DOUBLE", "FLOAT")
    }
    assert doubles == DOUBLES
    for model in models():
        assert not re.search(rf"\b(?:sum|avg)\(\s*(?:\w+\.)?(?:{'|'.join(doubles)})\b", model.raw_code), model.name
        if {parent.split(".")[-1] for parent in model.depends_on.nodes} & final:
            assert model.name in {"brushed_orders", "slices", "expected_harms", "lead_merchants"}, model.name
            added_up = re.findall(r"\b(?:sum|avg)\((?:cast\()?\s*(?:\w+\.)?(\w+)", model.raw_code)
            assert set(added_up) <= WHOLE or "group by" not in model.raw_code, model.name
