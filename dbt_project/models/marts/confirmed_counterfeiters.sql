-- Merchants confirmed to sell counterfeits by as_of, one row each, with source and time of the confirmation and the merchant's
-- data. Merchants whose only confirmations an appeal reversed are not included.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ labels_and_reversals() }},

upheld as (

    select
        labels.entity_id as merchant_id,
        labels.source,
        labels.case_id,
        labels.via_listing_id,
        labels.decided_at
    from labels
    left join reversals as of_merchant
        on
            of_merchant.entity_kind = 'merchant'
            and of_merchant.entity_id = labels.entity_id
            and of_merchant.violation_type = labels.violation_type
            and of_merchant.reversed_at >= labels.decided_at
    left join reversals as of_listing
        on
            of_listing.entity_kind = 'listing'
            and of_listing.entity_id = labels.via_listing_id
            and of_listing.violation_type = labels.violation_type
            and of_listing.reversed_at >= labels.decided_at
    where
        labels.entity_kind = 'merchant'
        and labels.violation_type = 'counterfeit'
        and labels.is_positive
        and of_merchant.entity_id is null
        and of_listing.entity_id is null

),

confirmed as (

    select
        merchant_id,
        min(decided_at) as confirmed_at,
        max(decided_at) as last_confirmed_at,
        {{ value_at_least('source', '(decided_at, source)') }} as confirmed_by,
        count(*) as confirmation_count,
        count(distinct via_listing_id) as counterfeit_listing_count
    from upheld
    group by merchant_id

),

found as (

    select
        merchant_id,
        bool_or(is_found_during_action) as is_found_during_action,
        count(*) as action_count
    from {{ ref('enforcement_results') }}
    where violation_type = 'counterfeit'
    group by merchant_id

),

active_listings as (

    select
        merchant_id,
        count(*) as active_listing_count
    from {{ ref('listing_spine') }}
    where purpose = 'score'
    group by merchant_id

),

{{ bans() }},

rings as (

    select * from {{ ref('rings') }}

),

final as (

    select
        run.as_of as as_of_date,
        confirmed.merchant_id,
        stg_merchants.name,
        stg_merchants.country,
        stg_merchants.registered_at,
        confirmed.confirmed_at,
        confirmed.confirmed_by,
        confirmed.last_confirmed_at,
        confirmed.confirmation_count,
        confirmed.counterfeit_listing_count,
        coalesce(found.action_count, 0) as action_count,
        coalesce(found.is_found_during_action, false) as is_found_during_action,
        bans.banned_at,
        coalesce(active_listings.active_listing_count, 0) as active_listing_count,
        rings.ring_id,
        rings.merchant_count as ring_merchant_count
    from confirmed
    cross join run
    left join {{ ref('stg_merchants') }} as stg_merchants
        on stg_merchants.merchant_id = confirmed.merchant_id
    left join found
        on found.merchant_id = confirmed.merchant_id
    left join active_listings
        on active_listings.merchant_id = confirmed.merchant_id
    left join bans
        on bans.merchant_id = confirmed.merchant_id
    left join rings
        on rings.merchant_id = confirmed.merchant_id

)

select * from final
