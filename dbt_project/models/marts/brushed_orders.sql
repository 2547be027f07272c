-- Suspected transactions with their evidence, for analysts: orders and reviews that are flagged and not suppressed, with their
-- indicators. One row per transaction.
with

run as (

    select * from {{ source('landed', 'run') }}

),

suspected as (

    select * from {{ ref('rated_reviews') }}
    where
        is_flagged
        and not is_suppressed

),

indicators as (

    select transaction_indicators.*
    from {{ ref('transaction_indicators') }} as transaction_indicators
    inner join run
        on run.as_of = transaction_indicators.as_of_date

),

final as (

    select
        suspected.as_of_date,
        suspected.review_key,
        suspected.order_id,
        suspected.review_id,
        suspected.listing_id,
        suspected.merchant_id,
        indicators.buyer_id,
        indicators.occurred_date,
        suspected.score,
        suspected.own_conduct_score,
        indicators.buyer_age_days,
        indicators.buyer_transaction_count,
        indicators.buyer_here_count,
        indicators.device_buyer_count,
        indicators.payer_buyer_count,
        indicators.is_own,
        indicators.tied_merchant_count,
        indicators.weight_ratio,
        indicators.delivery_ratio,
        indicators.delivery_route_ratio,
        indicators.day_burst_ratio,
        indicators.hour_order_count,
        indicators.hour_order_buyer_ratio,
        indicators.days_to_look,
        indicators.rating,
        indicators.review_lag_hours,
        indicators.text_writing_count,
        suspected.reasons
    from suspected
    inner join indicators
        on indicators.review_key = suspected.review_key

)

select * from final
