-- Dates at which all active entities are analysed, with their purpose; one row per date: the scoring date, the weekly grid of a
-- training (from day 28 of the history to the cutoff date less H; the last two evaluate, unless too few labels would be left to
-- train on), and the other weeks of the history, which only provide peers.
with

run as (

    select * from {{ source('landed', 'run') }}

),

-- The history begins with the first observation or, if somebody decided on an entity before it, with that decision, whose
-- training row needs peers of its date; a listing may have been offered for years before.
observed_days as (

    select day
    from {{ ref('int_listing_days') }}
    where order_count + review_count + sighting_count > 0
    union
    select cast(decided_at as date) as day
    from {{ ref('int_labels') }}

),

-- At most two years: a single order with a wrong, early date must not create thousands of grid dates.
history as (

    select
        run.as_of as cut_date,
        run.label_horizon_days,
        run.with_training,
        greatest(
            coalesce(min(observed_days.day), run.as_of),
            {{ add_days('run.as_of', -728) }}
        ) as first_date
    from run
    left join observed_days
        on observed_days.day <= run.as_of
    group by
        run.as_of,
        run.label_horizon_days,
        run.with_training

),

days as (

    select
        history.*,
        {{ each_date('history.first_date', 'history.cut_date') }} as as_of_date
    from history

),

aged as (

    select
        *,
        {{ days_between('as_of_date', 'cut_date') }} - label_horizon_days as days_before_last,
        {{ days_between('first_date', 'as_of_date') }} + 1 as day_number
    from days

),

-- Labels decided from the first evaluation date on only evaluate. A marketplace that began to decide a few weeks ago would train
-- no model for as long, so until enough positives are older, all of them train. 20 is what a training requires (ml/train.py).
positives as (

    select
        count(distinct labels.entity_id) as positive_count,
        count(distinct case
            when cast(labels.decided_at as date) < {{ add_days('run.as_of', '-(run.label_horizon_days + 7)') }}
                then labels.entity_id
        end) as early_positive_count
    from run
    inner join {{ ref('int_labels') }} as labels
        on
            labels.is_positive
            and labels.violation_type = 'counterfeit'
            and cast(labels.decided_at as date) <= run.as_of

),

placed as (

    select
        *,
        mod(days_before_last, 7) = 0 as is_weekly,
        mod(days_before_last, 7) = 0 and days_before_last >= 0 and day_number >= 28 as is_on_grid,
        days_before_last < 14 and not (positive_count >= 20 and early_positive_count < 20) as is_late
    from aged
    cross join positives

),

final as (

    select
        as_of_date,
        case
            when as_of_date = cut_date then 'score'
            when is_on_grid and is_late then 'evaluate'
            when is_on_grid then 'train'
            else 'peers'
        end as purpose
    from placed
    where
        as_of_date = cut_date
        or (with_training and (is_weekly or day_number = 1))

)

select * from final
