-- Daily measures of merchants, additive: orders and reviews of their listings, and events of the merchant itself; up to three
-- rows per day and merchant. Incremental by day; a day's digest is computed from those of the listings' parts and from the
-- merchants' own events.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='fail',
) }}

{% set measures = merchant_measures() %}
{% set parts = merchant_parts() %}
{% set part_measures = measures_of_parts(parts) %}

with

parts as (

    {% for part in parts %}
    select
        day,
        '{{ part }}' as part,
        day_digest as part_digest,
        cast(0 as bigint) as event_count,
        cast(0 as hugeint) as hash_sum
    from {{ ref(listing_parts()[part]) }}
    where
        is_marker
        and day_digest is not null
    union all
    {% endfor %}
    select
        merchant_events.event_date as day,
        'merchant' as part,
        cast(null as varchar) as part_digest,
        count(*) as event_count,
        sum({{ row_hash([
            'merchant_events.event_at', 'merchant_events.kind', 'merchant_events.merchant_id', 'merchant_events.detail',
            'merchant_events.amount_base', 'merchant_events.rating', 'merchant_events.sales_count',
        ]) }}) as hash_sum
    from {{ ref('int_merchant_events') }} as merchant_events
    group by merchant_events.event_date

),

digests as (

    select
        parts.day,
        {{ text_digest(
            "concat_ws(':', "
            ~ "coalesce(min(case when parts.part = 'orders' then parts.part_digest end), 'none'), "
            ~ "coalesce(min(case when parts.part = 'reviews' then parts.part_digest end), 'none'), "
            ~ "sum(parts.event_count), sum(parts.hash_sum), min(" ~ digest_recipe() ~ "))"
        ) }} as day_digest
    from parts
    cross join {{ source('landed', 'run') }} as run
    group by parts.day

),

kept as (

    select
        day,
        day_digest
    from {{ source('previous', 'int_merchant_days') }}
    where is_marker

),

changed_days as (

    select
        coalesce(digests.day, kept.day) as day,
        digests.day_digest
    from digests
    full outer join kept
        on kept.day = digests.day
    where digests.day_digest is distinct from kept.day_digest

),

{{ bounds_of_changed_days() }}

-- Each part is grouped separately and has its own rows, as in the listings' days and for the same reason.
final as (

    {% for name in parts %}
    select
        listing_days.day,
        listing_days.merchant_id,
        '{{ name }}' as part,
        cast(null as decimal(18, 4)) as shown_rating_last,
        cast(null as bigint) as shown_sales_count_last,
        {{ added_up(part_measures, 'listing_days', measures_of_part(name)) }},
        {{ added_up(measures, 'listing_days', {}) }},
        false as is_marker,
        cast(null as varchar) as day_digest
    from {{ ref(listing_parts()[name]) }} as listing_days
    inner join changed_days
        on changed_days.day = listing_days.day
    where listing_days.merchant_id is not null
    group by
        listing_days.day,
        listing_days.merchant_id
    union all
    {% endfor %}
    select
        events.event_date as day,
        events.merchant_id,
        'merchant' as part,
        {{ value_at_greatest('events.rating', 'events.event_at') }} as shown_rating_last,
        {{ value_at_greatest('events.sales_count', 'events.event_at') }} as shown_sales_count_last,
        {{ added_up(part_measures, 'events', {}) }},
        {{ measures_of_events(measures) }},
        false as is_marker,
        cast(null as varchar) as day_digest
    from {{ ref('int_merchant_events') }} as events
    inner join changed_days
        on changed_days.day = events.event_date
    inner join bounds
        on {{ is_within_bounds('events.event_at') }}
    group by
        events.event_date,
        events.merchant_id
    union all
    select
        changed_days.day,
        cast(null as varchar) as merchant_id,
        cast(null as varchar) as part,
        cast(null as decimal(18, 4)) as shown_rating_last,
        cast(null as bigint) as shown_sales_count_last,
        {{ no_measures(part_measures) }},
        {{ no_measures(measures) }},
        true as is_marker,
        changed_days.day_digest
    from changed_days

)

select * from final
