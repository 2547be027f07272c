-- Titles of listings by the days on which they were shown; one row per listing and span of days. What they say is scored outside
-- of the warehouse (ml/text_scores.py).
{{ config(materialized='view') }}

with

listings as (

    select * from {{ ref('stg_listings') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

final as (

    select
        listing_history.listing_id,
        listing_history.merchant_id,
        greatest(listing_history.known_from, cast(listings.listed_at as date)) as known_from,
        listing_history.known_until,
        listing_history.title
    from listing_history
    inner join listings
        on listings.listing_id = listing_history.listing_id
    where
        listing_history.title is not null
        and greatest(listing_history.known_from, cast(listings.listed_at as date)) < listing_history.known_until

)

select * from final
