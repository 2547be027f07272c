-- Leads of the previous date that no group continues, but of which members are in other leads: merged into the one that holds
-- most of their harm.
with

lead_groups as (

    select * from {{ ref('lead_groups') }}

),

lead_ids as (

    select * from {{ ref('lead_ids') }}

),

previous_leads as (

    select * from {{ source('landed', 'previous_leads') }}
    where status = 'found'

),

previous_lead_merchants as (

    select * from {{ source('landed', 'previous_lead_merchants') }}

),

final as (

    select
        previous_leads.lead_id,
        lead_ids.lead_id as merged_into
    from previous_lead_merchants
    inner join previous_leads
        on previous_leads.lead_id = previous_lead_merchants.lead_id
    inner join lead_groups
        on
            lead_groups.merchant_id = previous_lead_merchants.merchant_id
            and lead_groups.family = previous_leads.family
    inner join lead_ids
        on
            lead_ids.family = lead_groups.family
            and lead_ids.group_id = lead_groups.group_id
    where previous_leads.lead_id not in (select known.lead_id from lead_ids as known)
    group by previous_leads.lead_id, lead_ids.lead_id
    qualify row_number() over (
        partition by previous_leads.lead_id
        order by sum(previous_lead_merchants.expected_harm_base) desc, count(*) desc, lead_ids.lead_id
    ) = 1

)

select * from final
