with

moderation_decisions as (

    {{ current_rows('moderation_decisions', ['entity_kind', 'entity_id', 'violation_type', 'decided_at']) }}

),

final as (

    select
        moderation_decisions.entity_kind,
        moderation_decisions.entity_id,
        moderation_decisions.violation_type,
        moderation_decisions.decided_at,
        moderation_decisions.verdict,
        moderation_decisions.decided_by,
        moderation_decisions.reason,
        moderation_decisions.inclusion_probability
    from moderation_decisions

)

select * from final
