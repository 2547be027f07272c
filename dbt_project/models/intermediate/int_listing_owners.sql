-- Which merchant offers a listing now. A table because every event of a listing asks it, and each daily table once more
-- whether anything has changed hands.
with

listings as (

    select * from {{ ref('stg_listings') }}

),

final as (

    select
        listing_id,
        merchant_id
    from listings

)

select * from final
