-- By what a reviewer cuts the rows that evaluate a model: one row each, of every spine. A text is null where it is not known, or
-- where such rows have none. No model reads it, so it is a view, looked at by a training alone.
{{ config(materialized='view') }}

with

merchants as (

    select
        merchant_id,
        country,
        known_from,
        known_until
    from {{ ref('stg_merchant_history') }}

),

listings as (

    select
        'listing' as relation,
        spine.listing_id as entity_id,
        spine.merchant_id,
        spine.as_of_date,
        spine.purpose,
        brands.name as brand,
        features.price_usd,
        features.merchant_age_days,
        cast(null as varchar) as language
    from {{ ref('listing_spine') }} as spine
    inner join {{ ref('listing_features') }} as features
        on
            features.listing_id = spine.listing_id
            and features.as_of_date = spine.as_of_date
            and features.purpose = spine.purpose
    left join {{ ref('int_listing_brands') }} as listing_brands
        on
            listing_brands.listing_id = spine.listing_id
            and listing_brands.known_from <= spine.as_of_date
            and listing_brands.known_until > spine.as_of_date
    left join {{ ref('stg_brands') }} as brands
        on brands.brand_id = listing_brands.brand_id
    where spine.purpose = 'evaluate'

),

merchant_rows as (

    select
        'merchant' as relation,
        spine.merchant_id as entity_id,
        spine.merchant_id,
        spine.as_of_date,
        spine.purpose,
        cast(null as varchar) as brand,
        features.price_usd,
        features.merchant_age_days,
        cast(null as varchar) as language
    from {{ ref('merchant_spine') }} as spine
    inner join {{ ref('merchant_features') }} as features
        on
            features.merchant_id = spine.merchant_id
            and features.as_of_date = spine.as_of_date
            and features.purpose = spine.purpose
    where spine.purpose = 'evaluate'

),

review_rows as (

    select
        'review' as relation,
        spine.review_key as entity_id,
        spine.merchant_id,
        spine.as_of_date,
        spine.purpose,
        cast(null as varchar) as brand,
        cast(null as decimal(18, 4)) as price_usd,
        cast(null as integer) as merchant_age_days,
        reviews.language
    from {{ ref('review_spine') }} as spine
    inner join {{ ref('review_features') }} as features
        on
            features.review_key = spine.review_key
            and features.as_of_date = spine.as_of_date
            and features.purpose = spine.purpose
    left join {{ ref('stg_reviews') }} as reviews
        on reviews.review_id = features.review_id
    where spine.purpose = 'evaluate'

),

brushing_merchant_rows as (

    select
        'brushing_merchant' as relation,
        spine.merchant_id as entity_id,
        spine.merchant_id,
        spine.as_of_date,
        spine.purpose,
        cast(null as varchar) as brand,
        cast(null as decimal(18, 4)) as price_usd,
        features.merchant_age_days,
        cast(null as varchar) as language
    from {{ ref('brushing_merchant_spine') }} as spine
    inner join {{ ref('brushing_merchant_features') }} as features
        on
            features.merchant_id = spine.merchant_id
            and features.as_of_date = spine.as_of_date
            and features.purpose = spine.purpose
    where spine.purpose = 'evaluate'

),

unioned as (

    select * from listings
    union all
    select * from merchant_rows
    union all
    select * from review_rows
    union all
    select * from brushing_merchant_rows

),

final as (

    select
        unioned.relation,
        unioned.entity_id,
        unioned.as_of_date,
        unioned.purpose,
        unioned.brand,
        merchants.country,
        {{ banded('unioned.price_usd', [10, 30, 100, 300], 'USD') }} as price_band,
        {{ banded('unioned.merchant_age_days', [30, 90, 365, 1095], 'days') }} as merchant_age_band,
        unioned.language
    from unioned
    left join merchants
        on
            merchants.merchant_id = unioned.merchant_id
            and merchants.known_from <= unioned.as_of_date
            and merchants.known_until > unioned.as_of_date

)

select * from final
