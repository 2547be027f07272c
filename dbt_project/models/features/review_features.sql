-- Features of transactions for the brushing model; one row for each row of review_spine: the transaction's indicators, those of
-- the buyer's other transactions with the merchant, and those of the merchant's other transactions. Both exclude the transaction
-- itself.
with

review_spine as (

    select * from {{ ref('review_spine') }}

),

transaction_indicators as (

    select * from {{ ref('transaction_indicators') }}

),

merchant_transactions as (

    select * from {{ ref('merchant_transactions') }}

),

pairs as (

    select
        as_of_date,
        merchant_hash,
        {% for name in pair_counts() %}
        coalesce(sum(cast({{ transaction_counts()[name] }} as integer)), 0) as {{ name }}_count,
        count({{ transaction_counts()[name] }}) as {{ name }}_known_count,
        {% endfor %}
        buyer_hash
    from transaction_indicators
    where buyer_here_count > 1
    group by
        as_of_date,
        merchant_hash,
        buyer_hash

),

final as (

    select
        review_spine.purpose,
        review_spine.review_key,
        indicators.order_id,
        indicators.review_id,
        review_spine.merchant_id,
        review_spine.category,
        review_spine.as_of_date,

        indicators.buyer_age_days,
        indicators.buyer_transaction_count,
        indicators.buyer_merchant_count,
        indicators.buyer_here_count,
        {{ ratio('indicators.buyer_here_count', 'indicators.buyer_transaction_count') }} as buyer_here_share,
        indicators.weight_ratio,
        indicators.delivery_ratio,
        indicators.delivery_route_ratio,
        indicators.day_burst_ratio,
        indicators.hour_order_count,
        indicators.hour_order_buyer_ratio,
        indicators.days_to_look,

        indicators.device_buyer_count,
        indicators.payer_buyer_count,
        indicators.is_own,
        indicators.tied_merchant_count,

        indicators.rating,
        indicators.review_lag_hours,
        indicators.text_writing_count,
        {% for name in pair_counts() %}
        {{ other_share('pairs', name, 'indicators') }} as buyer_{{ name }}_share,
        {% endfor %}
        {% for name in context_counts() %}
        {{ other_share('merchant_transactions', name, 'indicators') }} as merchant_{{ name }}_share,
        {% endfor %}
        indicators.has_photo
    from review_spine
    inner join transaction_indicators as indicators
        on
            indicators.review_key = review_spine.review_key
            and indicators.as_of_date = review_spine.as_of_date
    inner join merchant_transactions
        on
            merchant_transactions.merchant_hash = indicators.merchant_hash
            and merchant_transactions.as_of_date = indicators.as_of_date
    left join pairs
        on
            pairs.merchant_hash = indicators.merchant_hash
            and pairs.as_of_date = indicators.as_of_date
            and pairs.buyer_hash = indicators.buyer_hash

)

select * from final
