{# The model has as many rows as the other: no join lost or duplicated a row. #}
{% test as_many_rows(model, other) %}

select
    counted.row_count,
    counted_other.row_count as other_row_count
from (select count(*) as row_count from {{ model }}) as counted
cross join (select count(*) as row_count from {{ other }}) as counted_other
where counted.row_count <> counted_other.row_count

{% endtest %}
