-- Labels of each spine's entities; one row per label. Labels that calibrate have a known inclusion probability: test buys of
-- listings, and audited decisions on listings, merchants and transactions.
with

all_labels as (

    select
        entity_kind as relation,
        *
    from {{ ref('entity_labels') }}
    union all
    select
        case entity_kind when 'merchant' then 'brushing_merchant' else entity_kind end as relation,
        *
    from {{ ref('brushing_labels') }}

),

final as (

    select
        relation,
        entity_kind,
        entity_id,
        is_positive,
        decided_date,
        decided_at,
        source,
        strength,
        case_id,
        arm,
        inclusion_probability,
        is_standalone,
        inclusion_probability is not null
        and (source = 'moderation_decision' or (relation = 'listing' and source = 'test_buy')) as is_calibrating
    from all_labels

)

select * from final
