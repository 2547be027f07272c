with

notices as (

    {{ current_rows('notices', ['notice_id']) }}

),

final as (

    select
        notices.notice_id,
        notices.listing_id,
        notices.reporter_id,
        notices.brand_id,
        notices.kind,
        notices.submitted_at,
        notices.outcome,
        notices.reason,
        notices.decided_at
    from notices

)

select * from final
