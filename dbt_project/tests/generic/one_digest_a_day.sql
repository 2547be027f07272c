{#
    A daily table holds each day once: whole, with one marker that bears its digest. A day built twice has two markers, and
    rows without one were never finished.
#}
{% test one_digest_a_day(model) %}

select
    day,
    count(*) filter (where is_marker) as marker_count
from {{ model }}
group by day
having
    count(*) filter (where is_marker) <> 1
    or count(day_digest) <> 1

{% endtest %}
