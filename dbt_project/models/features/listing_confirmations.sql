-- What was found out, by a date, about the merchant of a listing and its other goods: one row a listing and date of the
-- spine with anything found out. A label of the same case or the same day as one of the listing's own does not count.
with

listing_spine as (

    select distinct
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

labels as (

    select *
    from {{ ref('entity_labels') }}
    where
        entity_kind = 'listing'
        or listing_id is null

),

own_labels as (

    select * from labels where entity_kind = 'listing'

),

own_cases as (

    select distinct
        listing_id,
        case_id
    from own_labels

),

own_days as (

    select distinct
        listing_id,
        decided_date
    from own_labels

),

found_out as (

    select
        listing_spine.listing_id,
        listing_spine.as_of_date,
        labels.listing_id as found_listing_id,
        labels.is_positive
    from listing_spine
    inner join labels
        on
            labels.merchant_id = listing_spine.merchant_id
            and labels.decided_date <= listing_spine.as_of_date
    left join own_cases
        on
            own_cases.listing_id = listing_spine.listing_id
            and own_cases.case_id = labels.case_id
    left join own_days
        on
            own_days.listing_id = listing_spine.listing_id
            and own_days.decided_date = labels.decided_date
    where
        own_cases.case_id is null
        and own_days.decided_date is null

),

final as (

    select
        listing_id,
        as_of_date,
        cast(count(distinct case when is_positive then found_listing_id end) as integer) as confirmed_count,
        cast(count(distinct case when not is_positive then found_listing_id end) as integer) as cleared_count,
        bool_or(is_positive and found_listing_id is null) as is_merchant_confirmed
    from found_out
    group by
        listing_id,
        as_of_date

)

select * from final
