-- One row an event, each on its own day: an order is an event when it is placed and another when its parcel arrives. An
-- event carries only what is known at its moment. A view: the daily tables read it by day, nothing else needs it whole.
{{ config(materialized='view') }}

with

orders as (

    select * from {{ ref('stg_orders') }}

),

reviews as (

    select * from {{ ref('stg_reviews') }}

),

authenticity_complaints as (

    select * from {{ ref('int_authenticity_complaints') }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

listing_prices as (

    select * from {{ ref('stg_listing_prices') }}

),

landed_listings as (

    select * from {{ source('landed', 'listings') }}

),

notices as (

    select * from {{ ref('stg_notices') }}

),

test_buys as (

    select * from {{ ref('stg_test_buys') }}

),

moderation_decisions as (

    select * from {{ ref('stg_moderation_decisions') }}

),

platform_actions as (

    select * from {{ ref('stg_platform_actions') }}

),

enforcement_actions as (

    select * from {{ ref('stg_enforcement_actions') }}

),

merchant_snapshots as (

    select * from {{ ref('stg_merchant_snapshots') }}

),

-- The four moments of an order, in one pass over the orders.
order_moments as (

    select 'order_placed' as kind
    union all
    select 'order_shipped' as kind
    union all
    select 'order_delivered' as kind
    union all
    select 'order_refunded' as kind

),

order_events as (

    select
        {{ as_event({
            'event_at': "
                case order_moments.kind
                    when 'order_placed' then orders.placed_at
                    when 'order_shipped' then orders.shipped_at
                    when 'order_delivered' then orders.delivered_at
                    else orders.refunded_at
                end",
            'kind': 'order_moments.kind',
            'event_key': 'orders.order_id',
            'listing_id': 'orders.listing_id',
            'merchant_id': 'orders.merchant_id',
            'detail': "case when order_moments.kind = 'order_refunded' then orders.refund_reason end",
            'quantity': "case when order_moments.kind = 'order_placed' then orders.quantity end",
            'amount_usd': "case when order_moments.kind in ('order_placed', 'order_refunded') then orders.amount_usd end",
            'waited_hours': "
                case order_moments.kind
                    when 'order_shipped' then " ~ hours_between('orders.placed_at', 'orders.shipped_at') ~ "
                    when 'order_delivered' then " ~ hours_between('orders.placed_at', 'orders.delivered_at') ~ "
                end",
        }) }}
    from orders
    cross join order_moments

),

review_events as (

    select
        {{ as_event({
            'event_at': 'reviews.created_at',
            'kind': "'review'",
            'event_key': 'reviews.review_id',
            'listing_id': 'reviews.listing_id',
            'merchant_id': 'listings.merchant_id',
            'rating': 'reviews.rating',
            'is_verified': 'reviews.is_verified',
            'has_photo': 'reviews.has_photo',
            'is_authenticity_complaint': '
                case when reviews.text is not null then authenticity_complaints.review_id is not null end',
        }) }}
    from reviews
    left join listings
        on listings.listing_id = reviews.listing_id
    left join authenticity_complaints
        on authenticity_complaints.review_id = reviews.review_id

),

-- A listing was on offer when a price of it was seen, and whenever a load says that it was last seen.
sightings as (

    select
        listing_prices.listing_id,
        listing_prices.observed_at as seen_at,
        listing_prices.price_usd
    from listing_prices
    union all
    select distinct
        landed_listings.listing_id,
        landed_listings.last_seen_at as seen_at,
        cast(null as decimal(18, 4)) as price_usd
    from landed_listings

),

sighting_events as (

    select
        {{ as_event({
            'event_at': 'sightings.seen_at',
            'kind': "'sighting'",
            'event_key': 'sightings.listing_id',
            'listing_id': 'sightings.listing_id',
            'merchant_id': 'listings.merchant_id',
            'price_usd': 'sightings.price_usd',
        }) }}
    from sightings
    left join listings
        on listings.listing_id = sightings.listing_id

),

listed_events as (

    select
        {{ as_event({
            'event_at': 'listings.listed_at',
            'kind': "'listed'",
            'event_key': 'listings.listing_id',
            'listing_id': 'listings.listing_id',
            'merchant_id': 'listings.merchant_id',
        }) }}
    from listings

),

delisted_events as (

    select
        {{ as_event({
            'event_at': 'listings.delisted_at',
            'kind': "'delisted'",
            'event_key': 'listings.listing_id',
            'listing_id': 'listings.listing_id',
            'merchant_id': 'listings.merchant_id',
        }) }}
    from listings

),

notice_events as (

    select
        {{ as_event({
            'event_at': 'notices.submitted_at',
            'kind': "'notice'",
            'event_key': 'notices.notice_id',
            'listing_id': 'notices.listing_id',
            'merchant_id': 'listings.merchant_id',
            'detail': 'notices.kind',
        }) }}
    from notices
    left join listings
        on listings.listing_id = notices.listing_id

),

notice_decided_events as (

    select
        {{ as_event({
            'event_at': 'notices.decided_at',
            'kind': "'notice_decided'",
            'event_key': 'notices.notice_id',
            'listing_id': 'notices.listing_id',
            'merchant_id': 'listings.merchant_id',
            'detail': 'notices.outcome',
        }) }}
    from notices
    left join listings
        on listings.listing_id = notices.listing_id

),

test_buy_decided_events as (

    select
        {{ as_event({
            'event_at': 'test_buys.decided_at',
            'kind': "'test_buy_decided'",
            'event_key': 'test_buys.test_buy_id',
            'listing_id': 'test_buys.listing_id',
            'merchant_id': 'listings.merchant_id',
            'detail': 'test_buys.verdict',
        }) }}
    from test_buys
    left join listings
        on listings.listing_id = test_buys.listing_id

),

moderation_decided_events as (

    select
        {{ as_event({
            'event_at': 'moderation_decisions.decided_at',
            'kind': "moderation_decisions.matter || '_decided'",
            'event_key': 'moderation_decisions.entity_id',
            'listing_id': "
                case when moderation_decisions.entity_kind = 'listing' then moderation_decisions.entity_id end",
            'merchant_id': "
                case
                    when moderation_decisions.entity_kind = 'merchant' then moderation_decisions.entity_id
                    else listings.merchant_id
                end",
            'detail': 'moderation_decisions.verdict',
        }) }}
    from moderation_decisions
    left join listings
        on
            moderation_decisions.entity_kind = 'listing'
            and listings.listing_id = moderation_decisions.entity_id
    where moderation_decisions.entity_kind in ('listing', 'merchant')

),

platform_events as (

    select
        {{ as_event({
            'event_at': 'platform_actions.occurred_at',
            'kind': 'platform_actions.kind',
            'event_key': 'platform_actions.action_id',
            'listing_id': "case when platform_actions.entity_kind = 'listing' then platform_actions.entity_id end",
            'merchant_id': "
                case
                    when platform_actions.entity_kind = 'merchant' then platform_actions.entity_id
                    else listings.merchant_id
                end",
            'detail': 'platform_actions.reason',
        }) }}
    from platform_actions
    left join listings
        on
            platform_actions.entity_kind = 'listing'
            and listings.listing_id = platform_actions.entity_id
    where platform_actions.entity_kind in ('listing', 'merchant')

),

enforcement_events as (

    select
        {{ as_event({
            'event_at': 'enforcement_actions.occurred_at',
            'kind': "'enforcement'",
            'event_key': 'enforcement_actions.action_id',
            'merchant_id': 'enforcement_actions.merchant_id',
            'detail': 'enforcement_actions.kind',
            'amount_usd': 'enforcement_actions.seized_value_usd',
        }) }}
    from enforcement_actions

),

snapshot_events as (

    select
        {{ as_event({
            'event_at': 'merchant_snapshots.observed_at',
            'kind': "'snapshot'",
            'event_key': 'merchant_snapshots.merchant_id',
            'merchant_id': 'merchant_snapshots.merchant_id',
            'rating': 'merchant_snapshots.rating',
            'sales_count': 'merchant_snapshots.sales_count',
        }) }}
    from merchant_snapshots

),

all_events as (

    select * from order_events
    union all
    select * from review_events
    union all
    select * from sighting_events
    union all
    select * from listed_events
    union all
    select * from delisted_events
    union all
    select * from notice_events
    union all
    select * from notice_decided_events
    union all
    select * from test_buy_decided_events
    union all
    select * from moderation_decided_events
    union all
    select * from platform_events
    union all
    select * from enforcement_events
    union all
    select * from snapshot_events

),

final as (

    select
        cast(all_events.event_at as date) as event_date,
        all_events.*
    from all_events
    where all_events.event_at is not null

)

select * from final
