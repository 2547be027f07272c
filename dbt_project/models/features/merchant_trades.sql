-- How many of a merchant's trades show each sign, and of how many it is known, one row a merchant and date of trade_signs.
with

trade_signs as (

    select * from {{ ref('trade_signs') }}

),

final as (

    select
        as_of_date,
        merchant_number,
        min(merchant_id) as merchant_id,
        count(*) as trade_count,
        cast(sum(cast(is_order as integer)) as bigint) as order_count,
        count(distinct buyer_number) as buyer_count,
        {% for name, sign in trade_counts().items() %}
        cast(coalesce(sum(cast({{ sign }} as integer)), 0) as bigint) as {{ name }}_count,
        cast(count({{ sign }}) as bigint) as {{ name }}_known_count,
        {% endfor %}
        max(hour_order_buyer_ratio) as hour_order_buyer_ratio
    from trade_signs
    group by
        as_of_date,
        merchant_number

)

select * from final
