-- Contribution of each load to the days of its events: number of rows and sum of their hashes; one row per load, moment (the
-- column whose day it is) and day. An increment's rows replace earlier ones with the same key, so those are subtracted: the
-- contributions of a table's loads add up to its current rows. A load never changes, so this is computed once per load. A load is
-- identified by the digest of its content, because erasing a person's rows changes that, and by its time.
-- Which loads are new is determined before dbt starts, and is a column of the landed tables.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['table_name', 'content_digest', 'landed_at'],
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where not exists (
        select 1
        from {{ source('landed', 'loads') }} as loads
        where loads.table_name = kept.table_name
            and loads.content_digest = kept.content_digest
            and loads.landed_at = kept.landed_at
    )",
) }}

{% set tables = {
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
        'moments': {'created_at': ['listing_id', 'order_id', 'rating', 'text', 'language', 'has_photo', 'is_verified']},
    },
    'listing_prices': {
        'key': ['listing_id', 'observed_at'],
        'moments': {'observed_at': ['price', 'currency']},
    },
    'listing_snapshots': {
        'key': ['listing_id', 'observed_at'],
        'moments': {'observed_at': []},
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
} %}

with

{% for table, events in tables.items() %}
{{ rows_of_new_loads(table, events.key, events.moments) }}

{% endfor %}
sums as (

    {% for table, events in tables.items() %}
    {% for moment in events.moments %}
    {# Every load has the time at which a listing was last seen, and all of them count. #}
    {{ sums_of_new_loads(table, moment, counts_in_every_load=(moment == 'last_seen_at')) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

final as (

    select
        sums.table_name,
        loads.content_digest,
        sums.landed_at,
        sums.moment,
        sums.day,
        cast(sum(sums.row_count) as bigint) as row_count,
        sum(sums.hash_sum) as hash_sum,
        {{ digest_recipe() }} as recipe
    from sums
    inner join {{ source('landed', 'loads') }} as loads
        on
            loads.table_name = sums.table_name
            and loads.load_id = sums.load_id
            and loads.landed_at = sums.landed_at
    cross join {{ source('landed', 'run') }} as run
    group by
        sums.table_name,
        loads.content_digest,
        sums.landed_at,
        sums.moment,
        sums.day,
        run.project_digest

)

select * from final
