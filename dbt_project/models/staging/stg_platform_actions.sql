with

platform_actions as (

    {{ current_rows('platform_actions', ['action_id']) }}

),

final as (

    select
        platform_actions.action_id,
        platform_actions.entity_kind,
        platform_actions.entity_id,
        platform_actions.kind,
        platform_actions.occurred_at,
        platform_actions.reason
    from platform_actions

)

select * from final
