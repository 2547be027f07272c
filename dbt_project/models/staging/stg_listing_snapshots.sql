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
        {% for column in counter_columns() %}
        listing_snapshots.{{ column }},
        {% endfor %}
        {% for window in counter_windows() %}
        {% set amount = counter('gmv', window, 'amount') %}
        listing_snapshots.{{ amount }},
        {{ in_base_currency(
            'listing_snapshots.' ~ amount, 'listing_snapshots.currency', 'fx_rates.rate'
        ) }} as {{ amount }}_base,
        {% endfor %}
        listing_snapshots.currency,
        listing_snapshots.extra
    from listing_snapshots
    left join fx_rates
        on
            fx_rates.currency = listing_snapshots.currency
            and fx_rates.date = cast(listing_snapshots.observed_at as date)

)

select * from final
