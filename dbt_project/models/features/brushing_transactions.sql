-- Transactions of brushing_places as known at the end of the date; one row per transaction and date. Later events (delivery,
-- review) are null.
with

places as (

    select * from {{ ref('brushing_places') }}

),

transactions as (

    select * from {{ ref('int_transactions') }}

),

final as (

    select
        places.as_of_date,
        places.is_scored,
        places.is_drawn,
        transactions.transaction_hash,
        transactions.merchant_hash,
        transactions.listing_hash,
        transactions.buyer_hash,
        transactions.payer_hash64,
        transactions.review_key,
        transactions.order_id,
        case when cast(transactions.reviewed_at as date) <= places.as_of_date then transactions.review_id end as review_id,
        transactions.listing_id,
        transactions.merchant_id,
        transactions.buyer_id,
        transactions.occurred_at,
        cast(transactions.occurred_at as date) as occurred_date,
        transactions.order_id is not null as is_order,
        case
            when cast(transactions.shipped_at as date) <= places.as_of_date and transactions.quantity > 0
                then cast(round(cast(transactions.parcel_weight_g as double) / transactions.quantity) as bigint)
        end as unit_weight_g,
        case
            when
                cast(transactions.delivered_at as date) <= places.as_of_date
                and transactions.delivered_at >= transactions.placed_at
                then {{ hours_between('transactions.placed_at', 'transactions.delivered_at') }}
        end as delivery_hours,
        case
            when
                cast(transactions.delivered_at as date) <= places.as_of_date
                and cast(transactions.reviewed_at as date) <= places.as_of_date
                then {{ hours_between('transactions.delivered_at', 'transactions.reviewed_at') }}
        end as review_lag_hours,
        case when cast(transactions.reviewed_at as date) <= places.as_of_date then transactions.rating end as rating,
        case when cast(transactions.reviewed_at as date) <= places.as_of_date then transactions.has_photo end as has_photo,
        case when cast(transactions.reviewed_at as date) <= places.as_of_date then transactions.text_hash end as text_hash
    from places
    inner join transactions
        on
            transactions.merchant_id = places.merchant_id
            and cast(transactions.occurred_at as date) <= places.as_of_date
            and cast(transactions.occurred_at as date) > {{ add_days('places.as_of_date', '-' ~ transaction_days()) }}

)

select * from final
