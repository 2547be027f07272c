{# Expressions that several staging and intermediate models share; plain SQL, equal on every engine. #}

{#
    The current rows of a landed table: those of its newest full load and of its increments, where an increment's row replaces an
    earlier one with the same key. The conditions on is_current and is_increment are resolved when the query is planned: without
    increments nothing is read for `newest`.
#}
{% macro current_rows(table, key) %}
    select landed_rows.*
    from {{ source('landed', table) }} as landed_rows
    left join (
        select
            {{ key | join(', ') }},
            max(landed_at) as landed_at
        from {{ source('landed', table) }}
        where
            is_current
            and is_increment
        group by {{ key | join(', ') }}
    ) as newest
        on
            {% for column in key %}
            newest.{{ column }} = landed_rows.{{ column }}{{ ' and' if not loop.last }}
            {% endfor %}
    where
        landed_rows.is_current
        and (newest.landed_at is null or newest.landed_at = landed_rows.landed_at)
{% endmacro %}

{#
    The versions of a landed table's rows over all its loads: one row per key and change of any of `columns`, with known_from and
    known_until (exclusive). The first known version is valid from the beginning, a later one from the day on which its load
    landed; of several on one day the last is used. With one load, every row is its only version.
    If several models read the versions, `spans` is a table of the same version_spans, so that they are computed once. With
    `ends`, the last version of a key that is missing from a later full load is valid until the day on which that load landed.
#}
{% macro row_versions(table, key, columns, spans=none, ends=false) %}
    select
        *,
        {{ beginning() }} as known_from,
        {{ end_of_time() }} as known_until
    from {{ source('landed', table) }}
    where is_only_load
    union all
    select
        landed_rows.*,
        spans.known_from,
        spans.known_until
    from {{ source('landed', table) }} as landed_rows
    inner join {{ spans or '(' ~ version_spans(table, key, columns, ends) ~ ')' }} as spans
        on
            {% for column in key %}
            spans.{{ column }} = landed_rows.{{ column }} and
            {% endfor %}
            spans.landed_at = landed_rows.landed_at
    where not landed_rows.is_only_load
{% endmacro %}

{#
    The load that contains each version of a row, and the span in which it was known: the key, landed_at, known_from and
    known_until.
#}
{% macro version_spans(table, key, columns, ends=false) %}
    {%- set keys = key | join(', ') %}
    select
        {{ keys }},
        landed_at,
        {{ beginning() }} as known_from,
        {{ end_of_time() }} as known_until
    from {{ source('landed', table) }}
    where is_only_load
    union all
    select
        {{ keys }},
        landed_at,
        known_from,
        known_until
    from (
        select
            {{ keys }},
            landed_at,
            version_hash,
            case
                when row_number() over (partition by {{ keys }} order by landed_at) = 1
                    then {{ beginning() }}
                else cast(landed_at as date)
            end as known_from,
            coalesce(
                cast(lead(landed_at) over (partition by {{ keys }} order by landed_at) as date),
                {{ end_of_time() }}
            ) as known_until
        from (
            select
                *,
                lag(version_hash) over (partition by {{ keys }} order by landed_at) as version_hash_before
            from (
                select
                    *,
                    row_number() over (
                        partition by {{ keys }}, cast(landed_at as date)
                        order by landed_at desc
                    ) as place_in_day
                from (
                    select
                        {{ keys }},
                        landed_at,
                        {{ row_hash(columns) }} as version_hash
                    from {{ source('landed', table) }}
                    where not is_only_load
                    {%- if ends %}
                    union all
                    {{ goings(table, keys) }}
                    {%- endif %}
                ) as versions
            ) as placed
            where place_in_day = 1
        ) as compared
        where version_hash is distinct from version_hash_before
    ) as changes
    where version_hash is not null
{% endmacro %}

{# Keys that are missing from the first full load after one that had them, as versions without a hash. #}
{% macro goings(table, keys) %}
    select
        {{ keys }},
        next_full_loads.landed_at,
        null as version_hash
    from (
        select
            {{ keys }},
            landed_at,
            lead(landed_at) over (partition by {{ keys }} order by landed_at) as next_landed_at
        from {{ source('landed', table) }}
        where not is_only_load
    ) as landings
    inner join (
        select
            loads.landed_at as after,
            min(full_loads.landed_at) as landed_at
        from {{ source('landed', 'loads') }} as loads
        inner join {{ source('landed', 'loads') }} as full_loads
            on
                full_loads.table_name = loads.table_name
                and full_loads.landed_at > loads.landed_at
        where
            loads.table_name = '{{ table }}'
            and full_loads.mode = 'full'
        group by loads.landed_at
    ) as next_full_loads
        on next_full_loads.after = landings.landed_at
    where landings.next_landed_at is null or landings.next_landed_at > next_full_loads.landed_at
{% endmacro %}

{#
    Start of validity of a version of row_versions: a first version that landed after `day` is valid from the day of its load, not
    from the beginning.
#}
{% macro known_from_unless_after(versions, day) -%}
    case
        when {{ versions }}.known_from = {{ beginning() }} and cast({{ versions }}.landed_at as date) > {{ day }}
            then cast({{ versions }}.landed_at as date)
        else {{ versions }}.known_from
    end
{%- endmacro %}

{# Start of a validity that has none, and end (exclusive) of one that has none. #}
{% macro beginning() %}cast('1900-01-01' as date){% endmacro %}
{% macro end_of_time() %}cast('9999-12-31' as date){% endmacro %}

{# The currency that amounts are converted to. It is determined before dbt starts, from the pinned loads and the settings. #}
{% macro base_currency() %}(select run.base_currency from {{ source('landed', 'run') }} as run){% endmacro %}

{#
    An amount in the base currency, DECIMAL(18,4). An amount in that currency needs no rate. Null if the rate is missing, and from
    one billion on, which is an input error and would overflow sums. The product of doubles is deterministic for one row; a sum of
    doubles would not be.
#}
{% macro in_base_currency(amount, currency, rate) -%}
    case
        when {{ currency }} = {{ base_currency() }} then case when {{ amount }} < 1000000000 then {{ amount }} end
        when cast({{ amount }} as double) * {{ rate }} < 1000000000
            then cast(round(cast({{ amount }} as double) * {{ rate }}, 4) as decimal(18, 4))
    end
{%- endmacro %}

{# Normalised spelling of a name for look-ups: lower case, letters and digits only, full-width characters converted. #}
{% macro name_key(name) -%}
    case
        when {{ bytes_in(name) }} <> length({{ name }})
            then {{ replace_matches('lower(' ~ in_plain_width(name) ~ ')', "'[^\\p{L}\\p{N}]+'", "''") }}
        else {{ replace_matches('lower(' ~ name ~ ')', "'[^\\p{L}\\p{N}]+'", "''") }}
    end
{%- endmacro %}

{# A text with full-width Latin letters and digits, as East Asian input methods produce them, replaced by plain ones. #}
{% macro in_plain_width(text) -%}
    {%- set wide = "'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ０１２３４５６７８９'" -%}
    {%- set plain = "'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'" -%}
    {{ translated(text, wide, plain) }}
{%- endmacro %}

{#
    Normalised spelling of a model reference for comparisons: "116610 LN" is "116610ln". A reference without letters or digits is
    unchanged.
#}
{% macro model_key(model_ref) -%}
    coalesce(nullif({{ name_key(model_ref) }}, ''), {{ model_ref }})
{%- endmacro %}

{#
    Key of a model whose reference differs from an earlier one of the brand only in punctuation, such as AX-1.5 and AX-15: it
    matches only the exact spelling.
#}
{% macro own_model_key(model_ref) -%}
    '=' || {{ model_ref }}
{%- endmacro %}

{# Maximum number of merchants with the same identifier; a value that more merchants have creates no links. #}
{% macro most_bearers() %}20{% endmacro %}

{#
    A text as words separated by single spaces, with a space at both ends, so that a phrase can be searched for between spaces:
    lower case, apostrophes removed, every Chinese character a word of its own.
#}
{% macro as_words(text, signs='') -%}
    ' ' || trim({{ replace_matches(
        replace_matches(
            replace_matches('lower(' ~ text ~ ')', "'[''’]'", "''"),
            "'(\\p{Han})'", "' \\1 '"
        ),
        "'[^\\p{L}\\p{N}" ~ signs ~ "]+'", "' '"
    ) }}) || ' '
{%- endmacro %}

{# The same, with a full stop as a separate word at the end of every clause. #}
{% macro as_clauses(text) -%}
    {{ as_words(replace_matches(text, "'[.,;:!?…。，；：！？、\\n]+'", "' . '"), '.') }}
{%- endmacro %}
