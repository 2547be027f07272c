-- A day without a rate takes the next day's: each rate also holds for the days between it and the rate before, the first
-- one back to the beginning of 2000 (brands state prices from long ago). After the newest rate there is none. A table,
-- because every amount of money looks up its rate here.
{{ config(materialized='table') }}

with

fx_rates as (

    {{ current_rows('fx_rates', ['currency', 'date']) }}

),

spans as (

    select
        fx_rates.currency,
        fx_rates.date as rate_date,
        fx_rates.rate,
        coalesce(
            {{ add_days('lag(fx_rates.date) over (partition by fx_rates.currency order by fx_rates.date)', 1) }},
            least(cast('2000-01-01' as date), fx_rates.date)
        ) as first_date,
        fx_rates.date = max(fx_rates.date) over (partition by fx_rates.currency) as is_newest
    from fx_rates
    where fx_rates.rate > 0

),

days as (

    select
        spans.*,
        {{ each_date('spans.first_date', 'spans.rate_date') }} as date
    from spans

),

final as (

    select
        currency,
        date,
        rate,
        date <> rate_date as is_filled,
        is_newest and date = rate_date as is_newest
    from days

)

select * from final
