-- What happened on the whole platform by a date: the same sums as of a listing, one row a date. What is usual, beside
-- which few cases say little.
with

listing_spine as (

    select distinct as_of_date from {{ ref('listing_spine') }}

),

merchant_spine as (

    select distinct as_of_date from {{ ref('merchant_spine') }}

),

int_merchant_days as (

    select
        day,
        {{ sums(summed_columns(), 'merchant_days') }}
    from {{ ref('int_merchant_days') }} as merchant_days
    group by day

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

dates as (

    select as_of_date from listing_spine
    union
    select as_of_date from merchant_spine

),

final as (

    select
        dates.as_of_date,
        {{ windowed_sums(summed_columns(), 'int_merchant_days', 'dates.as_of_date') }},
        coalesce(bool_or(identifiers.first_date <= dates.as_of_date), false) as has_identifiers,
        coalesce(bool_or(notices.first_date <= dates.as_of_date), false) as has_notices,
        coalesce(bool_or(takedowns.first_date <= dates.as_of_date), false) as has_takedowns
    from dates
    cross join identifiers
    cross join notices
    cross join takedowns
    left join int_merchant_days
        on int_merchant_days.day <= dates.as_of_date
    group by dates.as_of_date

)

select * from final
