-- Currencies of the amounts stated by the date, and how many have no exchange rate to the base currency; one row per table and
-- currency. The base currency has a row of its own without a table, so that it is known even if nothing has an amount.
with

run as (

    select * from {{ source('landed', 'run') }}

),

currency_days as (

    select * from {{ ref('int_currency_days') }}

),

final as (

    select
        run.as_of as as_of_date,
        currency_days.table_name,
        currency_days.currency,
        coalesce(currency_days.currency = run.base_currency, false) as is_base_currency,
        cast(sum(currency_days.amount_count) as bigint) as amount_count,
        cast(sum(currency_days.no_rate_count) as bigint) as no_rate_count
    from currency_days
    cross join run
    where coalesce(currency_days.day <= run.as_of, true)
    group by
        run.as_of,
        run.base_currency,
        currency_days.table_name,
        currency_days.currency
    union all
    select
        run.as_of as as_of_date,
        cast(null as varchar) as table_name,
        run.base_currency as currency,
        true as is_base_currency,
        cast(0 as bigint) as amount_count,
        cast(0 as bigint) as no_rate_count
    from run

)

select * from final
