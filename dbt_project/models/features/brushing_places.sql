-- Whose transactions are looked at, and when: one row a merchant and date. At the scoring date everybody's; at the dates of
-- a training those of the merchants of which something is found fake within H days (audits aside: they calibrate), and of a
-- hash sample of all (is_drawn, with the share that was drawn), so that what a training costs does not grow with the
-- platform. The dates are as far apart as the horizon, or nearly: every decision then lies ahead of one of them. Who
-- registers later is not there yet.
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
