with

reviews as (

    {{ current_rows('reviews', ['review_id']) }}

),

final as (

    select
        reviews.review_id,
        reviews.listing_id,
        reviews.buyer_id,
        reviews.order_id,
        reviews.rating,
        reviews.text,
        reviews.language,
        reviews.created_at,
        reviews.has_photo,
        reviews.is_verified,
        reviews.load_id
    from reviews

)

select * from final
