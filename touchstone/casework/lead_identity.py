"""Lead identity: groups suspects into leads, and recognises the leads of the previous date among them.

The module holds the SQL that runs over the day's marts and the previous leads. `leads` decides which files are read, checks the
result and writes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from touchstone.core.lists import LISTS

MAX_BEARERS: Final = 5
"""Listed merchants that share a value form one lead if at most this many merchants bear the value. A few per cent of merchants
are
listed: two of them among five bearers are rarely a coincidence, among twenty they often are."""
_SUSPECTS = """
create temp table suspects as
select
    kind, group_id, merchant_id, country, tied_since_date, score, brushing_score, listing_count, unit_count,
    is_listed and $merchants as is_listed,
    is_brushing_listed and $brushing_merchants as is_brushing_listed,
    case when $listings then listed_listing_count else 0 end as listed_listing_count,
    case when $reviews then listed_transaction_count else 0 end as listed_transaction_count,
    case when $listings then expected_harm_usd else 0 end as expected_harm_usd
from read_parquet($path, hive_partitioning = false)
"""
"""What is on no published list is not counted."""
_STANDALONE_TIES = """
select distinct ties.merchant_id_a, ties.merchant_id_b
from read_parquet($path, hive_partitioning = false) as ties
inner join suspects as a on a.merchant_id = ties.merchant_id_a and a.kind = 'merchant'
inner join suspects as b on b.merchant_id = ties.merchant_id_b and b.kind = 'merchant'
where
    ties.bearer_count <= $max_bearers
    and ties.kind not in ('title', 'picture')
    and (a.is_listed or a.is_brushing_listed)
    and (b.is_listed or b.is_brushing_listed)
order by all
"""
_MEMBERS = """
create temp table members as
with

grouped as (

    select
        suspects.* replace (coalesce(joined.group_id, suspects.group_id) as group_id),
        case when suspects.kind = 'service' then 'service' else 'goods' end as family
    from suspects
    left join joined
        on joined.merchant_id = suspects.merchant_id and suspects.kind = 'merchant'

),

groups as (

    select
        kind,
        group_id,
        bool_or(is_listed or is_brushing_listed or listed_listing_count > 0) as has_listed,
        bool_or(is_brushing_listed or listed_transaction_count > 0) as has_brushing
    from grouped
    where kind <> 'merchant' or is_listed or is_brushing_listed
    group by kind, group_id

)

select grouped.*
from grouped
semi join groups
    on
        groups.kind = grouped.kind
        and groups.group_id = grouped.group_id
        and case when groups.kind = 'service' then groups.has_brushing else groups.has_listed end
where grouped.kind <> 'merchant' or grouped.is_listed or grouped.is_brushing_listed
"""
_IDENTITIES = """
create temp table identities as
with

pairs as (

    select
        members.family,
        members.group_id,
        previous.lead_id,
        any_value(leads.status) = 'found' as was_found,
        any_value(leads.since_date) as since_date,
        sum(members.expected_harm_usd) as shared_harm_usd,
        count(*) as shared_count
    from members
    inner join previous_merchants as previous
        on previous.merchant_id = members.merchant_id
    inner join previous_leads as leads
        on
            leads.lead_id = previous.lead_id
            and leads.status <> 'merged'
            and leads.family = members.family
    group by members.family, members.group_id, previous.lead_id

),

best_pairs as (

    select *
    from pairs
    qualify row_number() over (
        partition by family, group_id
        order by was_found desc, shared_harm_usd desc, shared_count desc, since_date, lead_id
    ) = 1

),

ranked_pairs as (

    select
        *,
        row_number() over (
            partition by lead_id order by shared_harm_usd desc, shared_count desc, group_id
        ) = 1 as is_same
    from best_pairs

),

groups as (

    select
        family,
        kind,
        group_id,
        min(merchant_id) as least_merchant_id
    from members
    group by family, kind, group_id

)

