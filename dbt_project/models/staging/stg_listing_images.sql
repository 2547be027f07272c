with

listing_images as (

    {{ current_rows('listing_images', ['image_id']) }}

),

final as (

    select
        listing_images.image_id,
        listing_images.listing_id,
        listing_images.role,
        listing_images.uri,
        listing_images.sha256
    from listing_images

)

select * from final
