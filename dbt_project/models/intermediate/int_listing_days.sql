-- One row a day, listing and merchant with anything that happened. Incremental by day, and only the days whose digest of
-- events is not the one kept in the table: so a kill, a missed day, a late, corrected or deleted row heal by themselves.
-- Each day that is built brings a marker row, by which a day that has lost all its events deletes what the table holds
-- of it; the hook removes the markers before the same commit.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='append_new_columns',
    post_hook='delete from {{ this }} where is_marker',
) }}

with

int_events as (

    select * from {{ ref('int_events') }}

),

-- The events again under another name: a CTE used twice would be kept in memory, all of it.
events_to_sum as (

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
    where int_events.listing_id is not null
    group by
        int_events.event_date,
        run.project_digest

),

changed_days as (

    {{ changed_days('digests') }}

),

sums as (

    select
        changed_days.day,
        events_to_sum.listing_id,
        events_to_sum.merchant_id,
        {{ measures_of_events(listing_measures()) }},
        {{ value_at_greatest('events_to_sum.price_usd', 'events_to_sum.event_at') }} as price_usd_last,
        changed_days.day_digest
    from events_to_sum
    inner join changed_days
        on changed_days.day = events_to_sum.event_date
    where events_to_sum.listing_id is not null
    group by
        changed_days.day,
        changed_days.day_digest,
        events_to_sum.listing_id,
        events_to_sum.merchant_id

),

markers as (

    select
        changed_days.day,
        cast(null as varchar) as listing_id,
        cast(null as varchar) as merchant_id,
        {%- for name, measure in listing_measures().items() %}
        cast(null as {{ measure.type }}) as {{ name }},
        {%- endfor %}
        cast(null as decimal(18, 4)) as price_usd_last,
        changed_days.day_digest
    from changed_days

),

final as (

    select
        sums.*,
        false as is_marker
    from sums
    union all
    select
        markers.*,
        true as is_marker
    from markers

)

select * from final
