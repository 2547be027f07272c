-- Events of each lead by as_of, one row each: merchants named, hand-overs, actions, merchants found during an action, and stages
-- of cases that refer to it.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ named() }},

events as (

    select
        named.lead_id,
        cast(named.named_date as timestamp) as occurred_at,
        'named' as event,
        named.merchant_id,
        cast(null as varchar) as detail
    from named
    union all
    select
        stg_lead_hand_overs.lead_id,
        stg_lead_hand_overs.handed_over_at as occurred_at,
        'handed_over' as event,
        cast(null as varchar) as merchant_id,
        stg_lead_hand_overs.recipient as detail
    from {{ ref('stg_lead_hand_overs') }} as stg_lead_hand_overs
    inner join run
        on run.as_of >= cast(stg_lead_hand_overs.handed_over_at as date)
    union all
    select
        results.lead_id,
        results.occurred_at,
        case when results.is_found_during_action then 'found_during_action' else 'acted_on' end as event,
        results.merchant_id,
        results.action_id as detail
    from {{ ref('enforcement_results') }} as results
    where results.lead_id is not null
    union all
    select
        stg_cases.lead_id,
        stg_cases.stage_at as occurred_at,
        'case_' || stg_cases.stage as event,
        stg_cases.merchant_id,
        stg_cases.case_id as detail
    from {{ ref('stg_cases') }} as stg_cases
    inner join run
        on run.as_of >= cast(stg_cases.stage_at as date)
    where stg_cases.lead_id is not null

),

final as (

    select
        run.as_of as as_of_date,
        events.*
    from events
    cross join run

)

select * from final
