-- What was ordered, delivered and refunded of a listing on a day, one row a day, listing and merchant. Incremental by day, and
-- only the days whose digest of events is not the one kept in the table: so a kill, a missed day, a late, corrected or
-- deleted row heal by themselves. How is in the macros, which the four parts of a listing's days share.
{{ config(materialized='goes_on', forget='forget_changed_days') }}

{% set is_there = goes_on() %}
{% set ctes = changed_days('orders', is_there) %}
{% set days = ask_days(ctes) if is_there else none %}

with

{{ days_to_build(ctes, days) }}

-- An order is an event when it is placed and others when its parcel arrives or its money goes back; each carries only what is
-- known at its moment. Each reads the orders for itself: a bound on the moment then reaches the column, and what lies
-- outside is not read. (They are no import: an engine that keeps a CTE used thrice would keep all its rows.)
events as (

    select
        orders.placed_at as event_at,
        'order_placed' as kind,
        orders.listing_id,
        orders.merchant_id,
        cast(null as varchar) as detail,
        orders.quantity,
        orders.amount_usd,
        cast(null as bigint) as waited_hours
    from {{ ref('stg_orders') }} as orders
    where {{ lies_within('orders.placed_at', days) }}
    union all
    select
        orders.delivered_at as event_at,
        'order_delivered' as kind,
        orders.listing_id,
        orders.merchant_id,
        cast(null as varchar) as detail,
        cast(null as bigint) as quantity,
        cast(null as decimal(18, 4)) as amount_usd,
        greatest({{ hours_between('orders.placed_at', 'orders.delivered_at') }}, 0) as waited_hours
    from {{ ref('stg_orders') }} as orders
    where {{ lies_within('orders.delivered_at', days) }}
    union all
    select
        orders.refunded_at as event_at,
        'order_refunded' as kind,
        orders.listing_id,
        orders.merchant_id,
        orders.refund_reason as detail,
        cast(null as bigint) as quantity,
        orders.amount_usd,
        cast(null as bigint) as waited_hours
    from {{ ref('stg_orders') }} as orders
    where {{ lies_within('orders.refunded_at', days) }}

),

{{ days_of_events('orders') }}

select * from final
