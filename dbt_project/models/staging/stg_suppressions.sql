with

suppressions as (

    {{ current_rows('suppressions', ['entity_kind', 'entity_id', 'created_at']) }}

),

final as (

    select
        suppressions.entity_kind,
        suppressions.entity_id,
        suppressions.created_at,
        suppressions.reason,
        suppressions.author,
        suppressions.expires_at
    from suppressions

)

select * from final
