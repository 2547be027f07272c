"""Valid data and parameters for every suite, and one way to violate each expectation. Real Parquet files throughout."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from expectations.results import SuiteResult
from expectations.runner import run_suite

AS_OF = dt.date(2026, 6, 30)
LIST_COLUMNS = (
    "rank", "listing_id", "merchant_id", "title", "url", "category", "brand", "price", "currency", "score",
    "own_conduct_score", "band", "expected_precision", "reasons", "is_calibrated", "action", "first_flagged_date",
    "days_on_list", "is_new",
)  # fmt: skip

LISTINGS = """
    select 'l' || i as listing_id, 'm' || i % 20 as merchant_id, 'title ' || i as title,
        'category ' || i % 5 as category, 'brand ' || i % 7 as brand_claimed,
        cast(10 + i % 50 as decimal(18, 4)) as price, 'USD' as currency
    from range(200) as numbers (i)
"""
ORDERS = """
    select 'o' || i as order_id, case when i % 20 = 0 then timestamp '2026-06-01' end as refunded_at
    from range(200) as numbers (i)
"""
FEATURES = """
    select 'l' || i as listing_id, 'm' || i % 20 as merchant_id, 'category' as category, date '2026-06-30' as as_of_date,
        'score' as purpose, i / 100.0::double as refund_share, i * 1.0::double as price_to_msrp_ratio,
        i as order_count, i % 2 = 0 as has_photo, (i - 50) / 100.0::double as rating_change_ratio
    from range(100) as numbers (i)
"""
SCORES = """
    select listing_id, i * 0.1::double as score, 20.0::double as own_conduct_score, i - 50.0::double as margin,
        'champion' as model_digest
    from (select 'l' || i as listing_id, i from range(100) as numbers (i))
"""
RATED = """
    select date '2026-06-30' as as_of_date, 'l' || i as listing_id, 'm' || i % 20 as merchant_id,
        case when i in (4, 5, 9) then 'watches/wrist' when i = 10 then 'watches_not' else 'category' end as category,
        case i when 6 then 'BRAND' when 11 then null else 'other brand' end as brand, 'DE' as country,
        (100 - i)::double as score, 40.0::double as own_conduct_score, (100 - i)::double as margin,
        case when i in (0, 1, 3, 6) then 2 when i < 8 then 1 end as signal_count, i = 7 as is_suppressed,
        case when i in (4, 5, 9) then 1 when i = 6 then 2 else 3 end as term,
        case when i in (4, 5, 9) then 'test_buy' when i = 6 then 'remove' else 'review' end as action,
        i < 8 as is_flagged,
        case when i = 7 then 'suppression' when i = 5 then 'capacity' when i = 2 then 'corroboration' end as held_by
    from range(100) as numbers (i)
"""
CANDIDATE = """
    select row_number() over (order by score desc) as rank, listing_id, merchant_id, 'a title' as title,
        'https://shop.example' as url, category, brand, 12.5::decimal(18, 4) as price,
        'USD' as currency, score, own_conduct_score, '[90,100]' as band, 0.9::double as expected_precision,
        '[{"signal": "price", "effect": 1.5}, {"signal": "text", "with_signal": "link", "effect": 0.5}]' as reasons,
        true as is_calibrated, action, date '2026-06-28' as first_flagged_date,
        2::integer as days_on_list, false as is_new
    from rated
    where is_flagged and held_by is null
"""
TERM = {"category": None, "brand": None, "country": None, "capacity": None, "corroboration": 1, "action": "review"}
TERMS = [
    {**TERM, "term": 1, "category": "watches", "threshold": 95.0, "capacity": 1, "action": "test_buy"},
    {**TERM, "term": 2, "brand": "brand", "country": "DE", "threshold": 92.5, "corroboration": 2, "action": "remove"},
    {**TERM, "term": 3, "threshold": 92.5, "corroboration": 2},
]


DRIFT = """
    from (values
        ('psi', 'refund_share', 0.1, 0.12, 0.3, 0.06),  -- of which chance may be so much
        ('psi', 'score', 0.0, 0.0, 0.1, 0.02),
        ('category', 'watches', 0.02, 0.0, 0.02, 0.03),  -- of so few rows that it may be gone by chance
        ('category', 'bags', 0.0, 0.004, 0.004, 0.001),
        ('calibration', 'drawn by design', 0.05, 0.07, 3.9, 0.0),
        ('label_delay', 'notice', 4.0, 90.0, 86.0, 0.0)
    ) as rows (measure, name, before, now, amount, allowed)
