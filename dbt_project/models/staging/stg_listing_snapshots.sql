with

listing_snapshots as (

    {{ current_rows('listing_snapshots', ['listing_id', 'observed_at']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        listing_snapshots.listing_id,
        listing_snapshots.observed_at,
        listing_snapshots.rating,
        listing_snapshots.photo_count,
        {{ counters_of('listing_snapshots', 'fx_rates.rate') }},
        listing_snapshots.currency,
        listing_snapshots.extra
    from listing_snapshots
    left join fx_rates
        on
            fx_rates.currency = listing_snapshots.currency
            and fx_rates.date = cast(listing_snapshots.observed_at as date)

)

select * from final
