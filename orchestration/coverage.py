"""Measures what the coverage report says about a day's data, from the warehouse: part of the features step.

How it is read and rendered is in `touchstone/casework/coverage.py`, which adds the models.
"""

from __future__ import annotations

from typing import Any

import duckdb

from ml.coverage import measured_features, read_feature_inputs, signal_coverage
from orchestration.resources import Run
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing
from touchstone.core.lists import LISTS
from touchstone.landing.as_of import complete_days
from touchstone.landing.provided import provided_inputs

NOT_SEEN = """
select count(*) from stg_listings as listings
cross join landed.run as run
anti join (select listing_id from listing_spine where purpose = 'score') as active on active.listing_id = listings.listing_id
where cast(listings.listed_at as date) <= run.as_of
    and (listings.delisted_at is null or cast(listings.delisted_at as date) > run.as_of)
"""
CURRENCIES = """
select table_name, coalesce(currency, ''), cast(sum(no_rate_count) as bigint), cast(sum(amount_count) as bigint)
from int_currency_days as currency_days
cross join landed.run as run
where coalesce(currency_days.day <= run.as_of, true)
group by all having sum(no_rate_count) > 0 order by all
"""
LABEL_TABLES = {
    "notices": "notice",
    "test_buys": "test_buy",
    "moderation_decisions": "moderation_decision",
    "enforcement_actions": "enforcement",
    "appeals": "appeal",
}
LABELS = """
with entities as (
    select 'listing' as entity_kind, listing_id as entity_id from stg_listings
    union all select 'merchant', merchant_id from stg_merchants
    union all select 'review', review_id from stg_reviews
    union all select 'order', order_id from stg_orders
)
select
    labels.source,
    count(*) as verdicts,
    count(*) filter (where entities.entity_id is null) as unknown_entity,
    count(*) filter (where entities.entity_id is not null and cast(labels.decided_at as date) > run.as_of) as later,
    count(*) filter (where is_known and labels.is_positive) as positive,
    count(*) filter (where is_known and not labels.is_positive) as genuine
from (select * from int_labels where via_listing_id is null) as labels
cross join landed.run as run
left join entities on entities.entity_kind = labels.entity_kind and entities.entity_id = labels.entity_id
cross join lateral (
    select entities.entity_id is not null and cast(labels.decided_at as date) <= run.as_of as is_known
) as known
group by labels.source
"""


def write_coverage(run: Run) -> None:
    """Measures the coverage of the day whose features were exported, and writes `coverage.json`.

    The same loads and features give the same bytes.
    """
    path = run.paths.coverage(run.as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    with run.warehouse.connect() as connection:
        content = canonical_json(measure(run, connection))
    with failpoint("coverage.write", path), replacing(path) as temporary:
        temporary.write_bytes(content)


def measure(run: Run, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Returns the content of `coverage.json`.

    Args:
        run: The run; the day's features are exported.
        connection: The warehouse, with the day's features.
    """
    as_of, days = run.as_of, complete_days(run.landing, run.pins)
    available = {
        rated.model: measured_features(
            run.paths.features(name, as_of), run.declarations[rated.model], run.paths.texts(as_of)
        )
        for name, rated in LISTS.items()
    }
    provided, inputs = provided_inputs(run.landing, run.pins), read_feature_inputs()
    declarations = {rated.model: run.declarations[rated.model] for rated in LISTS.values()}
    counts = connection.execute(
        " union all ".join(
            f"select '{name}', count(*) from {rated.relation}_spine where purpose = 'score'"
            for name, rated in LISTS.items()
        )
    ).fetchall()
    return {
        "as_of": str(as_of),
        "complete_days": {table: str(day) for table, day in sorted(days.items())},
        "signals": signal_coverage(declarations.values(), available, provided, inputs),
        "models": {
            model: {
                "signals": signal_coverage([declaration], available, provided, inputs),
                "unavailable": [name for name in declaration.columns if name not in available[model]],
            }
            for model, declaration in declarations.items()
        },
        "active": dict(counts),
        "not_seen": connection.execute(NOT_SEEN).fetchall()[0][0],
        "sighting_days": run.warehouse.pinned_loads()["sighting_days"],
        "base_currency": run.warehouse.pinned_loads()["base_currency"],
        "without_rate": [
            {"table": table, "currency": currency, "without_rate": missing, "amounts": amounts}
            for table, currency, missing, amounts in connection.execute(CURRENCIES).fetchall()
        ],
        "labels": _labels(connection),
    }


def _labels(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Returns how many labels each table has, and how many of its rows are none, by reason."""
    cursor = connection.execute(LABELS)
    names = [column[0] for column in cursor.description]
    found = {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in cursor.fetchall()}
    result = {}
    for table, source in LABEL_TABLES.items():
        ((rows,),) = connection.execute(f"select count(*) from stg_{table}").fetchall()
        counts = found.get(source, dict.fromkeys(names[1:], 0))
        if rows:
            result[table] = {"rows": rows, "without_verdict": max(rows - counts.pop("verdicts"), 0), **counts}
    return result