"""


def load(table: str, rows: int, **changes: Any) -> dict[str, Any]:
    """Returns the parameter row of one table of the landed suite."""
    row = {
        "table_name": table,
        "row_count": rows,
        "previous_row_count": rows,
        "source_row_count": None,
        "previous_source_row_count": None,
        "fresh_date": AS_OF,
        "max_age_days": 7,
        "landed_date": AS_OF,
        "is_refused": False,
    }
    return {**row, **changes}


@dataclass(frozen=True)
class Case:
    """The input of a suite: tables as SQL, statements that then change them, and parameters."""

    suite: str
    tables: Mapping[str, str]
    parameters: Mapping[str, Any]
    statements: Sequence[str] = field(default_factory=tuple)

    def broken(self, *statements: str, **parameters: Any) -> Case:
        """Returns the case with its tables changed by SQL, or with other parameters."""
        return Case(self.suite, self.tables, {**self.parameters, **parameters}, (*self.statements, *statements))

    def write(self, folder: Path) -> dict[str, list[Path]]:
        """Writes each table, as the statements leave it, as one Parquet file."""
        with duckdb.connect(":memory:") as connection:
            for name, query in self.tables.items():
                connection.execute(f"create table {name} as {query}")
            for statement in self.statements:
                connection.execute(statement)
            left = [name for (name,) in connection.execute("show tables").fetchall() if name in self.tables]
            for name in left:
                connection.table(name).write_parquet(str(folder / f"{name}.parquet"))
        return {name: [folder / f"{name}.parquet"] for name in left}

    def judge(self, folder: Path) -> SuiteResult:
        """Returns the suite's result for the case."""
        return run_suite(self.suite, self.write(folder), self.parameters)


GOOD: dict[str, Case] = {
    "landed": Case(
        "landed",
        {
            "listings": LISTINGS,
            "listings_before": LISTINGS,
            "merchants": "select 'm' || i as merchant_id from range(20) as numbers (i)",
            "reviews": "select 'r' || i as review_id, i % 5 + 1 as rating from range(200) as numbers (i)",
            "reviews_before": "select 'r' || i as review_id, i % 5 + 1 as rating from range(200) as numbers (i)",
            "orders": ORDERS,
            "orders_before": ORDERS,
        },
        {
            "as_of": AS_OF,
            "loads": [load("listings", 200), load("merchants", 20), load("reviews", 200), load("orders", 200)],
        },
    ),
    "features": Case(
        "features",
        {"features": FEATURES, "features_before": FEATURES},
        {"key": "listing_id", "as_of": AS_OF, "live_count": 100},
    ),
    "scores": Case(
        "scores",
        {"scores": SCORES, "features": FEATURES, "drift": DRIFT},
        {
            "key": "listing_id",
            "model_digest": "champion",
            "threshold": 9.0,
            "floor": 3.0,
            "max_flagged_share": 0.1,
            "previous_mean_score": 5.0,
            "prevalence": 0.05,
            "drift_warn": 0.25,
            "drift_block": 4.0,
        },
    ),
    "candidate": Case(
        "candidate",
        {"rated": RATED, "candidate": CANDIDATE},
        {
            "key": "listing_id",
            "as_of": AS_OF,
            "columns": list(LIST_COLUMNS),
            "least_rows": 1,
            "max_flagged_share": 0.1,
            "floor": 9.0,
            "terms": TERMS,
        },
    ),
}


def landed_with(table: str, **changes: Any) -> Case:
    """Returns the valid landed case with one table's parameter row changed."""
    rows = [{**row, **changes} if row["table_name"] == table else row for row in GOOD["landed"].parameters["loads"]]
    return GOOD["landed"].broken(loads=rows)


def _bad_landed() -> dict[str, Case]:
    good = GOOD["landed"]
    return {
        "listings_have_rows": good.broken("delete from listings"),
        "merchants_have_rows": good.broken("delete from merchants"),
        "rows_are_those_of_the_ledger": landed_with("orders", row_count=201),
        "tables_that_date_a_run_are_fresh": landed_with("orders", fresh_date=AS_OF - dt.timedelta(days=8)),
        "stand_ins_for_refused_loads_are_fresh": landed_with(
            "merchants", is_refused=True, fresh_date=None, landed_date=AS_OF - dt.timedelta(days=8)
        ),
        "steady_tables_are_fresh": landed_with("reviews", fresh_date=AS_OF - dt.timedelta(days=8)),
        "volume_holds": landed_with("reviews", previous_row_count=401),
        "volume_does_not_explode": landed_with("reviews", previous_row_count=19),
        "volume_holds_closely": landed_with("reviews", previous_row_count=223),
        "listings_are_as_complete": good.broken("update listings set brand_claimed = null where price < 30"),
        "prices_are_of_the_same_order": good.broken("update listings set price = price * 100"),
        "categories_are_mixed_as_before": good.broken(
            "update listings set category = 'x' where category <> 'category 0'"
        ),
        "ratings_are_as_before": good.broken("update reviews set rating = 1"),
        "refunds_are_as_before": good.broken("update orders set refunded_at = timestamp '2026-06-01'"),
    }


