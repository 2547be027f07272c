with

listing_prices as (

    {{ current_rows('listing_prices', ['listing_id', 'observed_at']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        listing_prices.listing_id,
        listing_prices.observed_at,
        listing_prices.price,
        {{ in_base_currency('listing_prices.price', 'listing_prices.currency', 'fx_rates.rate') }} as price_base,
        listing_prices.currency
    from listing_prices
    left join fx_rates
        on
            fx_rates.currency = listing_prices.currency
            and fx_rates.date = cast(listing_prices.observed_at as date)

)

select * from final
