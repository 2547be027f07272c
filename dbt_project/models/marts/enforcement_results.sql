-- Enforcement actions by as_of, one row each: merchant, lead, days since the lead's hand-over, and results. A merchant named by
-- an action, but not by its lead until then, was found during the action.
with

run as (

    select * from {{ source('landed', 'run') }}

),

actions as (

    select
        stg_enforcement_actions.*,
        run.as_of
    from {{ ref('stg_enforcement_actions') }} as stg_enforcement_actions
    inner join run
        on run.as_of >= cast(stg_enforcement_actions.occurred_at as date)

),

{{ named() }},

known_leads as (

    select
        lead_id,
        min(named_date) as named_date
    from named
    group by lead_id

),

handed_over as (

    select
        actions.action_id,
        max(stg_lead_hand_overs.handed_over_at) as handed_over_at
    from actions
    inner join {{ ref('stg_lead_hand_overs') }} as stg_lead_hand_overs
        on
            stg_lead_hand_overs.lead_id = actions.lead_id
            and stg_lead_hand_overs.handed_over_at <= actions.occurred_at
    group by actions.action_id

),

{{ brand_of_merchants('actions') }},

final as (

    select
        actions.as_of as as_of_date,
        actions.action_id,
        actions.merchant_id,
        actions.lead_id,
        actions.authority,
        actions.kind,
        actions.violation_type,
        actions.occurred_at,
        brand_of_merchants.brand,
        actions.seized_value,
        actions.currency,
        actions.seized_value_base,
        actions.seized_items as seized_count,
        actions.suspects as suspect_count,
        known_leads.lead_id is not null as is_lead_known,
        handed_over.handed_over_at,
        {{ days_between('cast(handed_over.handed_over_at as date)', 'cast(actions.occurred_at as date)') }} as handed_over_days,
        known_leads.lead_id is not null and named.merchant_id is null as is_found_during_action
    from actions
    left join known_leads
        on
            known_leads.lead_id = actions.lead_id
            and known_leads.named_date < cast(actions.occurred_at as date)
    left join named
        on
            named.lead_id = actions.lead_id
            and named.merchant_id = actions.merchant_id
            and named.named_date < cast(actions.occurred_at as date)
    left join handed_over
        on handed_over.action_id = actions.action_id
    left join brand_of_merchants
        on brand_of_merchants.merchant_id = actions.merchant_id

)

select * from final
