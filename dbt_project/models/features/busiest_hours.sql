-- The busiest hour around each order of brushing_transactions; one row per order with a buyer and date. An hour may start at any
-- instant, and both its ends belong to it. It contains the orders of one of two windows: those of the hour that ends at an order,
-- or those within an hour after an order, without that order. In each of them the merchant's orders and their buyers are counted;
-- an order gets the greatest counts of the windows that contain it. Most orders have no other within an hour. Those that do are
-- paired by clock hour: an order can be in an hour that starts in its own clock hour or in the preceding one.
{% set hour = 'interval 1 hour' %}
with

bought as (

    select
        as_of_date,
        transaction_hash,
        merchant_hash,
        buyer_hash,
        occurred_at,
        lag(occurred_at) over (partition by as_of_date, merchant_hash order by occurred_at, transaction_hash) as before_at,
        lead(occurred_at) over (partition by as_of_date, merchant_hash order by occurred_at, transaction_hash) as next_at
    from {{ ref('brushing_transactions') }}
    where
        is_order
        and buyer_hash is not null

),

crowding as (

    select
        *,
        cast(floor({{ milliseconds_until('occurred_at') }} / 3600000) as bigint) as clock_hour
    from bought
    where
        before_at >= occurred_at - {{ hour }}
        or next_at <= occurred_at + {{ hour }}

),

reached as (

    select
        *,
        clock_hour as from_hour
    from crowding
    union all
    select
        *,
        clock_hour - 1 as from_hour
    from crowding

),

pairs as (

    select
        crowding.as_of_date,
        crowding.transaction_hash as earlier_hash,
        crowding.buyer_hash as earlier_buyer_hash,
        reached.transaction_hash as later_hash,
        reached.buyer_hash as later_buyer_hash,
        reached.occurred_at > crowding.occurred_at as is_later
    from crowding
    inner join reached
        on
            reached.as_of_date = crowding.as_of_date
            and reached.merchant_hash = crowding.merchant_hash
            and reached.from_hour = crowding.clock_hour
            and reached.occurred_at >= crowding.occurred_at
            and reached.occurred_at <= crowding.occurred_at + {{ hour }}

),

-- As an hour moves on, its orders change where one enters (the hour ends at it) and just after one has left.
within_hours as (

    select
        as_of_date,
        later_hash as limit_hash,
        true as is_end,
        earlier_hash as transaction_hash,
        earlier_buyer_hash as buyer_hash
    from pairs
    union all
    select
        as_of_date,
        earlier_hash as limit_hash,
        false as is_end,
        later_hash as transaction_hash,
        later_buyer_hash as buyer_hash
    from pairs
    where is_later

),

hours as (

    select
        as_of_date,
        limit_hash,
        is_end,
        count(*) as order_count,
        count(distinct buyer_hash) as buyer_count
    from within_hours
    group by
        as_of_date,
        limit_hash,
        is_end

),

crowded_hours as (

    select
        within_hours.as_of_date,
        within_hours.transaction_hash,
        max(hours.order_count) as hour_order_count,
        max({{ ratio('hours.order_count', 'hours.buyer_count') }}) as hour_order_buyer_ratio
    from within_hours
    inner join hours
        on
            hours.as_of_date = within_hours.as_of_date
            and hours.limit_hash = within_hours.limit_hash
            and hours.is_end = within_hours.is_end
    group by
        within_hours.as_of_date,
        within_hours.transaction_hash

),

final as (

    select
        bought.as_of_date,
        bought.transaction_hash,
        coalesce(crowded_hours.hour_order_count, 1) as hour_order_count,
        coalesce(crowded_hours.hour_order_buyer_ratio, 1) as hour_order_buyer_ratio
    from bought
    left join crowded_hours
        on
            crowded_hours.as_of_date = bought.as_of_date
            and crowded_hours.transaction_hash = bought.transaction_hash

)

select * from final
