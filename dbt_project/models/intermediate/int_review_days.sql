-- What was said of a listing on a day, one row a day and listing. Incremental as int_order_days is.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

with

{{ days_to_rebuild('reviews', look_back_days=review_look_back_days()) }}

-- A text is repeated where a review of the days before had it, of whatever listing: later ones make nobody a copyist.
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

-- In which a review can be understood; in all of them, where it does not state its own.
languages as (

    select language from {{ ref('authenticity_words') }}
    union
    select '' as language

),

-- A review is early where its order had not arrived when it was written: that is known at once, whatever arrives later. Of an
-- order of long ago that never arrived nobody knows whether its arrival was only not noted. Each kind reads the reviews for
-- itself, so that none carries what another needs.
said as (

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
        said.*,
        owners.merchant_id
    from said
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = said.listing_id

),

{{ days_of_events('reviews') }}

select * from final
