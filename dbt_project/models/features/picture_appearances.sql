-- Spans in which a listing shows a picture, for the pictures that could be read; one row per picture of a listing and span. A
-- picture is altered if another merchant or a brand had shown a similar one before it first appeared.
with

images as (

    select * from {{ ref('stg_listing_image_history') }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

brand_logos as (

    select * from {{ ref('stg_brand_logo_history') }}

),

pictures as (

    select * from {{ source('landed', 'pictures') }} where reason is null

),

picture_matches as (

    select * from {{ source('landed', 'picture_matches') }}

),

shown as (

    select
        images.image_id,
        images.listing_id,
        listings.merchant_id,
        images.sha256,
        greatest(images.known_from, cast(listings.listed_at as date)) as shown_from,
        images.known_until as shown_until
    from images
    inner join listings
        on listings.listing_id = images.listing_id
    inner join pictures
        on pictures.sha256 = images.sha256
    where greatest(images.known_from, cast(listings.listed_at as date)) < images.known_until

),

-- A picture that a merchant removes still counts as shown by it; a logo that a brand withdraws is no longer the brand's.
first_shown as (

    select
        sha256,
        merchant_id as shown_by,
        min(shown_from) as shown_from,
        {{ end_of_time() }} as shown_until
    from shown
    group by
        sha256,
        merchant_id
    union all
    select
        sha256,
        brand_id as shown_by,
        known_from as shown_from,
        known_until as shown_until
    from brand_logos

),

beginnings as (

    select
        sha256,
        min(shown_from) as shown_from
    from first_shown
    group by sha256

),

likes as (

    {{ both_ways('picture_matches') }}

),

like_shown as (

    select
        likes.sha256,
        min(first_shown.shown_by) as least_shown_by,
        max(first_shown.shown_by) as greatest_shown_by
    from likes
    inner join first_shown
        on first_shown.sha256 = likes.like_sha256
    inner join beginnings
        on
            beginnings.sha256 = likes.sha256
            and beginnings.shown_from > first_shown.shown_from
            and beginnings.shown_from < first_shown.shown_until
    group by likes.sha256

),

final as (

    select
        shown.image_id,
        shown.listing_id,
        shown.merchant_id,
        shown.sha256,
        shown.shown_from,
        shown.shown_until,
        coalesce(
            like_shown.least_shown_by <> shown.merchant_id or like_shown.greatest_shown_by <> shown.merchant_id,
            false
        ) as is_altered
    from shown
    left join like_shown
        on like_shown.sha256 = shown.sha256

)

select * from final
