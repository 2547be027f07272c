-- The merchants of each lead up to the date, one row per lead and merchant: those of the date, and of a lead that has ended its
-- last ones. A merged lead has none.
with

lead_groups as (

    select * from {{ ref('lead_groups') }}

),

lead_ids as (

    select * from {{ ref('lead_ids') }}

),

merged_leads as (

    select * from {{ ref('merged_leads') }}

),

previous_leads as (

    select * from {{ source('landed', 'previous_leads') }}
    where status <> 'merged'

),

previous_lead_merchants as (

    select * from {{ source('landed', 'previous_lead_merchants') }}

),

final as (

    select
        lead_ids.lead_id,
        lead_groups.merchant_id,
        case lead_groups.kind when 'service' then 'served' when 'ring' then 'member' else 'listed' end as role,
        coalesce(previous_lead_merchants.since_date, lead_ids.as_of_date) as since_date,
        lead_groups.country,
        lead_groups.tied_since_date,
        lead_groups.score,
        lead_groups.brushing_score,
        lead_groups.listing_count,
        lead_groups.unit_count,
        lead_groups.is_listed,
        lead_groups.is_brushing_listed,
        lead_groups.listed_listing_count,
        lead_groups.listed_transaction_count,
        lead_groups.expected_harm_base
    from lead_groups
    inner join lead_ids
        on
            lead_ids.family = lead_groups.family
            and lead_ids.group_id = lead_groups.group_id
    left join previous_lead_merchants
        on
            previous_lead_merchants.lead_id = lead_ids.lead_id
            and previous_lead_merchants.merchant_id = lead_groups.merchant_id
    union all by name
    select previous_lead_merchants.*
    from previous_lead_merchants
    inner join previous_leads
        on previous_leads.lead_id = previous_lead_merchants.lead_id
    where
        previous_leads.lead_id not in (select lead_ids.lead_id from lead_ids)
        and previous_leads.lead_id not in (select merged_leads.lead_id from merged_leads)

)

select * from final
