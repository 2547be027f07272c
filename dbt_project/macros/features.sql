{# What several models of the features step say in the same words; plain SQL, the same on every engine. #}

{# One number over another, rounded to six digits; null where either is unknown or there is nothing to divide by. #}
{% macro ratio(numerator, denominator) -%}
    round(cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0), 6)
{%- endmacro %}

{#
    A share that few cases do not make extreme: `weight` imagined cases at the platform's own share are added. Null where
    the platform has none of them at all.
#}
{% macro shrunken_share(part, whole, platform_part, platform_whole, weight) -%}
    round(
        (
            cast({{ part }} as double)
            + {{ weight }} * cast({{ platform_part }} as double) / nullif(cast({{ platform_whole }} as double), 0)
        ) / (cast({{ whole }} as double) + {{ weight }}),
        6
    )
{%- endmacro %}

{# Sums of the columns of a daily table up to as_of (life) and over the last days of each window, as <column>_<window>. #}
{% macro windowed_sums(columns, windows, day, as_of_date) -%}
    {%- for column in columns -%}
        {%- for window in windows %}
    cast(sum(
        {%- if window == 'life' %}{{ column }}
        {%- else %}case when {{ day }} > {{ add_days(as_of_date, '-' ~ window) }} then {{ column }} end
        {%- endif %}) as bigint) as {{ column | replace('.', '_') }}_{{ window }},
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}
