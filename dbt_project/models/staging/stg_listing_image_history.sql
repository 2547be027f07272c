-- What was known of a listing's pictures when. A listing is listed with the pictures that the first load of pictures brings
-- from the day on which any load knew it; one that comes later counts from its load: nobody was seen with it before.
{% set is_of_one_load = how_it_landed('listing_images').loads <= 1 %}
{% set stg_listing_versions = ref('stg_listing_versions') %}

with

images as (

    {{ row_versions('listing_images', ['image_id'], ['listing_id', 'sha256'], ends=true) }}

),

{% if not is_of_one_load -%}
first_known as (

    select
        listing_id,
        cast(min(landed_at) as date) as known_on
    from (
        select
            listing_id,
            landed_at
        from {{ stg_listing_versions }}
        union all
        select
            listing_id,
            landed_at
        from {{ source('landed', 'listing_images') }}
    ) as landings
    group by listing_id

),

first_pictured as (

    select
        known.known_on,
        cast(min(loads.landed_at) as date) as pictured_on
    from (select distinct known_on from first_known) as known
    inner join landed.loads as loads
        on cast(loads.landed_at as date) >= known.known_on
    where loads.table_name = 'listing_images'
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
{%- else -%}
final as (

    select
        images.image_id,
        images.listing_id,
        images.sha256,
        images.known_from,
        images.known_until
    from images

)
{%- endif %}

select * from final
