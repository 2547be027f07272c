"""The outcome marts on a marketplace that continues after as_of: later data changes nothing, and links are consistent.

`complete` holds the whole demo, and flags, leads, hand-overs, actions and cases made up from its truth, before and
after as_of; `truncated` holds what was known at the end of as_of. Both have to give the same marts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from orchestration.assets.warehouse import OUTCOMES
from tests.dbt_fixtures import open_warehouse, read_rows, run_dbt
from tests.integration.test_dbt_features_point_in_time import fill
from touchstone.demo.generate import generate

AS_OF = date(2026, 5, 31)

ADDED = """
create temp table fakes as
select merchant_id, ring_id, row_number() over (order by ring_id is null, merchant_id) as place
from read_parquet('{truth}/merchants.parquet') where is_counterfeit and since < '2026-05-01';
create temp table goods as
select listing_id, merchant_id, row_number() over (order by listing_id) as place
from read_parquet('{truth}/listings.parquet') join landed.listings using (listing_id)
where listed_at < '2026-04-01' and load_id = 'load-1';

-- Two lists a month; the last is of as_of itself and had not been read by then.
insert into landed.published_flags by name
select list_name, 'v' || as_of_date as version, as_of_date, 'policy' as policy, 'counterfeit' as violation_type,
entity_kind, entity_id,
    90 as score, '[{{"signal": "price", "text": "low"}}, {{"signal": "link", "text": "tied"}}]' as reasons
from (
    select 'merchants' as list_name, 'merchant' as entity_kind, merchant_id as entity_id, place from fakes
    union all select 'listings', 'listing', listing_id, place from goods where place <= 400
), (select unnest(['2026-04-15', '2026-05-01', '2026-05-15', '2026-05-31', '2026-06-15']::date[]) as as_of_date)
where place % 5 <> day(as_of_date) % 5 and (as_of_date < $as_of or $complete);
insert into landed.lead_members by name
select 'lead' || place % 3 as lead_id, merchant_id, as_of_date, 'listed' as role, true as is_listed
from fakes, (select unnest(['2026-05-01', '2026-05-15', '2026-06-15']::date[]) as as_of_date)
where place <= 9 and (as_of_date < $as_of or $complete);
insert into landed.lead_hand_overs by name
select * from (values
    ('lead0', 'customs', timestamp '2026-05-10 10:00:00', 'authority'), ('lead1', 'Acme', timestamp '2026-05-20', 'brand'),
    ('lead1', 'city police', timestamp '2026-06-02', 'authority'), ('lead2', 'customs', timestamp '2026-06-20', 'authority')
) as given (lead_id, recipient, handed_over_at, audience) where cast(handed_over_at as date) <= $as_of or $complete;
insert into landed.enforcement_actions by name
select 'led ' || place as action_id, merchant_id, 'lead' || (place + 1) % 3 as lead_id, 'customs' as authority, 'raid' as kind,
    timestamp '2026-05-22' + to_days(cast(place as integer)) as occurred_at, 100 * place as seized_value, 'EUR' as currency,
    place as suspects
from fakes where place <= 14 and (cast(occurred_at as date) <= $as_of or $complete);
insert into landed.cases by name
select 'case ' || place as case_id, merchant_id, stage, stage_at, 'counterfeit' as violation_type, 1000 * place as amount,
    'EUR' as currency, 'lead0' as lead_id
from fakes, (values ('filed', timestamp '2026-05-25'), ('hearing', timestamp '2026-05-30'), ('judgment', timestamp '2026-06-10'))
    as stages (stage, stage_at)
where place <= 4 and (cast(stage_at as date) <= $as_of or $complete);
insert into landed.appeals by name
select 'made up ' || place as appeal_id, 'listing' as entity_kind, listing_id as entity_id, 'counterfeit' as violation_type,
    timestamp '2026-05-20' + to_days(cast(place % 20 as integer)) as submitted_at,
    case when decided_at is null then 'pending' when place % 3 = 0 then 'upheld' else 'rejected' end as outcome, decided_at
