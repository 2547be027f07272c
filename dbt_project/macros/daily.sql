{#
    What the daily tables hold, said once: the name of each measure, how it comes out of one day's events, its type, and
    whether it adds up over days and listings (counts and sums do, prices do not). Means and shares are for later, over a
    window. Sums are of integers and decimals only: a sum of doubles differs from run to run.
#}
{% macro listing_measures() %}
    {{ return(measures_of_parts(listing_parts().keys())) }}
{% endmacro %}

{#
    What a listing's days are made of: each part is a table of its own (int_order_days and so on). Few events of a
    listing share a day, so that one grouping by all measures (45 counters for every group, five times the time and
    memory) would save few rows. `has_rates`: amounts are turned into the base currency at the day's rate. `has_owner`: the
    merchant is the listing's present one, which may change; an order bears its own. `rests_on`: moments of which a day of the
    part also rests on those of the days before (see days_rested_on), so that it is built again where one of these changes.
#}
{% macro listing_parts() %}
    {{ return({
        'orders': {
            'model': 'int_order_days',
            'moments': {'orders': ['placed_at', 'delivered_at', 'refunded_at']},
            'has_rates': true,
            'has_owner': false,
        },
        'reviews': {
            'model': 'int_review_days',
            'moments': {'reviews': ['created_at']},
            'rests_on': {'reviews': ['created_at'], 'orders': ['placed_at', 'delivered_at']},
            'has_rates': false,
            'has_owner': true,
        },
        'sightings': {
            'model': 'int_sighting_days',
            'moments': {'listing_prices': ['observed_at'], 'listings': ['last_seen_at']},
            'has_rates': true,
            'has_owner': true,
        },
        'cases': {
            'model': 'int_case_days',
            'moments': {
                'listings': ['listed_at', 'delisted_at'],
                'notices': ['submitted_at', 'decided_at'],
                'test_buys': ['decided_at'],
                'moderation_decisions': ['decided_at'],
                'platform_actions': ['occurred_at'],
            },
            'has_rates': false,
            'has_owner': true,
        },
    }) }}
{% endmacro %}

{#
    How many days before its own a review looks back: to its order, and to a review with the same text. A bound keeps what
    is told of a day comparable, however long the history, and a correction from reaching further.
#}
{% macro days_rested_on() %}30{% endmacro %}

{# The measures of one part. (Each is made only when it is asked for: dbt takes its time over a macro.) #}
{% macro measures_of_part(part) %}
    {% if part == 'orders' %}
        {{ return({
            'order_count': count_where("kind = 'order_placed'"),
            'unit_count': sum_where('coalesce(quantity, 1)', "kind = 'order_placed'"),
            'amount_usd': money_where('amount_usd', "kind = 'order_placed'"),
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
            'price_usd_min': price_at('min(price_usd)'),
            'price_usd_max': price_at('max(price_usd)'),
            'price_usd_last': price_at(value_at_greatest('price_usd', 'event_at')),
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

{# The parts of a listing's days that are summed by merchant too; what else is asked of a merchant is asked at a date. #}
{% macro merchant_parts() %}{{ return(['orders', 'reviews']) }}{% endmacro %}

{# What happens to a merchant itself, beside what happens to its listings. #}
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
        'seized_value_usd': money_where('amount_usd', "kind = 'enforcement'"),
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

{# The select list that makes measures out of events. #}
{% macro measures_of_events(measures) -%}
    {%- for name, measure in measures.items() %}
        cast({{ measure.of_events }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list of measures of which a part has its `own`; those of other parts are nothing: zero, or no price. #}
{% macro measures_beside(measures, own) -%}
    {%- for name, measure in measures.items() %}
        {%- set nothing = 'cast(' ~ ('0' if measure.adds_up else 'null') ~ ' as ' ~ measure.type ~ ') as ' ~ name %}
        {{ name if name in own else nothing }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list of nothing at all, for markers. #}
{% macro no_measures(measures) -%}
    {%- for name, measure in measures.items() %}
        cast(null as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list that adds up measures already made, over whatever the query groups by; those that are not `own` are zero. #}
{% macro added_up(measures, relation, own) -%}
    {%- for name, measure in measures.items() %}
        cast({{ 'sum(' ~ relation ~ '.' ~ name ~ ')' if name in own else '0' }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#
    From which columns of a landed table events come, by the moment on whose day they fall. What is not named here does not
    count as a change of that day: an order that is delivered today leaves the day on which it was placed alone.
#}
{% macro event_moments() %}
    {{ return({
        'orders': {
            'key': ['order_id'],
            'moments': {
                'placed_at': ['listing_id', 'merchant_id', 'quantity', 'amount', 'currency'],
                'delivered_at': ['listing_id', 'merchant_id', 'placed_at'],
                'refunded_at': ['listing_id', 'merchant_id', 'refund_reason'],
            },
        },
        'reviews': {
            'key': ['review_id'],
            'moments': {
                'created_at': ['listing_id', 'order_id', 'rating', 'text', 'language', 'has_photo', 'is_verified'],
            },
        },
        'listing_prices': {
            'key': ['listing_id', 'observed_at'],
            'moments': {'observed_at': ['price', 'currency']},
        },
        'listings': {
            'key': ['listing_id'],
            'moments': {'listed_at': [], 'delisted_at': [], 'last_seen_at': []},
        },
        'notices': {
            'key': ['notice_id'],
            'moments': {'submitted_at': ['listing_id', 'kind'], 'decided_at': ['listing_id', 'outcome']},
        },
        'test_buys': {
            'key': ['test_buy_id'],
            'moments': {'decided_at': ['listing_id', 'verdict']},
        },
        'moderation_decisions': {
            'key': ['entity_kind', 'entity_id', 'violation_type', 'decided_at'],
            'moments': {'decided_at': ['verdict']},
        },
        'platform_actions': {
            'key': ['action_id'],
            'moments': {'occurred_at': ['entity_kind', 'entity_id', 'kind']},
        },
    }) }}
{% endmacro %}

{#
    Of a listing, each load tells when it was last seen, and all of them count (of other tables, and of what else a listing
    tells, only the present rows): so a load's sums of it do not take off what other loads told.
#}
{% macro is_of_all_loads(table, moment) %}{{ return(table == 'listings' and moment == 'last_seen_at') }}{% endmacro %}

{#
    The loads whose days are not added up yet: what landed.loads says of each, the ids of the loads that lay before an
    increment in its table's present state, and its moments, with what is hashed of each and whether the rows that an increment
    replaces are taken off. Of loads that are not present any more only those of listings count (see is_of_all_loads).
#}
{% macro loads_to_add_up() %}
    {% if not execute %}
        {{ return([]) }}
    {% endif %}
    {% set query %}
        select
            loads.table_name,
            loads.load_id,
            loads.content_digest,
            cast(loads.landed_at as varchar) as landed_at,
            loads.mode,
            loads.is_current,
            earlier.load_ids as earlier_load_ids
        from landed.loads as loads
        left join (
            select
                increments.table_name,
                increments.landed_at,
                string_agg(before.load_id, ''', ''' order by before.landed_at) as load_ids
            from landed.loads as increments
            inner join landed.loads as before
                on
                    before.table_name = increments.table_name
                    and before.landed_at < increments.landed_at
            where
                increments.mode = 'incremental'
                and before.is_current
            group by
                increments.table_name,
                increments.landed_at
        ) as earlier
            on
                earlier.table_name = loads.table_name
                and earlier.landed_at = loads.landed_at
        {% if goes_on() %}
        cross join landed.run as run
        left join {{ this }} as added
            on
                added.table_name = loads.table_name
                and added.content_digest = loads.content_digest
                and added.landed_at = loads.landed_at
                and added.recipe = {{ digest_recipe() }}
        {% endif %}
        where
            loads.table_name in ('{{ event_moments().keys() | join("', '") }}')
            and (loads.is_current or loads.table_name = 'listings')
            {{ 'and added.table_name is null' if goes_on() }}
        order by
            loads.table_name,
            loads.landed_at
    {% endset %}
    {% set declared = event_moments() %}
    {% set loads = [] %}
    {% for row in run_query(query).rows %}
        {% set table = declared[row.table_name] %}
        {% set load = {'number': loop.index, 'key': table.key | join(', '), 'moments': []} %}
        {% do load.update(row.dict()) %}
        {% for name, columns in table.moments.items() %}
            {% set is_of_all = is_of_all_loads(row.table_name, name) %}
            {% if row.is_current or is_of_all %}
                {% do load.moments.append({
                    'name': name,
                    'hash': row_hash((table.key + columns + [name]) | unique | list),
                    'takes_off': row.mode == 'incremental' and row.is_current and not is_of_all,
                }) %}
            {% endif %}
        {% endfor %}
        {% do loads.append(load) %}
    {% endfor %}
    {{ return(loads) }}
{% endmacro %}

{# The day and the hash of every moment of a row. #}
{% macro days_and_hashes(moments) -%}
    {%- for moment in moments %}
        cast({{ moment.name }} as date) as {{ moment.name }}_day,
        {{ moment.hash }} as {{ moment.name }}_hash{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The CTEs that read one load: its rows, and those that it replaces if it is an increment. #}
{% macro load_rows(load) -%}
    {%- set source_table = source('landed', load.table_name) %}
load_{{ load.number }}_rows as (

    select
        {{ days_and_hashes(load.moments) }}
    from {{ source_table }} as landed_rows
    where
        landed_rows.load_id = '{{ load.load_id }}'
        and landed_rows.landed_at = timestamp '{{ load.landed_at }}'

),

{% if load.mode == 'incremental' and load.is_current %}
load_{{ load.number }}_replaced_keys as (

    select
        {{ load.key }},
        max(landed_rows.landed_at) as landed_at
    from {{ source_table }} as landed_rows
    inner join (
        select {{ load.key }}
        from {{ source_table }} as landed_rows
        where
            landed_rows.load_id = '{{ load.load_id }}'
            and landed_rows.landed_at = timestamp '{{ load.landed_at }}'
    ) as given
        using ({{ load.key }})
    where
        landed_rows.load_id in ('{{ load.earlier_load_ids }}')
        and landed_rows.landed_at < timestamp '{{ load.landed_at }}'
    group by {{ load.key }}

),

-- Found by their keys first: of what only grows, nothing is replaced, and then no other column is read.
load_{{ load.number }}_replaced as (

    select
        {{ days_and_hashes(load.moments) }}
    from {{ source_table }} as landed_rows
    inner join load_{{ load.number }}_replaced_keys as replaced_keys
        using ({{ load.key }}, landed_at)
    where landed_rows.load_id in ('{{ load.earlier_load_ids }}')

),

{% endif %}
{%- endmacro %}

{# The rows of int_load_days of that load, one select a moment, each with `union all` behind it. #}
{% macro load_days(load) -%}
    {%- for moment in load.moments %}
    {%- for relation, sign in [('rows', ''), ('replaced', '-')] if not sign or moment.takes_off %}
    select
        '{{ load.table_name }}' as table_name,
        '{{ load.content_digest }}' as content_digest,
        timestamp '{{ load.landed_at }}' as landed_at,
        '{{ moment.name }}' as moment,
        {{ moment.name }}_day as day,
        {{ sign }}count(*) as row_count,
        {{ sign }}sum({{ moment.name }}_hash) as hash_sum
    from load_{{ load.number }}_{{ relation }}
    where {{ moment.name }}_day is not null
    group by {{ moment.name }}_day
    union all
    {%- endfor %}
    {%- endfor %}
{%- endmacro %}

{# Deletes what was added up of loads that are pinned no more, and what other code or another engine added up. #}
{% macro forget_other_loads() -%}
    {{ forget_loads_unless(
        'loads.table_name = kept.table_name and loads.content_digest = kept.content_digest '
        ~ 'and loads.landed_at = kept.landed_at and kept.recipe = ' ~ digest_recipe()
    ) }}
{%- endmacro %}

{# What digests of rows rest on beside the rows: this code and this engine. `run` is landed.run. #}
{% macro digest_recipe() -%}
    run.project_digest || ':' || {{ engine_version() }}
{%- endmacro %}

{#
    The CTEs that end in `changed_days`, the days to build of a part: all of them where no table is there, else those whose
    digest of events is not the one kept in the table, and those with an event of a listing that another merchant offers
    now. A day that has lost its last event is among them, with a null digest. Every day is built with the owners of its
    time or looked at when they change, so the newest change that any marker names is one up to which all days hold.

    The digest is made of the sums that int_load_days keeps of each load, so that no event is read for it.
#}
{% macro changed_days(part, is_there) -%}
    {%- set declared = listing_parts()[part] %}
sums as (

    {% for table, moments in declared.moments.items() %}
    {% for moment in moments %}
    select
        load_days.day,
        {% if is_of_all_loads(table, moment) -%}
        sum(distinct load_days.hash_sum) as hash_sum,
        count(distinct load_days.hash_sum) as row_count
        {%- else -%}
        sum(load_days.hash_sum) as hash_sum,
        sum(load_days.row_count) as row_count
        {%- endif %}
    from {{ ref('int_load_days') }} as load_days
    inner join {{ source('landed', 'loads') }} as loads
        on
            loads.table_name = load_days.table_name
            and loads.content_digest = load_days.content_digest
            and loads.landed_at = load_days.landed_at
            {{- '' if is_of_all_loads(table, moment) else ' and loads.is_current' }}
    where
        load_days.table_name = '{{ table }}'
        and load_days.moment = '{{ moment }}'
    group by load_days.day
    {{ 'union all' if not loop.last }}
    {% endfor %}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

{% if declared.has_rates %}
rates as (

    select
        fx_rates.date as day,
        sum({{ row_hash(['fx_rates.currency', 'fx_rates.rate']) }}) as hash_sum
    from {{ ref('stg_fx_rates') }} as fx_rates
    group by fx_rates.date

),

{% endif %}
{% if declared.rests_on %}
rested_on as (

    select
        days.day,
        sum(load_days.hash_sum) as hash_sum
    from (select distinct day from sums) as days
    inner join {{ ref('int_load_days') }} as load_days
        on
            load_days.day >= {{ add_days('days.day', '-' ~ days_rested_on()) }}
            and load_days.day <= days.day
    inner join {{ source('landed', 'loads') }} as loads
        on
            loads.table_name = load_days.table_name
            and loads.content_digest = load_days.content_digest
            and loads.landed_at = load_days.landed_at
            and loads.is_current
    where
        {% for table, moments in declared.rests_on.items() %}
        (load_days.table_name = '{{ table }}' and load_days.moment in ('{{ moments | join("', '") }}'))
        {{- ' or' if not loop.last }}
        {% endfor %}
    group by days.day

),

{% endif %}
digests as (

    select
        sums.day,
        {{ text_digest(
            "concat_ws(':', sum(sums.row_count), sum(sums.hash_sum), "
            ~ ("coalesce(min(rates.hash_sum), 0), " if declared.has_rates else '')
            ~ ("coalesce(min(rested_on.hash_sum), 0), " if declared.rests_on else '') ~ "min(" ~ digest_recipe() ~ '))'
        ) }} as events_digest
    from sums
    cross join {{ source('landed', 'run') }} as run
    {% if declared.has_rates %}
    left join rates
        on rates.day = sums.day
    {% endif %}
    {% if declared.rests_on %}
    left join rested_on
        on rested_on.day = sums.day
    {% endif %}
    group by sums.day
    having sum(sums.row_count) <> 0

),

newest as (

    {% if declared.has_owner %}
    select coalesce(max(owner_change), 0) as owner_change
    from {{ ref('int_listing_owners') }}
    {% else %}
    select cast(0 as bigint) as owner_change
    {% endif %}

),

{% if is_there %}
kept as (

    select
        day,
        events_digest
    from {{ this }}
    where is_marker

),

{% if declared.has_owner %}
{%- set seen = seen_owner_change() %}
waiting as (

    select distinct
        day,
        listing_id
    from {{ this }}
    where
        merchant_id is null
        and not is_marker

),

moved as (

    select built.day
    from {{ this }} as built
    inner join {{ ref('int_listing_owners') }} as owners_now
        on owners_now.listing_id = built.listing_id
    where
        not built.is_marker
        and not owners_now.is_new
        and owners_now.owner_change > {{ seen }}
        and owners_now.merchant_id is distinct from built.merchant_id
    union
    select waiting.day
    from waiting
    inner join {{ ref('int_listing_owners') }} as owners_now
        on owners_now.listing_id = waiting.listing_id
    where
        owners_now.is_new
        and owners_now.owner_change > {{ seen }}

),

{% endif %}
to_build as (

    select
        coalesce(digests.day, kept.day) as day,
        digests.events_digest
    from digests
    full outer join kept
        on kept.day = digests.day
    {% if declared.has_owner %}
    left join moved
        on moved.day = kept.day
    {% endif %}
    where
        digests.events_digest is distinct from kept.events_digest
        {{- ' or moved.day is not null' if declared.has_owner }}

),

{% else %}
to_build as (

    select * from digests

),

{% endif %}
changed_days as (

    select
        to_build.day,
        to_build.events_digest,
        {{ text_digest("to_build.events_digest || ':' || newest.owner_change") }} as day_digest,
        newest.owner_change
    from to_build
    cross join newest

),
{%- endmacro %}

{#
    Up to which change of owners all days of a table hold; -1 where the owners' table was made anew since and its numbers
    began again below that. Asked before, because a bound that is a literal keeps the engine from joining every row.
#}
{% macro seen_owner_change() %}
    {% if not execute %}
        {{ return(-1) }}
    {% endif %}
    {% set query %}
        select case when seen.owner_change <= newest.owner_change then seen.owner_change else -1 end
        from (select coalesce(max(owner_change), -1) as owner_change from {{ this }} where is_marker) as seen
        cross join (select max(owner_change) as owner_change from {{ ref('int_listing_owners') }}) as newest
    {% endset %}
    {{ return(run_query(query).columns[0].values()[0]) }}
{% endmacro %}

{# What a marker of a part bears beside its day, by name, with its type. #}
{% macro marker_columns() %}
    {{ return({'events_digest': 'varchar', 'day_digest': 'varchar', 'owner_change': 'bigint'}) }}
{% endmacro %}

{# Deletes what a daily table holds of the days that it builds. #}
{% macro forget_changed_days() -%}
    delete from {{ this }} where day in (select day from {{ changed_days_table() }})
{%- endmacro %}

{# Where the days that a daily table builds are kept while it does: a table of the connection's own. #}
{% macro changed_days_table() %}{{ return(this.identifier ~ '__changed_days') }}{% endmacro %}

{#
    Finds the days that have changed, by CTEs that end in `changed_days`, before their events are read, and returns the first
    and the last: a bound that is known then keeps the engine from reading what lies outside, so that a day on top of 120
    reads a hundredth of the rows. Both are none where nothing has changed. Only for a table that is there.
#}
{% macro ask_days(ctes) %}
    {% set found = changed_days_table() %}
    {% do run_query('create or replace temporary table ' ~ found ~ ' as with ' ~ ctes.strip().rstrip(',') ~ ' select * from changed_days') %}
    {% set bounds = run_query('select cast(min(day) as varchar), cast(max(day) as varchar) from ' ~ found).rows[0] %}
    {{ return({'first': bounds[0], 'last': bounds[1]}) }}
{% endmacro %}

{# The CTE changed_days out of what was found, or the CTEs that find them where nothing was asked. #}
{% macro days_to_build(ctes, days) -%}
{% if days is none %}
{{ ctes }}
{% else %}
changed_days as (

    select * from {{ changed_days_table() }}

),
{% endif %}
{%- endmacro %}

{#
    The condition that a moment lies between the first of the days (or so many days before it) and the last; true where nothing
    was asked.
#}
{% macro lies_within(moment, days, days_before=0) -%}
    {%- if days is none -%}
        true
    {%- elif days.first -%}
        {{ moment }} >= {{ add_days("date '" ~ days.first ~ "'", '-' ~ days_before) if days_before else "date '" ~ days.first ~ "'" }}
        and {{ moment }} < {{ add_days("date '" ~ days.last ~ "'", 1) }}
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}

{#
    The last CTE of a part's model, over `events` (event_at, listing_id, merchant_id and what the measures are made of): the
    events of the days that have changed, summed by day, listing and merchant. Each day that is built brings a marker row
    with its digests, in the same commit; one that has lost all its events brings nothing.
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
    where changed_days.day_digest is not null

)
{%- endmacro %}
