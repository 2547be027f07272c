-- Which merchants are rated for brushing or learned from, and when: one row a merchant, date and purpose, as in merchant_spine.
-- At the dates of a training those that a decision concerns within H days, and those drawn from the others.
with

places as (

    select * from {{ ref('brushing_places') }}

),

rated as (

    select
        places.merchant_id as entity_id,
        places.merchant_id,
        merchant_states.category,
        places.as_of_date,
        merchant_states.is_active,
        {{ add_days('places.as_of_date', '-merchant_states.merchant_age_days') }} as active_since
    from places
    inner join {{ ref('merchant_states') }} as merchant_states
        on
            merchant_states.merchant_id = places.merchant_id
            and merchant_states.as_of_date = places.as_of_date

),

{{ spine_rows('merchant', 'rated', 'moderation_decision', labels='brushing_labels') }},

drawn_share as (

    select max(drawn_share) as drawn_share from places

),

final as (

    select
        spine_rows.entity_id as merchant_id,
        spine_rows.category,
        spine_rows.as_of_date,
        spine_rows.purpose,
        spine_rows.label,
        spine_rows.label_source,
        spine_rows.label_decided_date,
        case
            when spine_rows.label_source is null and spine_rows.purpose in ('train', 'evaluate')
                then spine_rows.sampling_share * drawn_share.drawn_share
            else spine_rows.sampling_share
        end as sampling_share,
        spine_rows.inclusion_probability,
        spine_rows.expansion_weight,
        spine_rows.is_random_arm,
        spine_rows.is_active
    from spine_rows
    cross join drawn_share

)

select * from final
