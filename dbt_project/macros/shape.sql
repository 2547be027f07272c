{# Phrases that several models of the shape step share; plain SQL, the same on every engine. #}

{#
    The present rows of a landed table: those of its newest full load and its increments, an increment's row in place of an
    earlier one with the same key. The conditions on is_current and is_increment are decided when the query is planned: without
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
    The versions of a landed table's rows over all its loads: one row per key and change of any of `columns`, with
    known_from and known_until (exclusive). The first known version counts from the beginning, a later one from the day
    on which its load landed; of several on one day the last counts. With one load, every row is its only version.
    Where several models read them, `spans` is a table of the same version_spans, so that they are computed once. With `ends`,
    the last version of a key that a full load no longer has is known until the day on which that load landed.
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

{# Which load brought which version of a row, and from when to when it was known: the key, landed_at and the span. #}
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

{# Which keys the first full load after one that had them has no more, as versions without a hash. #}
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
    From when a row of row_versions counts where a first version that landed after a day was not there before: from the day
    of its load.
#}
{% macro known_from_unless_after(versions, day) -%}
    case
        when {{ versions }}.known_from = {{ beginning() }} and cast({{ versions }}.landed_at as date) > {{ day }}
            then cast({{ versions }}.landed_at as date)
        else {{ versions }}.known_from
    end
{%- endmacro %}

{# Validity from the beginning, and without an end (exclusive). #}
{% macro beginning() %}cast('1900-01-01' as date){% endmacro %}
{% macro end_of_time() %}cast('9999-12-31' as date){% endmacro %}

{#
    An amount in the base currency, DECIMAL(18,4); null where the rate is missing, and from a thousand million on, which is
    a slip or a prank and would run over in a sum. One row's product of doubles is the same on every run; what must not be
    done in doubles is a sum.
#}
{% macro in_base_currency(amount, currency, rate) -%}
    case
        when {{ currency }} = 'USD' then case when {{ amount }} < 1000000000 then {{ amount }} end
        when cast({{ amount }} as double) * {{ rate }} < 1000000000
            then cast(round(cast({{ amount }} as double) * {{ rate }}, 4) as decimal(18, 4))
    end
{%- endmacro %}

{# The spelling under which a name is looked up: lower case, letters and digits only, of plain width. #}
{% macro name_key(name) -%}
    case
        when {{ bytes_in(name) }} <> length({{ name }})
            then {{ replace_matches('lower(' ~ in_plain_width(name) ~ ')', "'[^\\p{L}\\p{N}]+'", "''") }}
        else {{ replace_matches('lower(' ~ name ~ ')', "'[^\\p{L}\\p{N}]+'", "''") }}
    end
{%- endmacro %}

{# A text with plain letters and digits in place of wide ones, as East Asian keyboards write them. #}
{% macro in_plain_width(text) -%}
    {%- set wide = "'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ０１２３４５６７８９'" -%}
    {%- set plain = "'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'" -%}
    {{ translated(text, wide, plain) }}
{%- endmacro %}

{# The spelling under which a brand's models are compared: "116610 LN" is "116610ln". What has no letter or digit stays as it is. #}
{% macro model_key(model_ref) -%}
    coalesce(nullif({{ name_key(model_ref) }}, ''), {{ model_ref }})
{%- endmacro %}

{#
    The key of a model whose reference differs from an earlier one of the brand in signs alone, as AX-1.5 from AX-15: it is found
    only as it is written.
#}
{% macro own_model_key(model_ref) -%}
    '=' || {{ model_ref }}
{%- endmacro %}

{# An identifier that more merchants than this bear links nobody. #}
{% macro most_bearers() %}20{% endmacro %}

{#
    A text as words between single spaces, with one before the first and after the last, so that a phrase is found by
    looking for it between spaces: lower case, apostrophes dropped, every Chinese character a word of its own.
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

{# The same, with a full stop as a word of its own wherever a clause ends. #}
{% macro as_clauses(text) -%}
    {{ as_words(replace_matches(text, "'[.,;:!?…。，；：！？、\\n]+'", "' . '"), '.') }}
{%- endmacro %}
