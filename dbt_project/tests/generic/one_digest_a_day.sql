{#
    Every day of a daily table is complete and has exactly one marker row, with its digest. A day that lost all its events has a
    marker without a digest and no other row. A day built twice has two markers; rows without a marker are from an incomplete
    build.
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
