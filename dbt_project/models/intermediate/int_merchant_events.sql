-- Events that concern a merchant itself, not one of its listings; one row per event.
{{ config(materialized='view') }}

with

enforcement_actions as (

    select * from {{ ref('stg_enforcement_actions') }}

),

merchant_snapshots as (

    select * from {{ ref('stg_merchant_snapshots') }}

),

moderation_decisions as (

    select * from {{ ref('stg_moderation_decisions') }}

),

platform_actions as (

    select * from {{ ref('stg_platform_actions') }}

),

all_events as (

    select
        enforcement_actions.occurred_at as event_at,
        'enforcement' as kind,
        enforcement_actions.merchant_id,
        enforcement_actions.kind as detail,
        enforcement_actions.seized_value_base as amount_base,
        cast(null as decimal(18, 4)) as rating,
        cast(null as bigint) as sales_count
    from enforcement_actions
    union all
    select
        merchant_snapshots.observed_at as event_at,
        'snapshot' as kind,
        merchant_snapshots.merchant_id,
        cast(null as varchar) as detail,
        cast(null as decimal(18, 4)) as amount_base,
        merchant_snapshots.rating,
        merchant_snapshots.sales_count
    from merchant_snapshots
    union all
    select
        moderation_decisions.decided_at as event_at,
        moderation_decisions.violation_type || '_decided' as kind,
        moderation_decisions.entity_id as merchant_id,
        moderation_decisions.verdict as detail,
        cast(null as decimal(18, 4)) as amount_base,
        cast(null as decimal(18, 4)) as rating,
        cast(null as bigint) as sales_count
    from moderation_decisions
    where moderation_decisions.entity_kind = 'merchant'
    union all
    select
        platform_actions.occurred_at as event_at,
        platform_actions.kind,
        platform_actions.entity_id as merchant_id,
        platform_actions.reason as detail,
        cast(null as decimal(18, 4)) as amount_base,
        cast(null as decimal(18, 4)) as rating,
        cast(null as bigint) as sales_count
    from platform_actions
    where platform_actions.entity_kind = 'merchant'

),

final as (

    select
        cast(all_events.event_at as date) as event_date,
        all_events.event_at,
        all_events.kind,
        all_events.merchant_id,
        all_events.detail,
        all_events.amount_base,
        all_events.rating,
        all_events.sales_count
    from all_events

)

select * from final
