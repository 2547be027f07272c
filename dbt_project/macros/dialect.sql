{#
    Functions that differ between DuckDB and Spark, each dispatched, so that models are plain SQL; and names for some functions
    that both engines share. A new engine needs one `<engine>__` macro per function; a missing one is a compilation error.
    (dbt's own dateadd and datediff are not used: in DuckDB they return timestamps, and count boundaries instead of whole hours.)
    Hashes: `row_hash` is fast and may change with the engine's version, so the version is part of a day's digest. `key_share` is
    md5 and never changes, so samples are drawn from it.
#}

{# A non-negative integer hash of the columns' values; nulls are included. Comparable only within one engine version. #}
{% macro row_hash(columns) %}{{ return(adapter.dispatch('row_hash', 'touchstone')(columns)) }}{% endmacro %}
{#
    DuckDB's hash is fast, but collides for long texts that differ in two places: for one in seven of a million specifications of
    four numbers. Free-text columns are therefore hashed with md5 first; ids and amounts are not.
#}
{% macro duckdb__row_hash(columns) -%}
    {%- set hashed = [] -%}
    {%- for column in columns -%}
        {%- do hashed.append('md5_number_lower(' ~ column ~ ')' if column.split('.')[-1] in written_columns() else column) -%}
    {%- endfor -%}
    hash({{ hashed | join(', ') }})
{%- endmacro %}

{# Names of the columns that hold free text. #}
{% macro written_columns() %}{{ return(['title', 'description', 'specs', 'brand_claimed', 'name', 'aliases', 'text', 'text_key']) }}{% endmacro %}

{# Name and version of the engine, part of every digest that depends on row_hash. #}
{% macro engine_version() %}{{ return(adapter.dispatch('engine_version', 'touchstone')()) }}{% endmacro %}
{% macro duckdb__engine_version() %}'duckdb ' || version(){% endmacro %}

{# 32 hexadecimal digits of a text; equal on every engine and version. #}
{% macro text_digest(text) %}md5({{ text }}){% endmacro %}

{# A pseudo-random number in [0, 1) derived from a text, uniform over keys: 13 hexadecimal digits of its md5. #}
{% macro key_share(text) %}{{ return(adapter.dispatch('key_share', 'touchstone')(text)) }}{% endmacro %}
{% macro duckdb__key_share(text) %}(cast('0x' || left(md5({{ text }}), 13) as bigint) / 4503599627370496.0){% endmacro %}

{# The value in the row with the greatest `order_by`; null if no row has both. #}
{% macro value_at_greatest(value, order_by) %}max_by({{ value }}, {{ order_by }}){% endmacro %}

{# The value in the row with the least `order_by`; null if no row has both. #}
{% macro value_at_least(value, order_by) %}min_by({{ value }}, {{ order_by }}){% endmacro %}

{# Cast that returns null instead of an error if the value does not fit the type. #}
{% macro safe_cast_to(value, type) %}try_cast({{ value }} as {{ type }}){% endmacro %}

{# Whole hours between two times, rounded down. #}
{% macro hours_between(from_time, to_time) %}{{ return(adapter.dispatch('hours_between', 'touchstone')(from_time, to_time)) }}{% endmacro %}
{% macro duckdb__hours_between(from_time, to_time) %}date_sub('hour', {{ from_time }}, {{ to_time }}){% endmacro %}

{# The date `days` days later (earlier if negative). #}
{% macro add_days(date, days) %}{{ return(adapter.dispatch('add_days', 'touchstone')(date, days)) }}{% endmacro %}
{% macro duckdb__add_days(date, days) %}({{ date }} + cast({{ days }} as integer)){% endmacro %}

{# Milliseconds from 1970-01-01 to a time. #}
{% macro milliseconds_until(time) %}{{ return(adapter.dispatch('milliseconds_until', 'touchstone')(time)) }}{% endmacro %}
{% macro duckdb__milliseconds_until(time) %}epoch_ms({{ time }}){% endmacro %}

{# Whole days from one date to another. #}
{% macro days_between(from_date, to_date) %}{{ return(adapter.dispatch('days_between', 'touchstone')(from_date, to_date)) }}{% endmacro %}
{% macro duckdb__days_between(from_date, to_date) %}cast({{ to_date }} - {{ from_date }} as integer){% endmacro %}

{# The median as one of the values (the lower of the two in the middle); never a mean, so it is exact. #}
{% macro median(value) %}{{ return(adapter.dispatch('median', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__median(value) %}quantile_disc({{ value }}, 0.5){% endmacro %}

{# Median absolute deviation. For an even number of DECIMALs it is the exact mean of the middle two. #}
{% macro middle_distance(value) %}{{ return(adapter.dispatch('middle_distance', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__middle_distance(value) %}mad({{ value }}){% endmacro %}

{# The 10th percentile, as one of the values. #}
{% macro p10(value) %}{{ return(adapter.dispatch('p10', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__p10(value) %}quantile_disc({{ value }}, 0.1){% endmacro %}

{# The 90th percentile, as one of the values. #}
{% macro p90(value) %}{{ return(adapter.dispatch('p90', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__p90(value) %}quantile_disc({{ value }}, 0.9){% endmacro %}

{# One row per date from the first to the last, both included; an expression for the select list. #}
{% macro each_date(first_date, last_date) %}{{ return(adapter.dispatch('each_date', 'touchstone')(first_date, last_date)) }}{% endmacro %}
{% macro duckdb__each_date(first_date, last_date) %}cast(unnest(generate_series({{ first_date }}, {{ last_date }}, interval 1 day)) as date){% endmacro %}

{# Lists #}

{# One row per member of a list; an expression for the select list. #}
{% macro each_member(list) %}{{ return(adapter.dispatch('each_member', 'touchstone')(list)) }}{% endmacro %}
{% macro duckdb__each_member(list) %}unnest({{ list }}){% endmacro %}

{# One row per entry of a map from text to numbers: a struct with `key` and `value`. #}
{% macro each_entry(map) %}{{ return(adapter.dispatch('each_entry', 'touchstone')(map)) }}{% endmacro %}
{% macro duckdb__each_entry(map) %}unnest(map_entries({{ map }})){% endmacro %}

{# The mean of a group's numbers, added from the lowest: a sum of doubles depends on the order. #}
{% macro ordered_mean(value) %}{{ return(adapter.dispatch('ordered_mean', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__ordered_mean(value) %}list_avg(list({{ value }} order by {{ value }})){% endmacro %}

{# The last `number` members of a list, in order. #}
{% macro last_members(list, number) %}{{ return(adapter.dispatch('last_members', 'touchstone')(list, number)) }}{% endmacro %}
{% macro duckdb__last_members(list, number) %}list_slice({{ list }}, -{{ number }}, -1){% endmacro %}

{# A list of texts in which each member that is a key of a map is replaced by its value. #}
{% macro replaced_members(list, map) %}{{ return(adapter.dispatch('replaced_members', 'touchstone')(list, map)) }}{% endmacro %}
{% macro duckdb__replaced_members(list, map) %}list_transform({{ list }}, lambda member: coalesce({{ map }}[member], member)){% endmacro %}

{# A map of the keys of a group to their values, each key once. #}
{% macro collect_map(key, value) %}{{ return(adapter.dispatch('collect_map', 'touchstone')(key, value)) }}{% endmacro %}
{% macro duckdb__collect_map(key, value) %}map(list({{ key }} order by {{ key }}), list({{ value }} order by {{ key }})){% endmacro %}

{# Whether a text has a match of a pattern. #}
{% macro matches(text, pattern) %}{{ return(adapter.dispatch('matches', 'touchstone')(text, pattern)) }}{% endmacro %}
{% macro duckdb__matches(text, pattern) %}regexp_matches({{ text }}, {{ pattern }}){% endmacro %}

{# The members of a list of texts joined with a separator. #}
{% macro joined_members(list, separator) %}{{ return(adapter.dispatch('joined_members', 'touchstone')(list, separator)) }}{% endmacro %}
{% macro duckdb__joined_members(list, separator) %}array_to_string({{ list }}, {{ separator }}){% endmacro %}

{# All members of a list except the last. #}
{% macro all_but_last(list) %}{{ return(adapter.dispatch('all_but_last', 'touchstone')(list)) }}{% endmacro %}
{% macro duckdb__all_but_last(list) %}list_slice({{ list }}, 1, -2){% endmacro %}

{# Whether two lists have a member in common. #}
{% macro have_common_member(list_a, list_b) %}{{ return(adapter.dispatch('have_common_member', 'touchstone')(list_a, list_b)) }}{% endmacro %}
{% macro duckdb__have_common_member(list_a, list_b) %}list_has_any({{ list_a }}, {{ list_b }}){% endmacro %}

{# A text in which each member of a list is replaced by a space, one member after the other. #}
{% macro without_members(text, list) %}{{ return(adapter.dispatch('without_members', 'touchstone')(text, list)) }}{% endmacro %}
{% macro duckdb__without_members(text, list) %}list_reduce({{ list }}, lambda kept, member: replace(kept, member, ' '), {{ text }}){% endmacro %}

{# The values of a group as an unordered list. #}
{% macro collect(value) %}{{ return(adapter.dispatch('collect', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__collect(value) %}list({{ value }}){% endmacro %}

{# The values of a group as a sorted list. #}
{% macro collect_in_order(value) %}{{ return(adapter.dispatch('collect_in_order', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__collect_in_order(value) %}list({{ value }} order by {{ value }}){% endmacro %}

{# The distinct values of a group as a sorted list; null if all are null. #}
{% macro collect_distinct_in_order(value) %}{{ return(adapter.dispatch('collect_distinct_in_order', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__collect_distinct_in_order(value) %}list_sort(list(distinct {{ value }}) filter (where {{ value }} is not null)){% endmacro %}

{# The n-grams of a list of texts (`size` consecutive members, joined with spaces): a list, shorter by size - 1. #}
{% macro runs_of(list, size) %}{{ return(adapter.dispatch('runs_of', 'touchstone')(list, size)) }}{% endmacro %}
{% macro duckdb__runs_of(list, size) %}list_transform(
        generate_series(1, len({{ list }}) - {{ size - 1 }}),
        lambda place: array_to_string(list_slice({{ list }}, place, place + {{ size - 1 }}), ' ')
    ){% endmacro %}

{# The members of one list followed by those of another. #}
{% macro both_lists(list_a, list_b) %}{{ return(adapter.dispatch('both_lists', 'touchstone')(list_a, list_b)) }}{% endmacro %}
{% macro duckdb__both_lists(list_a, list_b) %}list_concat({{ list_a }}, {{ list_b }}){% endmacro %}

{# The hash of each member of a list. See row_hash. #}
{% macro hashes_of(list) %}{{ return(adapter.dispatch('hashes_of', 'touchstone')(list)) }}{% endmacro %}
{% macro duckdb__hashes_of(list) %}list_transform({{ list }}, lambda member: hash(member)){% endmacro %}

{# The least hash of a list's members under the hash function with this number; null for an empty list. See row_hash. #}
{% macro least_hash(list, number) %}{{ return(adapter.dispatch('least_hash', 'touchstone')(list, number)) }}{% endmacro %}
{% macro duckdb__least_hash(list, number) %}list_min(list_transform({{ list }}, lambda member: hash(member, {{ number }}))){% endmacro %}

{# The members of a list from one position to another, both included. #}
{% macro members_from(list, first, last) %}{{ return(adapter.dispatch('members_from', 'touchstone')(list, first, last)) }}{% endmacro %}
{% macro duckdb__members_from(list, first, last) %}list_slice({{ list }}, {{ first }}, {{ last }}){% endmacro %}

{# One row per number from 1 to another; an expression for the select list. #}
{% macro each_number(last) %}{{ return(adapter.dispatch('each_number', 'touchstone')(last)) }}{% endmacro %}
{% macro duckdb__each_number(last) %}unnest(generate_series(1, {{ last }})){% endmacro %}

{# A text in which each first part of a list's members ("part|other") is replaced by the other, one member after the other. #}
{% macro replaced_parts(text, list) %}{{ return(adapter.dispatch('replaced_parts', 'touchstone')(text, list)) }}{% endmacro %}
{% macro duckdb__replaced_parts(text, list) %}list_reduce(
        {{ list }}, lambda kept, member: replace(kept, split_part(member, '|', 1), split_part(member, '|', 2)), {{ text }}
    ){% endmacro %}

{# The values of a group as a list, the longest texts first. #}
{% macro collect_longest_first(value) %}{{ return(adapter.dispatch('collect_longest_first', 'touchstone')(value)) }}{% endmacro %}
{% macro duckdb__collect_longest_first(value) %}list({{ value }} order by length({{ value }}) desc, {{ value }}){% endmacro %}

{# The parts of a text between occurrences of a separator. #}
{% macro parts_of(text, separator) %}{{ return(adapter.dispatch('parts_of', 'touchstone')(text, separator)) }}{% endmacro %}
{% macro duckdb__parts_of(text, separator) %}string_split({{ text }}, {{ separator }}){% endmacro %}

{# JSON, held as text; null if the text is not JSON or the member does not exist. #}

{% macro json_member_names(json) %}{{ return(adapter.dispatch('json_member_names', 'touchstone')(json)) }}{% endmacro %}
{% macro duckdb__json_member_names(json) %}json_keys(try_cast({{ json }} as json)){% endmacro %}

{# The type of a JSON text (OBJECT, ARRAY and so on); null if it is not JSON. #}
{% macro json_kind(json) %}{{ return(adapter.dispatch('json_kind', 'touchstone')(json)) }}{% endmacro %}
{% macro duckdb__json_kind(json) %}json_type(try_cast({{ json }} as json)){% endmacro %}

{# The member's value as text. `name` is an expression with any text (it becomes a JSON pointer, with ~ and / escaped). #}
{% macro json_text(json, name) %}{{ return(adapter.dispatch('json_text', 'touchstone')(json, name)) }}{% endmacro %}
{% macro duckdb__json_text(json, name) %}json_extract_string(
        try_cast({{ json }} as json), '/' || replace(replace({{ name }}, '~', '~0'), '/', '~1')
    ){% endmacro %}

{# A text as a quoted JSON string. #}
{% macro json_quoted(text) %}{{ return(adapter.dispatch('json_quoted', 'touchstone')(text)) }}{% endmacro %}
{% macro duckdb__json_quoted(text) %}cast(to_json({{ text }}) as varchar){% endmacro %}

{# The members of a JSON array of texts, as a list. #}
{% macro json_texts(json) %}{{ return(adapter.dispatch('json_texts', 'touchstone')(json)) }}{% endmacro %}
{% macro duckdb__json_texts(json) %}try_cast(try_cast({{ json }} as json) as varchar[]){% endmacro %}

{# The values under a name (a plain word) in each object of a JSON array, as a list of texts. #}
{% macro json_texts_of(json, name) %}{{ return(adapter.dispatch('json_texts_of', 'touchstone')(json, name)) }}{% endmacro %}
{% macro duckdb__json_texts_of(json, name) %}json_extract_string(try_cast({{ json }} as json), '$[*].{{ name }}'){% endmacro %}

{# Texts #}

{# Number of bytes of a text in UTF-8. #}
{% macro bytes_in(text) %}{{ return(adapter.dispatch('bytes_in', 'touchstone')(text)) }}{% endmacro %}
{% macro duckdb__bytes_in(text) %}strlen({{ text }}){% endmacro %}

{# Latin letters without their accents. #}
{% macro without_accents(text) %}{{ return(adapter.dispatch('without_accents', 'touchstone')(text)) }}{% endmacro %}
{% macro duckdb__without_accents(text) %}strip_accents({{ text }}){% endmacro %}

{# A text in which each of `characters` is replaced by the one at the same position in `others`; all three are expressions. #}
{% macro translated(text, characters, others) %}translate({{ text }}, {{ characters }}, {{ others }}){% endmacro %}

{# Regular expressions (the common subset with RE2: no look-around) #}

{% macro replace_matches(text, pattern, replacement) %}{{ return(adapter.dispatch('replace_matches', 'touchstone')(text, pattern, replacement)) }}{% endmacro %}
{% macro duckdb__replace_matches(text, pattern, replacement) %}regexp_replace({{ text }}, {{ pattern }}, {{ replacement }}, 'g'){% endmacro %}

{% macro count_matches(text, pattern) %}{{ return(adapter.dispatch('count_matches', 'touchstone')(text, pattern)) }}{% endmacro %}
{% macro duckdb__count_matches(text, pattern) %}len(regexp_extract_all({{ text }}, {{ pattern }})){% endmacro %}

{# All matches of a pattern in a text, as a list. #}
{% macro all_matches(text, pattern) %}{{ return(adapter.dispatch('all_matches', 'touchstone')(text, pattern)) }}{% endmacro %}
{% macro duckdb__all_matches(text, pattern) %}regexp_extract_all({{ text }}, {{ pattern }}){% endmacro %}

{% macro has_text(text, part) %}contains({{ text }}, {{ part }}){% endmacro %}
