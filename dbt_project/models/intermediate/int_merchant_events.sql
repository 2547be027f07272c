-- One row an event that concerns a merchant itself rather than one of its listings; the columns of int_events.
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
        {{ as_event({
            'event_at': 'enforcement_actions.occurred_at',
            'kind': "'enforcement'",
            'event_key': 'enforcement_actions.action_id',
            'merchant_id': 'enforcement_actions.merchant_id',
            'detail': 'enforcement_actions.kind',
            'amount_usd': 'enforcement_actions.seized_value_usd',
        }) }}
    from enforcement_actions
    union all
    select
        {{ as_event({
            'event_at': 'merchant_snapshots.observed_at',
            'kind': "'snapshot'",
            'event_key': 'merchant_snapshots.merchant_id',
            'merchant_id': 'merchant_snapshots.merchant_id',
            'rating': 'merchant_snapshots.rating',
            'sales_count': 'merchant_snapshots.sales_count',
        }) }}
    from merchant_snapshots
    union all
    select
        {{ as_event({
            'event_at': 'moderation_decisions.decided_at',
            'kind': "moderation_decisions.matter || '_decided'",
            'event_key': 'moderation_decisions.entity_id',
            'merchant_id': 'moderation_decisions.entity_id',
            'detail': 'moderation_decisions.verdict',
        }) }}
    from moderation_decisions
    where moderation_decisions.entity_kind = 'merchant'
    union all
    select
        {{ as_event({
            'event_at': 'platform_actions.occurred_at',
            'kind': 'platform_actions.kind',
            'event_key': 'platform_actions.action_id',
            'merchant_id': 'platform_actions.entity_id',
            'detail': 'platform_actions.reason',
        }) }}
    from platform_actions
    where platform_actions.entity_kind = 'merchant'

),

final as (

    select
        cast(all_events.event_at as date) as event_date,
        all_events.*
    from all_events

)

select * from final
