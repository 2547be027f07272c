-- History of the brands' logos. Logos of the table's first load are valid from the beginning, later ones from the day of their
-- load.
with

brand_logos as (

    {{ row_versions('brand_logos', ['brand_id', 'sha256'], ['sha256'], ends=true) }}

),

first_load as (

    select cast(min(landed_at) as date) as landed_on from brand_logos

),

final as (

    select
        brand_logos.brand_id,
        brand_logos.sha256,
        {{ known_from_unless_after('brand_logos', 'first_load.landed_on') }} as known_from,
        brand_logos.known_until
    from brand_logos
    cross join first_load

)

select * from final
