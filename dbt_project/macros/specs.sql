{# Normalisation of a specification's fields and values, and comparison of two values. #}

{# Maximum number of fields of a specification that is parsed, and maximum length of a value without white space. #}
{% macro most_fields() %}200{% endmacro %}
{% macro most_value_characters() %}200{% endmacro %}

{# Hash of a specification; comparable only within one build. #}
{% macro specs_hash(specs) -%}
    case when {{ specs }} is not null then {{ row_hash([specs]) }} end
{%- endmacro %}

{# CTE `written`: the distinct specifications of listings per category. Needs `listing_history` (stg_listing_history). #}
{% macro written_specs() -%}
written as (

    select distinct
        category,
        specs_hash
    from (
        select
            category,
            {{ specs_hash('specs') }} as specs_hash
        from listing_history
        where
            category is not null
            and specs is not null
    ) as versions

),
{%- endmacro %}

{# Whether a specification can be parsed and has a field. #}
{% macro can_be_read(specs) -%}
    case
        when length({{ specs }}) <= {{ most_characters() }}
            then len({{ json_member_names(specs) }}) between 1 and {{ most_fields() }}
    end
{%- endmacro %}

{# A text normalised for case, accents and white space. #}
{% macro plain_text(text) -%}
    {{ single_spaced(without_accents(as_read('lower(' ~ text ~ ')'))) }}
{%- endmacro %}

{#
    Normalised spelling of a plain text for comparisons: letters and digits, and a point between two digits, so that "Stainless
    steel" equals "stainless-steel" and 3.7 differs from 37.
#}
{% macro text_key(plain) -%}
    {{ replace_matches(
        replace_matches(translated(plain, "'_'", "' '"), "'([0-9])[.,]([0-9])'", "'\\1_\\2'"),
        "'[^\\p{L}\\p{N}_]+'", "''"
    ) }}
{%- endmacro %}

{# Whether a plain text is one number, with or without a unit after it. #}
{% macro is_quantity(plain) -%}
    {{ count_matches(plain, "'^[-+]?[0-9][0-9.,]*\\s*[\\p{L}°%\"]*[.]?$'") }} = 1
{%- endmacro %}

{# The number at the beginning of such a text. In 1,500 the comma separates thousands; in 1,5 and 0,500 it is a decimal comma. #}
{% macro leading_number(plain) -%}
    {%- set digits = replace_matches(plain, "'[^-+0-9.,].*$'", "''") -%}
    {{ safe_cast_to("case
        when " ~ count_matches(digits, "'^[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+([.][0-9]+)?$'") ~ " = 1 then replace(" ~ digits ~ ", ',', '')
        when " ~ count_matches(digits, "'^[-+]?[1-9][0-9]{0,2}([.][0-9]{3})+,[0-9]+$'") ~ " = 1
            then replace(replace(" ~ digits ~ ", '.', ''), ',', '.')
        else rtrim(replace(" ~ digits ~ ", ',', '.'), '.')
    end", 'decimal(24, 6)') }}
{%- endmacro %}

{# The unit after the number, as written; empty if there is none. #}
{% macro unit_behind(plain) -%}
    {{ replace_matches(plain, "'^[-+]?[0-9][0-9.,]*\\s*|[.]$'", "''") }}
{%- endmacro %}

{# If a field's name ends in a unit, as in case_mm: the unit, and the name without it. #}
{% macro unit_of_field(plain) -%}
    {{ replace_matches(plain, "'^.*[ _-]'", "''") }}
{%- endmacro %}
{% macro field_without_unit(plain) -%}
    {{ replace_matches(plain, "'[ _-]+[^ _-]*$'", "''") }}
{%- endmacro %}

{#
    Whether two statements of one field (relations with text_key, number, amount, unit and base_unit) agree. Numbers are compared
    in the base unit, with a tolerance of 1 % if a unit was converted. A number without a unit agrees if it equals the other
    number, in its own unit or in the base unit. Everything else is compared by its normalised spelling.
#}
{% macro says_the_same(one, other) -%}
    case
        when {{ one }}.number is null or {{ other }}.number is null then {{ one }}.text_key = {{ other }}.text_key
        when {{ one }}.unit = {{ other }}.unit then {{ one }}.number = {{ other }}.number
        when {{ one }}.base_unit = {{ other }}.base_unit
            then
                abs(cast({{ one }}.amount as double) - cast({{ other }}.amount as double))
                <= 0.01 * greatest(abs(cast({{ one }}.amount as double)), abs(cast({{ other }}.amount as double)))
        when {{ one }}.unit = '' or {{ other }}.unit = ''
            then
                {{ one }}.number = {{ other }}.number
                or {{ one }}.amount = {{ other }}.number
                or {{ one }}.number = {{ other }}.amount
        else false
    end
{%- endmacro %}

{# Difference of two numbers of one dimension, in millionths of the greater, at most 1000000. Null if the dimensions differ. #}
{% macro millionths_apart(one, other) -%}
    case
        when {{ one }}.base_unit = {{ other }}.base_unit or {{ one }}.unit = '' or {{ other }}.unit = ''
            then
                cast(round(1000000 * least(1.0, abs(cast({{ one }}.amount as double) - cast({{ other }}.amount as double)) / nullif(
                    greatest(abs(cast({{ one }}.amount as double)), abs(cast({{ other }}.amount as double))), 0
                ))) as integer)
    end
{%- endmacro %}

{# A DECIMAL without trailing zeros. #}
{% macro as_number(value) -%}
    {{ replace_matches('cast(' ~ value ~ ' as varchar)', "'[.]?0+$'", "''") }}
{%- endmacro %}
