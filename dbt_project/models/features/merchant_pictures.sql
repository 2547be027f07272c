-- Pictures of a merchant's active listings; one row per merchant with an analysed picture, and date.
with

listing_states as (

    select
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_states') }}
    where is_active

),

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

-- A picture that more than 20 merchants show is common.
common as (

    select
        sha256,
        shown_from as common_from
    from {{ ref('picture_merchants') }}
    where place = {{ most_bearers() }} + 1

),

-- Most listings show all their pictures over the same days: those that become common on one day share a row.
listing_appearances as (

    select
        appearances.listing_id,
        appearances.shown_from,
        appearances.shown_until,
        coalesce(common.common_from, {{ end_of_time() }}) as common_from,
        count(*) as picture_count,
        count(*) filter (where appearances.is_altered) as altered_picture_count
    from {{ ref('picture_appearances') }} as appearances
    left join common
        on common.sha256 = appearances.sha256
    group by
        appearances.listing_id,
        appearances.shown_from,
        appearances.shown_until,
        coalesce(common.common_from, {{ end_of_time() }})

),

unnamed as (

    select
        listing_states.merchant_id,
        listing_states.as_of_date,
        count(distinct listing_states.listing_id) as unnamed_logo_listing_count
    from listing_states
    inner join {{ ref('unnamed_logos') }} as unnamed_logos
        on
            unnamed_logos.listing_id = listing_states.listing_id
            and unnamed_logos.unnamed_from <= listing_states.as_of_date
            and unnamed_logos.unnamed_until > listing_states.as_of_date
    group by
        listing_states.merchant_id,
        listing_states.as_of_date

),

shown as (

    select
        listing_states.merchant_id,
        listing_states.as_of_date,
        cast(count(distinct listing_states.listing_id) as integer) as picture_listing_count,
        cast(sum(listing_appearances.picture_count) as bigint) as picture_count,
        cast(sum(listing_appearances.altered_picture_count) as bigint) as altered_picture_count,
        cast(coalesce(sum(listing_appearances.picture_count) filter (
            where listing_appearances.common_from <= listing_states.as_of_date
        ), 0) as bigint) as common_picture_count
    from listing_states
    inner join merchant_windows
        on
            merchant_windows.merchant_id = listing_states.merchant_id
            and merchant_windows.as_of_date = listing_states.as_of_date
    inner join listing_appearances
        on
            listing_appearances.listing_id = listing_states.listing_id
            and listing_appearances.shown_from <= listing_states.as_of_date
            and listing_appearances.shown_until > listing_states.as_of_date
    group by
        listing_states.merchant_id,
        listing_states.as_of_date

),

final as (

    select
        shown.*,
        cast(coalesce(unnamed.unnamed_logo_listing_count, 0) as integer) as unnamed_logo_listing_count
    from shown
    left join unnamed
        on
            unnamed.merchant_id = shown.merchant_id
            and unnamed.as_of_date = shown.as_of_date

)

select * from final
