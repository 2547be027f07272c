-- Every listing that was rated, for analysts: what it is, its score and why. Lists are made of the flagged ones.
with

{{ ratings('listing', 'listing_counterfeit') }},

{{ brands_of_listings() }},

stg_listings as (

    select * from {{ ref('stg_listings') }}

),

final as (

    select
        ratings.as_of_date,
        ratings.listing_id,
        stg_listings.merchant_id,
        stg_listings.title,
        stg_listings.url,
        stg_listings.category,
        brands_of_listings.brand,
        stg_listings.price,
        stg_listings.currency,
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
    inner join stg_listings
        on stg_listings.listing_id = ratings.listing_id
    left join brands_of_listings
        on brands_of_listings.listing_id = ratings.listing_id

)

select * from final
