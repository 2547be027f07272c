-- The funnel by month, authority and brand as of the date: how many came to each stage, and after how many days from the stage
-- before (the middle one). One row a month, violation_type, kind of entity, stage, authority and brand.
with

funnel as (

    select * from {{ ref('funnel') }}

),

final as (

    select
        as_of_date,
        month_date,
        violation_type,
        entity_kind,
        stage_number,
        stage,
        authority,
        brand,
        count(*) as entity_count,
        count(distinct lead_id) as lead_count,
        {{ median('delay_days') }} as delay_days
    from funnel
    group by
        as_of_date,
        month_date,
        violation_type,
        entity_kind,
        stage_number,
        stage,
        authority,
        brand

)

select * from final
