-- When a listing was seen on offer, and at what price, one row a day and listing. Incremental as int_order_days is.
{{ config(materialized='goes_on', forget='forget_changed_days') }}

{% set is_there = goes_on() %}
{% set ctes = changed_days('sightings', is_there) %}
{% set days = ask_days(ctes) if is_there else none %}

with

{{ days_to_build(ctes, days) }}

-- A listing was on offer when a price of it was seen, and whenever a load says that it was last seen.
sightings as (

    select
        listing_prices.listing_id,
        listing_prices.observed_at as seen_at,
        listing_prices.price_usd
    from {{ ref('stg_listing_prices') }} as listing_prices
    where {{ lies_within('listing_prices.observed_at', days) }}
    union all
    select distinct
        landed_listings.listing_id,
        landed_listings.last_seen_at as seen_at,
        cast(null as decimal(18, 4)) as price_usd
    from {{ source('landed', 'listings') }} as landed_listings
    where
        landed_listings.last_seen_at is not null
        and {{ lies_within('landed_listings.last_seen_at', days) }}

),

events as (

    select
        sightings.seen_at as event_at,
        'sighting' as kind,
        sightings.listing_id,
        owners.merchant_id,
        sightings.price_usd
    from sightings
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = sightings.listing_id

),

{{ days_of_events('sightings') }}

select * from final
