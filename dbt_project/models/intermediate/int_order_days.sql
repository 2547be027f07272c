-- Orders, deliveries and refunds; one row per day, listing and merchant. Incremental by day: only the days of int_changed_days
-- are rebuilt. So the next run repairs an interrupted run, a missed day, and late, corrected or deleted rows.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

with

{{ days_to_rebuild('orders') }}

-- An order is one event when it is placed, and others when it is delivered or refunded; each event has only what is known at its
-- time. Each reads the orders separately: the bound on the time is then pushed down to the column, and data outside is not read.
-- (Not an import CTE: DuckDB would materialise all rows of a CTE that is used three times.)
events as (

    select
        orders.placed_at as event_at,
        'order_placed' as kind,
        orders.listing_id,
        orders.merchant_id,
        cast(null as varchar) as detail,
        orders.quantity,
        orders.amount_base,
        cast(null as bigint) as waited_hours
    from {{ ref('stg_orders') }} as orders
    inner join bounds
        on {{ is_within_bounds('orders.placed_at') }}
    union all
    select
        orders.delivered_at as event_at,
        'order_delivered' as kind,
        orders.listing_id,
        orders.merchant_id,
        cast(null as varchar) as detail,
        cast(null as bigint) as quantity,
        cast(null as decimal(18, 4)) as amount_base,
        greatest({{ hours_between('orders.placed_at', 'orders.delivered_at') }}, 0) as waited_hours
    from {{ ref('stg_orders') }} as orders
    inner join bounds
        on {{ is_within_bounds('orders.delivered_at') }}
    union all
    select
        orders.refunded_at as event_at,
        'order_refunded' as kind,
        orders.listing_id,
        orders.merchant_id,
        orders.refund_reason as detail,
        cast(null as bigint) as quantity,
        orders.amount_base,
        cast(null as bigint) as waited_hours
    from {{ ref('stg_orders') }} as orders
    inner join bounds
        on {{ is_within_bounds('orders.refunded_at') }}

),

{{ days_of_events('orders') }}

select * from final
