-- The rows of all four spines; one row per relation, entity, date and purpose. listing_spine describes the purposes.
{{ config(materialized='view') }}

with

calibration_rows as (

    select * from {{ ref('spine_calibration_rows') }}

),

known_positives as (

    select * from {{ ref('spine_known_positives') }}

),

labelled_rows as (

    select * from {{ ref('spine_labelled_rows') }}

),

unlabelled_rows as (

    select * from {{ ref('spine_unlabelled_rows') }}

),

training_verdicts as (

    select * from {{ ref('spine_verdicts') }} where not is_held_out and is_at_cut

),

final as (

    select
        candidates.relation,
        candidates.entity_id,
        candidates.merchant_id,
        candidates.category,
        candidates.as_of_date,
        'score' as purpose,
        candidates.is_active,
        cast(null as boolean) as label,
        cast(null as varchar) as label_source,
        cast(null as date) as label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from {{ ref('spine_candidates') }} as candidates
    inner join {{ ref('rating_dates') }} as rating_dates
        on rating_dates.as_of_date = candidates.as_of_date
    where
        candidates.is_active
        and rating_dates.purpose = 'score'
    union all
    select
        labelled_rows.relation,
        labelled_rows.entity_id,
        labelled_rows.merchant_id,
        labelled_rows.category,
        labelled_rows.as_of_date,
        labelled_rows.purpose,
        labelled_rows.is_active,
        labelled_rows.label,
        labelled_rows.label_source,
        labelled_rows.label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from labelled_rows
    left join calibration_rows
        on
            calibration_rows.relation = labelled_rows.relation
            and calibration_rows.entity_id = labelled_rows.entity_id
    where
        labelled_rows.purpose <> 'train'
        or calibration_rows.entity_id is null
    union all
    select
        unlabelled_rows.relation,
        unlabelled_rows.entity_id,
        unlabelled_rows.merchant_id,
        unlabelled_rows.category,
        unlabelled_rows.as_of_date,
        unlabelled_rows.purpose,
        true as is_active,
        false as label,
        cast(null as varchar) as label_source,
        cast(null as date) as label_decided_date,
        unlabelled_rows.sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from unlabelled_rows
    union all
    select
        calibration_rows.relation,
        calibration_rows.entity_id,
        calibration_rows.merchant_id,
        calibration_rows.category,
        calibration_rows.as_of_date,
        'calibrate' as purpose,
        calibration_rows.is_active,
        calibration_rows.label,
        calibration_rows.label_source,
        calibration_rows.label_decided_date,
        cast(1 as double) as sampling_share,
        calibration_rows.inclusion_probability,
        calibration_rows.expansion_weight,
        calibration_rows.is_random_arm
    from calibration_rows
    union all
    select
        known_positives.relation,
        known_positives.entity_id,
        known_positives.merchant_id,
        known_positives.category,
        known_positives.as_of_date,
        'known_positive' as purpose,
        true as is_active,
        true as label,
        known_positives.label_source,
        known_positives.label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from known_positives
    left join training_verdicts
        on
            training_verdicts.relation = known_positives.relation
            and training_verdicts.entity_id = known_positives.entity_id
    where training_verdicts.entity_id is null
    union all
    select
        training_verdicts.relation,
        training_verdicts.entity_id,
        training_verdicts.merchant_id,
        training_verdicts.category,
        training_verdicts.as_of_date,
        'training_verdict' as purpose,
        training_verdicts.is_active,
        training_verdicts.label,
        training_verdicts.label_source,
        training_verdicts.label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from training_verdicts

)

select * from final
