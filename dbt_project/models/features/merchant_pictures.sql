-- What a merchant's living goods show at a date, one row a merchant of which a picture was read, and date.
with

listing_states as (

    select
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_states') }}
    where is_live

),

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

-- Most listings show all their pictures over the same days: one row each.
listing_showings as (

    select
        listing_id,
        shown_from,
        shown_until,
        count(*) as picture_count,
        count(*) filter (where is_altered) as altered_picture_count
    from {{ ref('picture_showings') }}
    group by
        listing_id,
        shown_from,
        shown_until

),

final as (

    select
        listing_states.merchant_id,
        listing_states.as_of_date,
        cast(sum(listing_showings.picture_count) as bigint) as picture_count,
        cast(sum(listing_showings.altered_picture_count) as bigint) as altered_picture_count
    from listing_states
    inner join merchant_windows
        on
            merchant_windows.merchant_id = listing_states.merchant_id
            and merchant_windows.as_of_date = listing_states.as_of_date
    inner join listing_showings
        on
            listing_showings.listing_id = listing_states.listing_id
            and listing_showings.shown_from <= listing_states.as_of_date
            and listing_showings.shown_until > listing_states.as_of_date
    group by
        listing_states.merchant_id,
        listing_states.as_of_date

)

select * from final
