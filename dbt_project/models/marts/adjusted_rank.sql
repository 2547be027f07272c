-- Ranking with and without suspected transactions: sales, rating and rank of each active listing within its category. A listing's
-- adjusted rank is the rank that its adjusted sales would have among the unadjusted sales of the others, so that no listing moves
-- because of another's transactions. Equal sales share a rank. One row per listing.
with

active_listings as (

    select
        listing_spine.listing_id,
        listing_spine.merchant_id,
        listing_spine.category,
        listing_spine.as_of_date
    from {{ ref('listing_spine') }} as listing_spine
    where listing_spine.purpose = 'score'

),

transactions as (

    select
        transaction_indicators.listing_id,
        transaction_indicators.is_order,
        transaction_indicators.rating,
        suspected.review_key is not null as is_suspected
    from {{ ref('transaction_indicators') }} as transaction_indicators
    left join {{ ref('brushed_orders') }} as suspected
        on suspected.review_key = transaction_indicators.review_key
    where transaction_indicators.is_scored

),

sums as (

    select
        listing_id,
        sum(cast(is_order as integer)) as raw_sales_count,
        sum(cast(is_order and not is_suspected as integer)) as adjusted_sales_count,
        sum(cast(is_suspected as integer)) as suspected_count,
        sum(rating) as raw_rating_sum,
        count(rating) as raw_rating_count,
        sum(case when not is_suspected then rating end) as adjusted_rating_sum,
        count(case when not is_suspected then rating end) as adjusted_rating_count
    from transactions
    group by listing_id

),

listings as (

    select
        active_listings.*,
        cast(coalesce(sums.raw_sales_count, 0) as bigint) as raw_sales_count,
        cast(coalesce(sums.adjusted_sales_count, 0) as bigint) as adjusted_sales_count,
        cast(coalesce(sums.suspected_count, 0) as bigint) as suspected_count,
        -- 1 if the listing itself is among those that sell more than its adjusted sales.
        cast(coalesce(sums.raw_sales_count > sums.adjusted_sales_count, false) as integer) as is_counted_itself,
        {{ ratio('sums.raw_rating_sum', 'sums.raw_rating_count') }} as raw_rating,
        {{ ratio('sums.adjusted_rating_sum', 'sums.adjusted_rating_count') }} as adjusted_rating
    from active_listings
    left join sums
        on sums.listing_id = active_listings.listing_id

),

-- Number of listings of a category at each level of sales.
levels as (

    select
        category,
        raw_sales_count,
        count(*) as listing_count
    from listings
    group by
        category,
        raw_sales_count

),

adjusted_levels as (

    select distinct
        category,
        adjusted_sales_count as sales_count
    from listings
    union
    select distinct
        category,
        raw_sales_count as sales_count
    from listings

),

places as (

    select
        adjusted_levels.category,
        adjusted_levels.sales_count,
        cast(1 + coalesce(sum(levels.listing_count), 0) as bigint) as place
    from adjusted_levels
    left join levels
        on
            levels.category is not distinct from adjusted_levels.category
            and levels.raw_sales_count > adjusted_levels.sales_count
    group by
        adjusted_levels.category,
        adjusted_levels.sales_count

),

final as (

    select
        listings.as_of_date,
        listings.listing_id,
        listings.merchant_id,
        listings.category,
        listings.raw_sales_count,
        listings.adjusted_sales_count,
        listings.suspected_count,
        listings.raw_rating,
        listings.adjusted_rating,
        raw_places.place as raw_rank,
        adjusted_places.place - listings.is_counted_itself as adjusted_rank,
        adjusted_places.place - listings.is_counted_itself - raw_places.place as places_lost
    from listings
    inner join places as raw_places
        on
            raw_places.category is not distinct from listings.category
            and raw_places.sales_count = listings.raw_sales_count
    inner join places as adjusted_places
        on
            adjusted_places.category is not distinct from listings.category
            and adjusted_places.sales_count = listings.adjusted_sales_count

)

select * from final
