-- One row an event, each on its own day: an order is an event when it is placed and another when its parcel arrives. An
-- event carries only what is known at its moment. A view: the daily tables read it by day, nothing else needs it whole.
-- Orders are no import, and every import is used once: an engine that keeps a CTE used twice would keep all its rows.
{{ config(materialized='view') }}

with

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

merchant_events as (

    select * from {{ ref('int_merchant_events') }}

),

owners as (

    select * from {{ ref('int_listing_owners') }}

),

listing_moments as (

    select 'listed' as kind
    union all
    select 'delisted' as kind

),

notice_moments as (

    select 'notice' as kind
    union all
    select 'notice_decided' as kind

),

-- Each moment reads the orders for itself: a bound on event_at then reaches the column, and what lies outside is not read.
order_events as (

    select
        {{ as_event(order_event('order_placed', 'placed_at', {
            'quantity': 'orders.quantity',
            'amount_usd': 'orders.amount_usd',
        })) }}
    from {{ ref('stg_orders') }} as orders
    union all
    select
        {{ as_event(order_event('order_shipped', 'shipped_at', {
            'waited_hours': 'greatest(' ~ hours_between('orders.placed_at', 'orders.shipped_at') ~ ', 0)',
        })) }}
    from {{ ref('stg_orders') }} as orders
    union all
    select
        {{ as_event(order_event('order_delivered', 'delivered_at', {
            'waited_hours': 'greatest(' ~ hours_between('orders.placed_at', 'orders.delivered_at') ~ ', 0)',
        })) }}
    from {{ ref('stg_orders') }} as orders
    union all
    select
        {{ as_event(order_event('order_refunded', 'refunded_at', {
            'detail': 'orders.refund_reason',
            'amount_usd': 'orders.amount_usd',
        })) }}
    from {{ ref('stg_orders') }} as orders

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
    where landed_listings.last_seen_at is not null

),

listing_events as (

    select
        {{ as_event({
            'event_at': 'reviews.created_at',
            'kind': "'review'",
            'event_key': 'reviews.review_id',
            'listing_id': 'reviews.listing_id',
            'rating': 'reviews.rating',
            'is_verified': 'reviews.is_verified',
            'has_photo': 'reviews.has_photo',
            'is_authenticity_complaint': '
                case when reviews.text is not null then authenticity_complaints.review_id is not null end',
        }) }}
    from reviews
    left join authenticity_complaints
        on
            authenticity_complaints.review_id = reviews.review_id
            and authenticity_complaints.load_id = reviews.load_id
    union all
    select
        {{ as_event({
            'event_at': 'sightings.seen_at',
            'kind': "'sighting'",
            'event_key': 'sightings.listing_id',
            'listing_id': 'sightings.listing_id',
            'price_usd': 'sightings.price_usd',
        }) }}
    from sightings
    union all
    select
        {{ as_event({
            'event_at': "case listing_moments.kind when 'listed' then listings.listed_at else listings.delisted_at end",
            'kind': 'listing_moments.kind',
            'event_key': 'listings.listing_id',
            'listing_id': 'listings.listing_id',
        }) }}
    from listings
    cross join listing_moments
    union all
    select
        {{ as_event({
            'event_at': "case notice_moments.kind when 'notice' then notices.submitted_at else notices.decided_at end",
            'kind': 'notice_moments.kind',
            'event_key': 'notices.notice_id',
            'listing_id': 'notices.listing_id',
            'detail': "case notice_moments.kind when 'notice' then notices.kind else notices.outcome end",
        }) }}
    from notices
    cross join notice_moments
    union all
    select
        {{ as_event({
            'event_at': 'test_buys.decided_at',
            'kind': "'test_buy_decided'",
            'event_key': 'test_buys.test_buy_id',
            'listing_id': 'test_buys.listing_id',
            'detail': 'test_buys.verdict',
        }) }}
    from test_buys
    union all
    select
        {{ as_event({
            'event_at': 'moderation_decisions.decided_at',
            'kind': "moderation_decisions.matter || '_decided'",
            'event_key': 'moderation_decisions.entity_id',
            'listing_id': 'moderation_decisions.entity_id',
            'detail': 'moderation_decisions.verdict',
        }) }}
    from moderation_decisions
    where moderation_decisions.entity_kind = 'listing'
    union all
    select
        {{ as_event({
            'event_at': 'platform_actions.occurred_at',
            'kind': 'platform_actions.kind',
            'event_key': 'platform_actions.action_id',
            'listing_id': 'platform_actions.entity_id',
            'detail': 'platform_actions.reason',
        }) }}
    from platform_actions
    where platform_actions.entity_kind = 'listing'

),

all_events as (

    select * from order_events
    union all
    select
        {{ event_from('listing_events', {'merchant_id': 'owners.merchant_id'}) }}
    from listing_events
    left join owners
        on owners.listing_id = listing_events.listing_id
    where listing_events.event_at is not null

),

final as (

    select
        cast(all_events.event_at as date) as event_date,
        all_events.*
    from all_events
    where all_events.event_at is not null
    union all
    select * from merchant_events

)

select * from final