from (
    select
        *,
        case when $complete or place % 20 < 7 then timestamp '2026-05-25' + to_days(cast(place % 20 as integer)) end as decided_at
    from goods where place <= 60
) where cast(submitted_at as date) <= $as_of or $complete;
update landed.lead_hand_overs set load_id = 'given', landed_at = timestamp '2026-06-30 23:59:59';
update landed.cases set load_id = 'given', landed_at = timestamp '2026-06-30 23:59:59';
update landed.enforcement_actions set load_id = any_load, landed_at = any_time
from (select max(load_id) as any_load, max(landed_at) as any_time from landed.notices);
update landed.appeals set load_id = any_load, landed_at = any_time
from (select max(load_id) as any_load, max(landed_at) as any_time from landed.notices);
insert into landed.loads by name
select table_name, 'given' as load_id, table_name || 'given' as content_digest, timestamp '2026-06-30 23:59:59' as landed_at,
    'full' as mode, $as_of as newest_event_date, true as is_current
from (values ('lead_hand_overs'), ('cases')) as given (table_name);
insert into landed.merchant_rings by name
select $as_of as as_of_date, merchant_id, min(merchant_id) over (partition by ring_id) as ring_id, false as is_verified
from read_parquet('{truth}/merchants.parquet') join landed.merchants using (merchant_id)
where ring_id is not null and load_id = 'load-1';
insert into landed.platform_actions by name
select 'ban ' || place as action_id, 'merchant' as entity_kind, merchant_id as entity_id, 'ban' as kind,
    timestamp '2026-05-20' + to_days(cast(place as integer)) as occurred_at, notices.load_id, notices.landed_at
