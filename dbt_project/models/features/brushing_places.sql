-- Merchants and dates whose transactions are analysed; one row per merchant and date. The scoring date has all merchants. The
-- dates of a training have the merchants with something found fake within H days (except by audits, which calibrate) and a hash
-- sample of all (is_drawn, with the sampled share), so that the cost of a training does not grow with the platform. The dates are
-- about as far apart as the horizon, so that every decision is within the horizon of one of them. A merchant is absent before it
-- registers.
with

run as (

    select * from {{ source('landed', 'run') }}

),

merchants as (

    select
        merchant_id,
        registered_at
    from {{ ref('stg_merchants') }}

),

merchant_counts as (

    select least(1.0, round(cast({{ merchants_per_date() }} as double) / count(*), 6)) as drawn_share
    from merchants
    cross join run
    where
        merchants.registered_at is null
        or cast(merchants.registered_at as date) <= run.as_of

),

spine_dates as (

    select
        rating_dates.as_of_date,
        rating_dates.purpose,
        run.label_horizon_days
    from {{ ref('rating_dates') }} as rating_dates
    cross join run
    where
        rating_dates.purpose = 'score'
        or (
            rating_dates.purpose in ('train', 'evaluate')
            and mod(
                cast(floor(({{ days_between('rating_dates.as_of_date', 'run.as_of') }} - run.label_horizon_days) / 7) as integer),
                cast(ceil(run.label_horizon_days / 7) as integer)
            ) = 0
        )

),

labelled as (

    select distinct
        labels.merchant_id,
        spine_dates.as_of_date
    from {{ ref('brushing_labels') }} as labels
    inner join spine_dates
        on
            spine_dates.as_of_date < labels.decided_date
            and labels.decided_date <= {{ add_days('spine_dates.as_of_date', 'spine_dates.label_horizon_days') }}
    where
        spine_dates.purpose <> 'score'
        and labels.is_positive
        and labels.inclusion_probability is null

),

final as (

    select
        spine_dates.as_of_date,
        spine_dates.purpose = 'score' as is_scored,
        merchants.merchant_id,
        merchant_counts.drawn_share,
        {{ key_share("merchants.merchant_id || '|' || cast(spine_dates.as_of_date as varchar)") }}
        < merchant_counts.drawn_share as is_drawn
    from merchants
    cross join merchant_counts
    cross join spine_dates
    left join labelled
        on
            labelled.merchant_id = merchants.merchant_id
            and labelled.as_of_date = spine_dates.as_of_date
    where
        (
            merchants.registered_at is null
            or cast(merchants.registered_at as date) <= spine_dates.as_of_date
        )
        and (
            spine_dates.purpose = 'score'
            or labelled.merchant_id is not null
            or {{ key_share("merchants.merchant_id || '|' || cast(spine_dates.as_of_date as varchar)") }}
            < merchant_counts.drawn_share
        )

)

select * from final
