-- Spans in which a listing has a title in a MinHash band; one row per listing, span of days and band.
{{ config(materialized='view') }}

with

listings as (

    select * from {{ ref('stg_listings') }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

final as (

    {% for band in title_bands() -%}
    select
        int_listing_texts.listing_id,
        listings.merchant_id,
        {{ band }} as band,
        int_listing_texts.title_band_{{ band }} as title_band,
        greatest(int_listing_texts.known_from, cast(listings.listed_at as date)) as shown_from,
        int_listing_texts.known_until as shown_until
    from int_listing_texts
    inner join listings
        on listings.listing_id = int_listing_texts.listing_id
    where
        int_listing_texts.title_band_{{ band }} is not null
        and greatest(int_listing_texts.known_from, cast(listings.listed_at as date)) < int_listing_texts.known_until
    {{ 'union all' if not loop.last }}
    {% endfor -%}

)

select * from final
