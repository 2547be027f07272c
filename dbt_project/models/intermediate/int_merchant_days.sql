-- What happened to a merchant on a day, itself and through its listings: their orders and reviews summed and the events of
-- the merchant as such, up to three rows a day and merchant, to be added up. Incremental in the same way; a day's digest is
-- made of those of the listings' parts and of the merchants' own events.
{{ config(materialized='goes_on', forget='forget_changed_days') }}

{% set is_there = goes_on() %}
{% set measures = merchant_measures() %}
{% set parts = merchant_parts() %}
{% set part_measures = measures_of_parts(parts) %}

{% set ctes %}
parts as (

    {% for name in parts %}
    select
        day,
        '{{ name }}' as part,
        day_digest as part_digest,
        cast(0 as bigint) as event_count,
        cast(0 as hugeint) as hash_sum
    from {{ ref(listing_parts()[name].model) }}
    where is_marker
    union all
    {% endfor %}
    select
        merchant_events.event_date as day,
        'merchant' as part,
        cast(null as varchar) as part_digest,
        count(*) as event_count,
        sum({{ row_hash([
            'merchant_events.event_at', 'merchant_events.kind', 'merchant_events.merchant_id', 'merchant_events.detail',
            'merchant_events.amount_usd', 'merchant_events.rating', 'merchant_events.sales_count',
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

{% if is_there %}
kept as (

    select
        day,
        day_digest
    from {{ this }}
    where is_marker

),

{% endif %}
changed_days as (

    {% if is_there %}
    select
        coalesce(digests.day, kept.day) as day,
        digests.day_digest
    from digests
    full outer join kept
        on kept.day = digests.day
    where digests.day_digest is distinct from kept.day_digest
    {% else %}
    select
        day,
        day_digest
    from digests
    {% endif %}

),
{% endset %}
{% set days = ask_days(ctes) if is_there else none %}

with

{{ days_to_build(ctes, days) }}

-- Each part is grouped on its own and gives rows of its own, as the listings' days do, and for the same reason.
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
    from {{ ref(listing_parts()[name].model) }} as listing_days
    inner join changed_days
        on changed_days.day = listing_days.day
    where
        listing_days.merchant_id is not null
        and {{ lies_within('listing_days.day', days) }}
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
    where {{ lies_within('events.event_at', days) }}
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
    where changed_days.day_digest is not null

)

select * from final
