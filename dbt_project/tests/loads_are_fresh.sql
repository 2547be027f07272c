-- The newest event among listings, listing prices and orders is at most 7 days before as_of. It is compared with as_of, never
-- with the clock: a past day is rated as it was. (Limits per table are checked by a gate; this test prevents features that are
-- all null.) It runs with the features.
{{ config(tags=['features']) }}

with

run as (

    select * from {{ source('landed', 'run') }}

),

loads as (

    select * from {{ source('landed', 'loads') }}

),

newest as (

    select max(newest_event_date) as newest_event_date
    from loads
    where
        is_current
        and table_name in ('listings', 'listing_prices', 'orders')

)

select
    newest.newest_event_date,
    run.as_of
from newest
cross join run
where
    newest.newest_event_date is null
    or run.as_of - newest.newest_event_date > 7
