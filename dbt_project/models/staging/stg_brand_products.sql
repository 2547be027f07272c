with

brand_products as (

    {{ current_rows('brand_products', ['brand_id', 'model_ref', 'valid_from']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        brand_products.brand_id,
        brand_products.model_ref,
        brand_products.category,
        brand_products.msrp,
        {{ in_base_currency('brand_products.msrp', 'brand_products.currency', 'fx_rates.rate') }} as msrp_usd,
        brand_products.floor_price,
        {{ in_base_currency('brand_products.floor_price', 'brand_products.currency', 'fx_rates.rate') }} as floor_price_usd,
        brand_products.currency,
        brand_products.specs,
        brand_products.valid_from,
        brand_products.valid_to
    from brand_products
    left join fx_rates
        on
            fx_rates.currency = brand_products.currency
            and fx_rates.date = cast(brand_products.valid_from as date)

)

select * from final
