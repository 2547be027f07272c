{# Every row keeps to an expression; a null is not kept to it. #}
{% test holds(model, expression) %}

select *
from {{ model }}
where not coalesce({{ expression }}, false)

{% endtest %}
