-- Kinds of data that the platform has by a date; one row per date. Features based on data that it lacks are null for all
-- entities, not 0. Booleans instead of counts: the behaviour of a few must not change the features of all.
with

listing_spine as (

    select distinct as_of_date from {{ ref('listing_spine') }}

),

merchant_spine as (

    select distinct as_of_date from {{ ref('merchant_spine') }}

),

events as (

    select
        min(case when order_count > 0 then day end) as first_order_date,
        min(case when delivered_count > 0 then day end) as first_delivery_date,
        min(case when review_count > 0 then day end) as first_review_date,
        min(case when text_review_count > 0 then day end) as first_review_text_date
    from {{ ref('int_merchant_days') }}

),

identifiers as (

    select min(cast(first_seen_at as date)) as first_date
    from {{ ref('stg_merchant_identifiers') }}

),

notices as (

    select min(cast(submitted_at as date)) as first_date
    from {{ ref('stg_notices') }}

),

takedowns as (

    select min(cast(occurred_at as date)) as first_date
    from {{ ref('stg_platform_actions') }}
    where kind = 'takedown'

),

findings as (

    select min(decided_date) as first_date
    from {{ ref('merchant_findings') }}

),

dates as (

    select as_of_date from listing_spine
    union
    select as_of_date from merchant_spine

),

final as (

    select
        dates.as_of_date,
        coalesce(events.first_order_date <= dates.as_of_date, false) as has_orders,
        coalesce(events.first_delivery_date <= dates.as_of_date, false) as has_deliveries,
        coalesce(events.first_review_date <= dates.as_of_date, false) as has_reviews,
        coalesce(events.first_review_text_date <= dates.as_of_date, false) as has_review_texts,
        coalesce(identifiers.first_date <= dates.as_of_date, false) as has_identifiers,
        coalesce(notices.first_date <= dates.as_of_date, false) as has_notices,
        coalesce(takedowns.first_date <= dates.as_of_date, false) as has_takedowns,
        coalesce(findings.first_date <= dates.as_of_date, false) as has_findings
    from dates
    cross join events
    cross join identifiers
    cross join notices
    cross join takedowns
    cross join findings

)

select * from final
