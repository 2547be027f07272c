{# Leads of the date are ranked by expected harm, and each has something on a published list. #}
{% test ranked_by_harm(model) %}

with

ranked as (

    select
        *,
        lag(expected_harm_base) over (order by rank) as harm_above_base
    from {{ model }}
    where status = 'found'

)

select lead_id
from ranked
where
    expected_harm_base > harm_above_base
    or rank is null
    or listed_merchant_count + listed_brusher_count + listed_listing_count + listed_transaction_count = 0

{% endtest %}
