-- What is rated as of a day rests on loads that reach it: the newest event among the tables that say what is on offer and
-- what is bought is at most 7 days before as_of. Against as_of, never the clock: a past day is rated as it was. (How old
-- each table may be is a gate's business; this stops features that would be all nulls.) It runs with the features.
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
