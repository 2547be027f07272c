with

listings as (

    {{ row_versions('listings', ['listing_id'], none, ref('stg_listing_versions')) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

newest_fx_rates as (

    select * from {{ ref('stg_fx_rates') }} where is_newest

),

final as (

    select
        listings.listing_id,
        listings.known_from,
        listings.known_until,
        listings.merchant_id,
        listings.title,
        listings.description,
        listings.brand_claimed,
        listings.category,
        listings.condition,
        listings.price,
        listings.currency,
        {{ in_base_currency('listings.price', 'listings.currency', 'fx_rates.rate') }} as price_base,
        listings.ships_from,
        listings.ships_to,
        listings.specs,
        listings.gtin,
        listings.stock
    from listings
    left join newest_fx_rates
        on newest_fx_rates.currency = listings.currency
    left join fx_rates
        on
            fx_rates.currency = listings.currency
            and fx_rates.date = least(
                cast(coalesce(listings.last_seen_at, listings.delisted_at, listings.landed_at) as date),
                cast(listings.landed_at as date),
                newest_fx_rates.date
            )

)

select * from final