select
    groups.family,
    groups.kind,
    groups.group_id,
    case
        when ranked_pairs.is_same then ranked_pairs.lead_id
        else 'lead-' || left(sha256(groups.kind || ' ' || $as_of::date::varchar || ' ' || groups.least_merchant_id), 12)
    end as lead_id,
    coalesce(ranked_pairs.is_same, false) as is_known,
    case when not ranked_pairs.is_same and ranked_pairs.was_found then ranked_pairs.lead_id end as split_from
from groups
left join ranked_pairs
    on ranked_pairs.family = groups.family and ranked_pairs.group_id = groups.group_id
"""
"""A group continues the lead with which it shares the most harm; ended leads count only where no lead of the previous date
does. If
several groups come from one lead, the one that shares the most continues it, and the others are split from it."""
_LEAD_MERCHANTS = """
create temp table lead_merchants as
select
    identities.lead_id,
    members.merchant_id,
    case members.kind when 'service' then 'served' when 'ring' then 'member' else 'listed' end as role,
    coalesce(previous.since_date, $as_of::date) as since_date,
    members.* exclude (kind, group_id, family, merchant_id)
from members
inner join identities
    on identities.family = members.family and identities.group_id = members.group_id
left join previous_merchants as previous
    on previous.lead_id = identities.lead_id and previous.merchant_id = members.merchant_id
union all
select previous.*
from previous_merchants as previous
inner join previous_leads as leads
    on leads.lead_id = previous.lead_id and leads.status <> 'merged'
where previous.lead_id not in (select lead_id from identities) and previous.lead_id not in (select lead_id from merged)
"""
_MERGED = """
create temp table merged as
select
    previous.lead_id,
    identities.lead_id as merged_into
from previous_merchants as previous
inner join previous_leads as leads
    on leads.lead_id = previous.lead_id and leads.status = 'found'
inner join members
    on members.merchant_id = previous.merchant_id and members.family = leads.family
inner join identities
    on identities.family = members.family and identities.group_id = members.group_id
where previous.lead_id not in (select lead_id from identities)
group by previous.lead_id, identities.lead_id
qualify row_number() over (
    partition by previous.lead_id order by sum(previous.expected_harm_usd) desc, count(*) desc, identities.lead_id
) = 1
"""
"""A lead that no group continues was merged into the lead that holds most of it, or has ended where nothing of it is left."""
_LEADS = """
create temp table leads as
with

sums as (

    select
        lead_id,
        count(*) as merchant_count,
        sum(listing_count) as listing_count,
        sum(cast(is_listed as integer)) as listed_merchant_count,
        sum(cast(is_brushing_listed as integer)) as listed_brusher_count,
        sum(listed_listing_count) as listed_listing_count,
        sum(listed_transaction_count) as listed_transaction_count,
        sum(unit_count) as unit_count,
        sum(expected_harm_usd) as expected_harm_usd
    from lead_merchants
    group by lead_id

),

all_leads as (

    select
        identities.lead_id,
        identities.family,
        identities.kind,
        identities.group_id,
        'found' as status,
        coalesce(previous.since_date, $as_of::date) as since_date,
        $as_of::date as last_date,
        previous.expected_harm_usd as expected_harm_before_usd,
        cast(null as varchar) as merged_into,
        coalesce(previous.split_from, identities.split_from) as split_from
    from identities
    left join previous_leads as previous on previous.lead_id = identities.lead_id
    union all
    select
        previous.lead_id,
        previous.family,
        previous.kind,
        previous.group_id,
        case when merged.lead_id is not null or previous.status = 'merged' then 'merged' else 'ended' end as status,
        previous.since_date,
        previous.last_date,
        previous.expected_harm_before_usd,
        coalesce(merged.merged_into, previous.merged_into) as merged_into,
        previous.split_from
    from previous_leads as previous
    left join merged on merged.lead_id = previous.lead_id
    where previous.lead_id not in (select lead_id from identities)

)

