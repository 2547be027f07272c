-- Appeals as of the date, one row each: outcome, days to the decision, and the score, the signals of the reasons and the policy
-- on the last list before the appeal that contained the entity.
with

run as (

    select * from {{ source('landed', 'run') }}

),

flags as (

    select * from {{ source('landed', 'published_flags') }}

),

appealed as (

    select
        stg_appeals.*,
        coalesce(cast(stg_appeals.decided_at as date) <= run.as_of, false) as is_decided,
        run.as_of
    from {{ ref('stg_appeals') }} as stg_appeals
    inner join run
        on run.as_of >= cast(stg_appeals.submitted_at as date)

),

latest_flags as (

    select
        appealed.appeal_id,
        flags.list_name,
        flags.version,
        flags.policy,
        flags.score,
        flags.reasons,
        row_number() over (
            partition by appealed.appeal_id order by flags.as_of_date desc, flags.list_name asc, flags.version asc
        ) as place
    from appealed
    inner join flags
        on
            flags.entity_kind = appealed.entity_kind
            and flags.entity_id = appealed.entity_id
            and flags.violation_type = appealed.violation_type
            and flags.as_of_date < cast(appealed.submitted_at as date)

),

final as (

    select
        appealed.as_of as as_of_date,
        appealed.appeal_id,
        appealed.entity_kind,
        appealed.entity_id,
        appealed.violation_type,
        appealed.submitted_at,
        case when appealed.is_decided then coalesce(appealed.outcome, 'pending') else 'pending' end as outcome,
        case when appealed.is_decided then appealed.reason end as reason,
        case when appealed.is_decided then appealed.decided_at end as decided_at,
        case
            when appealed.is_decided
                then {{ days_between('cast(appealed.submitted_at as date)', 'cast(appealed.decided_at as date)') }}
        end as decision_days,
        case
            when not appealed.is_decided or coalesce(appealed.outcome, 'pending') = 'pending'
                then {{ days_between('cast(appealed.submitted_at as date)', 'appealed.as_of') }}
        end as waiting_days,
        latest_flags.list_name,
        latest_flags.version,
        latest_flags.policy,
        cast(latest_flags.score as decimal(9, 4)) as score,
        {{ joined_members(json_texts_of('latest_flags.reasons', 'signal'), "','") }} as signals
    from appealed
    left join latest_flags
        on
            latest_flags.appeal_id = appealed.appeal_id
            and latest_flags.place = 1

)

select * from final
