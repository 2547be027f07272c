-- Orders and reviews rated for brushing, for analysts, one row per transaction: merchant, listing, score and reasons.
with

{{ ratings('review', 'review_brushing', 'review_key', {'order': 'order_id', 'review': 'review_id'}) }},

{{ brands_of_listings() }},

transactions as (

    select * from {{ ref('int_transactions') }}

),

stg_listings as (

    select * from {{ ref('stg_listings') }}

),

stg_merchants as (

    select * from {{ ref('stg_merchants') }}

),

described as (

    select
        ratings.as_of_date,
        ratings.review_key,
        ratings.order_id,
        ratings.review_id,
        transactions.listing_id,
        transactions.merchant_id,
        stg_merchants.country,
        stg_listings.title,
        stg_listings.url,
        stg_listings.category,
        brands_of_listings.brand,
        stg_listings.price,
        stg_listings.currency,
        {{ rating_columns() }}
    from ratings
    inner join transactions
        on transactions.review_key = ratings.review_key
    left join stg_listings
        on stg_listings.listing_id = transactions.listing_id
    left join stg_merchants
        on stg_merchants.merchant_id = transactions.merchant_id
    left join brands_of_listings
        on brands_of_listings.listing_id = transactions.listing_id

),

{{ decided('described', 'review_key') }}

select * from decided
