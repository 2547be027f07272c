with

buyers as (

    {{ current_rows('buyers', ['buyer_id']) }}

),

final as (

    select
        buyers.buyer_id,
        buyers.registered_at,
        buyers.country,
        buyers.device_hash
    from buyers

)

select * from final
