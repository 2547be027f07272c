with

brand_logos as (

    {{ current_rows('brand_logos', ['brand_id', 'sha256']) }}

),

final as (

    select
        brand_logos.brand_id,
        brand_logos.sha256,
        brand_logos.uri
    from brand_logos

)

select * from final
