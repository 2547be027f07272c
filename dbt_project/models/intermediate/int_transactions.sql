-- Transactions, one row each: an order with its first review, if any, or a review without an order. It has the merchant, the
-- start (placed, or written) and the outcome; the features select what was known by a date. An order without a buyer is included,
-- but belongs to no buyer. A review written on a day before its order counts as one without: on that day the order was unknown.
with

orders as (

    select * from {{ ref('stg_orders') }}

),

owners as (

    select * from {{ ref('int_listing_owners') }}

),

texts as (

    select * from {{ ref('int_review_texts') }}

),

-- Rating and all other columns except the text, which is represented by its hash.
reviews as (

    select
        reviews.review_id,
        orders.order_id,
        reviews.listing_id,
        reviews.buyer_id,
        reviews.rating,
        reviews.created_at,
        reviews.has_photo,
        texts.text_hash
    from {{ ref('stg_reviews') }} as reviews
    left join orders
        on
            orders.order_id = reviews.order_id
            and cast(orders.placed_at as date) <= cast(reviews.created_at as date)
    left join texts
        on texts.review_hash = {{ row_hash(['reviews.load_id', 'reviews.review_id']) }}
    where reviews.created_at is not null

),

first_reviews as (

    select
        order_id,
        {{ value_at_greatest('review_id', '(-' ~ milliseconds_until('created_at') ~ ', review_id)') }} as review_id
    from reviews
    where order_id is not null
    group by order_id

),

order_reviews as (

    select reviews.*
    from reviews
    inner join first_reviews
        on first_reviews.review_id = reviews.review_id

),

reviewed_orders as (

    select
        {{ transaction_key('order', 'orders.order_id') }} as review_key,
        orders.order_id,
        order_reviews.review_id,
        orders.listing_id,
        orders.merchant_id,
        orders.buyer_id,
        orders.payer_hash,
        orders.placed_at as occurred_at,
        orders.placed_at,
        orders.shipped_at,
        orders.delivered_at,
        orders.quantity,
        orders.parcel_weight_g,
        order_reviews.created_at as reviewed_at,
        order_reviews.rating,
        order_reviews.has_photo,
        order_reviews.text_hash
    from orders
    left join order_reviews
        on order_reviews.order_id = orders.order_id

),

lone_reviews as (

    select
        {{ transaction_key('review', 'reviews.review_id') }} as review_key,
        cast(null as varchar) as order_id,
        reviews.review_id,
        reviews.listing_id,
        owners.merchant_id,
        reviews.buyer_id,
        cast(null as varchar) as payer_hash,
        reviews.created_at as occurred_at,
        cast(null as timestamp) as placed_at,
        cast(null as timestamp) as shipped_at,
        cast(null as timestamp) as delivered_at,
        cast(null as bigint) as quantity,
        cast(null as bigint) as parcel_weight_g,
        reviews.created_at as reviewed_at,
        reviews.rating,
        reviews.has_photo,
        reviews.text_hash
    from reviews
    inner join owners
        on owners.listing_id = reviews.listing_id
    where
        reviews.order_id is null
        and owners.merchant_id is not null

),

transactions as (

    select * from reviewed_orders
    union all
    select * from lone_reviews

),

final as (

    select
        transactions.*,
        {{ key_hash('transactions.review_key') }} as transaction_hash,
        {{ key_hash('transactions.merchant_id') }} as merchant_hash,
        {{ key_hash('transactions.listing_id') }} as listing_hash,
        {{ key_hash('transactions.buyer_id') }} as buyer_hash,
        {{ key_hash('transactions.payer_hash') }} as payer_hash64
    from transactions

)

select * from final
