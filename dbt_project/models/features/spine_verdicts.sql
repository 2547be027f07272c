-- The newest verdict with a known inclusion probability on each entity, at the date that calibration uses: the scoring date if
-- the entity is active then; if it was removed because of this verdict, the last grid date before it. One row per relation and
-- entity. If there are many positive verdicts, a part of all verdicts, at most half, trains the model instead (`is_held_out` is
-- false; docs/decisions/0010).
with

candidates as (

    select * from {{ ref('spine_candidates') }} where is_active

),

labels as (

    select * from {{ ref('spine_labels') }}

),

platform_actions as (

    select * from {{ ref('stg_platform_actions') }}

),

known_positives as (

    select * from {{ ref('spine_known_positives') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

rating_dates as (

    select * from {{ ref('rating_dates') }} where purpose in ('score', 'train', 'evaluate')

),

newest_labels as (

    select
        *,
        row_number() over (partition by relation, entity_id order by decided_at desc, case_id asc) as place
    from labels
    where is_calibrating

),

calibration_labels as (

    select * from newest_labels where place = 1

),

dated as (

    select
        candidates.*,
        calibration_labels.is_positive,
        calibration_labels.source,
        calibration_labels.decided_date,
        calibration_labels.arm,
        calibration_labels.inclusion_probability,
        rating_dates.purpose = 'score' as is_at_cut,
        row_number() over (
            partition by candidates.relation, candidates.entity_id
            order by
                rating_dates.purpose = 'score' desc,
                candidates.as_of_date < calibration_labels.decided_date desc,
                abs({{ days_between('candidates.as_of_date', 'calibration_labels.decided_date') }})
        ) as place
    from candidates
    inner join rating_dates
        on rating_dates.as_of_date = candidates.as_of_date
    inner join calibration_labels
        on
            calibration_labels.relation = candidates.relation
            and calibration_labels.entity_id = candidates.entity_id
    inner join run
        on run.with_training

),

-- Entities that are gone by the scoring date are not among those rated then, unless they were removed because of this verdict:
-- without these, calibration would never include what test buys and audits find.
removed_for_it as (

    select distinct
        calibration_labels.relation,
        calibration_labels.entity_id
    from calibration_labels
    inner join platform_actions
        on
            platform_actions.entity_kind = calibration_labels.entity_kind
            and platform_actions.entity_id = calibration_labels.entity_id
            and platform_actions.kind in ('takedown', 'ban')
            and platform_actions.occurred_at >= calibration_labels.decided_at
    inner join run
        on cast(platform_actions.occurred_at as date) <= run.as_of
    left join labels as others
        on
            others.relation = calibration_labels.relation
            and others.entity_id = calibration_labels.entity_id
            and others.is_positive
            and others.source <> calibration_labels.source
            and others.decided_at < platform_actions.occurred_at
    where
        calibration_labels.is_positive
        and others.entity_id is null

),

verdicts as (

    select
        dated.*,
        coalesce(dated.active_since, {{ beginning() }}) as since_date,
        known_positives.entity_id is not null as is_known,
        {{ key_share("dated.entity_id || '|held out'") }} as chance
    from dated
    left join removed_for_it
        on
            removed_for_it.relation = dated.relation
            and removed_for_it.entity_id = dated.entity_id
    left join known_positives
        on
            known_positives.relation = dated.relation
            and known_positives.entity_id = dated.entity_id
    where
        dated.place = 1
        and (dated.is_at_cut or removed_for_it.entity_id is not null)

),

held_shares as (

    select
        relation,
        greatest(
            0.5, least(1.0, cast({{ calibrating_positives() }} as double) / nullif(count(*) filter (where is_positive), 0))
        ) as share
    from verdicts
    group by relation

),

final as (

    select
        verdicts.relation,
        verdicts.entity_id,
        verdicts.merchant_id,
        verdicts.category,
        verdicts.as_of_date,
        verdicts.is_active,
        verdicts.since_date,
        verdicts.is_positive as label,
        verdicts.source as label_source,
        verdicts.decided_date as label_decided_date,
        coalesce(verdicts.arm, 'random') = 'random' as is_random_arm,
        verdicts.is_at_cut,
        verdicts.is_known,
        verdicts.chance < coalesce(held_shares.share, 1.0) as is_held_out,
        -- Probability that a verdict is selected and held out, given that it is not used to train.
        verdicts.inclusion_probability * held_shares.share
        / (1.0 - verdicts.inclusion_probability * (1.0 - held_shares.share)) as held_out_probability
    from verdicts
    inner join held_shares
        on held_shares.relation = verdicts.relation

)

select * from final
