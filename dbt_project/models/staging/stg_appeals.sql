with

appeals as (

    {{ current_rows('appeals', ['appeal_id']) }}

),

final as (

    select
        appeals.appeal_id,
        appeals.entity_kind,
        appeals.entity_id,
        appeals.violation_type,
        appeals.submitted_at,
        appeals.outcome,
        appeals.reason,
        appeals.decided_by,
        appeals.decided_at
    from appeals

)

select * from final
