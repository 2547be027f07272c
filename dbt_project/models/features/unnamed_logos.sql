-- Where a listing shows a brand's logo, or a picture that resembles it, while its title does not name the brand: one row a
-- listing, brand and span of days. A brand is named by any spelling of it that is known then, a logo is one while it is known.
with

picture_showings as (

    select * from {{ ref('picture_showings') }}

),

picture_matches as (

    select * from {{ source('landed', 'picture_matches') }}

),

brand_logos as (

    select * from {{ ref('stg_brand_logo_history') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_names as (

    select * from {{ ref('int_brand_names') }}

),

likes as (

    {{ like_pictures('brand_logos') }}

),

logos_shown as (

    select distinct
        picture_showings.listing_id,
        brand_logos.brand_id,
        greatest(picture_showings.shown_from, listing_history.known_from, brand_logos.known_from) as shown_from,
        least(picture_showings.shown_until, listing_history.known_until, brand_logos.known_until) as shown_until,
        {{ name_key('listing_history.title') }} as title_key
    from brand_logos
    inner join likes
        on likes.like_sha256 = brand_logos.sha256
    inner join picture_showings
        on picture_showings.sha256 = likes.sha256
    inner join listing_history
        on
            listing_history.listing_id = picture_showings.listing_id
            and listing_history.known_from < picture_showings.shown_until
            and listing_history.known_until > picture_showings.shown_from

),

final as (

    select
        logos_shown.listing_id,
        logos_shown.brand_id,
        logos_shown.shown_from as unnamed_from,
        least(logos_shown.shown_until, coalesce(min(int_brand_names.known_from), {{ end_of_time() }})) as unnamed_until
    from logos_shown
    left join int_brand_names
        on
            int_brand_names.brand_id = logos_shown.brand_id
            and position(int_brand_names.name_key in logos_shown.title_key) > 0
    group by
        logos_shown.listing_id,
        logos_shown.brand_id,
        logos_shown.shown_from,
        logos_shown.shown_until,
        logos_shown.title_key
    having logos_shown.shown_from < least(logos_shown.shown_until, coalesce(min(int_brand_names.known_from), {{ end_of_time() }}))
    union all
    select
        logos_shown.listing_id,
        logos_shown.brand_id,
        greatest(logos_shown.shown_from, max(int_brand_names.known_until)) as unnamed_from,
        logos_shown.shown_until as unnamed_until
    from logos_shown
    inner join int_brand_names
        on
            int_brand_names.brand_id = logos_shown.brand_id
            and position(int_brand_names.name_key in logos_shown.title_key) > 0
    group by
        logos_shown.listing_id,
        logos_shown.brand_id,
        logos_shown.shown_from,
        logos_shown.shown_until,
        logos_shown.title_key
    having max(int_brand_names.known_until) < logos_shown.shown_until

)

select * from final
