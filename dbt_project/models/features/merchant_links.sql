-- Aggregates over a merchant's neighbours at a date, without the merchant itself: number of neighbours, number of those found to
-- sell counterfeits by then, and, for verified links, sums over their listings and events; the same sums over second-degree
-- neighbours (`second_`). One row per merchant with a neighbour, and date. A label of the same case or day as one of the merchant
-- or its listings does not count.
{% set state_columns = {
    'msrp_ratio_count': 'bigint', 'log_msrp_ratio_sum': 'decimal(38, 6)',
    'compared_field_count': 'bigint', 'discrepant_field_count': 'bigint',
} %}
{% set windowed_columns = {
    'order_count': 'bigint', 'refund_not_authentic_count': 'bigint',
    'text_review_count': 'bigint', 'authenticity_complaint_count': 'bigint',
} %}
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

neighbours as (

    select
        merchant_id,
        as_of_date,
        neighbour_id,
        hop_count,
        is_spoofable
    from {{ ref('merchant_neighbours') }}

),

near_neighbours as (

    select * from neighbours where hop_count = 1

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

merchant_windows as (

    select
        merchant_id,
        as_of_date,
        order_count_life as order_count,
        refund_not_authentic_count_life as refund_not_authentic_count,
        text_review_count_life as text_review_count,
        authenticity_complaint_count_life as authenticity_complaint_count
    from {{ ref('merchant_windows') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

{{ own_cases_and_days() }}

{{ confirmed_among('near_neighbours') }}

-- Between two rating dates, a neighbour's state at the earlier one is used.
dates as (

    {{ last_rating_dates('neighbours') }}

),

verified as (

    select
        neighbours.merchant_id,
        neighbours.as_of_date,
        neighbours.neighbour_id,
        neighbours.hop_count,
        dates.rating_date as state_date
    from neighbours
    inner join dates
        on dates.as_of_date = neighbours.as_of_date
    where not neighbours.is_spoofable

),

sums as (

    {{ neighbour_sums('verified', {'merchant_states': state_columns, 'merchant_windows': windowed_columns}, 'merchant_id') }}

),

counts as (

    select
        near_neighbours.merchant_id,
        near_neighbours.as_of_date,
        cast(count(*) filter (where not near_neighbours.is_spoofable) as integer) as verified_count,
        cast(count(*) filter (where near_neighbours.is_spoofable) as integer) as spoofable_count,
        cast(
            count(confirmed.neighbour_id) filter (where not near_neighbours.is_spoofable) as integer
        ) as verified_confirmed_count,
        cast(count(confirmed.neighbour_id) filter (where near_neighbours.is_spoofable) as integer) as spoofable_confirmed_count
    from near_neighbours
    inner join dates
        on dates.as_of_date = near_neighbours.as_of_date
    left join confirmed
        on
            confirmed.merchant_id = near_neighbours.merchant_id
            and confirmed.as_of_date = near_neighbours.as_of_date
            and confirmed.neighbour_id = near_neighbours.neighbour_id
    group by
        near_neighbours.merchant_id,
        near_neighbours.as_of_date

),

final as (

    select
        counts.*
        {%- for hop in ('', 'second_') %}
        {%- for column in (state_columns | list) + (windowed_columns | list) %},
        sums.{{ hop }}{{ column }}
        {%- endfor %}
        {%- endfor %}
    from counts
    left join sums
        on
            sums.merchant_id = counts.merchant_id
            and sums.as_of_date = counts.as_of_date

)

select * from final
