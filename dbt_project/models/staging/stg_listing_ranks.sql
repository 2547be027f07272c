with

listing_ranks as (

    {{ current_rows('listing_ranks', ['listing_id', 'observed_at', 'query']) }}

),

final as (

    select
        listing_ranks.listing_id,
        listing_ranks.observed_at,
        listing_ranks.query,
        listing_ranks.rank
    from listing_ranks

)

select * from final
