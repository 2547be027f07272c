{#
    Every row of a spine is consistent with its purpose; failing rows are returned with the rule that they break. An entity used
    to calibrate is never used to train, and nor is a label decided on or after the first evaluation date.
#}
{% test sound_spine(model, key) %}

with

spine as (

    select * from {{ model }}

),

evaluation as (

    select coalesce(min(as_of_date), {{ end_of_time() }}) as first_date
    from {{ ref('rating_dates') }}
    where purpose = 'evaluate'

),

calibrating as (

    select distinct {{ key }} from spine where purpose = 'calibrate'

),

judged as (

    select
        spine.*,
        case
            when spine.purpose not in ('score', 'train', 'evaluate', 'calibrate', 'known_positive', 'training_verdict') then 'unknown purpose'
            when (spine.purpose = 'score') <> (spine.label is null) then 'a label has no place where there is scoring, and only there'
            when (spine.label_source is null) <> (spine.label_decided_date is null) then 'a label has a source and a day'
            when spine.label_source is null and spine.label then 'what nothing labels is negative'
            when spine.purpose in ('score', 'calibrate', 'known_positive', 'training_verdict') and not spine.is_active then 'only what is active is scored'
            when spine.purpose = 'known_positive' and not spine.label then 'what is known is a positive'
            when (spine.purpose = 'calibrate') <> (spine.inclusion_probability is not null) then 'what calibrates was drawn'
            when (spine.purpose = 'calibrate') <> coalesce(spine.expansion_weight > 0, false) then 'a calibration row without an expansion weight'
            when not (spine.sampling_share > 0 and spine.sampling_share <= 1) then 'a share lies between 0 and 1'
            when spine.label_source is not null and spine.sampling_share < 1 then 'only what nothing labels is sampled'
            when spine.purpose in ('train', 'evaluate') and spine.label_decided_date < spine.as_of_date
                then 'a label lies ahead'
            when spine.purpose = 'train' and spine.label_decided_date >= evaluation.first_date
                then 'what is learned was decided before the evaluation'
            when spine.purpose = 'train' and spine.as_of_date >= evaluation.first_date then 'training comes before the evaluation'
            when spine.purpose = 'train' and calibrating.{{ key }} is not null then 'what calibrates is not learned from'
        end as broken_rule
    from spine
    cross join evaluation
    left join calibrating
        on calibrating.{{ key }} = spine.{{ key }}

)

select *
from judged
where broken_rule is not null

{% endtest %}
