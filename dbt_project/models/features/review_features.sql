-- What the model of brushing sees of a trade, one row for each row of review_spine: its own signs, those of the buyer's other
-- trades with the merchant, and those of the merchant's other trades; the trade itself is left out of both.
with

review_spine as (

    select * from {{ ref('review_spine') }}

),

trade_signs as (

    select * from {{ ref('trade_signs') }}

),

merchant_trades as (

    select * from {{ ref('merchant_trades') }}

),

pairs as (

    select
        as_of_date,
        merchant_number,
        {% for name in pair_counts() %}
        coalesce(sum(cast({{ trade_counts()[name] }} as integer)), 0) as {{ name }}_count,
        count({{ trade_counts()[name] }}) as {{ name }}_known_count,
        {% endfor %}
        buyer_number
    from trade_signs
    where buyer_here_count > 1
    group by
        as_of_date,
        merchant_number,
        buyer_number

),

final as (

    select
        review_spine.purpose,
        review_spine.review_key,
        signs.order_id,
        signs.review_id,
        review_spine.merchant_id,
        review_spine.category,
        review_spine.as_of_date,

        signs.buyer_age_days,
        signs.buyer_trade_count,
        signs.buyer_merchant_count,
        signs.buyer_here_count,
        {{ ratio('signs.buyer_here_count', 'signs.buyer_trade_count') }} as buyer_here_share,
        signs.weight_ratio,
        signs.delivery_ratio,
        signs.delivery_route_ratio,
        signs.day_burst_ratio,
        signs.hour_order_count,
        signs.hour_order_buyer_ratio,
        signs.days_to_look,

        signs.device_buyer_count,
        signs.payer_buyer_count,
        signs.is_own,
        signs.tied_merchant_count,

        signs.rating,
        signs.review_lag_hours,
        signs.text_writing_count,
        {% for name in pair_counts() %}
        {{ other_share('pairs', name, 'signs') }} as buyer_{{ name }}_share,
        {% endfor %}
        {% for name in context_counts() %}
        {{ other_share('merchant_trades', name, 'signs') }} as merchant_{{ name }}_share,
        {% endfor %}
        signs.has_photo
    from review_spine
    inner join trade_signs as signs
        on
            signs.review_key = review_spine.review_key
            and signs.as_of_date = review_spine.as_of_date
    inner join merchant_trades
        on
            merchant_trades.merchant_number = signs.merchant_number
            and merchant_trades.as_of_date = signs.as_of_date
    left join pairs
        on
            pairs.merchant_number = signs.merchant_number
            and pairs.as_of_date = signs.as_of_date
            and pairs.buyer_number = signs.buyer_number

)

select * from final
