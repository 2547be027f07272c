{#
    Definition of the daily tables' measures: name, aggregation of one day's events, type, and whether the measure is additive
    over days and listings (counts and sums are, prices are not). Means and shares are computed later, over a window. Only
    integers and decimals are summed: a sum of doubles differs between runs.
#}
{% macro listing_measures() %}
    {{ return(measures_of_parts(listing_parts().keys())) }}
{% endmacro %}

{#
    The parts of a listing's days; each is a table of its own. Few events of a listing share a day, so one grouping by all
    measures (45 counters per group, five times the time and memory) would save few rows.
#}
{% macro listing_parts() %}
    {{ return({
        'orders': 'int_order_days',
        'reviews': 'int_review_days',
        'sightings': 'int_sighting_days',
        'cases': 'int_case_days',
    }) }}
{% endmacro %}

{#
    Number of days before its own day that a review looks back: to its order, and to a review with the same text. The limit keeps
    the two shares comparable however long the history is, and limits how many days a correction affects.
#}
{% macro review_look_back_days() %}{{ return(30) }}{% endmacro %}

{# The measures of one part. (Built only on request, because dbt evaluates macros slowly.) #}
{% macro measures_of_part(part) %}
    {% if part == 'orders' %}
        {{ return({
            'order_count': count_where("kind = 'order_placed'"),
            'unit_count': sum_where('coalesce(quantity, 1)', "kind = 'order_placed'"),
            'amount_base': money_where('amount_base', "kind = 'order_placed'"),
            'delivered_count': count_where("kind = 'order_delivered'"),
            'delivery_hours_sum': sum_where('waited_hours', "kind = 'order_delivered'"),
            'refund_count': count_where("kind = 'order_refunded'"),
            'refund_reason_count': count_where("kind = 'order_refunded' and detail is not null"),
            'refund_not_authentic_count': count_where("kind = 'order_refunded' and detail = 'not_authentic'"),
            'refund_not_as_described_count': count_where(
                "kind = 'order_refunded' and detail = 'not_as_described'"
            ),
        }) }}
    {% elif part == 'reviews' %}
        {{ return({
            'review_count': count_where("kind = 'review'"),
            'rating_count': count_where('rating is not null'),
            'rating_sum': sum_where('cast(rating as bigint)', 'rating is not null'),
            'rating_square_sum': sum_where('cast(rating * rating as bigint)', 'rating is not null'),
            'one_star_count': count_where('rating <= 1'),
            'five_star_count': count_where('rating >= 5'),
            'verified_known_count': count_where('is_verified is not null'),
            'verified_review_count': count_where('is_verified'),
            'photo_known_count': count_where('has_photo is not null'),
            'photo_review_count': count_where('has_photo'),
            'text_review_count': count_where('is_authenticity_complaint is not null'),
            'authenticity_complaint_count': count_where('is_authenticity_complaint'),
            'order_review_count': count_where("kind = 'review_of_order'"),
            'early_review_count': count_where("kind = 'review_of_order' and is_early"),
            'long_text_review_count': count_where("kind = 'long_text'"),
            'repeated_review_count': count_where("kind = 'long_text' and is_repeated"),
        }) }}
    {% elif part == 'sightings' %}
        {{ return({
            'sighting_count': count_where("kind = 'sighting'"),
            'price_base_min': price_at('min(price_base)'),
            'price_base_max': price_at('max(price_base)'),
            'price_base_last': price_at(value_at_greatest('price_base', 'event_at')),
        }) }}
    {% elif part == 'cases' %}
        {{ return({
            'listed_count': count_where("kind = 'listed'"),
            'delisted_count': count_where("kind = 'delisted'"),
            'notice_count': count_where("kind = 'notice'"),
            'counterfeit_notice_count': count_where(
                "kind = 'notice' and coalesce(detail, 'counterfeit') = 'counterfeit'"
            ),
            'notice_upheld_count': count_where("kind = 'notice_decided' and detail = 'upheld'"),
            'notice_rejected_count': count_where("kind = 'notice_decided' and detail = 'rejected'"),
            'test_buy_counterfeit_count': count_where("kind = 'test_buy_decided' and detail = 'counterfeit'"),
            'test_buy_genuine_count': count_where("kind = 'test_buy_decided' and detail = 'genuine'"),
            'counterfeit_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'fake'"),
            'genuine_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'genuine'"),
            'brushing_decision_count': count_where("kind = 'brushing_decided' and detail = 'fake'"),
            'takedown_count': count_where("kind = 'takedown'"),
            'restriction_count': count_where("kind = 'restriction'"),
            'reinstatement_count': count_where("kind = 'reinstatement'"),
        }) }}
    {% endif %}
{% endmacro %}

{# The measures of several parts. #}
{% macro measures_of_parts(parts) %}
    {% set measures = {} %}
    {% for part in parts %}
        {% do measures.update(measures_of_part(part)) %}
    {% endfor %}
    {{ return(measures) }}
{% endmacro %}

{# The parts that are also aggregated by merchant. Other merchant measures are computed at an as-of date. #}
{% macro merchant_parts() %}{{ return(['orders', 'reviews']) }}{% endmacro %}

{# Measures of events that concern the merchant itself, not one of its listings. #}
{% macro merchant_measures() %}
    {{ return({
        'merchant_counterfeit_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'fake'"),
        'merchant_genuine_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'genuine'"),
        'merchant_brushing_decision_count': count_where("kind = 'brushing_decided' and detail = 'fake'"),
        'merchant_takedown_count': count_where("kind = 'takedown'"),
        'merchant_restriction_count': count_where("kind = 'restriction'"),
        'merchant_ban_count': count_where("kind = 'ban'"),
        'merchant_reinstatement_count': count_where("kind = 'reinstatement'"),
        'enforcement_count': count_where("kind = 'enforcement'"),
        'seized_value_base': money_where('amount_base', "kind = 'enforcement'"),
        'snapshot_count': count_where("kind = 'snapshot'"),
    }) }}
{% endmacro %}

{% macro count_where(condition) %}
    {{ return({'of_events': 'count(case when ' ~ condition ~ ' then 1 end)', 'adds_up': true, 'type': 'integer'}) }}
{% endmacro %}

{% macro sum_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(case when ' ~ condition ~ ' then ' ~ value ~ ' end), 0)', 'adds_up': true, 'type': 'bigint'}) }}
{% endmacro %}

{% macro money_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(case when ' ~ condition ~ ' then ' ~ value ~ ' end), 0)', 'adds_up': true, 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{% macro price_at(of_events) %}
    {{ return({'of_events': of_events, 'adds_up': false, 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{# Select list that computes measures from events. #}
{% macro measures_of_events(measures) -%}
    {%- for name, measure in measures.items() %}
        cast({{ measure.of_events }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# Select list of `measures` in which those not in `own` are empty: 0 if additive, else null. #}
{% macro measures_beside(measures, own) -%}
    {%- for name, measure in measures.items() %}
        {%- set nothing = 'cast(' ~ ('0' if measure.adds_up else 'null') ~ ' as ' ~ measure.type ~ ') as ' ~ name %}
        {{ name if name in own else nothing }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# Select list of null measures, for marker rows. #}
{% macro no_measures(measures) -%}
    {%- for name, measure in measures.items() %}
        cast(null as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# Select list that sums existing measures over the query's groups; measures not in `own` are 0. #}
{% macro added_up(measures, relation, own) -%}
    {%- for name, measure in measures.items() %}
        cast({{ 'sum(' ~ relation ~ '.' ~ name ~ ')' if name in own else '0' }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#
    The CTEs that one landed table contributes to int_load_days: `<table>_new`, the rows of its new loads, and `<table>_replaced`,
    the earlier rows that new increments replace. `moments` maps each column whose day an event falls on to the columns that the
    event consists of; a change of any other column does not rebuild the day.
    (The keys of replaced rows are looked up first: in an append-only table nothing is replaced, and no other column is read.)
#}
{% macro rows_of_new_loads(table, key, moments) -%}
    {%- set landed_table = source('landed', table) -%}
    {%- set days_and_hashes -%}
        {%- for moment, columns in moments.items() %}
        {%- set hashed = (key + columns + [moment]) | unique | map('replace', '', 'landed_rows.', 1) | list %}
        cast(landed_rows.{{ moment }} as date) as {{ moment }}_day,
        {{ row_hash(hashed) }} as {{ moment }}_hash{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endset -%}
{{ table }}_new as (

    select
        landed_rows.load_id,
        landed_rows.landed_at,
        landed_rows.is_current,
        {{ days_and_hashes }}
    from {{ landed_table }} as landed_rows
    where landed_rows.is_new

),

{{ table }}_replaced_keys as (

    select
        {% for column in key -%}
        landed_rows.{{ column }},
        {% endfor -%}
        increments.load_id,
        increments.landed_at,
        max(landed_rows.landed_at) as replaced_landed_at
    from {{ landed_table }} as landed_rows
    inner join {{ landed_table }} as increments
        on
            {% for column in key -%}
            increments.{{ column }} = landed_rows.{{ column }}
            and {% endfor -%}
            increments.landed_at > landed_rows.landed_at
    where
        landed_rows.is_current
        and increments.is_current
        and increments.is_increment
        and increments.is_new
    group by all

),

{{ table }}_replaced as (

    select
        replaced_keys.load_id,
        replaced_keys.landed_at,
        {{ days_and_hashes }}
    from {{ landed_table }} as landed_rows
    inner join {{ table }}_replaced_keys as replaced_keys
        on
            {% for column in key -%}
            replaced_keys.{{ column }} = landed_rows.{{ column }}
            and {% endfor -%}
            replaced_keys.replaced_landed_at = landed_rows.landed_at
    where landed_rows.is_current

),
{%- endmacro %}

{# Sums over the days of one moment of those rows. Loads that are not current are included only if `counts_in_every_load`. #}
{% macro sums_of_new_loads(table, moment, counts_in_every_load=false) -%}
    select
        '{{ table }}' as table_name,
        load_id,
        landed_at,
        '{{ moment }}' as moment,
        {{ moment }}_day as day,
        count(*) as row_count,
        sum({{ moment }}_hash) as hash_sum
    from {{ table }}_new
    where
        {{ moment }}_day is not null
        {{- '' if counts_in_every_load else ' and is_current' }}
    group by
        load_id,
        landed_at,
        {{ moment }}_day
    {%- if not counts_in_every_load %}
    union all
    select
        '{{ table }}' as table_name,
        load_id,
        landed_at,
        '{{ moment }}' as moment,
        {{ moment }}_day as day,
        -count(*) as row_count,
        -sum({{ moment }}_hash) as hash_sum
    from {{ table }}_replaced
    where {{ moment }}_day is not null
    group by
        load_id,
        landed_at,
        {{ moment }}_day
    {%- endif %}
{%- endmacro %}

{# The part of a digest that does not depend on the rows: version of the code and of the engine. `run` is landed.run. #}
{% macro digest_recipe() -%}
    run.project_digest || ':' || {{ engine_version() }}
{%- endmacro %}

{#
    CTE `changed_days`: the days that a part of the listings' days rebuilds. CTE `bounds`: one row with the range of those days
    (end exclusive) and `look_back_from`, which is `look_back_days` earlier. Joining events with `bounds` before grouping lets the
    engine skip files and row groups outside the range. Without changed days both bounds are in the far future.
#}
{% macro days_to_rebuild(part, look_back_days=0) -%}
changed_days as (

    select * from {{ ref('int_changed_days') }} where part = '{{ part }}'

),

{{ bounds_of_changed_days(look_back_days) }}
{%- endmacro %}

{% macro bounds_of_changed_days(look_back_days=0) -%}
bounds as (

    select
        cast(coalesce(min(day), {{ end_of_time() }}) as timestamp) as first_at,
        cast(coalesce({{ add_days('min(day)', -look_back_days) }}, {{ end_of_time() }}) as timestamp) as look_back_from,
        cast(coalesce({{ add_days('max(day)', 1) }}, {{ end_of_time() }}) as timestamp) as end_at
    from changed_days

),
{%- endmacro %}

{# Whether a moment lies within `bounds`. #}
{% macro is_within_bounds(moment, from='first_at') -%}
    {{ moment }} >= bounds.{{ from }}
    and {{ moment }} < bounds.end_at
{%- endmacro %}

{# Columns of a marker row other than its day, with their types. #}
{% macro marker_columns() %}
    {{ return({'events_digest': 'varchar', 'day_digest': 'varchar', 'owner_change': 'bigint'}) }}
{% endmacro %}

{#
    The last CTE of a part's model. It reads `events` (event_at, listing_id, merchant_id and the columns of the measures) and
    aggregates the events of the changed days by day, listing and merchant. Each rebuilt day also gets a marker row with its
    digests, in the same commit. The marker of a day that lost all its events has no digest, and replaces the day's old rows.
#}
{% macro days_of_events(part) -%}
    {%- set measures = measures_of_part(part) -%}
final as (

    select
        changed_days.day,
        events.listing_id,
        events.merchant_id,
        {{ measures_of_events(measures) }},
        false as is_marker
        {%- for name, type in marker_columns().items() %},
        cast(null as {{ type }}) as {{ name }}
        {%- endfor %}
    from events
    inner join changed_days
        on changed_days.day = cast(events.event_at as date)
    where events.listing_id is not null
    group by
        changed_days.day,
        events.listing_id,
        events.merchant_id
    union all
    select
        changed_days.day,
        cast(null as varchar) as listing_id,
        cast(null as varchar) as merchant_id,
        {{ no_measures(measures) }},
        true as is_marker
        {%- for name in marker_columns() %},
        changed_days.{{ name }}
        {%- endfor %}
    from changed_days

)
{%- endmacro %}
