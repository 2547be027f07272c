-- Verdicts held out for calibration, with expansion weights; one row per relation and entity. Verdicts take time, so few of those
-- planned for new entities exist yet. Verdicts are therefore weighted by age class (each with a minimum number of verdicts) to
-- represent all entities that are active and not found to be positive by another source.
with

verdicts as (

    select * from {{ ref('spine_verdicts') }} where is_held_out

),

known_positives as (

    select * from {{ ref('spine_known_positives') }}

),

training_verdicts as (

    select * from {{ ref('spine_verdicts') }} where not is_held_out and is_at_cut

),

scored as (

    select candidates.*
    from {{ ref('spine_candidates') }} as candidates
    inner join {{ ref('rating_dates') }} as rating_dates
        on rating_dates.as_of_date = candidates.as_of_date
    where
        candidates.is_active
        and rating_dates.purpose = 'score'

),

ranked_by_age as (

    select
        relation,
        since_date,
        row_number() over (partition by relation order by since_date, entity_id) - 1 as verdicts_before,
        count(*) over (partition by relation) as verdict_count
    from verdicts
    where not is_known

),

classed as (

    select
        relation,
        since_date,
        cast(floor(
            verdicts_before
            * greatest(1, least({{ age_classes() }}, floor(verdict_count / {{ verdicts_per_age_class() }})))
            / verdict_count
        ) as integer) as age_class
    from ranked_by_age

),

class_starts as (

    select
        relation,
        case when age_class = 0 then {{ beginning() }} else min(since_date) end as from_date
    from classed
    group by
        relation,
        age_class

),

age_classes as (

    select
        relation,
        from_date,
        lead(from_date, 1, {{ end_of_time() }}) over (partition by relation order by from_date) as until_date
    from class_starts

),

class_weights as (

    select
        age_classes.relation,
        age_classes.from_date,
        sum({{ inverse('verdicts.held_out_probability') }}) as weight
    from age_classes
    inner join verdicts
        on
            verdicts.relation = age_classes.relation
            and verdicts.since_date >= age_classes.from_date
            and verdicts.since_date < age_classes.until_date
    where not verdicts.is_known
    group by
        age_classes.relation,
        age_classes.from_date

),

-- Active entities, and those that a verdict removed: such a verdict represents similar entities that were not examined.
unknown_to_others as (

    select
        scored.relation,
        coalesce(scored.active_since, {{ beginning() }}) as since_date
    from scored
    left join known_positives
        on
            known_positives.relation = scored.relation
            and known_positives.entity_id = scored.entity_id
    left join training_verdicts
        on
            training_verdicts.relation = scored.relation
            and training_verdicts.entity_id = scored.entity_id
    where
        known_positives.entity_id is null
        and training_verdicts.entity_id is null
    union all
    select
        relation,
        since_date
    from verdicts
    where
        not is_known
        and not is_at_cut

),

class_counts as (

    select
        age_classes.relation,
        age_classes.from_date,
        count(*) as unknown_count
    from age_classes
    inner join unknown_to_others
        on
            unknown_to_others.relation = age_classes.relation
            and unknown_to_others.since_date >= age_classes.from_date
            and unknown_to_others.since_date < age_classes.until_date
    group by
        age_classes.relation,
        age_classes.from_date

),

final as (

    select
        verdicts.relation,
        verdicts.entity_id,
        verdicts.merchant_id,
        verdicts.category,
        verdicts.as_of_date,
        verdicts.is_active,
        verdicts.label,
        verdicts.label_source,
        verdicts.label_decided_date,
        verdicts.held_out_probability as inclusion_probability,
        cast(
            coalesce(class_counts.unknown_count / class_weights.weight, 1.0)
            * {{ inverse('verdicts.held_out_probability') }} as double
        ) as expansion_weight,
        verdicts.is_random_arm
    from verdicts
    left join age_classes
        on
            age_classes.relation = verdicts.relation
            and age_classes.from_date <= verdicts.since_date
            and age_classes.until_date > verdicts.since_date
    left join class_weights
        on
            class_weights.relation = age_classes.relation
            and class_weights.from_date = age_classes.from_date
    left join class_counts
        on
            class_counts.relation = age_classes.relation
            and class_counts.from_date = age_classes.from_date

)

select * from final
