with

merchants as (

    {{ current_rows('merchants', ['merchant_id']) }}

),

final as (

    select
        merchants.merchant_id,
        merchants.name,
        merchants.registered_at,
        merchants.country,
        merchants.region,
        merchants.city,
        merchants.is_default_storefront
    from merchants

)

select * from final
