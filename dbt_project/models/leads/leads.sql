-- Every lead up to the date, one row each: those of the date by rank, the ended and the merged.
with

lead_ids as (

    select * from {{ ref('lead_ids') }}

),

merged_leads as (

    select * from {{ ref('merged_leads') }}

),

lead_memberships as (

    select * from {{ ref('lead_memberships') }}

),

previous_leads as (

    select * from {{ source('landed', 'previous_leads') }}

),

sums as (

    select
        lead_id,
        {{ violation_type_of_members() }} as violation_type,
        count(*) as merchant_count,
        sum(listing_count) as listing_count,
        sum(cast(is_listed as integer)) as listed_merchant_count,
        sum(cast(is_brushing_listed as integer)) as listed_brusher_count,
        sum(listed_listing_count) as listed_listing_count,
        sum(listed_transaction_count) as listed_transaction_count,
        sum(unit_count) as unit_count,
        sum(expected_harm_base) as expected_harm_base
    from lead_memberships
    group by lead_id

),

all_leads as (

    select
        lead_ids.lead_id,
        lead_ids.family,
        lead_ids.kind,
        lead_ids.group_id,
        'found' as status,
        coalesce(previous_leads.since_date, lead_ids.as_of_date) as since_date,
        lead_ids.as_of_date as last_date,
        previous_leads.expected_harm_base as expected_harm_before_base,
        cast(null as varchar) as merged_into,
        coalesce(previous_leads.split_from, lead_ids.split_from) as split_from
    from lead_ids
    left join previous_leads
        on previous_leads.lead_id = lead_ids.lead_id
    union all
    select
        previous_leads.lead_id,
        previous_leads.family,
        previous_leads.kind,
        previous_leads.group_id,
        case
            when merged_leads.lead_id is not null or previous_leads.status = 'merged' then 'merged' else 'ended'
        end as status,
        previous_leads.since_date,
        previous_leads.last_date,
        previous_leads.expected_harm_before_base,
        coalesce(merged_leads.merged_into, previous_leads.merged_into) as merged_into,
        previous_leads.split_from
    from previous_leads
    left join merged_leads
        on merged_leads.lead_id = previous_leads.lead_id
    where previous_leads.lead_id not in (select lead_ids.lead_id from lead_ids)

),

final as (

    select
        case when all_leads.status = 'found' then row_number() over (
            order by
                all_leads.status <> 'found',
                sums.expected_harm_base desc,
                sums.listed_merchant_count + sums.listed_brusher_count desc,
                all_leads.lead_id
        ) end as rank,
        all_leads.lead_id,
        all_leads.kind,
        sums.violation_type,
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
        cast(coalesce(sums.expected_harm_base, 0) as decimal(38, 4)) as expected_harm_base,
        cast(all_leads.expected_harm_before_base as decimal(38, 4)) as expected_harm_before_base,
        all_leads.merged_into,
        all_leads.split_from
    from all_leads
    left join sums
        on sums.lead_id = all_leads.lead_id

)

select * from final
