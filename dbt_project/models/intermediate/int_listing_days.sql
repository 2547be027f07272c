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

run as (

    select * from {{ source('landed', 'run') }}

),

listing_events as (

    select * from int_events where listing_id is not null

),

digests as (

    select
        listing_events.event_date as day,
        {{ day_digest('count(*)', 'sum(' ~ row_hash(event_columns().keys()) ~ ')') }} as day_digest
    from listing_events
    cross join run
    group by
        listing_events.event_date,
        run.project_digest

),

changed_days as (

    {{ changed_days('digests') }}

),

sums as (

    select
        changed_days.day,
        listing_events.listing_id,
        listing_events.merchant_id,
        {{ measures_of_events(listing_measures()) }},
        {{ value_at_greatest('listing_events.price_usd', 'listing_events.event_at') }} as price_usd_last,
        changed_days.day_digest
    from listing_events
    inner join changed_days
        on changed_days.day = listing_events.event_date
    group by
        changed_days.day,
        changed_days.day_digest,
        listing_events.listing_id,
        listing_events.merchant_id

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
