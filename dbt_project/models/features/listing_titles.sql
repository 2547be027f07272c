-- Number of other merchants with nearly the same title; one row per listing of the spine and date. A title that more than 20
-- merchants share is the product's generic name, and counts for none.
with

places as (

    select distinct
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

shown as (

    select * from {{ ref('title_appearances') }}

),

title_merchants as (

    select * from {{ ref('title_merchants') }}

),

common as (

    select
        band,
        title_band,
        shown_from as common_from
    from title_merchants
    where place = {{ most_bearers() }} + 1

),

others as (

    select distinct
        places.listing_id,
        places.as_of_date,
        shared.merchant_id
    from places
    inner join shown
        on
            shown.listing_id = places.listing_id
            and shown.shown_from <= places.as_of_date
            and shown.shown_until > places.as_of_date
    inner join title_merchants as shared
        on
            shared.band = shown.band
            and shared.title_band = shown.title_band
            and shared.place <= {{ most_bearers() }}
            and shared.shown_from <= places.as_of_date
            and shared.merchant_id <> places.merchant_id
    left join common
        on
            common.band = shown.band
            and common.title_band = shown.title_band
            and common.common_from <= places.as_of_date
    where common.title_band is null

),

counted as (

    select
        listing_id,
        as_of_date,
        count(*) as title_merchant_count
    from others
    group by
        listing_id,
        as_of_date

),

final as (

    select
        places.listing_id,
        places.as_of_date,
        cast(coalesce(counted.title_merchant_count, 0) as integer) as title_merchant_count
    from places
    left join counted
        on
            counted.listing_id = places.listing_id
            and counted.as_of_date = places.as_of_date

)

select * from final
