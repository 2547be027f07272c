-- Results of enforcement as of the date; one row per month, authority, brand and currency. Values are sums in their own currency,
-- and in the base currency if the rate is known.
with

results as (

    select * from {{ ref('enforcement_results') }}

),

final as (

    select
        as_of_date,
        cast(date_trunc('month', occurred_at) as date) as month_date,
        authority,
        brand,
        currency,
        count(*) as action_count,
        count(distinct merchant_id) as merchant_count,
        count(*) filter (where is_found_during_action) as found_count,
        cast(coalesce(sum(suspect_count), 0) as bigint) as suspect_count,
        cast(coalesce(sum(seized_count), 0) as bigint) as seized_count,
        cast(coalesce(sum(seized_value), 0) as decimal(28, 4)) as seized_value,
        cast(coalesce(sum(seized_value_base), 0) as decimal(28, 4)) as seized_value_base,
        {{ median('handed_over_days') }} as handed_over_days
    from results
    group by
        as_of_date,
        cast(date_trunc('month', occurred_at) as date),
        authority,
        brand,
        currency

)

select * from final