select
    case when all_leads.status = 'found' then row_number() over (
        order by
            all_leads.status <> 'found',
            sums.expected_harm_usd desc,
            sums.listed_merchant_count + sums.listed_brusher_count desc,
            all_leads.lead_id
    ) end as rank,
    all_leads.lead_id,
    all_leads.kind,
    all_leads.family,
    all_leads.group_id,
    all_leads.status,
    all_leads.since_date,
    all_leads.last_date,
    cast(coalesce(sums.merchant_count, 0) as bigint) as merchant_count,
    cast(coalesce(sums.listing_count, 0) as bigint) as listing_count,
    cast(coalesce(sums.listed_merchant_count, 0) as bigint) as listed_merchant_count,
    cast(coalesce(sums.listed_brusher_count, 0) as bigint) as listed_brusher_count,
    cast(coalesce(sums.listed_listing_count, 0) as bigint) as listed_listing_count,
    cast(coalesce(sums.listed_transaction_count, 0) as bigint) as listed_transaction_count,
    cast(coalesce(sums.unit_count, 0) as bigint) as unit_count,
    cast(coalesce(sums.expected_harm_usd, 0) as decimal(38, 4)) as expected_harm_usd,
    cast(all_leads.expected_harm_before_usd as decimal(38, 4)) as expected_harm_before_usd,
    all_leads.merged_into,
    all_leads.split_from
from all_leads
left join sums on sums.lead_id = all_leads.lead_id
"""
_CHANGES = """
create temp table lead_changes as
with

joined_merchants as (

    select lead_id, list(merchant_id order by merchant_id) as merchants
    from lead_merchants anti join previous_merchants using (lead_id, merchant_id)
    group by lead_id

),

left_merchants as (

    select lead_id, list(merchant_id order by merchant_id) as merchants
    from previous_merchants anti join lead_merchants using (lead_id, merchant_id)
    group by lead_id

),

changes as (

    select
        leads.lead_id,
        $as_of::date as as_of_date,
        case
            when previous.lead_id is null and leads.split_from is not null then 'split'
            when previous.lead_id is null then 'found'
            when leads.status = 'merged' and previous.status <> 'merged' then 'merged'
            when leads.status = 'ended' and previous.status = 'found' then 'ended'
            when leads.status = 'found' and previous.status = 'ended' then 'returned'
            when leads.status <> 'found' then null
            when joined_merchants.merchants is not null and left_merchants.merchants is not null then 'changed'
            when joined_merchants.merchants is not null then 'grew'
            when left_merchants.merchants is not null then 'shrank'
        end as change,
        leads.merchant_count,
        leads.expected_harm_usd,
        coalesce(joined_merchants.merchants, []) as joined_merchants,
        case when leads.status = 'found' then coalesce(left_merchants.merchants, []) else [] end as left_merchants,
        coalesce(leads.merged_into, leads.split_from) as other_lead_id
    from leads
    left join previous_leads as previous on previous.lead_id = leads.lead_id
    left join joined_merchants on joined_merchants.lead_id = leads.lead_id
    left join left_merchants on left_merchants.lead_id = leads.lead_id

)

