-- By what a review's text is known again: a hash of it without case, spaces and signs, one row a review whose text is long
-- enough. Whose it is, and what came before, is for the days (int_review_days).
-- A load never changes, so its texts are hashed once, as complaints are looked for (int_authenticity_complaints). A review is
-- known by a hash too: a load's id in every row of a join of all reviews would be ten times as long.
{{ config(materialized='goes_on', forget='forget_reviews_of_other_loads') }}

with

reviews as (

    select * from {{ ref('stg_reviews') }}

),

keys as (

    select
        reviews.load_id,
        {{ row_hash(['reviews.load_id', 'reviews.review_id']) }} as review_hash,
        reviews.created_at,
        {{ review_key('reviews.text') }} as text_key
    from reviews
    where
        {{ bytes_in('reviews.text') }} >= {{ least_bytes() }}
        and {{ is_not_looked_through('reviews.load_id') }}

),

final as (

    select
        load_id,
        review_hash,
        created_at,
        {{ row_hash(['text_key']) }} as text_hash
    from keys
    where {{ bytes_in('text_key') }} >= {{ least_bytes() }}

)

select * from final
