-- Which merchant offers a listing now, and since which change. A table because every event of a listing asks it, and
-- incremental because what changed hands since a daily table was built is found by the number of its change: a run that
-- finds listings that are new, gone or another's gives them the next number. A listing that is gone stays, without a merchant.
-- What no run had seen before is marked as new: of its events only those can have been summed that waited for a merchant.
-- Numbers are the time of the newest load in milliseconds, or one more than the last, so that they rise even where the table
-- is made anew.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='listing_id',
    on_schema_change='append_new_columns',
) }}

with

listings as (

    select * from {{ ref('stg_listings') }}

),

newest as (

    select coalesce({{ milliseconds_until('max(loads.landed_at)') }}, 0) as owner_change
    from {{ source('landed', 'loads') }} as loads

),

{% if is_incremental() %}
known_until as (

    select coalesce(max(owner_change), 0) as owner_change
    from {{ this }}

),

{% endif %}
final as (

    {% if is_incremental() %}
    select
        coalesce(listings.listing_id, known.listing_id) as listing_id,
        listings.merchant_id,
        greatest(newest.owner_change, known_until.owner_change + 1) as owner_change,
        known.listing_id is null as is_new
    from listings
    full outer join {{ this }} as known
        on known.listing_id = listings.listing_id
    cross join newest
    cross join known_until
    where listings.merchant_id is distinct from known.merchant_id
    {% else %}
    select
        listings.listing_id,
        listings.merchant_id,
        newest.owner_change,
        false as is_new
    from listings
    cross join newest
    {% endif %}

)

select * from final
