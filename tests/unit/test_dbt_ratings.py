"""The ratings from which marts are made, for rows with IDs of two kinds of entity: the query of the macro."""

from __future__ import annotations

from typing import Any

import duckdb
from jinja2 import Environment

from tests.dbt_fixtures import PROJECT

TABLES = """
create table run as select date '2026-03-31' as as_of;
create table review_scores as select * from (values
    ('o1', 'o1', 'r1', 95.0, 50.0, 3.0, 'd'),
    ('o2', 'o2', 'r2', 95.0, 50.0, 3.0, 'd'),
    ('o3', 'o3', 'r3', 95.0, 50.0, 3.0, 'd'),
    ('o4', 'o4', null, 49.0, 50.0, 0.0, 'd'),
    ('r5', null, 'r5', 95.0, 8.0, 3.0, 'd'),
    ('r6', null, 'r6', 95.0, 50.0, 3.0, 'other'),
    ('o7', 'o7', null, 95.0, 50.0, 3.0, 'd'),
    ('r8', null, 'r8', 95.0, 50.0, 3.0, 'd'),
    ('o9', 'o9', null, 95.0, 50.0, 3.0, 'd'),
    ('o10', 'o10', null, 95.0, 50.0, 3.0, 'd'),
    ('o11', 'o11', null, 95.0, 50.0, 3.0, 'd')
) as rows (review_key, order_id, review_id, score, own_conduct_score, margin, model_digest);
create table review_reasons as select 'o1' as review_key, '[]' as reasons, 0 as signal_count;
create table terms as
select
    'review_brushing' as model, 'd' as model_digest, 1 as term, cast(null as varchar) as category, cast(null as varchar) as brand,
    cast(null as varchar) as country, 50.0 as threshold, 9.0 as floor, null as capacity, 1 as corroboration, 'review' as action;
create table precision_bands as select 'review_brushing' as model, '[90,100]' as band, 0.9 as expected_precision;
create table stg_suppressions as select *, timestamp '2026-03-01' as created_at, cast(null as timestamp) as expires_at
from (values
    ('order', 'o1'), ('review', 'r1'), ('review', 'r2'),
    ('review', 'o3'), ('order', 'r3'), ('merchant', 'o3'), ('review', 'r5')
) as rows (entity_kind, entity_id);
create table int_labels as
select *, entity_kind || entity_id as case_id
from (values
    ('order', 'o7', 'brushing', false, timestamp '2026-03-30', 'appeal'),
    ('order', 'o7', 'brushing', true, timestamp '2026-03-01', 'moderation_decision'),
    ('review', 'r8', 'brushing', false, timestamp '2026-03-30', 'appeal'),
    ('review', 'r8', 'brushing', true, timestamp '2026-03-31', 'moderation_decision'),
    ('order', 'o9', 'counterfeit', false, timestamp '2026-03-30', 'appeal'),
    ('order', 'o10', 'brushing', false, timestamp '2026-04-01', 'appeal'),
    ('order', 'o11', 'brushing', false, timestamp '2026-03-30', 'moderation_decision')
) as rows (entity_kind, entity_id, violation_type, is_positive, decided_at, source);
"""


def test_a_row_is_suppressed_by_either_of_its_ids_and_is_not_duplicated() -> None:
    environment = Environment(autoescape=False)  # noqa: S701  # SQL, not HTML
    environment.globals |= {"source": lambda _, table: table, "ref": lambda table: table}
    macros: Any = environment.from_string((PROJECT / "macros" / "marts.sql").read_text()).module
    by_terms: Any = environment.from_string((PROJECT / "macros" / "terms.sql").read_text()).module
    kinds = {"order": "order_id", "review": "review_id"}
    ratings = macros.ratings("review", "review_brushing", "review_key", kinds)
    described = "described as (select *, 'a' as category, 'b' as brand, 'DE' as country from ratings)"
    with duckdb.connect() as connection:
        connection.execute(TABLES)
        query = f"with {ratings}, {described}, {by_terms.decided('described', 'review_key')} select * from decided order by all"
        found = connection.execute(query).to_arrow_table()
    assert found.column_names[:5] == ["as_of_date", "review_key", "order_id", "review_id", "score"]
    result = {
        row["review_key"]: (row["order_id"], row["review_id"], row["is_flagged"], row["is_suppressed"])
        for row in found.to_pylist()
    }
    held = {row["review_key"] for row in found.to_pylist() if row["held_by"] == "suppression"}
    assert found.num_rows == len(result)
    assert held == {key for key, (*_, is_flagged, is_suppressed) in result.items() if is_flagged and is_suppressed}
    assert result == {
        "o1": ("o1", "r1", True, True),
        "o2": ("o2", "r2", True, True),
        "o3": ("o3", "r3", True, False),
        "o4": ("o4", None, False, False),
        "r5": (None, "r5", False, True),
        "r6": (None, "r6", False, False),
        "o7": ("o7", None, True, True),  # suppressed by an upheld appeal
        "r8": (None, "r8", True, False),  # positive again after the appeal
        "o9": ("o9", None, True, False),  # the appeal has another violation_type,
        "o10": ("o10", None, True, False),  # or is decided after as_of
        "o11": ("o11", None, True, False),  # genuine, but not by an appeal
    }
