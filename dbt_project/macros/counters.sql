{#
    Counters of snapshots: what a marketplace counts per listing or merchant, to date and in the last 7, 30 and 90 days. They
    stand in for events of entities that have none; the features are computed from either in the same way. Plain jinja and plain SQL.
#}

{# The windows of counters from the widest to the narrowest, with what their columns' names have before the unit. #}
{% macro counter_windows() %}{{ return({'life': '', '90': '90d_', '30': '30d_', '7': '7d_'}) }}{% endmacro %}

{# The column of a counter in a window, such as returned_30d_count. #}
{% macro counter(name, window, unit='count') %}{{ return(name ~ '_' ~ counter_windows()[window] ~ unit) }}{% endmacro %}

{# The columns of all counters of snapshots, except amounts. #}
{% macro counter_columns() %}
    {% set columns = [] %}
    {% set names = ['sold', 'order', 'returned', 'returned_not_authentic', 'review'] %}
    {% for name in names + star_counters().keys() | list + ['view', 'question'] %}
        {% for window in counter_windows() %}
            {% do columns.append(counter(name, window)) %}
        {% endfor %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{# Select list of the counters of staged snapshots, with the amounts in the base currency too. #}
{% macro counters_of(relation, rate) -%}
    {%- for column in counter_columns() %}
        {{ relation }}.{{ column }},
    {%- endfor %}
    {%- for window in counter_windows() %}
        {%- set amount = relation ~ '.' ~ counter('gmv', window, 'amount') %}
        {{ amount }},
        {{ in_base_currency(amount, relation ~ '.currency', rate) }} as {{ counter('gmv', window, 'amount') }}_base
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# A count that cannot be greater than another, if that is known: returns of orders. #}
{% macro at_most(count, most) %}
    {{ return('case when ' ~ count ~ ' > ' ~ most ~ ' then ' ~ most ~ ' else ' ~ count ~ ' end') }}
{% endmacro %}

{# The counters of ratings, with their stars. #}
{% macro star_counters() %}
    {{ return({'one_star': 1, 'two_star': 2, 'three_star': 3, 'four_star': 4, 'five_star': 5}) }}
{% endmacro %}

{#
    The measures of the daily tables that counters give, by part: SQL over `snapshots` in a window. A mean rating is only known to
    date. Without orders, units sold stand in; without ratings by star, their mean and number.
#}
{% macro counter_measures(window) %}
    {% set stars = [] %}
    {% set weighted = [] %}
    {% for name, value in star_counters().items() %}
        {% do stars.append('snapshots.' ~ counter(name, window)) %}
        {% do weighted.append(value ~ ' * snapshots.' ~ counter(name, window)) %}
    {% endfor %}
    {% set reviews = 'snapshots.' ~ counter('review', window) %}
    {% set mean_sum = 'cast(round(snapshots.rating * ' ~ reviews ~ ') as bigint)' if window == 'life' else 'null' %}
    {% set orders = 'coalesce(snapshots.' ~ counter('order', window) ~ ', snapshots.' ~ counter('sold', window) ~ ')' %}
    {{ return({
        'orders': {
            'order_count': orders,
            'refund_count': at_most('snapshots.' ~ counter('returned', window), orders),
            'refund_not_authentic_count': at_most('snapshots.' ~ counter('returned_not_authentic', window), orders),
        },
        'reviews': {
            'review_count': 'coalesce(' ~ reviews ~ ', ' ~ stars | join(' + ') ~ ')',
            'rating_count': 'coalesce(' ~ stars | join(' + ') ~ ', ' ~ reviews ~ ')',
            'rating_sum': 'coalesce(' ~ weighted | join(' + ') ~ ', ' ~ mean_sum ~ ')',
            'one_star_count': 'snapshots.' ~ counter('one_star', window),
            'five_star_count': 'snapshots.' ~ counter('five_star', window),
        },
    }) }}
{% endmacro %}

{# The windowed sums that counters give, by part: name of the measure and window. #}
{% macro counted_columns(part) %}
    {% set columns = [] %}
    {% for name, windows in summed_columns_by_part()[part].items() %}
        {% for window in windows if name in counter_measures('life')[part] %}
            {% do columns.append((name, window)) %}
        {% endfor %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{# Which window stands for all time: the one that has the most of a part's measures, the widest of several. #}
{% macro widest_window(part, name) -%}
    {%- set windows = counter_windows().keys() | list -%}
    case
        {%- for window in windows[:-1] %}
        {%- set narrower = [] %}
        {%- for other in windows[loop.index:] %}{% do narrower.append('known_' ~ part ~ '_' ~ other) %}{% endfor %}
        when known_{{ part }}_{{ window }} >= greatest({{ narrower | join(', ') }}) then {{ name }}_in_{{ window }}
        {%- endfor %}
        else {{ name }}_in_{{ windows[-1] }}
    end
{%- endmacro %}

{#
    Common table expressions for the counters of an entity in the span of days in which a snapshot is its newest one: of several
    snapshots on a day the last counts.
    relation  the staging model of the snapshots
    key       the entity's id
    extra     further columns: name and SQL over the snapshots' columns
#}
{% macro counter_spans(relation, key, extra={}) -%}
snapshots as (

    select
        *,
        row_number() over (partition by {{ key }}, cast(observed_at as date) order by observed_at desc) as place_in_day
    from {{ relation }}

),

measured as (

    select
        snapshots.*,
        cast(snapshots.observed_at as date) as known_from
        {%- for window in counter_windows() %}
        {%- for part, measures in counter_measures(window).items() %}
        {%- for name, measure in measures.items() %},
        {{ measure }} as {{ name }}_in_{{ window }}
        {%- endfor %}
        {%- endfor %}
        {%- endfor %}
    from snapshots
    where snapshots.place_in_day = 1

),

known as (

    select
        *
        {%- for window in counter_windows() %}
        {%- for part, measures in counter_measures(window).items() %},
        {% for name in measures -%}
        cast({{ name }}_in_{{ window }} is not null as integer){{ ' + ' if not loop.last }}
        {%- endfor %} as known_{{ part }}_{{ window }}
        {%- endfor %}
        {%- endfor %}
    from measured

),

final as (

    select
        {{ key }},
        known_from,
        coalesce(lead(known_from) over (partition by {{ key }} order by known_from), {{ end_of_time() }}) as known_until,
        {% for part in counter_measures('life') %}
        {%- for window in counter_windows() %}
        {{- 'known_' ~ part ~ '_' ~ window ~ (' + ' if not loop.last else ' > 0 as has_' ~ part) }}
        {%- endfor %},
        {%- for name, window in counted_columns(part) %}
        cast(
            {{ widest_window(part, name) if window == 'life' else name ~ '_in_' ~ window }} as bigint
        ) as {{ name }}_{{ window }},
        {%- endfor %}
        {% endfor -%}
        {%- for name, value in extra.items() %}
        {{ value }} as {{ name }},
        {%- endfor %}
        observed_at
    from known

)
{%- endmacro %}

{#
    A counted column in a query, null if the snapshot is too old to tell about its window. `at` is the date.
#}
{% macro counted(relation, name, window, at) -%}
    {%- set column = relation ~ '.' ~ name ~ '_' ~ window -%}
    {{ column if window == 'life' else
        'case when ' ~ relation ~ '.known_from > ' ~ add_days(at, '-' ~ window) ~ ' then ' ~ column ~ ' end' }}
{%- endmacro %}

{# Select list of the counted columns of one entity, and whether they count a part's events. #}
{% macro counters_at(relation, at) -%}
    {%- for part in counter_measures('life') %}
        {{ relation }}.has_{{ part }}
        {%- for name, window in counted_columns(part) %},
        {{ counted(relation, name, window, at) }} as {{ name }}_{{ window }}
        {%- endfor %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# Select list that sums the counted columns of the listings of a place, and whether any of them counts a part's events. #}
{% macro summed_counters(relation, at) -%}
    {%- for part in counter_measures('life') %}
        coalesce(bool_or({{ relation }}.has_{{ part }}), false) as has_{{ part }}
        {%- for name, window in counted_columns(part) %},
        cast(sum({{ counted(relation, name, window, at) }}) as bigint) as {{ name }}_{{ window }}
        {%- endfor %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#
    Select list of a part's windowed sums: from events if the entity has any, else from the first of the counters that count such
    events, else 0 if the platform has events (`platform` is platform_states), else null, which means unknown.
    part      the part, a left join with the key `key`
    counters  left joins with has_<part> and the counted columns, the most specific first
#}
{% macro counts_of_either(part, columns, key, counters) -%}
    {%- set counted_names = [] -%}
    {%- for name, window in counted_columns(part) -%}{%- do counted_names.append(name ~ '_' ~ window) -%}{%- endfor -%}
    {%- for column, windows in columns.items() %}
        {%- for window in windows %}
        {%- set name = column ~ '_' ~ window %}
        case
            when {{ part }}.{{ key }} is not null then {{ part }}.{{ name }}
            {%- for relation in counters %}
            when {{ relation }}.has_{{ part }} then {{ relation ~ '.' ~ name if name in counted_names else 'null' }}
            {%- endfor %}
            when platform.has_{{ part }} then 0
        end as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