def _bad_features() -> dict[str, Case]:
    good = GOOD["features"]
    return {
        "features_have_rows": good.broken("delete from features", live_count=0),
        "features_are_of_all_live_entities": good.broken(live_count=101),
        "features_have_one_row_an_entity": good.broken("update features set listing_id = 'l1' where listing_id = 'l2'"),
        "features_name_their_entity": good.broken("update features set merchant_id = null where listing_id = 'l2'"),
        "features_are_as_of_the_day": good.broken(
            "update features set as_of_date = '2026-06-29' where listing_id = 'l2'"
        ),
        "shares_and_ratios_are_in_range": good.broken(
            "update features set refund_share = 1.01 where listing_id = 'l2'"
        ),
        "numbers_are_finite": good.broken("update features set price_to_msrp_ratio = 'inf' where listing_id = 'l2'"),
        "features_are_not_all_unknown": good.broken(
            "update features set refund_share = null, price_to_msrp_ratio = null, order_count = null, rating_change_ratio = null"
        ),
        "features_are_as_complete": good.broken("update features set order_count = null where refund_share > 0.5"),
    }


def _bad_scores() -> dict[str, Case]:
    good = GOOD["scores"]
    return {
        "scores_have_rows": good.broken("delete from scores", "delete from features"),
        "scores_have_their_columns": good.broken("alter table scores drop column margin"),
        "margins_are_known": good.broken("update scores set margin = null where listing_id = 'l2'"),
        "scores_have_one_row_an_entity": good.broken("insert into scores from scores where listing_id = 'l2'"),
        "scores_are_of_the_entities_with_features": good.broken("delete from features where listing_id = 'l2'"),
        "scores_are_in_range": good.broken("update scores set score = 'nan' where listing_id = 'l2'"),
        "own_conduct_scores_are_in_range": good.broken(
            "update scores set own_conduct_score = -0.1 where listing_id = 'l2'"
        ),
        "scores_are_the_champions": good.broken("update scores set model_digest = null where listing_id = 'l2'"),
        "scores_differ": good.broken("update scores set score = 5"),
        "few_are_flagged": good.broken(max_flagged_share=0.001),
        "mean_score_is_as_before": good.broken(previous_mean_score=15.1),
        "mean_score_is_the_prevalence": good.broken(prevalence=0.005),
        "population_is_as_at_the_cut": good.broken("update drift set amount = 0.4 where name = 'refund_share'"),
        "population_is_not_another": good.broken("update drift set amount = 4.1, now = 1 where name = 'refund_share'"),
        "categories_are_as_at_the_cut": good.broken("update drift set allowed = 0.01 where name = 'watches'"),
        "outcomes_are_as_expected": good.broken("update drift set amount = 4.1 where measure = 'calibration'"),
    }


def _bad_candidate() -> dict[str, Case]:
    good = GOOD["candidate"]
    empty = "update rated set is_flagged = false, held_by = null, score = 1"
    swap = "update candidate set rank = case rank when 1 then 2 when 2 then 1 else rank end"
    return {
        "list_is_not_empty": good.broken("delete from candidate", empty),
        "rows_are_decided_on_by_their_terms": good.broken("update rated set term = 3 where listing_id = 'l9'"),
        "flags_are_those_of_the_terms": good.broken("update rated set is_flagged = true where listing_id = 'l8'"),
        "list_keeps_within_capacity": good.broken("update rated set score = 96.5 where listing_id = 'l5'"),
        "rows_are_corroborated": good.broken(
            "update candidate set reasons = replace(reasons, '0.5', '0') where rank = 2"
        ),
        "what_is_held_is_held_for_cause": good.broken(
            "update rated set held_by = 'corroboration' where listing_id = 'l1'"
        ),
        "list_has_its_columns_only": good.broken("alter table candidate add column buyer_email varchar"),
        "list_asks_what_the_policy_says": good.broken("update candidate set action = 'remove' where rank = 2"),
        "ranks_are_one_to_n": good.broken("update candidate set rank = 9 where rank = 5"),
        "ranks_follow_the_score": good.broken(swap),
        "ids_are_unique": good.broken("update candidate set listing_id = 'l0' where rank = 2"),
        "ids_are_known": good.broken("update candidate set merchant_id = null where rank = 2"),
        "scores_reach_the_threshold": good.broken(terms=[*TERMS[:2], {**TERMS[2], "threshold": 97.5}]),
        "own_conduct_scores_reach_the_floor": good.broken(floor=40.5),
        "reasons_are_there": good.broken("update candidate set reasons = '[{' where rank = 2"),
        "reasons_say_something": good.broken("update candidate set reasons = '[]' where rank = 4"),
        "nothing_suppressed_is_listed": good.broken("update rated set is_suppressed = true where listing_id = 'l1'"),
        "list_is_what_is_flagged": good.broken("update rated set is_flagged = true where listing_id = 'l9'"),
        "list_is_as_of_the_day": good.broken("update rated set as_of_date = '2026-06-29' where listing_id = 'l9'"),
        "flagged_share_is_small": good.broken(max_flagged_share=0.001),
        "days_on_list_count_from_the_first_flag": good.broken("update candidate set days_on_list = 3 where rank = 2"),
    }


