-- Amounts by the currency that they are stated in, and how many of them have no exchange rate; one row per table, currency and
-- day.
with

amounts as (

    select
        'orders' as table_name,
        currency,
        cast(placed_at as date) as day,
        amount,
        amount_base
    from {{ ref('stg_orders') }}
    union all
    select
        'listings' as table_name,
        currency,
        cast(listed_at as date) as day,
        price as amount,
        price_base as amount_base
    from {{ ref('stg_listings') }}
    union all
    select
        'listing_prices' as table_name,
        currency,
        cast(observed_at as date) as day,
        price as amount,
        price_base as amount_base
    from {{ ref('stg_listing_prices') }}
    union all
    select
        'test_buys' as table_name,
        currency,
        cast(ordered_at as date) as day,
        cost as amount,
        cost_base as amount_base
    from {{ ref('stg_test_buys') }}
    union all
    select
        'enforcement_actions' as table_name,
        currency,
        cast(occurred_at as date) as day,
        seized_value as amount,
        seized_value_base as amount_base
    from {{ ref('stg_enforcement_actions') }}
    union all
    select
        'cases' as table_name,
        currency,
        cast(stage_at as date) as day,
        amount,
        amount_base
    from {{ ref('stg_cases') }}

),

final as (

    select
        table_name,
        currency,
        day,
        count(*) as amount_count,
        count(*) filter (where amount_base is null) as no_rate_count
    from amounts
    where amount is not null
    group by
        table_name,
        currency,
        day

)

select * from final
