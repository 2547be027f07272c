-- Share of appeals that are upheld as of the date: of all, by signal of the published reasons, and by policy. One row per signal
-- or policy; appeals of entities on no list are counted under "not on a list".
with

run as (

    select * from {{ source('landed', 'run') }}

),

appeals as (

    select * from {{ ref('appeals') }}

),

signals as (

    select
        appeals.appeal_id,
        {{ each_member(parts_of("coalesce(nullif(appeals.signals, ''), 'not on a list')", "','")) }} as signal
    from appeals

),

grouped as (

    select
        'all' as grouped_by,
        'all' as value,
        appeals.appeal_id
    from appeals
    union all
    select distinct
        'signal' as grouped_by,
        signals.signal as value,
        signals.appeal_id
    from signals
    union all
    select
        'policy' as grouped_by,
        coalesce(appeals.policy, 'not on a list') as value,
        appeals.appeal_id
    from appeals

),

final as (

    select
        run.as_of as as_of_date,
        grouped.grouped_by,
        grouped.value,
        count(*) as appeal_count,
        count(*) filter (where appeals.outcome <> 'pending') as decided_count,
        count(*) filter (where appeals.outcome = 'upheld') as upheld_count,
        cast({{ ratio(
            "count(*) filter (where appeals.outcome = 'upheld')", "count(*) filter (where appeals.outcome <> 'pending')"
        ) }} as decimal(9, 6)) as overturn_share
    from grouped
    cross join run
    inner join appeals
        on appeals.appeal_id = grouped.appeal_id
    group by
        run.as_of,
        grouped.grouped_by,
        grouped.value

)

select * from final
