-- Entities that are active at the scoring date and found positive by a source that does not calibrate; one row per relation and
-- entity. Calibration estimates what share of all positives these are.
with

candidates as (

    select candidates.*
    from {{ ref('spine_candidates') }} as candidates
    inner join {{ ref('rating_dates') }} as rating_dates
        on rating_dates.as_of_date = candidates.as_of_date
    where
        candidates.is_active
        and rating_dates.purpose = 'score'

),

strongest_labels as (

    select
        *,
        row_number() over (
            partition by relation, entity_id
            order by strength desc, decided_at desc, is_positive desc, case_id asc
        ) as place
    from {{ ref('spine_labels') }}
    where not is_calibrating

),

run as (

    select * from {{ source('landed', 'run') }}

),

final as (

    select
        candidates.relation,
        candidates.entity_id,
        candidates.merchant_id,
        candidates.category,
        candidates.as_of_date,
        strongest_labels.source as label_source,
        strongest_labels.decided_date as label_decided_date
    from candidates
    inner join strongest_labels
        on
            strongest_labels.relation = candidates.relation
            and strongest_labels.entity_id = candidates.entity_id
            and strongest_labels.place = 1
    inner join run
        on run.with_training
    where strongest_labels.is_positive

)

select * from final
