-- Listings on offer at a date, with the prices seen by then; one row per listing and date. Rating dates have every active
-- listing. Dates of a standalone decision have the active listings of its merchant. Both have the listings decided on, which may
-- have been removed that day.
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

entity_labels as (

    select * from {{ ref('entity_labels') }}

),

listings as (

    select
        listing_id,
        merchant_id,
        cast(listed_at as date) as listed_date,
        cast(delisted_at as date) as delisted_date
    from {{ ref('stg_listings') }}

),

-- A decision that calibrates gives no training row, but from the first evaluation date on an evaluation row.
evaluation as (

    select {{ first_evaluation_date() }} as first_date
    from rating_dates

),

decision_dates as (

    select distinct
        entity_labels.merchant_id,
        entity_labels.decided_date as as_of_date
    from entity_labels
    inner join run
        on run.with_training
    cross join evaluation
    left join rating_dates
        on rating_dates.as_of_date = entity_labels.decided_date
    where
        entity_labels.is_standalone
        and (
            entity_labels.entity_kind = 'listing'
            or entity_labels.inclusion_probability is null
            or entity_labels.decided_date >= evaluation.first_date
        )
        and rating_dates.as_of_date is null

),

decided as (

    select distinct
        entity_id as listing_id,
        decided_date as as_of_date
    from entity_labels
    where
        entity_kind = 'listing'
        and is_standalone

),

offered as (

    select
        rating_dates.as_of_date,
        true as is_rating_date,
        listings.*
    from listings
    inner join rating_dates
        on rating_dates.as_of_date >= listings.listed_date
    union all
    select
        decision_dates.as_of_date,
        false as is_rating_date,
        listings.*
    from listings
    inner join decision_dates
        on
            decision_dates.merchant_id = listings.merchant_id
            and decision_dates.as_of_date >= listings.listed_date

),

seen as (

    select
        offered.as_of_date,
        offered.is_rating_date,
        offered.listing_id,
        offered.merchant_id,
        offered.listed_date,
        price_history.price_base,
        price_history.price_date,
        price_history.lowest_price_base,
        price_history.lowest_price_date,
        price_history.highest_price_base,
        price_history.price_change_count,
        price_history.largest_price_drop,
        payments.paid_base,
        payments.asked_base,
        (offered.delisted_date is null or offered.delisted_date > offered.as_of_date)
        and (
            price_history.seen_date is null
            or price_history.seen_date >= {{ add_days('offered.as_of_date', '-run.sighting_days') }}
        ) as is_active
    from offered
    cross join run
    left join {{ ref('listing_price_history') }} as price_history
        on
            price_history.listing_id = offered.listing_id
            and price_history.seen_date <= offered.as_of_date
            and price_history.next_seen_date > offered.as_of_date
    left join {{ ref('listing_payments') }} as payments
        on
            payments.listing_id = offered.listing_id
            and payments.known_from <= offered.as_of_date
            and payments.known_until > offered.as_of_date

),

final as (

    select seen.*
    from seen
    left join decided
        on
            decided.listing_id = seen.listing_id
            and decided.as_of_date = seen.as_of_date
    where
        seen.is_active
        or decided.listing_id is not null

)

select * from final
