with

brand_products as (

    {{ current_rows('brand_products', ['brand_id', 'model_ref', 'valid_from']) }}

),

final as (

    select
        brand_products.brand_id,
        brand_products.model_ref,
        brand_products.category,
        brand_products.msrp,
        brand_products.floor_price,
        brand_products.currency,
        brand_products.specs,
        brand_products.gtin,
        brand_products.valid_from,
        brand_products.valid_to
    from brand_products

)

select * from final
