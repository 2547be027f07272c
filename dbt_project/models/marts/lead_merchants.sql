-- Candidates for leads; one row per kind, group and merchant: members of rings, merchants above their threshold that are in no
-- ring, and merchants served by a brushing service (transactions with a service are no evidence against the merchant). With the
-- merchant's entries on lists and the expected harm of its listings. The leads are built after lists are published
-- (dbt_project/models/leads).
with

run as (

    select * from {{ source('landed', 'run') }}

),

rings as (

    select * from {{ ref('rings') }}

),

rated_merchants as (

    select
        merchant_id,
        cast(score as decimal(9, 4)) as score,
        is_flagged and held_by is null as is_listed
    from {{ ref('rated_merchants') }}

),

rated_brushing_merchants as (

    select
        merchant_id,
        cast(score as decimal(9, 4)) as score,
        is_flagged and held_by is null as is_listed
    from {{ ref('rated_brushing_merchants') }}

),

stg_merchants as (

    select * from {{ ref('stg_merchants') }}

),

listings as (

    select
        merchant_id,
        count(*) as listing_count,
        sum(cast(is_listed as integer)) as listed_listing_count,
        sum(unit_count) as unit_count,
        sum(expected_harm_base) as expected_harm_base
    from {{ ref('expected_harms') }}
    group by merchant_id

),

transactions as (

    select
        merchant_id,
        count(*) as listed_transaction_count
    from {{ ref('rated_reviews') }}
    where
        is_flagged
        and held_by is null
    group by merchant_id

),

services as (

    select
        service_id,
        merchant_id,
        min(since_date) as since_date
    from {{ ref('brushing_services') }}
    group by
        service_id,
        merchant_id

),

alone as (

    select merchant_id
    from rated_merchants
    where is_listed
    union
    select merchant_id
    from rated_brushing_merchants
    where is_listed

),

members as (

    select
        'ring' as kind,
        rings.ring_id as group_id,
        rings.merchant_id,
        rings.since_date
    from rings
    union all
    select
        'merchant' as kind,
        alone.merchant_id as group_id,
        alone.merchant_id,
        cast(null as date) as since_date
    from alone
    left join rings
        on rings.merchant_id = alone.merchant_id
    where rings.merchant_id is null
    union all
    select
        'service' as kind,
        services.service_id as group_id,
        services.merchant_id,
        services.since_date
    from services

),

final as (

    select
        run.as_of as as_of_date,
        members.kind,
        members.group_id,
        members.merchant_id,
        stg_merchants.country,
        members.since_date as tied_since_date,
        rated_merchants.score,
        rated_brushing_merchants.score as brushing_score,
        coalesce(rated_merchants.is_listed, false) as is_listed,
        coalesce(rated_brushing_merchants.is_listed, false) as is_brushing_listed,
        coalesce(listings.listing_count, 0) as listing_count,
        cast(coalesce(listings.listed_listing_count, 0) as bigint) as listed_listing_count,
        coalesce(transactions.listed_transaction_count, 0) as listed_transaction_count,
        cast(coalesce(listings.unit_count, 0) as bigint) as unit_count,
        cast(coalesce(listings.expected_harm_base, 0) as decimal(38, 4)) as expected_harm_base
    from members
    cross join run
    left join stg_merchants
        on stg_merchants.merchant_id = members.merchant_id
    left join rated_merchants
        on rated_merchants.merchant_id = members.merchant_id
    left join rated_brushing_merchants
        on rated_brushing_merchants.merchant_id = members.merchant_id
    left join listings
        on listings.merchant_id = members.merchant_id
    left join transactions
        on transactions.merchant_id = members.merchant_id

)

select * from final
