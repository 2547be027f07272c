{#
    A daily table has each day once and complete, with one marker that has its digest; a day that lost all its events has a
    marker without a digest and no other row. A day built twice has two markers, and rows without one were never finished.
#}
{% test one_digest_a_day(model) %}

select
    day,
    count(*) filter (where is_marker) as marker_count
from {{ model }}
group by day
having
    count(*) filter (where is_marker) <> 1
    or count(day_digest) > 1
    or (count(day_digest) = 0 and count(*) > 1)

{% endtest %}
