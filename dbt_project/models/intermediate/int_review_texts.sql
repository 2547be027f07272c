-- Fingerprints of review texts: a hash without case, spaces and punctuation; one row per review whose text is long enough.
-- Listing and earlier reviews with the same text are looked up in int_review_days.
-- A load never changes, so its texts are hashed once, as in int_authenticity_complaints. A review is identified by a hash too: a
-- load's id in every row of a join of all reviews would take ten times the space.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='load_id',
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where not exists (
        select 1
        from {{ source('landed', 'loads') }} as loads
        where loads.table_name = 'reviews' and loads.load_id = kept.load_id and loads.is_current
    )",
) }}

with

known_loads as (

    select distinct load_id
    from {{ source('previous', 'int_review_texts') }}

),

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
    left join known_loads
        on known_loads.load_id = reviews.load_id
    where
        {{ bytes_in('reviews.text') }} >= {{ least_bytes() }}
        and known_loads.load_id is null

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
