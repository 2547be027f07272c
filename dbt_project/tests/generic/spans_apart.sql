{# Spans known_from <= day < known_until of one key are at least a day long and do not overlap. #}
{% test spans_apart(model, key) %}

with

spans as (

    select
        {{ key | join(', ') }},
        known_from,
        known_until,
        lead(known_from) over (partition by {{ key | join(', ') }} order by known_from, known_until) as next_from
    from {{ model }}

)

select *
from spans
where
    known_from is null
    or known_until is null
    or known_from >= known_until
    or next_from < known_until

{% endtest %}
