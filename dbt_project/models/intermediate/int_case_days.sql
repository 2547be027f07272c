-- Actions of platform, brands and testers on listings; one row per day, listing and merchant. Incremental in the same way as
-- int_order_days.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

with

{{ days_to_rebuild('cases') }}

-- Each source is read by one reference: an engine that materialises a CTE used twice would keep all its rows.
cases as (

    select
        listings.listed_at as event_at,
        'listed' as kind,
        listings.listing_id,
        cast(null as varchar) as detail
    from {{ ref('stg_listings') }} as listings
    inner join bounds
        on {{ is_within_bounds('listings.listed_at') }}
    union all
    select
        listings.delisted_at as event_at,
        'delisted' as kind,
        listings.listing_id,
        cast(null as varchar) as detail
    from {{ ref('stg_listings') }} as listings
    inner join bounds
        on {{ is_within_bounds('listings.delisted_at') }}
    union all
    select
        notices.submitted_at as event_at,
        'notice' as kind,
        notices.listing_id,
        notices.kind as detail
    from {{ ref('stg_notices') }} as notices
    union all
    select
        notices.decided_at as event_at,
        'notice_decided' as kind,
        notices.listing_id,
        notices.outcome as detail
    from {{ ref('stg_notices') }} as notices
    union all
    select
        test_buys.decided_at as event_at,
        'test_buy_decided' as kind,
        test_buys.listing_id,
        test_buys.verdict as detail
    from {{ ref('stg_test_buys') }} as test_buys
    union all
    select
        moderation_decisions.decided_at as event_at,
        moderation_decisions.violation_type || '_decided' as kind,
        moderation_decisions.entity_id as listing_id,
        moderation_decisions.verdict as detail
    from {{ ref('stg_moderation_decisions') }} as moderation_decisions
    where moderation_decisions.entity_kind = 'listing'
    union all
    select
        platform_actions.occurred_at as event_at,
        platform_actions.kind,
        platform_actions.entity_id as listing_id,
        platform_actions.reason as detail
    from {{ ref('stg_platform_actions') }} as platform_actions
    where platform_actions.entity_kind = 'listing'

),

events as (

    select
        cases.event_at,
        cases.kind,
        cases.listing_id,
        owners.merchant_id,
        cases.detail
    from cases
    inner join bounds
        on {{ is_within_bounds('cases.event_at') }}
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = cases.listing_id

),

{{ days_of_events('cases') }}

select * from final
