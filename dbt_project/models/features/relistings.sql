-- Listings that offer again what was removed from the same merchant; one row per listing, removed listing and span of days. Two
-- listings match if they are the same product of a brand or have the same title. A removal counts until it is reversed. A listing
-- that was on offer before the removal is no relisting.
with

actions as (

    select
        action_id,
        entity_id as listing_id,
        kind,
        occurred_at
    from {{ ref('stg_platform_actions') }}
    where
        entity_kind = 'listing'
        and kind in ('takedown', 'reinstatement')

),

listings as (

    select * from {{ ref('stg_listings') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

labels as (

    select * from {{ ref('entity_labels') }}
    where
        listing_id is not null
        and (is_positive or source <> 'notice')

),

removals as (

    select
        takedowns.listing_id,
        listings.merchant_id,
        takedowns.occurred_at,
        cast(takedowns.occurred_at as date) as known_from,
        coalesce(cast(min(reinstatements.occurred_at) as date), {{ end_of_time() }}) as known_until
    from actions as takedowns
    inner join listings
        on listings.listing_id = takedowns.listing_id
    left join actions as reinstatements
        on
            reinstatements.listing_id = takedowns.listing_id
            and reinstatements.kind = 'reinstatement'
            and reinstatements.occurred_at > takedowns.occurred_at
    where takedowns.kind = 'takedown'
    group by
        takedowns.listing_id,
        listings.merchant_id,
        takedowns.action_id,
        takedowns.occurred_at

),

removed_of as (

    select distinct merchant_id from removals

),

-- Only listings of merchants with a removal.
candidates as (

    select
        listings.listing_id,
        listings.merchant_id,
        listings.listed_at
    from listings
    inner join removed_of
        on removed_of.merchant_id = listings.merchant_id

),

products as (

    select
        candidates.*,
        listing_history.known_from,
        listing_history.known_until,
        'title' as kind,
        {{ name_key('listing_history.title') }} as mark
    from candidates
    inner join listing_history
        on listing_history.listing_id = candidates.listing_id
    union all
    select
        candidates.*,
        int_listing_brands.known_from,
        int_listing_brands.known_until,
        'product' as kind,
        int_listing_brands.brand_id || chr(10) || int_listing_brands.model_key as mark
    from candidates
    inner join int_listing_brands
        on int_listing_brands.listing_id = candidates.listing_id

),

relisted as (

    select
        offered.listing_id,
        offered.merchant_id,
        removals.listing_id as removed_listing_id,
        greatest(offered.known_from, cast(offered.listed_at as date)) as known_from,
        least(offered.known_until, removals.known_until) as known_until
    from removals
    inner join products as removed
        on
            removed.listing_id = removals.listing_id
            and removed.known_from <= removals.known_from
            and removed.known_until > removals.known_from
            and removed.mark <> ''
    inner join products as offered
        on
            offered.merchant_id = removals.merchant_id
            and offered.listing_id <> removals.listing_id
            and offered.kind = removed.kind
            and offered.mark = removed.mark
            and offered.listed_at > removals.occurred_at

),

-- Findings of the listing's own case or on its own decision day are excluded. Rejected notices do not exclude: anybody can submit
-- one, and could otherwise choose which findings are ignored.
own_cases as (

    select distinct
        relisted.listing_id,
        relisted.removed_listing_id
    from relisted
    inner join labels as own
        on own.listing_id = relisted.listing_id
    inner join labels as of_removed
        on of_removed.listing_id = relisted.removed_listing_id
    where
        of_removed.case_id = own.case_id
        or of_removed.decided_date = own.decided_date

),

-- A listing found counterfeit is a label of its merchant.
confirmed as (

    select distinct listing_id
    from labels
    where entity_kind = 'merchant'

),

final as (

    select distinct
        relisted.listing_id,
        relisted.merchant_id,
        relisted.removed_listing_id,
        relisted.known_from,
        relisted.known_until,
        confirmed.listing_id is not null as is_confirmed,
        own_cases.listing_id is not null as is_own_case
    from relisted
    left join confirmed
        on confirmed.listing_id = relisted.removed_listing_id
    left join own_cases
        on
            own_cases.listing_id = relisted.listing_id
            and own_cases.removed_listing_id = relisted.removed_listing_id
    where relisted.known_from < relisted.known_until

)

select * from final