select * from previous_changes
union all
select * from changes where change is not null
"""
ORDERS: Final = {
    "leads": "rank nulls last, lead_id",
    "lead_merchants": "lead_id, merchant_id",
    "lead_changes": "lead_id, as_of_date",
}
INVARIANTS: Final = {
    "two leads of one id": "select lead_id from leads group by lead_id having count(*) > 1",
    "a merchant in two leads on listings": """
        select merchant_id from lead_merchants inner join leads using (lead_id)
        where family = 'goods' and status = 'found' group by merchant_id having count(*) > 1
    """,
    "a lead without merchants": "select lead_id from leads where status <> 'merged' and merchant_count = 0",
    "a lead of which nothing is on a list": """
        select lead_id from leads where status = 'found'
        and listed_merchant_count + listed_brusher_count + listed_listing_count + listed_transaction_count = 0
    """,
    "a lead that was merged into none": """
        select lead_id from leads where status = 'merged' and merged_into not in (select lead_id from leads)
    """,
    "a rank that is not in the order of harm": """
        select lead_id from leads where status = 'found'
        qualify expected_harm_usd > lag(expected_harm_usd) over (order by rank)
    """,
    "a lead without a first change": "select lead_id from leads anti join lead_changes using (lead_id)",
}
"""Checked before anything is written: each query must return no row."""
PREVIOUS_TABLES: Final = """
create temp table previous_leads (
    rank bigint, lead_id varchar, kind varchar, family varchar, group_id varchar, status varchar, since_date date, last_date date,
    merchant_count bigint, listing_count bigint, listed_merchant_count bigint, listed_brusher_count bigint,
    listed_listing_count bigint, listed_transaction_count bigint, unit_count bigint, expected_harm_usd decimal(38, 4),
    expected_harm_before_usd decimal(38, 4), merged_into varchar, split_from varchar
);
create temp table previous_merchants (
    lead_id varchar, merchant_id varchar, role varchar, since_date date, country varchar, tied_since_date date, score
    decimal(9, 4),
    brushing_score decimal(9, 4), listing_count bigint, unit_count bigint, is_listed boolean, is_brushing_listed boolean,
    listed_listing_count bigint, listed_transaction_count bigint, expected_harm_usd decimal(38, 4)
);
create temp table previous_changes (
    lead_id varchar, as_of_date date, change varchar, merchant_count bigint, expected_harm_usd decimal(38, 4),
    joined_merchants varchar[], left_merchants varchar[], other_lead_id varchar
);
"""


def build_tables(
    connection: duckdb.DuckDBPyConnection,
    *,
    as_of: dt.date,
    lists: Collection[str],
    lead_merchants: str,
    merchant_ties: str,
) -> None:
    """Creates the temporary tables `leads`, `lead_merchants` and `lead_changes`.

    Args:
        connection: Holds the previous leads in the tables of `PREVIOUS_TABLES`.
        as_of: The date.
        lists: The lists that are published as of the date.
        lead_merchants: Path of the mart `lead_merchants`.
        merchant_ties: Path of the mart `merchant_ties`.
    """
    published: dict[str, object] = {name: name in lists for name in LISTS}
    connection.execute(_SUSPECTS, {**published, "path": lead_merchants})
    ties = connection.execute(_STANDALONE_TIES, {"path": merchant_ties, "max_bearers": MAX_BEARERS}).to_arrow_table()
    connection.register("joined", connected_merchants(ties))
    connection.execute(_MEMBERS)
    date = {"as_of": as_of}
    for query, parameters in (
        (_IDENTITIES, date), (_MERGED, {}), (_LEAD_MERCHANTS, date), (_LEADS, date), (_CHANGES, date),
    ):  # fmt: skip
        connection.execute(query, parameters)


def connected_merchants(ties: pa.Table) -> pa.Table:
    """Groups merchants into connected components.

    Args:
        ties: `merchant_id_a` and `merchant_id_b`, one row per pair.

    Returns:
        `merchant_id` and `group_id`, the smallest merchant id of the component; sorted by `merchant_id`.
    """
    # SciPy is slow to import, and only a run needs it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [ties["merchant_id_a"].to_pylist(), ties["merchant_id_b"].to_pylist()]
    merchants = sorted({*ends[0], *ends[1]})
    position = {merchant: index for index, merchant in enumerate(merchants)}
    rows, columns = ([position[merchant] for merchant in end] for end in ends)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(merchants), len(merchants)))
    labels = connected_components(graph, directed=False)[1] if merchants else []
    smallest: dict[int, str] = {}
    for merchant, label in zip(merchants, labels, strict=True):
        smallest.setdefault(int(label), merchant)
    groups = [smallest[int(label)] for label in labels]
    return pa.table({"merchant_id": pa.array(merchants, pa.string()), "group_id": pa.array(groups, pa.string())})
