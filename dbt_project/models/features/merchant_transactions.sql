-- Number of a merchant's transactions with each indicator, and of those for which it is known; one row per merchant and date of
-- transaction_indicators.
with

transaction_indicators as (

    select * from {{ ref('transaction_indicators') }}

),

final as (

    select
        as_of_date,
        merchant_hash,
        min(merchant_id) as merchant_id,
        count(*) as transaction_count,
        cast(sum(cast(is_order as integer)) as bigint) as order_count,
        count(distinct buyer_hash) as buyer_count,
        {% for name, indicator in transaction_counts().items() %}
        cast(coalesce(sum(cast({{ indicator }} as integer)), 0) as bigint) as {{ name }}_count,
        cast(count({{ indicator }}) as bigint) as {{ name }}_known_count,
        {% endfor %}
        max(hour_order_buyer_ratio) as hour_order_buyer_ratio
    from transaction_indicators
    group by
        as_of_date,
        merchant_hash

)

select * from final
