-- Notices as of the date, one row each: outcome, days to the decision, time of the listing's takedown, and the queue position of
-- pending ones. The priority of a notice is the probability that its reporter or else the model is right.
with

run as (

    select * from {{ source('landed', 'run') }}

),

scores as (

    select * from {{ source('landed', 'listing_scores') }}

),

{{ known_notices() }},

{{ reporter_prior() }},

takedowns as (

    select
        known_notices.notice_id,
        min(stg_platform_actions.occurred_at) as taken_down_at
    from known_notices
    inner join {{ ref('stg_platform_actions') }} as stg_platform_actions
        on
            stg_platform_actions.entity_id = known_notices.listing_id
            and stg_platform_actions.entity_kind = 'listing'
            and stg_platform_actions.kind = 'takedown'
            and stg_platform_actions.occurred_at >= known_notices.submitted_at
            and cast(stg_platform_actions.occurred_at as date) <= known_notices.as_of
    group by known_notices.notice_id

),

weighed as (

    select
        known_notices.*,
        {{ accuracy('coalesce(reporter_counts.right_count, 0)', 'coalesce(reporter_counts.judged_count, 0)') }} as accuracy_share,
        cast(scores.score as decimal(9, 4)) as score
    from known_notices
    cross join reporter_prior
    left join reporter_counts
        on reporter_counts.reporter_id = known_notices.reporter_id
    left join scores
        on scores.listing_id = known_notices.listing_id

),

worth as (

    select
        *,
        cast(
            round(1 - (1 - cast(accuracy_share as double)) * (1 - coalesce(cast(score as double), 0) / 100), 6)
            as decimal(9, 6)
        ) as worth_share
    from weighed

),

final as (

    select
        worth.as_of as as_of_date,
        worth.notice_id,
        worth.listing_id,
        owners.merchant_id,
        worth.reporter_id,
        worth.brand_id,
        worth.kind,
        worth.submitted_at,
        worth.outcome,
        worth.reason,
        worth.decided_at,
        worth.is_right,
        {{ days_between('cast(worth.submitted_at as date)', 'cast(worth.decided_at as date)') }} as decision_days,
        case
            when worth.outcome = 'pending' then {{ days_between('cast(worth.submitted_at as date)', 'worth.as_of') }}
        end as waiting_days,
        takedowns.taken_down_at,
        {{ hours_between('worth.submitted_at', 'takedowns.taken_down_at') }} as takedown_hours,
        worth.accuracy_share,
        worth.score,
        worth.worth_share,
        case
            when worth.outcome = 'pending'
                then row_number() over (
                    partition by worth.outcome order by worth.worth_share desc, worth.submitted_at asc, worth.notice_id asc
                )
        end as place
    from worth
    left join takedowns
        on takedowns.notice_id = worth.notice_id
    left join {{ ref('int_listing_owners') }} as owners
        on owners.listing_id = worth.listing_id

)

select * from final
