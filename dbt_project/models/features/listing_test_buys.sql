-- Verdicts of test buys on other listings of the same merchant; one row per listing and date of the spine with at least two
-- verdicts by then. (One verdict concerns one product, and examiners err.) A label of the same case (a plan) or day as one of the
-- listing's own does not count. A verdict that an appeal had reversed by then counts as genuine.
with

places as (

    select distinct
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

appeals as (

    select
        entity_id as listing_id,
        decided_at,
        decided_date
    from labels
    where
        entity_kind = 'listing'
        and source = 'appeal'

),

bought as (

    select
        labels.merchant_id,
        labels.listing_id,
        labels.case_id,
        labels.decided_date,
        labels.is_positive,
        min(appeals.decided_date) as taken_back_date
    from labels
    left join appeals
        on
            appeals.listing_id = labels.listing_id
            and appeals.decided_at >= labels.decided_at
    where
        labels.entity_kind = 'listing'
        and labels.source = 'test_buy'
    group by
        labels.merchant_id,
        labels.listing_id,
        labels.case_id,
        labels.decided_date,
        labels.decided_at,
        labels.is_positive

),

{{ own_cases_and_days(key='listing_id') }}

final as (

    select
        places.listing_id,
        places.as_of_date,
        cast(count(*) as integer) as bought_count,
        cast(count(*) filter (
            where
            bought.is_positive
            and (bought.taken_back_date is null or bought.taken_back_date > places.as_of_date)
        ) as integer) as counterfeit_count
    from places
    inner join bought
        on
            bought.merchant_id = places.merchant_id
            and bought.listing_id <> places.listing_id
            and bought.decided_date <= places.as_of_date
    left join own_cases
        on
            own_cases.listing_id = places.listing_id
            and own_cases.case_id = bought.case_id
    left join own_days
        on
            own_days.listing_id = places.listing_id
            and own_days.decided_date = bought.decided_date
    where
        own_cases.case_id is null
        and own_days.decided_date is null
    group by
        places.listing_id,
        places.as_of_date
    having count(*) >= 2

)

select * from final
