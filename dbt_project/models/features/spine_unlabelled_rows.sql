-- Unlabelled rows to train on or evaluate with as negatives; one row per relation, entity, date and purpose: all of them or a
-- hash sample. Of listings and merchants about `unlabelled_per_date` are sampled at each grid date. A training date gets at most
-- a quarter of that, or 80 per positive if these are more: a training keeps 30,000 in total, or 50 per positive, of those whose
-- components it may use (ml/boosting.py).
{% set per_date = var('unlabelled_per_date', 15000) %}
{% set share = 'least(1.0, round(counts.wanted_count / counts.unlabelled_count, 6))' %}

with

grid_dates as (

    select * from {{ ref('rating_dates') }} where purpose in ('train', 'evaluate')

),

labelled_entities as (

    select distinct
        relation,
        entity_id
    from {{ ref('spine_labels') }}

),

candidates as (

    select
        candidates.*,
        grid_dates.purpose
    from {{ ref('spine_candidates') }} as candidates
    inner join grid_dates
        on grid_dates.as_of_date = candidates.as_of_date
    left join labelled_entities
        on
            labelled_entities.relation = candidates.relation
            and labelled_entities.entity_id = candidates.entity_id
    where
        candidates.is_active
        and labelled_entities.entity_id is null

),

positive_counts as (

    select
        relation,
        as_of_date,
        count(*) as positive_count
    from {{ ref('spine_labelled_rows') }}
    where label
    group by
        relation,
        as_of_date

),

-- Counted by date first: a window function would hold all candidates of all dates in memory, to keep one in a hundred.
counts as (

    select
        candidates.relation,
        candidates.as_of_date,
        count(*) as unlabelled_count,
        case
            when candidates.relation not in ('listing', 'merchant') then count(*)
            when candidates.purpose = 'train'
                then least(
                    {{ per_date }},
                    greatest({{ per_date }} / 4, 80 * coalesce(max(positive_counts.positive_count), 0))
                )
            else {{ per_date }}
        end as wanted_count
    from candidates
    left join positive_counts
        on
            positive_counts.relation = candidates.relation
            and positive_counts.as_of_date = candidates.as_of_date
    group by
        candidates.relation,
        candidates.as_of_date,
        candidates.purpose

),

final as (

    select
        candidates.relation,
        candidates.entity_id,
        candidates.merchant_id,
        candidates.category,
        candidates.as_of_date,
        candidates.purpose,
        cast({{ share }} as double) * candidates.drawn_share as sampling_share
    from candidates
    inner join counts
        on
            counts.relation = candidates.relation
            and counts.as_of_date = candidates.as_of_date
    where
        {{ key_share("candidates.entity_id || '|' || cast(candidates.as_of_date as varchar)") }}
        < {{ share }}

)

select * from final
