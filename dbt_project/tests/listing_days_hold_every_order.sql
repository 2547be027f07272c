-- The daily table contains every order on the day on which it was placed, and no others.
with

orders as (

    select
        cast(placed_at as date) as day,
        count(*) as order_count,
        sum(amount_base) as amount_base
    from {{ ref('stg_orders') }}
    group by cast(placed_at as date)

),

int_listing_days as (

    select
        day,
        sum(order_count) as order_count,
        sum(amount_base) as amount_base
    from {{ ref('int_listing_days') }}
    group by day

)

select
    coalesce(orders.day, int_listing_days.day) as day,
    orders.order_count as landed_count,
    int_listing_days.order_count as summed_count
from orders
full outer join int_listing_days
    on int_listing_days.day = orders.day
where
    coalesce(orders.order_count, 0) <> coalesce(int_listing_days.order_count, 0)
    or coalesce(orders.amount_base, 0) <> coalesce(int_listing_days.amount_base, 0)
