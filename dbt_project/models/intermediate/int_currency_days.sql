-- Amounts by the currency that they are stated in, and how many of them have no exchange rate; one row per table, currency and
-- day.
{% set amounts = [
    ('orders', 'placed_at', 'amount'),
    ('listings', 'listed_at', 'price'),
    ('listing_prices', 'observed_at', 'price'),
    ('listing_snapshots', 'observed_at', 'gmv_amount'),
    ('merchant_snapshots', 'observed_at', 'gmv_amount'),
    ('test_buys', 'ordered_at', 'cost'),
    ('enforcement_actions', 'occurred_at', 'seized_value'),
    ('cases', 'stage_at', 'amount'),
] %}
with

amounts as (

    {% for table, time, amount in amounts %}
    select
        '{{ table }}' as table_name,
        currency,
        cast({{ time }} as date) as day,
        {{ amount }} as amount,
        {{ amount }}_base as amount_base
    from {{ ref('stg_' ~ table) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

final as (

    select
        table_name,
        currency,
        day,
        count(*) as amount_count,
        count(*) filter (where amount_base is null) as no_rate_count
    from amounts
    where amount is not null
    group by
        table_name,
        currency,
        day

)

select * from final
