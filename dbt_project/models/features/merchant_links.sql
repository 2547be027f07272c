-- What a merchant's neighbours are like at a date, the merchant itself left out: how many, how many of them were found to
-- sell counterfeits by then, and, of those that nobody could have planted, sums of what they offer and what happened to
-- them. One row a merchant with a neighbour, and date. A label of the same case or day as one of the merchant or its goods
-- does not count.
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

neighbours as (

    select
        merchant_id,
        as_of_date,
        neighbour_id,
        is_loose,
        case when not is_loose then neighbour_id end as firm_neighbour_id
    from {{ ref('merchant_neighbours') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

merchant_windows as (

    select * from {{ ref('merchant_windows') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

{{ own_cases_and_days() }}

confirmed as (

    select distinct
        neighbours.merchant_id,
        neighbours.as_of_date,
        neighbours.neighbour_id
    from neighbours
    inner join labels
        on
            labels.entity_kind = 'merchant'
            and labels.is_positive
            and labels.entity_id = neighbours.neighbour_id
            and labels.decided_date <= neighbours.as_of_date
    left join own_cases
        on
            own_cases.merchant_id = neighbours.merchant_id
            and own_cases.case_id = labels.case_id
    left join own_days
        on
            own_days.merchant_id = neighbours.merchant_id
            and own_days.decided_date = labels.decided_date
    where
        own_cases.case_id is null
        and own_days.decided_date is null

),

-- Between two rating dates a neighbour is taken as it was at the earlier one.
dates as (

    select
        neighbour_dates.as_of_date,
        max(rating_dates.as_of_date) as rating_date
    from (select distinct as_of_date from neighbours) as neighbour_dates
    inner join rating_dates
        on rating_dates.as_of_date <= neighbour_dates.as_of_date
    group by neighbour_dates.as_of_date

),

final as (

    select
        neighbours.merchant_id,
        neighbours.as_of_date,
        cast(count(*) filter (where not neighbours.is_loose) as integer) as firm_count,
        cast(count(*) filter (where neighbours.is_loose) as integer) as loose_count,
        cast(count(confirmed.neighbour_id) filter (where not neighbours.is_loose) as integer) as firm_confirmed_count,
        cast(count(confirmed.neighbour_id) filter (where neighbours.is_loose) as integer) as loose_confirmed_count,
        cast(sum(firm_states.msrp_ratio_count) as bigint) as msrp_ratio_count,
        sum(firm_states.msrp_ratio_sum) as msrp_ratio_sum,
        cast(sum(firm_states.compared_field_count) as bigint) as compared_field_count,
        cast(sum(firm_states.discrepant_field_count) as bigint) as discrepant_field_count,
        cast(sum(firm_windows.order_count_life) as bigint) as order_count,
        cast(sum(firm_windows.refund_not_authentic_count_life) as bigint) as refund_not_authentic_count,
        cast(sum(firm_windows.text_review_count_life) as bigint) as text_review_count,
        cast(sum(firm_windows.authenticity_complaint_count_life) as bigint) as authenticity_complaint_count
    from neighbours
    inner join dates
        on dates.as_of_date = neighbours.as_of_date
    left join confirmed
        on
            confirmed.merchant_id = neighbours.merchant_id
            and confirmed.as_of_date = neighbours.as_of_date
            and confirmed.neighbour_id = neighbours.neighbour_id
    left join merchant_states as firm_states
        on
            firm_states.merchant_id = neighbours.firm_neighbour_id
            and firm_states.as_of_date = dates.rating_date
    left join merchant_windows as firm_windows
        on
            firm_windows.merchant_id = neighbours.firm_neighbour_id
            and firm_windows.as_of_date = dates.rating_date
    group by
        neighbours.merchant_id,
        neighbours.as_of_date

)

select * from final
