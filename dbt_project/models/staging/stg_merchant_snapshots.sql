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
        {% for column in counter_columns() %}
        merchant_snapshots.{{ column }},
        {% endfor %}
        {% for window in counter_windows() %}
        {% set amount = counter('gmv', window, 'amount') %}
        merchant_snapshots.{{ amount }},
        {{ in_base_currency(
            'merchant_snapshots.' ~ amount, 'merchant_snapshots.currency', 'fx_rates.rate'
        ) }} as {{ amount }}_base,
        {% endfor %}
        merchant_snapshots.currency,
        merchant_snapshots.extra
    from merchant_snapshots
    left join fx_rates
        on
            fx_rates.currency = merchant_snapshots.currency
            and fx_rates.date = cast(merchant_snapshots.observed_at as date)

)

select * from final
