-- History of a listing's pictures. Pictures of the first load of pictures after the listing landed are valid from the day on
-- which any load had the listing. Later ones are valid from the day of their load: before that no load showed the listing with
-- them.
with

images as (

    {{ row_versions('listing_images', ['image_id'], ['listing_id', 'sha256'], ends=true) }}

),

first_known as (

    select
        listing_id,
        cast(min(landed_at) as date) as known_on
    from (
        select
            listing_id,
            landed_at
        from {{ ref('stg_listing_versions') }}
        union all
        select
            listing_id,
            landed_at
        from {{ source('landed', 'listing_images') }}
    ) as landings
    group by listing_id

),

image_loads as (

    select distinct cast(landed_at as date) as landed_on
    from {{ source('landed', 'loads') }}
    where table_name = 'listing_images'

),

first_pictured as (

    select
        known.known_on,
        min(image_loads.landed_on) as pictured_on
    from (select distinct known_on from first_known) as known
    inner join image_loads
        on image_loads.landed_on >= known.known_on
    group by known.known_on

),

final as (

    select
        images.image_id,
        images.listing_id,
        images.sha256,
        {{ known_from_unless_after('images', 'first_pictured.pictured_on') }} as known_from,
        images.known_until
    from images
    inner join first_known
        on first_known.listing_id = images.listing_id
    inner join first_pictured
        on first_pictured.known_on = first_known.known_on

)

select * from final
