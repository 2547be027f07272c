-- Which listing shows which picture, from when until when, of the pictures that were read. One is altered if, before anybody
-- showed it, another merchant or a brand had shown one that it resembles.
with

images as (

    {{ row_versions('listing_images', ['image_id'], ['listing_id', 'sha256']) }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

brand_logos as (

    select * from {{ ref('stg_brand_logos') }}

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

),

first_shown as (

    select
        sha256,
        merchant_id as shown_by,
        min(shown_from) as shown_from
    from shown
    group by
        sha256,
        merchant_id
    union all
    select
        sha256,
        brand_id as shown_by,
        {{ beginning() }} as shown_from
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
        first_shown.shown_by,
        min(first_shown.shown_from) as shown_from
    from likes
    inner join first_shown
        on first_shown.sha256 = likes.like_sha256
    group by
        likes.sha256,
        first_shown.shown_by

),

-- The first is the merchant's own, or it is not; the second then is not.
ranked as (

    select
        *,
        row_number() over (partition by sha256 order by shown_from, shown_by) as place
    from like_shown

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
            case when first_like.shown_by = shown.merchant_id then second_like.shown_from else first_like.shown_from end
            < beginnings.shown_from,
            false
        ) as is_altered
    from shown
    inner join beginnings
        on beginnings.sha256 = shown.sha256
    left join ranked as first_like
        on
            first_like.sha256 = shown.sha256
            and first_like.place = 1
    left join ranked as second_like
        on
            second_like.sha256 = shown.sha256
            and second_like.place = 2
    where shown.shown_from < shown.shown_until

)

select * from final
