-- What happened to a merchant on a day, itself and through its listings: int_listing_days summed and the events of the
-- merchant as such, one row a day and merchant. Incremental in the same way; a day's digest is that of its listings' rows
-- and of the merchants' own events.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='append_new_columns',
    post_hook='delete from {{ this }} where is_marker',
) }}

{% set measures = merchant_measures() %}

with

int_listing_days as (

    select * from {{ ref('int_listing_days') }}

),

merchant_events as (

    select * from {{ ref('int_merchant_events') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

day_parts as (

    select
        int_listing_days.day,
        min(int_listing_days.day_digest) as listings_digest,
        cast(0 as bigint) as event_count,
        cast(0 as hugeint) as hash_sum
    from int_listing_days
    group by int_listing_days.day
    union all
    select
        merchant_events.event_date as day,
        cast(null as varchar) as listings_digest,
        count(*) as event_count,
        sum({{ row_hash(event_columns().keys()) }}) as hash_sum
    from merchant_events
    group by merchant_events.event_date

),

digests as (

    select
        day_parts.day,
        {{ day_digest(
            "coalesce(min(day_parts.listings_digest), 'none') || ':' || sum(day_parts.event_count)",
            'sum(day_parts.hash_sum)'
        ) }} as day_digest
    from day_parts
    cross join run
    group by
        day_parts.day,
        run.project_digest

),

changed_days as (

    {{ changed_days('digests') }}

),

-- Grouped by part, as int_listing_days is, and for the same reason.
{% for name, part in listing_parts().items() %}
{{ name }} as (

    select
        listing_days.day,
        listing_days.merchant_id,
        {{ added_up(adding_up(part.measures), 'listing_days') }},
        cast(count(*) as integer) as listing_count
    from {{ ref('int_listing_days') }} as listing_days
    inner join changed_days
        on changed_days.day = listing_days.day
    where listing_days.part = '{{ name }}'
    group by
        listing_days.day,
        listing_days.merchant_id

),

{% endfor %}
merchants as (

    select
        events.event_date as day,
        events.merchant_id,
        {{ measures_of_events(measures, measures) }},
        {{ value_at_greatest('events.rating', 'events.event_at') }} as shown_rating_last,
        {{ value_at_greatest('events.sales_count', 'events.event_at') }} as shown_sales_count_last
    from {{ ref('int_merchant_events') }} as events
    inner join changed_days
        on changed_days.day = events.event_date
    group by
        events.event_date,
        events.merchant_id

),

sums as (

    select
        day,
        merchant_id,
        coalesce(orders.listing_count, 0) as ordered_listing_count,
        coalesce(sightings.listing_count, 0) as sighted_listing_count,
        merchants.shown_rating_last,
        merchants.shown_sales_count_last,
        {% for part, declared in listing_parts().items() %}
        {{ or_zero(adding_up(declared.measures), part) }},
        {% endfor %}
        {{ or_zero(measures, 'merchants') }}
    from merchants
    full outer join orders using (day, merchant_id)
    full outer join reviews using (day, merchant_id)
    full outer join sightings using (day, merchant_id)
    full outer join cases using (day, merchant_id)

),

markers as (

    select
        changed_days.day,
        cast(null as varchar) as merchant_id,
        cast(null as integer) as ordered_listing_count,
        cast(null as integer) as sighted_listing_count,
        cast(null as decimal(18, 4)) as shown_rating_last,
        cast(null as bigint) as shown_sales_count_last,
        {{ no_measures(adding_up(listing_measures())) }},
        {{ no_measures(measures) }}
    from changed_days

),

days as (

    select
        *,
        false as is_marker
    from sums
    union all
    select
        *,
        true as is_marker
    from markers

),

final as (

    select
        days.*,
        changed_days.day_digest
    from days
    inner join changed_days
        on changed_days.day = days.day

)

select * from final
