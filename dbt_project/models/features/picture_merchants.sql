-- Merchants that have shown a picture or a similar one, in order of first appearance; one row per picture and merchant.
with

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

picture_matches as (

    select * from {{ source('landed', 'picture_matches') }}

),

likes as (

    {{ like_pictures('picture_appearances') }}

),

first_shown as (

    select
        sha256,
        merchant_id,
        min(shown_from) as shown_from
    from picture_appearances
    group by
        sha256,
        merchant_id

),

shown_by as (

    select
        likes.sha256,
        first_shown.merchant_id,
        min(first_shown.shown_from) as shown_from
    from likes
    inner join first_shown
        on first_shown.sha256 = likes.like_sha256
    group by
        likes.sha256,
        first_shown.merchant_id

),

final as (

    select
        sha256,
        merchant_id,
        shown_from,
        row_number() over (partition by sha256 order by shown_from, merchant_id) as place
    from shown_by

)

select * from final
