-- For each day, the sums of the merchants equal the sums of their listings.
with

int_listing_days as (

    select
        day,
        sum(order_count) as order_count,
        sum(amount_base) as amount_base,
        sum(refund_count) as refund_count,
        sum(review_count) as review_count,
        sum(rating_sum) as rating_sum
    from {{ ref('int_listing_days') }}
    group by day

),

int_merchant_days as (

    select
        day,
        sum(order_count) as order_count,
        sum(amount_base) as amount_base,
        sum(refund_count) as refund_count,
        sum(review_count) as review_count,
        sum(rating_sum) as rating_sum
    from {{ ref('int_merchant_days') }}
    group by day

)

select
    coalesce(int_listing_days.day, int_merchant_days.day) as day,
    int_listing_days.order_count as listings_order_count,
    int_merchant_days.order_count as merchants_order_count
from int_listing_days
full outer join int_merchant_days
    on int_merchant_days.day = int_listing_days.day
where
    coalesce(int_listing_days.order_count, 0) <> coalesce(int_merchant_days.order_count, 0)
    or coalesce(int_listing_days.amount_base, 0) <> coalesce(int_merchant_days.amount_base, 0)
    or coalesce(int_listing_days.refund_count, 0) <> coalesce(int_merchant_days.refund_count, 0)
    or coalesce(int_listing_days.review_count, 0) <> coalesce(int_merchant_days.review_count, 0)
    or coalesce(int_listing_days.rating_sum, 0) <> coalesce(int_merchant_days.rating_sum, 0)
