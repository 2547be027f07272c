-- What nothing labels and is trained on or evaluated by as a negative: all of it, or a hash sample. Of listings and merchants
-- about `unlabelled_per_date` are drawn at each grid date. A date to train on needs no more than a quarter of it, or 80 for each
-- positive if these are more: a training keeps 30,000 in all, or 50 for each positive, of those whose components it may see
-- (ml/boosting.py).
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

-- Counted by date first: a count over a window would hold all candidates of all dates, to keep a hundredth of them.
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
