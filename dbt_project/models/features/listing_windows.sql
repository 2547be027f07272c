-- What happened to a listing by a date: orders, refunds and reviews summed over its life and the last 90 and 30 days, one
-- row for each listing and date of the spine.
with

listing_spine as (

    select distinct
        listing_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

int_listing_days as (

    select * from {{ ref('int_listing_days') }} where order_count + delivered_count + refund_count + review_count > 0

),

final as (

    select
        listing_spine.listing_id,
        listing_spine.as_of_date,
        {{ windowed_sums('int_listing_days', 'listing_spine.as_of_date') }}
    from listing_spine
    left join int_listing_days
        on
            int_listing_days.listing_id = listing_spine.listing_id
            and int_listing_days.day <= listing_spine.as_of_date
    group by
        listing_spine.listing_id,
        listing_spine.as_of_date

)

select * from final
