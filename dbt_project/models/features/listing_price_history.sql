-- Price history of listings; one row per listing and day on which it was seen, valid until the next: prices up to then and number
-- of changes. The day of the lowest price is encoded in the last digits of one number, which saves a second pass.
with

int_listing_days as (

    select * from {{ ref('int_listing_days') }}

),

seen_days as (

    select
        listing_id,
        day as seen_date,
        coalesce(lead(day) over (partition by listing_id order by day), {{ end_of_time() }}) as next_seen_date,
        last_value(price_base_min ignore nulls) over so_far as price_base,
        last_value(price_base_min ignore nulls) over before_it as price_base_before,
        last_value(case when price_base_min is not null then day end ignore nulls) over so_far as price_date,
        min(price_base_min) over so_far as lowest_price_base,
        min(
            cast(10000 * price_base_min as bigint) * 100000 + {{ days_between(beginning(), 'day') }}
        ) over so_far % 100000 as lowest_price_day,
        max(price_base_max) over so_far as highest_price_base
    from int_listing_days
    where sighting_count > 0
    window
        so_far as (partition by listing_id order by day rows between unbounded preceding and current row),
        before_it as (partition by listing_id order by day rows between unbounded preceding and 1 preceding)

),

-- A move of 2 % or less may be caused by the exchange rate.
changes as (

    select
        *,
        coalesce(abs(price_base - price_base_before) * 50 > price_base_before, false) as is_price_change
    from seen_days

),

final as (

    select
        listing_id,
        seen_date,
        next_seen_date,
        price_base,
        price_date,
        lowest_price_base,
        {{ add_days(beginning(), 'lowest_price_day') }} as lowest_price_date,
        highest_price_base,
        case
            when price_base is not null then cast(sum(cast(is_price_change as integer)) over so_far as integer)
        end as price_change_count,
        case
            when price_base is not null
                then coalesce(
                    max(
                        case
                            when is_price_change and price_base < price_base_before
                                then cast((price_base_before - price_base) / price_base_before as decimal(18, 6))
                        end
                    ) over so_far,
                    0
                )
        end as largest_price_drop
    from changes
    window so_far as (partition by listing_id order by seen_date rows between unbounded preceding and current row)

)

select * from final
