-- Exchange rates, one row per currency and day. A day without a rate uses the last rate of the week before it. No rate is carried
-- for longer, whether or not a later one exists: later data changes nothing. The first rate also applies to all earlier days from
-- 2000 on (brands state prices from long ago). A table, because every amount of money is converted with it.
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
        case
            when lag(fx_rates.date) over (partition by fx_rates.currency order by fx_rates.date) is null
                then least(cast('2000-01-01' as date), fx_rates.date)
            else fx_rates.date
        end as first_date,
        least(
            {{ add_days('lead(fx_rates.date) over (partition by fx_rates.currency order by fx_rates.date)', -1) }},
            {{ add_days('fx_rates.date', 7) }}
        ) as last_date,
        fx_rates.date = max(fx_rates.date) over (partition by fx_rates.currency) as is_newest
    from fx_rates
    where fx_rates.rate > 0

),

days as (

    select
        spans.*,
        {{ each_date('spans.first_date', 'spans.last_date') }} as date
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
