{# How a specification's fields and values are brought to one form, and when two of them are the same. #}

{# A specification of more fields is not read, and a value of more characters, white space aside, is no value. #}
{% macro most_fields() %}200{% endmacro %}
{% macro most_value_characters() %}200{% endmacro %}

{# What a specification is known by: compare within one build only. #}
{% macro specs_hash(specs) -%}
    case when {{ specs }} is not null then {{ row_hash([specs]) }} end
{%- endmacro %}

{# CTE `written`: each specification that listings of a category write, once. Needs `listing_history` (stg_listing_history). #}
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

{# Whether a specification states anything that can be read. #}
{% macro can_be_read(specs) -%}
    case
        when length({{ specs }}) <= {{ most_characters() }}
            then len({{ json_member_names(specs) }}) between 1 and {{ most_fields() }}
    end
{%- endmacro %}

{# A text in which nothing is reported by case, accents or white space. #}
{% macro plain_text(text) -%}
    {{ single_spaced(without_accents(as_read('lower(' ~ text ~ ')'))) }}
{%- endmacro %}

{#
    The spelling under which a plain text is compared: letters and digits, and a point between two digits, so that
    "Stainless steel" is "stainless-steel" and 3.7 is not 37.
#}
{% macro text_key(plain) -%}
    {{ replace_matches(
        replace_matches(translated(plain, "'_'", "' '"), "'([0-9])[.,]([0-9])'", "'\\1_\\2'"),
        "'[^\\p{L}\\p{N}_]+'", "''"
    ) }}
{%- endmacro %}

{# Whether a plain text is one number, with or without a unit behind it. #}
{% macro is_quantity(plain) -%}
    {{ count_matches(plain, "'^[-+]?[0-9][0-9.,]*\\s*[\\p{L}°%\"]*[.]?$'") }} = 1
{%- endmacro %}

{# The number at the beginning of such a text; 1,500 is a thousand and a half thousand, 1,5 and 0,500 have a decimal comma. #}
{% macro leading_number(plain) -%}
    {%- set digits = replace_matches(plain, "'[^-+0-9.,].*$'", "''") -%}
    {{ safe_cast_to("case
        when " ~ count_matches(digits, "'^[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+([.][0-9]+)?$'") ~ " = 1 then replace(" ~ digits ~ ", ',', '')
        when " ~ count_matches(digits, "'^[-+]?[1-9][0-9]{0,2}([.][0-9]{3})+,[0-9]+$'") ~ " = 1
            then replace(replace(" ~ digits ~ ", '.', ''), ',', '.')
        else rtrim(replace(" ~ digits ~ ", ',', '.'), '.')
    end", 'decimal(24, 6)') }}
{%- endmacro %}

{# The unit behind it, as it is written; nothing where there is none. #}
{% macro unit_behind(plain) -%}
    {{ replace_matches(plain, "'^[-+]?[0-9][0-9.,]*\\s*|[.]$'", "''") }}
{%- endmacro %}

{# Where a field's name ends in a unit, as in case_mm: that unit, and the name without it. #}
{% macro unit_of_field(plain) -%}
    {{ replace_matches(plain, "'^.*[ _-]'", "''") }}
{%- endmacro %}
{% macro field_without_unit(plain) -%}
    {{ replace_matches(plain, "'[ _-]+[^ _-]*$'", "''") }}
{%- endmacro %}

{#
    Whether two statements of one field (relations with text_key, number, amount and base_unit) say the same: numbers by what
    they are worth in the base unit, up to a hundredth where a unit was converted; a number without a unit is what the other
    one states or is worth; all else by its spelling.
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

{# By how much two numbers of one kind differ, in millionths of the greater: at most all of it. Null where they are of two. #}
{% macro millionths_apart(one, other) -%}
    case
        when {{ one }}.base_unit = {{ other }}.base_unit or {{ one }}.unit = '' or {{ other }}.unit = ''
            then
                cast(round(1000000 * least(1.0, abs(cast({{ one }}.amount as double) - cast({{ other }}.amount as double)) / nullif(
                    greatest(abs(cast({{ one }}.amount as double)), abs(cast({{ other }}.amount as double))), 0
                ))) as integer)
    end
{%- endmacro %}

{# A DECIMAL as people write it: without zeros that say nothing. #}
{% macro as_number(value) -%}
    {{ replace_matches('cast(' ~ value ~ ' as varchar)', "'[.]?0+$'", "''") }}
{%- endmacro %}
