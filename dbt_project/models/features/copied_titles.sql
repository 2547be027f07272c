-- Spans in which a listing's title is nearly identical to an earlier one of another merchant; one row per listing and span. A
-- title that more than 20 merchants share is the product's generic name, and counts as no copy.
with

title_appearances as (

    select * from {{ ref('title_appearances') }}

),

title_merchants as (

    select * from {{ ref('title_merchants') }}

),

final as (

    select
        title_appearances.listing_id,
        title_appearances.shown_from as copied_from,
        max(least(title_appearances.shown_until, coalesce(common.shown_from, {{ end_of_time() }}))) as copied_until
    from title_appearances
    inner join title_merchants as own
        on
            own.band = title_appearances.band
            and own.title_band = title_appearances.title_band
            and own.merchant_id = title_appearances.merchant_id
    inner join title_merchants as earliest
        on
            earliest.band = own.band
            and earliest.title_band = own.title_band
            and earliest.place = 1
            and earliest.shown_from < own.shown_from
    left join title_merchants as common
        on
            common.band = own.band
            and common.title_band = own.title_band
            and common.place = {{ most_bearers() }} + 1
    where title_appearances.shown_from < coalesce(common.shown_from, {{ end_of_time() }})
    group by
        title_appearances.listing_id,
        title_appearances.shown_from

)

select * from final
