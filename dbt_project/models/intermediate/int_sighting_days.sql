-- Sightings of listings on offer, with prices; one row per day, listing and merchant. Incremental in the same way as
-- int_order_days.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

with

{{ days_to_rebuild('sightings') }}

-- A listing was on offer when a price or a snapshot of it was observed, and whenever a load has it as last seen.
sightings as (

    select
        listing_prices.listing_id,
        listing_prices.observed_at as seen_at,
        listing_prices.price_base
    from {{ ref('stg_listing_prices') }} as listing_prices
    inner join bounds
        on {{ is_within_bounds('listing_prices.observed_at') }}
    union all
    select
        listing_snapshots.listing_id,
        listing_snapshots.observed_at as seen_at,
        cast(null as decimal(18, 4)) as price_base
    from {{ ref('stg_listing_snapshots') }} as listing_snapshots
    inner join bounds
        on {{ is_within_bounds('listing_snapshots.observed_at') }}
    union all
    select distinct
        landed_listings.listing_id,
        landed_listings.last_seen_at as seen_at,
        cast(null as decimal(18, 4)) as price_base
    from {{ source('landed', 'listings') }} as landed_listings
    inner join bounds
        on {{ is_within_bounds('landed_listings.last_seen_at') }}

),

events as (

    select
        sightings.seen_at as event_at,
        'sighting' as kind,
        sightings.listing_id,
        owners.merchant_id,
        sightings.price_base
    from sightings
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = sightings.listing_id

),

{{ days_of_events('sightings') }}

select * from final
