with

merchant_snapshots as (

    {{ current_rows('merchant_snapshots', ['merchant_id', 'observed_at']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        merchant_snapshots.merchant_id,
        merchant_snapshots.observed_at,
        merchant_snapshots.rating,
        merchant_snapshots.sales_count,
        {{ counters_of('merchant_snapshots', 'fx_rates.rate') }},
        merchant_snapshots.currency,
        merchant_snapshots.extra
    from merchant_snapshots
    left join fx_rates
        on
            fx_rates.currency = merchant_snapshots.currency
            and fx_rates.date = cast(merchant_snapshots.observed_at as date)

)

select * from final
