with

authorised_merchants as (

    {{ current_rows('authorised_merchants', ['brand_id', 'merchant_id', 'valid_from']) }}

),

final as (

    select
        authorised_merchants.brand_id,
        authorised_merchants.merchant_id,
        authorised_merchants.valid_from,
        authorised_merchants.valid_to
    from authorised_merchants

)

select * from final
