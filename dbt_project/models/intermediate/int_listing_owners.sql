-- The current merchant of each listing, and the number of the change since which it has it; one row per listing. A table, because
-- every event of a listing is joined with it. Incremental, because listings that changed hands since a daily table was built are
-- found by the number of their change: a run that finds listings that are new, gone or moved gives them the next number. A
-- listing that is gone is kept, without a merchant. A listing that no earlier run had is marked as new: only events that had no
-- merchant yet can have been summed before.
-- Numbers are the time of the newest load in milliseconds, or one more than the last, so that they increase even if the table is
-- rebuilt.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='listing_id',
    on_schema_change='fail',
) }}

with

listings as (

    select * from {{ ref('stg_listings') }}

),

known_before as (

    select * from {{ source('previous', 'int_listing_owners') }}

),

-- One row; null if no earlier run had a listing.
known_until as (

    select max(owner_change) as owner_change
    from known_before

),

newest as (

    select coalesce({{ milliseconds_until('max(loads.landed_at)') }}, 0) as owner_change
    from {{ source('landed', 'loads') }} as loads

),

final as (

    select
        coalesce(listings.listing_id, known_before.listing_id) as listing_id,
        listings.merchant_id,
        greatest(newest.owner_change, coalesce(known_until.owner_change + 1, 0)) as owner_change,
        known_before.listing_id is null and known_until.owner_change is not null as is_new
    from listings
    full outer join known_before
        on known_before.listing_id = listings.listing_id
    cross join newest
    cross join known_until
    where
        listings.merchant_id is distinct from known_before.merchant_id
        or known_before.listing_id is null

)

select * from final
