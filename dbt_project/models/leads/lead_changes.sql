-- The history of every lead up to the date, one row per lead and date on which it changed.
with

leads as (

    select * from {{ ref('leads') }}

),

lead_memberships as (

    select * from {{ ref('lead_memberships') }}

),

previous_leads as (

    select * from {{ source('landed', 'previous_leads') }}

),

previous_lead_merchants as (

    select * from {{ source('landed', 'previous_lead_merchants') }}

),

dates as (

    select max(as_of_date) as as_of_date from {{ source('landed', 'published_lists') }}

),

joined_merchants as (

    select
        lead_memberships.lead_id,
        list(lead_memberships.merchant_id order by lead_memberships.merchant_id) as merchants
    from lead_memberships
    left join previous_lead_merchants
        on
            previous_lead_merchants.lead_id = lead_memberships.lead_id
            and previous_lead_merchants.merchant_id = lead_memberships.merchant_id
    where previous_lead_merchants.lead_id is null
    group by lead_memberships.lead_id

),

left_merchants as (

    select
        previous_lead_merchants.lead_id,
        list(previous_lead_merchants.merchant_id order by previous_lead_merchants.merchant_id) as merchants
    from previous_lead_merchants
    left join lead_memberships
        on
            lead_memberships.lead_id = previous_lead_merchants.lead_id
            and lead_memberships.merchant_id = previous_lead_merchants.merchant_id
    where lead_memberships.lead_id is null
    group by previous_lead_merchants.lead_id

),

changes as (

    select
        leads.lead_id,
        dates.as_of_date,
        case
            when previous_leads.lead_id is null and leads.split_from is not null then 'split'
            when previous_leads.lead_id is null then 'found'
            when leads.status = 'merged' and previous_leads.status <> 'merged' then 'merged'
            when leads.status = 'ended' and previous_leads.status = 'found' then 'ended'
            when leads.status = 'found' and previous_leads.status = 'ended' then 'returned'
            when leads.status <> 'found' then null
            when joined_merchants.merchants is not null and left_merchants.merchants is not null then 'changed'
            when joined_merchants.merchants is not null then 'grew'
            when left_merchants.merchants is not null then 'shrank'
        end as change,
        leads.merchant_count,
        leads.expected_harm_base,
        coalesce(joined_merchants.merchants, []) as joined_merchants,
        case when leads.status = 'found' then coalesce(left_merchants.merchants, []) else [] end as left_merchants,
        coalesce(leads.merged_into, leads.split_from) as other_lead_id
    from leads
    cross join dates
    left join previous_leads
        on previous_leads.lead_id = leads.lead_id
    left join joined_merchants
        on joined_merchants.lead_id = leads.lead_id
    left join left_merchants
        on left_merchants.lead_id = leads.lead_id

),

final as (

    select * from {{ source('landed', 'previous_lead_changes') }}
    union all by name
    select * from changes
    where change is not null

)

select * from final
