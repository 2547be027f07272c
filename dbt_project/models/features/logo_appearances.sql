-- Spans in which a listing shows a brand's logo: as a picture that resembles it, or inside a picture. One row per listing, brand,
-- picture, region and span. A logo counts while it is known.
with

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

picture_matches as (

    select * from {{ source('landed', 'picture_matches') }}

),

brand_logos as (

    select * from {{ ref('stg_brand_logo_history') }}

),

finding_appearances as (

    select * from {{ ref('finding_appearances') }} where kind = 'logo'

),

likes as (

    {{ like_pictures('brand_logos') }}

),

whole as (

    select
        picture_appearances.listing_id,
        brand_logos.brand_id,
        picture_appearances.sha256,
        cast(null as varchar) as region,
        greatest(picture_appearances.shown_from, brand_logos.known_from) as shown_from,
        least(picture_appearances.shown_until, brand_logos.known_until) as shown_until
    from brand_logos
    inner join likes
        on likes.like_sha256 = brand_logos.sha256
    inner join picture_appearances
        on picture_appearances.sha256 = likes.sha256

),

final as (

    select distinct * from whole where shown_from < shown_until
    union all
    select
        listing_id,
        brand_id,
        sha256,
        region,
        shown_from,
        shown_until
    from finding_appearances

)

select * from final
