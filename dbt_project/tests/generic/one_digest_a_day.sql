{#
    A daily table holds each day once: whole, and of one digest. Days built twice, or half, show in two digests; a marker
    that was left behind shows as a row that is one.
#}
{% test one_digest_a_day(model) %}

select
    day,
    min(day_digest) as least_digest,
    max(day_digest) as greatest_digest
from {{ model }}
group by day
having
    min(day_digest) is distinct from max(day_digest)
    or count(day_digest) < count(*)
    or bool_or(is_marker)

{% endtest %}
