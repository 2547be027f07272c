-- Every suspected trade with its evidence, for analysts: an order or review that was flagged and that nobody keeps off the lists,
-- beside what it shows. One row a trade.
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

signs as (

    select trade_signs.*
    from {{ ref('trade_signs') }} as trade_signs
    inner join run
        on run.as_of = trade_signs.as_of_date

),

final as (

    select
        suspected.as_of_date,
        suspected.review_key,
        suspected.order_id,
        suspected.review_id,
        suspected.listing_id,
        suspected.merchant_id,
        signs.buyer_id,
        signs.began_date,
        suspected.score,
        suspected.own_conduct_score,
        signs.buyer_age_days,
        signs.buyer_trade_count,
        signs.buyer_here_count,
        signs.device_buyer_count,
        signs.payer_buyer_count,
        signs.is_own,
        signs.tied_merchant_count,
        signs.weight_ratio,
        signs.delivery_ratio,
        signs.delivery_route_ratio,
        signs.day_burst_ratio,
        signs.hour_order_count,
        signs.hour_order_buyer_ratio,
        signs.days_to_look,
        signs.rating,
        signs.review_lag_hours,
        signs.text_writing_count,
        suspected.reasons
    from suspected
    inner join signs
        on signs.review_key = suspected.review_key

)

select * from final
