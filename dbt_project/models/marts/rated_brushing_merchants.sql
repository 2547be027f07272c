-- Every merchant that was rated for brushing, for analysts: who it is, what it mostly sells, its score and why.
with

{{ ratings('brushing_merchant', 'merchant_brushing', 'merchant_id', {'merchant': 'merchant_id'}) }},

{{ brands_of_listings() }},

live_listings as (

    select
        listing_spine.merchant_id,
        listing_spine.category,
        brands_of_listings.brand
    from {{ ref('listing_spine') }} as listing_spine
    left join brands_of_listings
        on brands_of_listings.listing_id = listing_spine.listing_id
    where listing_spine.purpose = 'score'

),

sizes as (

    select
        merchant_id,
        count(*) as live_listing_count
    from live_listings
    group by merchant_id

),

categories as (

    select
        merchant_id,
        category,
        row_number() over (partition by merchant_id order by count(*) desc, category asc) as place
    from live_listings
    where category is not null
    group by
        merchant_id,
        category

),

brands as (

    select
        merchant_id,
        brand,
        row_number() over (partition by merchant_id order by count(*) desc, brand asc) as place
    from live_listings
    where brand is not null
    group by
        merchant_id,
        brand

),

stg_merchants as (

    select * from {{ ref('stg_merchants') }}

),

final as (

    select
        ratings.as_of_date,
        ratings.merchant_id,
        stg_merchants.name,
        cast(null as varchar) as url,
        categories.category,
        brands.brand,
        cast(null as decimal(18, 4)) as price,
        cast(null as varchar) as currency,
        coalesce(sizes.live_listing_count, 0) as live_listing_count,
        ratings.score,
        ratings.own_conduct_score,
        ratings.margin,
        ratings.band,
        ratings.expected_precision,
        ratings.reasons,
        ratings.model_digest,
        ratings.is_flagged,
        ratings.is_suppressed
    from ratings
    inner join stg_merchants
        on stg_merchants.merchant_id = ratings.merchant_id
    left join sizes
        on sizes.merchant_id = ratings.merchant_id
    left join categories
        on
            categories.merchant_id = ratings.merchant_id
            and categories.place = 1
    left join brands
        on
            brands.merchant_id = ratings.merchant_id
            and brands.place = 1

)

select * from final
