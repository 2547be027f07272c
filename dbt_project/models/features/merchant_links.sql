-- What a merchant's neighbours are like at a date, the merchant itself left out: how many, how many of them were found to
-- sell counterfeits by then, and sums of what they offer and what happened to them. One row a merchant with a neighbour,
-- and date. A label of the same case or day as one of the merchant or its goods does not count.
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

neighbours as (

    select * from {{ ref('merchant_neighbours') }}

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

own_cases as (

    select distinct
        merchant_id,
        case_id
    from labels

),

own_days as (

    select distinct
        merchant_id,
        decided_date
    from labels

),

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
        {%- for prefix, condition in {'firm': 'not neighbours.is_loose', 'loose': 'neighbours.is_loose'}.items() %}
        cast(count(*) filter (where {{ condition }}) as integer) as {{ prefix }}_count,
        cast(count(confirmed.neighbour_id) filter (where {{ condition }}) as integer) as {{ prefix }}_confirmed_count,
        {%- for sum in ['msrp_ratio_sum', 'msrp_ratio_count', 'compared_field_count', 'discrepant_field_count'] %}
        coalesce(sum(merchant_states.{{ sum }}) filter (where {{ condition }}), 0) as {{ prefix }}_{{ sum }},
        {%- endfor %}
        {%- for sum in ['order_count', 'refund_not_authentic_count', 'text_review_count', 'authenticity_complaint_count'] %}
        cast(coalesce(sum(merchant_windows.{{ sum }}_life) filter (where {{ condition }}), 0) as bigint) as {{ prefix }}_{{ sum }}
        {{- ',' if not loop.last }}
        {%- endfor %}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from neighbours
    inner join dates
        on dates.as_of_date = neighbours.as_of_date
    left join confirmed
        on
            confirmed.merchant_id = neighbours.merchant_id
            and confirmed.as_of_date = neighbours.as_of_date
            and confirmed.neighbour_id = neighbours.neighbour_id
    left join merchant_states
        on
            merchant_states.merchant_id = neighbours.neighbour_id
            and merchant_states.as_of_date = dates.rating_date
    left join merchant_windows
        on
            merchant_windows.merchant_id = neighbours.neighbour_id
            and merchant_windows.as_of_date = dates.rating_date
    group by
        neighbours.merchant_id,
        neighbours.as_of_date

)

select * from final