BAD: dict[str, dict[str, Case]] = {
    "landed": _bad_landed(),
    "features": _bad_features(),
    "scores": _bad_scores(),
    "candidate": _bad_candidate(),
}


def candidate_faults() -> dict[str, tuple[str, Case]]:
    """Returns further ways in which a list violates its terms, each with the expectation that detects it."""
    good = GOOD["candidate"]
    terms = good.parameters["terms"]
    unheld = "update rated set held_by = null where listing_id = 'l5'"
    return {
        "more than its capacity": (
            "list_keeps_within_capacity",
            good.broken(f"insert into candidate by name {_listed('l5')}", unheld),
        ),
        "held by a capacity that there is not": (
            "list_keeps_within_capacity",
            good.broken(
                "delete from candidate where rank = 1", "update rated set held_by = 'capacity' where listing_id = 'l0'"
            ),
        ),
        "fewer than its capacity though some are held": (
            "list_keeps_within_capacity",
            good.broken("delete from candidate where rank = 4"),
        ),
        "a rated row left unflagged": (
            "flags_are_those_of_the_terms",
            good.broken("update rated set is_flagged = false where listing_id = 'l0'"),
        ),
        "flagged below the floor": (
            "flags_are_those_of_the_terms",
            good.broken("update rated set own_conduct_score = 8.9 where listing_id = 'l0'"),
        ),
        "held though it is not suppressed": (
            "what_is_held_is_held_for_cause",
            good.broken("update rated set is_suppressed = false where listing_id = 'l7'"),
        ),
        "held by nothing known": (
            "what_is_held_is_held_for_cause",
            good.broken("update rated set held_by = 'mercy' where listing_id = 'l7'"),
        ),
        "held though corroborated": (
            "what_is_held_is_held_for_cause",
            good.broken("update rated set signal_count = 2 where listing_id = 'l2'"),
        ),
        "the action of another term": (
            "list_asks_what_the_policy_says",
            good.broken("update candidate set action = 'review' where rank = 4"),
        ),
        "a category that begins alike": (
            "rows_are_decided_on_by_their_terms",
            good.broken("update rated set term = 1 where listing_id = 'l10'"),
        ),
        "a row without a brand": (
            "rows_are_decided_on_by_their_terms",
            good.broken("update rated set term = 2 where listing_id = 'l11'"),
        ),
        "the merchant's country": (
            "rows_are_decided_on_by_their_terms",
            good.broken("update rated set country = 'FR' where listing_id = 'l6'"),
        ),
        "a later term": (
            "rows_are_decided_on_by_their_terms",
            good.broken(terms=[{**terms[1], "term": 1}, {**terms[0], "term": 2}, terms[2]]),
        ),
        "no term at all": (
            "rows_are_decided_on_by_their_terms",
            good.broken("update rated set term = null where listing_id = 'l0'"),
        ),
        "reasons of one signal twice": (
            "rows_are_corroborated",
            good.broken(
                'update candidate set reasons = \'[{"signal": "price", "effect": 1}, {"signal": "price", "effect": 2}]\''
            ),
        ),
        "reasons that are none": (
            "rows_are_corroborated",
            good.broken("update candidate set reasons = '[]' where rank = 1"),
        ),
    }


def _listed(listing_id: str) -> str:
    columns = f"6 as rank, '{listing_id}' as listing_id, 'm1' as merchant_id, 95 as score, 40 as own_conduct_score"
    return f"select {columns}, 'test_buy' as action"