from fakes, (select max(load_id) as load_id, max(landed_at) as landed_at from landed.notices) as notices
where cast(occurred_at as date) <= $as_of or $complete;
-- Names and countries of merchants are reported with their current values.
update landed.brands set name = first.name from landed.brands as first
where first.brand_id = brands.brand_id and first.load_id = 'load-1';
update landed.merchants set name = first.name, country = first.country from landed.merchants as first
where first.merchant_id = merchants.merchant_id and first.load_id = 'load-1';
insert into landed.listing_scores by name select listing_id, 10 + place % 90 as score from goods;
insert into landed.merchant_scores by name select merchant_id, 10 + place % 90 as score from fakes;
"""


@dataclass(frozen=True)
class Homes:
    """The folders of the two warehouses."""

    complete: Path
    truncated: Path


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """Builds both, with the outcome marts and their dependencies."""
    folder = tmp_path_factory.mktemp("outcomes")
    generate(folder / "market", scale=0.002, seed=12)
    made = Homes(folder / "complete", folder / "truncated")
    for home, cutoff_date in ((made.complete, None), (made.truncated, AS_OF)):
        fill(home, folder / "market" / "sources", AS_OF, cutoff_date, with_training=False)
        with open_warehouse(home, read_only=False) as connection:
            for statement in ADDED.format(truth=folder / "market" / "truth").split(";\n"):
                known = {"as_of": AS_OF, "complete": cutoff_date is None}
                connection.execute(statement, {name: value for name, value in known.items() if f"${name}" in statement})
        run_dbt(
            home,
            "build",
            "--select",
            *(f"+{mart}" for mart in OUTCOMES),
            "--exclude-resource-type",
            "unit_test",
            "test",
        )
    return made


@pytest.mark.parametrize("mart", OUTCOMES)
def test_later_data_changes_nothing(homes: Homes, mart: str):
    complete, truncated = (read_rows(home, f"from {mart} order by all") for home in (homes.complete, homes.truncated))
    assert complete == truncated
    assert complete, "nothing is compared"


@pytest.mark.parametrize(
    "table",
    [
        *("notices", "appeals", "test_buys", "moderation_decisions", "platform_actions", "enforcement_actions"),
        *("lead_hand_overs", "cases", "published_flags", "lead_members"),
    ],
)
def test_the_marketplace_continues_after_as_of(homes: Homes, table: str):
    counts = [
        read_rows(home, f"select count(*) as n from landed.{table}")[0]["n"]
        for home in (homes.complete, homes.truncated)
    ]
    assert counts[0] > counts[1] > 0


def rows(homes: Homes, query: str) -> list[dict[str, Any]]:
    return read_rows(homes.truncated, query)


def test_merchants_found_during_an_action_join_the_lead_are_labels_and_are_followed(homes: Homes):
    found = rows(
        homes,
        "select lead_id, merchant_id, action_id from enforcement_results where is_found_during_action order by all",
    )
    assert found
    for row in found:
        named = "select 1 from landed.lead_members where lead_id = $lead_id and merchant_id = $merchant_id"
        assert read_rows(homes.truncated, named, {key: row[key] for key in ("lead_id", "merchant_id")}) == []  # type: ignore[arg-type]
    events = rows(
        homes,
        "select lead_id, merchant_id, detail as action_id from lead_history where event = 'found_during_action' order by all",
    )
    assert events == found
    labels = rows(homes, "select distinct entity_id from int_labels where source = 'enforcement' and is_positive")
    assert {row["merchant_id"] for row in found} <= {row["entity_id"] for row in labels}
    confirmed = rows(homes, "select merchant_id from confirmed_counterfeiters where is_found_during_action")
    assert {row["merchant_id"] for row in confirmed} == {row["merchant_id"] for row in found}
    followed = rows(homes, "select distinct merchant_id from confirmed_accounts where is_found_during_action")
    tied = rows(homes, "select merchant_id_a as m from ring_edges union select merchant_id_b from ring_edges")
    assert {row["merchant_id"] for row in followed} == {row["merchant_id"] for row in found} & {
        row["m"] for row in tied
    }


def test_the_case_register_matches_the_cases(homes: Homes):
    result = rows(
        homes, "select case_id, merchant_id, stage, amount, is_open, stage_days from case_register order by all"
    )
    latest = rows(
        homes,
        """select case_id, merchant_id, arg_max(stage, stage_at) as stage, arg_max(amount, stage_at) as amount, true as is_open,
        date '2026-05-31' - max(stage_at)::date as stage_days
        from landed.cases where stage_at < '2026-06-01' group by case_id, merchant_id order by all""",
    )
    assert result == latest
    assert {row["stage"] for row in result} == {"hearing"}


def test_the_funnel_matches_lists_leads_and_actions(homes: Homes):
    for stage, query in {
        "flagged": """select distinct entity_id from landed.published_flags
            where entity_kind = 'merchant' and as_of_date < '2026-05-31'""",
        "handed_over": """select distinct merchant_id from landed.lead_members join landed.lead_hand_overs using (lead_id)
            where as_of_date < handed_over_at::date and handed_over_at < '2026-06-01'""",
        "acted_on": "select distinct merchant_id from landed.enforcement_actions where occurred_at < '2026-06-01'",
        "suspects_named": """select distinct merchant_id from landed.enforcement_actions
            where occurred_at < '2026-06-01' and suspects > 0""",
    }.items():
        result = rows(
            homes, f"select entity_id from funnel where entity_kind = 'merchant' and stage = '{stage}' order by all"
        )
        assert [row["entity_id"] for row in result] == sorted(next(iter(row.values())) for row in rows(homes, query)), (
            stage
        )
        assert result, stage
    leads = rows(homes, "select entity_id, stage from funnel where entity_kind = 'lead' order by all")
    assert {row["entity_id"] for row in leads if row["stage"] == "handed_over"} == {"lead0", "lead1"}
    slow = rows(homes, "select count(*) as n from funnel where delay_days < 0")
    assert slow == [{"n": 0}]


def test_an_appeal_has_the_signals_of_the_appealed_list_entry(homes: Homes):
    seen = rows(
        homes,
        """select distinct appeal_id from landed.appeals
        join landed.published_flags using (entity_kind, entity_id, violation_type)
        where as_of_date < submitted_at::date order by all""",
    )
    result = rows(homes, "select appeal_id, signals, policy from appeals where list_name is not null order by all")
    assert [row["appeal_id"] for row in result] == [row["appeal_id"] for row in seen]
    assert {(row["signals"], row["policy"]) for row in result} == {("price,link", "policy")}
    shares = rows(homes, "select value, appeal_count from overturn_rates where grouped_by = 'signal' order by all")
    assert {row["value"]: row["appeal_count"] for row in shares}["price"] == len(result)
