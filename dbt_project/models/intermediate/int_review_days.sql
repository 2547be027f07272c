-- What was said of a listing on a day, one row a day and listing. Incremental as int_order_days is.
{{ config(materialized='goes_on', forget='forget_changed_days') }}

{% set is_there = goes_on() %}
{% set ctes = changed_days('reviews', is_there) %}
{% set days = ask_days(ctes) if is_there else none %}

with

{{ days_to_build(ctes, days) }}

events as (

    select
        reviews.created_at as event_at,
        'review' as kind,
        reviews.listing_id,
        owners.merchant_id,
        reviews.rating,
        reviews.is_verified,
        reviews.has_photo,
        case when reviews.text is not null then complaints.review_id is not null end as is_authenticity_complaint
    from {{ ref('stg_reviews') }} as reviews
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = reviews.listing_id
    left join {{ ref('int_authenticity_complaints') }} as complaints
        on
            complaints.review_id = reviews.review_id
            and complaints.load_id = reviews.load_id
    where {{ lies_within('reviews.created_at', days) }}

),

{{ days_of_events('reviews') }}

select * from final
