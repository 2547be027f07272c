-- The funnel by month, authority and brand as of the date; one row per month, violation type, kind of entity, stage, authority
-- and brand: number of entities that reached the stage, and median days since the previous stage.
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
