-- Candidates for all four spines; one row per relation, entity and date.
--   listing, merchant    all that have a state at the date
--   brushing_merchant    merchants whose transactions are analysed: all at the scoring date, a hash sample before it
--   review               transactions with two indicators: at the scoring date all of the last 365 days; before it those that are
--                        decided on, and a hash sample of the unlabelled ones of the sampled merchants
-- `drawn_share` is the share of the unlabelled candidates that was sampled here; spine_unlabelled_rows may sample again.
with

listing_states as (

    select * from {{ ref('listing_states') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

brushing_places as (

    select * from {{ ref('brushing_places') }}

),

transactions as (

    select * from {{ ref('transaction_indicators') }} where indicator_count >= {{ min_indicators() }}

),

decided_reviews as (

    select distinct entity_id
    from {{ ref('brushing_labels') }}
    where
        entity_kind = 'review'
        and inclusion_probability is null

),

listing_categories as (

    select
        listing_id,
        category,
        known_from,
        known_until
    from {{ ref('stg_listing_history') }}

),

drawn_merchants as (

    select max(drawn_share) as drawn_share from brushing_places

),

drawn_transactions as (

    select
        transactions.as_of_date,
        least(1.0, round(cast({{ transactions_per_date() }} as double) / count(*), 6)) as transaction_share,
        max(brushing_places.drawn_share) as merchant_share
    from transactions
    inner join brushing_places
        on
            brushing_places.as_of_date = transactions.as_of_date
            and brushing_places.merchant_id = transactions.merchant_id
    where
        transactions.is_drawn
        and not transactions.is_scored
    group by transactions.as_of_date

),

final as (

    select
        'listing' as relation,
        listing_id as entity_id,
        merchant_id,
        category,
        as_of_date,
        is_active,
        {{ add_days('as_of_date', '-listing_age_days') }} as active_since,
        cast(1 as double) as drawn_share
    from listing_states
    union all
    select
        'merchant' as relation,
        merchant_id as entity_id,
        merchant_id,
        category,
        as_of_date,
        is_active,
        {{ add_days('as_of_date', '-merchant_age_days') }} as active_since,
        cast(1 as double) as drawn_share
    from merchant_states
    union all
    select
        'brushing_merchant' as relation,
        brushing_places.merchant_id as entity_id,
        brushing_places.merchant_id,
        merchant_states.category,
        brushing_places.as_of_date,
        merchant_states.is_active,
        {{ add_days('brushing_places.as_of_date', '-merchant_states.merchant_age_days') }} as active_since,
        cast(drawn_merchants.drawn_share as double) as drawn_share
    from brushing_places
    inner join merchant_states
        on
            merchant_states.merchant_id = brushing_places.merchant_id
            and merchant_states.as_of_date = brushing_places.as_of_date
    cross join drawn_merchants
    union all
    select
        'review' as relation,
        transactions.review_key as entity_id,
        transactions.merchant_id,
        listing_categories.category,
        transactions.as_of_date,
        true as is_active,
        transactions.occurred_date as active_since,
        cast(drawn_transactions.transaction_share * drawn_transactions.merchant_share as double) as drawn_share
    from transactions
    left join drawn_transactions
        on drawn_transactions.as_of_date = transactions.as_of_date
    left join listing_categories
        on
            listing_categories.listing_id = transactions.listing_id
            and listing_categories.known_from <= transactions.as_of_date
            and listing_categories.known_until > transactions.as_of_date
    left join decided_reviews
        on decided_reviews.entity_id = transactions.review_key
    where
        transactions.is_scored
        or decided_reviews.entity_id is not null
        or (
            transactions.is_drawn
            and {{ key_share("transactions.review_key || '|' || cast(transactions.as_of_date as varchar)") }}
            < drawn_transactions.transaction_share
        )

)

select * from final
