-- Peer prices at a rating date: median price and median absolute deviation of the log price of active listings of one product, of
-- one brand in one category, of one category's compatible products, and of one category, each in one condition; one row per group
-- of at least 20 listings with a price. Compatible products make a group if three merchants offer them: it is the wording that
-- puts a listing into it, and nobody shall be his own peer.
with

listing_states as (

    select
        *,
        coalesce(condition, '') as condition_key,
        {{ log_price('price_base') }} as log_price
    from {{ ref('listing_states') }}
    where
        is_active
        and is_rating_date
        and price_base is not null

),

groups as (

    select
        as_of_date,
        'product' as level,
        brand_id,
        model_key,
        cast(null as varchar) as category,
        condition_key,
        merchant_id,
        price_base,
        log_price
    from listing_states
    where
        brand_id is not null
        and model_key is not null
    union all
    select
        as_of_date,
        'brand' as level,
        brand_id,
        cast(null as varchar) as model_key,
        category,
        condition_key,
        merchant_id,
        price_base,
        log_price
    from listing_states
    where
        brand_id is not null
        and category is not null
    union all
    select
        as_of_date,
        'category' as level,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as model_key,
        category,
        condition_key,
        merchant_id,
        price_base,
        log_price
    from listing_states
    where category is not null
    union all
    select
        as_of_date,
        'compatible' as level,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as model_key,
        category,
        condition_key,
        merchant_id,
        price_base,
        log_price
    from listing_states
    where
        category is not null
        and is_compatible_product

),

final as (

    select
        as_of_date,
        level,
        brand_id,
        model_key,
        category,
        condition_key,
        cast(count(*) as integer) as listing_count,
        {{ median('price_base') }} as median_price_base,
        {{ middle_distance('log_price') }} as log_price_distance
    from groups
    group by
        as_of_date,
        level,
        brand_id,
        model_key,
        category,
        condition_key
    having
        count(*) >= 20
        and (level <> 'compatible' or count(distinct merchant_id) >= 3)

)

select * from final
