with

lead_hand_overs as (

    {{ current_rows('lead_hand_overs', ['lead_id', 'recipient', 'handed_over_at']) }}

),

final as (

    select
        lead_hand_overs.lead_id,
        lead_hand_overs.recipient,
        lead_hand_overs.handed_over_at,
        lead_hand_overs.audience
    from lead_hand_overs

)

select * from final
