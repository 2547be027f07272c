-- What a merchant's neighbours are like at a date, the merchant itself left out: how many, how many of them were found to
-- sell counterfeits by then, and, of those that nobody could have planted, sums of what they offer and what happened to
-- them; the same sums of their own neighbours (`second_`). One row a merchant with a neighbour, and date. A label of the same
-- case or day as one of the merchant or its goods does not count.
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
        is_loose,
        case when not is_loose then neighbour_id end as firm_neighbour_id
    from {{ ref('merchant_neighbours') }}

),

near_neighbours as (

    select * from neighbours where hop_count = 1

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

{{ confirmed_among('near_neighbours') }}

-- Between two rating dates a neighbour is taken as it was at the earlier one.
dates as (

    {{ last_rating_dates('neighbours') }}

),

final as (

    select
        neighbours.merchant_id,
        neighbours.as_of_date,
        {%- for hop, hop_count in {'': 1, 'second_': 2}.items() %}
        {%- set of_hop = 'filter (where neighbours.hop_count = ' ~ hop_count ~ ')' %}
        cast(sum(firm_states.msrp_ratio_count) {{ of_hop }} as bigint) as {{ hop }}msrp_ratio_count,
        sum(firm_states.msrp_ratio_sum) {{ of_hop }} as {{ hop }}msrp_ratio_sum,
        cast(sum(firm_states.compared_field_count) {{ of_hop }} as bigint) as {{ hop }}compared_field_count,
        cast(sum(firm_states.discrepant_field_count) {{ of_hop }} as bigint) as {{ hop }}discrepant_field_count,
        {%- for column in (
            'order_count', 'refund_not_authentic_count', 'text_review_count', 'authenticity_complaint_count'
        ) %}
        cast(sum(firm_windows.{{ column }}_life) {{ of_hop }} as bigint) as {{ hop }}{{ column }},
        {%- endfor %}
        {%- endfor %}
        cast(count(*) filter (where neighbours.hop_count = 1 and not neighbours.is_loose) as integer) as firm_count,
        cast(count(*) filter (where neighbours.is_loose) as integer) as loose_count,
        cast(count(confirmed.neighbour_id) filter (where not neighbours.is_loose) as integer) as firm_confirmed_count,
        cast(count(confirmed.neighbour_id) filter (where neighbours.is_loose) as integer) as loose_confirmed_count
    from neighbours
    inner join dates
        on dates.as_of_date = neighbours.as_of_date
    left join confirmed
        on
            confirmed.merchant_id = neighbours.merchant_id
            and confirmed.as_of_date = neighbours.as_of_date
            and confirmed.neighbour_id = neighbours.neighbour_id
            and neighbours.hop_count = 1
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
