-- Reviews; one row per day, listing and merchant. Incremental in the same way as int_order_days.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

with

{{ days_to_rebuild('reviews', look_back_days=review_look_back_days()) }}

-- A text is repeated if a review of the preceding days had it, of any listing. Later reviews with the text do not make it a copy.
long_texts as (

    select
        reviews.created_at,
        reviews.listing_id,
        lag(reviews.created_at) over (
            partition by texts.text_hash
            order by reviews.created_at, reviews.review_id
        ) as had_before_at
    from {{ ref('stg_reviews') }} as reviews
    inner join {{ ref('int_review_texts') }} as texts
        on texts.review_hash = {{ row_hash(['reviews.load_id', 'reviews.review_id']) }}
    inner join bounds
        on
            {{ is_within_bounds('reviews.created_at', from='look_back_from') }}
            and {{ is_within_bounds('texts.created_at', from='look_back_from') }}

),

-- The languages with phrases in the lexicon, and the empty one of reviews without a stated language, which are searched for all
-- phrases.
languages as (

    select language
    from {{ ref('int_lexicon') }}
    where meaning in ('fake', 'genuine')
    union
    select '' as language

),

-- A review is early if its order had not arrived when it was written; this is known at once, whatever arrives later. For old
-- orders without a delivery it is unknown whether only the record is missing. Each kind reads the reviews separately, so that
-- none carries columns that only another needs.
review_events as (

    select
        reviews.created_at as event_at,
        'review' as kind,
        reviews.listing_id,
        reviews.rating,
        reviews.is_verified,
        reviews.has_photo,
        case
            when reviews.text is not null and languages.language is not null then complaints.review_id is not null
        end as is_authenticity_complaint,
        cast(null as boolean) as is_early,
        cast(null as boolean) as is_repeated
    from {{ ref('stg_reviews') }} as reviews
    inner join bounds
        on {{ is_within_bounds('reviews.created_at') }}
    left join {{ ref('int_authenticity_complaints') }} as complaints
        on
            complaints.review_id = reviews.review_id
            and complaints.load_id = reviews.load_id
    left join languages
        on languages.language = {{ review_language('reviews') }}
    union all
    select
        reviews.created_at as event_at,
        'review_of_order' as kind,
        reviews.listing_id,
        cast(null as bigint) as rating,
        cast(null as boolean) as is_verified,
        cast(null as boolean) as has_photo,
        cast(null as boolean) as is_authenticity_complaint,
        coalesce(orders.delivered_at > reviews.created_at, true) as is_early,
        cast(null as boolean) as is_repeated
    from {{ ref('stg_reviews') }} as reviews
    inner join {{ ref('stg_orders') }} as orders
        on orders.order_id = reviews.order_id
    inner join bounds
        on
            {{ is_within_bounds('reviews.created_at') }}
            and {{ is_within_bounds('orders.placed_at', from='look_back_from') }}
    where
        orders.placed_at <= reviews.created_at
        and {{ days_between('cast(orders.placed_at as date)', 'cast(reviews.created_at as date)') }}
        <= {{ review_look_back_days() }}
    union all
    select
        long_texts.created_at as event_at,
        'long_text' as kind,
        long_texts.listing_id,
        cast(null as bigint) as rating,
        cast(null as boolean) as is_verified,
        cast(null as boolean) as has_photo,
        cast(null as boolean) as is_authenticity_complaint,
        cast(null as boolean) as is_early,
        coalesce(
            {{ days_between('cast(long_texts.had_before_at as date)', 'cast(long_texts.created_at as date)') }}
            <= {{ review_look_back_days() }},
            false
        ) as is_repeated
    from long_texts
    inner join bounds
        on {{ is_within_bounds('long_texts.created_at') }}

),

events as (

    select
        review_events.*,
        owners.merchant_id
    from review_events
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = review_events.listing_id

),

{{ days_of_events('reviews') }}

select * from final
