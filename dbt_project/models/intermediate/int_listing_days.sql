-- What happened to a listing on a day: up to four rows a day, listing and merchant, one for each part (orders, reviews,
-- sightings, cases), to be added up. Incremental by day, and only the days whose digest of events is not the one kept in
-- the table: so a kill, a missed day, a late, corrected or deleted row heal by themselves. Each day that is built brings a
-- marker row, by which a day that has lost all its events deletes what the table holds of it; the hook removes the markers
-- before the same commit.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='append_new_columns',
    post_hook='delete from {{ this }} where is_marker',
) }}

{% set measures = listing_measures() %}

with

int_events as (

    select * from {{ ref('int_events') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

digests as (

    select
        int_events.event_date as day,
        {{ day_digest('count(*)', 'sum(' ~ row_hash(event_columns().keys()) ~ ')') }} as day_digest
    from int_events
    cross join run
    where
        int_events.listing_id is not null
        and int_events.merchant_id is not null
        and int_events.kind <> 'order_shipped'
    group by
        int_events.event_date,
        run.project_digest

),

changed_days as (

    {{ changed_days('digests') }}

),

-- Each part reads the events for itself: a CTE used by all would be kept in memory, every event of it.
{% for name, part in listing_parts().items() %}
{{ name }} as (

    select
        events.event_date as day,
        events.listing_id,
        events.merchant_id,
        '{{ name }}' as part,
        {{ measures_of_events(measures, part.measures) }}
    from {{ ref('int_events') }} as events
    inner join changed_days
        on changed_days.day = events.event_date
    where
        events.listing_id is not null
        and events.merchant_id is not null
        and events.kind in ('{{ part.kinds | join("', '") }}')
    group by
        events.event_date,
        events.listing_id,
        events.merchant_id

),

{% endfor %}
markers as (

    select
        changed_days.day,
        cast(null as varchar) as listing_id,
        cast(null as varchar) as merchant_id,
        cast(null as varchar) as part,
        {{ no_measures(measures) }}
    from changed_days

),

days as (

    {% for name in listing_parts() %}
    select
        *,
        false as is_marker
    from {{ name }}
    union all
    {% endfor %}
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
