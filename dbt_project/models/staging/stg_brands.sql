with

brands as (

    {{ current_rows('brands', ['brand_id']) }}

),

final as (

    select
        brands.brand_id,
        brands.name,
        brands.aliases,
        brands.rights_holder,
        brands.categories
    from brands

)

select * from final
