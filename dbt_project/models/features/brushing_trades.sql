-- The trades of brushing_places as far as each was known at the end of the date: one row a trade and date. What came later
-- (the delivery, the review) is null.
with

places as (

    select * from {{ ref('brushing_places') }}

),

trades as (

    select * from {{ ref('int_trades') }}

),

final as (

    select
        places.as_of_date,
        places.is_scored,
        places.is_drawn,
        trades.trade_number,
        trades.merchant_number,
        trades.listing_number,
        trades.buyer_number,
        trades.payer_number,
        trades.review_key,
        trades.order_id,
        case when cast(trades.reviewed_at as date) <= places.as_of_date then trades.review_id end as review_id,
        trades.listing_id,
        trades.merchant_id,
        trades.buyer_id,
        trades.began_at,
        cast(trades.began_at as date) as began_date,
        trades.order_id is not null as is_order,
        case
            when cast(trades.shipped_at as date) <= places.as_of_date and trades.quantity > 0
                then cast(round(cast(trades.parcel_weight_g as double) / trades.quantity) as bigint)
        end as unit_weight_g,
        case
            when cast(trades.delivered_at as date) <= places.as_of_date and trades.delivered_at >= trades.placed_at
                then {{ hours_between('trades.placed_at', 'trades.delivered_at') }}
        end as delivery_hours,
        case
            when
                cast(trades.delivered_at as date) <= places.as_of_date
                and cast(trades.reviewed_at as date) <= places.as_of_date
                then {{ hours_between('trades.delivered_at', 'trades.reviewed_at') }}
        end as review_lag_hours,
        case when cast(trades.reviewed_at as date) <= places.as_of_date then trades.rating end as rating,
        case when cast(trades.reviewed_at as date) <= places.as_of_date then trades.has_photo end as has_photo,
        case when cast(trades.reviewed_at as date) <= places.as_of_date then trades.text_hash end as text_hash
    from places
    inner join trades
        on
            trades.merchant_id = places.merchant_id
            and cast(trades.began_at as date) <= places.as_of_date
            and cast(trades.began_at as date) > {{ add_days('places.as_of_date', '-' ~ trade_days()) }}

)

select * from final
