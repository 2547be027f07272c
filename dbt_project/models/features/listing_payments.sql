-- Cumulative amount paid for a listing's orders, and the same orders at the prices last seen before them; one row per listing and
-- span of days. Orders between two sightings count only from the second one on: until then more may be placed.
with

payments as (

    select
        price_history.listing_id,
        price_history.seen_date,
        price_history.next_seen_date,
        cast(sum(int_order_days.amount_base) as decimal(18, 4)) as paid_base,
        cast(sum(int_order_days.unit_count * price_history.price_base) as decimal(18, 4)) as asked_base
    from {{ ref('int_order_days') }} as int_order_days
    inner join {{ ref('listing_price_history') }} as price_history
        on
            price_history.listing_id = int_order_days.listing_id
            and price_history.seen_date <= int_order_days.day
            and price_history.next_seen_date > int_order_days.day
    where
        int_order_days.amount_base > 0
        and price_history.price_base > 0
    group by
        price_history.listing_id,
        price_history.seen_date,
        price_history.next_seen_date

),

final as (

    select
        listing_id,
        next_seen_date as known_from,
        coalesce(lead(next_seen_date) over so_far, {{ end_of_time() }}) as known_until,
        cast(sum(paid_base) over so_far as decimal(18, 4)) as paid_base,
        cast(sum(asked_base) over so_far as decimal(18, 4)) as asked_base
    from payments
    window so_far as (partition by listing_id order by seen_date)

)

select * from final
