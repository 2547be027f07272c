-- Labelled rows to train on or evaluate with; one row per relation, entity, date and purpose. If labels within the horizon
-- disagree, the strongest source is used, then the latest.
with

candidates as (

    select * from {{ ref('spine_candidates') }}

),

labels as (

    select * from {{ ref('spine_labels') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

grid_dates as (

    select * from rating_dates where purpose in ('train', 'evaluate')

),

evaluation as (

    select {{ first_evaluation_date() }} as first_date
    from rating_dates

),

labels_ahead as (

    select
        candidates.*,
        grid_dates.purpose,
        labels.is_positive,
        labels.source,
        labels.decided_date,
        row_number() over (
            partition by candidates.relation, candidates.entity_id, candidates.as_of_date
            order by labels.strength desc, labels.decided_at desc, labels.is_positive desc, labels.case_id asc
        ) as place,
        -- Entities of the risk arm were selected by the champion: they would bias the evaluation of a challenger.
        grid_dates.purpose = 'train' or min(
            case when labels.arm = 'risk' then 1 else 0 end
        ) over (partition by candidates.relation, candidates.entity_id, candidates.as_of_date) = 0 as is_used
    from candidates
    inner join grid_dates
        on grid_dates.as_of_date = candidates.as_of_date
    inner join labels
        on
            labels.relation = candidates.relation
            and labels.entity_id = candidates.entity_id
            and labels.decided_date > candidates.as_of_date
    cross join run
    cross join evaluation
    where
        candidates.is_active
        and not labels.is_standalone
        and labels.decided_date <= {{ add_days('candidates.as_of_date', 'run.label_horizon_days') }}
        and (grid_dates.purpose = 'evaluate' or labels.decided_date < evaluation.first_date)

),

standalone_decisions as (

    select
        candidates.*,
        case
            when labels.decided_date >= evaluation.first_date then 'evaluate'
            else 'train'
        end as purpose,
        labels.is_positive,
        labels.source,
        labels.decided_date,
        row_number() over (
            partition by candidates.relation, candidates.entity_id, candidates.as_of_date
            order by labels.decided_at desc, labels.is_positive desc, labels.case_id asc
        ) as place,
        true as is_used
    from candidates
    inner join labels
        on
            labels.relation = candidates.relation
            and labels.entity_id = candidates.entity_id
            and labels.decided_date = candidates.as_of_date
    inner join run
        on run.with_training
    cross join evaluation
    where labels.is_standalone

),

-- A standalone decision on a grid date of its own entity is replaced by the label ahead, if there is one.
labelled as (

    select * from labels_ahead where place = 1 and is_used
    union all
    select standalone_decisions.*
    from standalone_decisions
    left join labels_ahead
        on
            labels_ahead.relation = standalone_decisions.relation
            and labels_ahead.entity_id = standalone_decisions.entity_id
            and labels_ahead.as_of_date = standalone_decisions.as_of_date
            and labels_ahead.purpose = standalone_decisions.purpose
            and labels_ahead.place = 1
    where
        standalone_decisions.place = 1
        and labels_ahead.entity_id is null

),

final as (

    select
        relation,
        entity_id,
        merchant_id,
        category,
        as_of_date,
        purpose,
        is_active,
        is_positive as label,
        source as label_source,
        decided_date as label_decided_date
    from labelled

)

select * from final
