-- Expected harm of each active listing; one row per listing: score/100 × units sold in 30 days (at least 1; without orders, as
-- its newest snapshot counts) × price in the base currency × severity of a counterfeit in its category. It is 0 for suppressed
-- listings, and null without a rating or price. Computed as DECIMAL throughout, so that sums do not depend on the order of rows.
with

run as (

    select * from {{ source('landed', 'run') }}

),

active_listings as (

    select
        listing_states.listing_id,
        listing_states.merchant_id,
        listing_states.category,
        listing_states.price_base
    from {{ ref('listing_states') }} as listing_states
    inner join run
        on run.as_of = listing_states.as_of_date
    where listing_states.is_active

),

sales as (

    select
        int_order_days.listing_id,
        sum(int_order_days.unit_count) as unit_count
    from {{ ref('int_order_days') }} as int_order_days
    inner join run
        on
            run.as_of >= int_order_days.day
            and {{ add_days('run.as_of', -30) }} < int_order_days.day
    where not int_order_days.is_marker
    group by int_order_days.listing_id

),

counters as (

    select
        int_listing_counters.listing_id,
        {{ counted('int_listing_counters', 'unit_count', '30', 'run.as_of') }} as unit_count
    from {{ ref('int_listing_counters') }} as int_listing_counters
    inner join run
        on
            run.as_of >= int_listing_counters.known_from
            and run.as_of < int_listing_counters.known_until

),

seriousness as (

    select * from {{ ref('seriousness') }}

),

rated_listings as (

    select * from {{ ref('rated_listings') }}

),

-- Units are capped at one billion a month: more is an input error, and would overflow.
weighed as (

    select
        active_listings.*,
        rated_listings.brand,
        cast(rated_listings.score as decimal(9, 4)) as score,
        coalesce(rated_listings.is_flagged and rated_listings.held_by is null, false) as is_listed,
        coalesce(rated_listings.is_suppressed, false) as is_suppressed,
        cast(least(coalesce(sales.unit_count, counters.unit_count, 0), 1000000000) as bigint) as unit_count,
        coalesce(of_category.seriousness, of_first_part.seriousness, 1) as seriousness
    from active_listings
    left join sales
        on sales.listing_id = active_listings.listing_id
    left join counters
        on counters.listing_id = active_listings.listing_id
    left join rated_listings
        on rated_listings.listing_id = active_listings.listing_id
    left join seriousness as of_category
        on of_category.category = active_listings.category
    left join seriousness as of_first_part
        on of_first_part.category = split_part(active_listings.category, '/', 1)

),

valued as (

    select
        *,
        cast(
            cast(price_base as decimal(24, 4)) * cast(greatest(unit_count, 1) * seriousness as decimal(14, 0)) as decimal(38, 4)
        ) as stake_base
    from weighed

),

final as (

    select
        run.as_of as as_of_date,
        valued.listing_id,
        valued.merchant_id,
        valued.category,
        valued.brand,
        valued.price_base,
        valued.unit_count,
        cast(valued.seriousness as integer) as seriousness,
        valued.score,
        valued.is_listed,
        valued.is_suppressed,
        cast(valued.stake_base as decimal(32, 4)) as stake_base,
        cast(
            case
                when valued.is_suppressed then 0
                else cast(valued.stake_base as decimal(30, 4)) * cast(valued.score * 0.01 as decimal(8, 6))
            end as decimal(32, 4)
        ) as expected_harm_base
    from valued
    cross join run

)

select * from final
