with

merchants as (

    {{ row_versions('merchants', ['merchant_id'], ['name', 'country', 'region', 'city', 'is_default_storefront']) }}

),

final as (

    select
        merchants.merchant_id,
        merchants.known_from,
        merchants.known_until,
        merchants.name,
        merchants.country,
        merchants.region,
        merchants.city,
        merchants.is_default_storefront
    from merchants

)

select * from final
