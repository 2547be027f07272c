with

buyers as (

    {{ row_versions('buyers', ['buyer_id'], ['country', 'device_hash']) }}

),

final as (

    select
        buyers.buyer_id,
        buyers.registered_at,
        buyers.country,
        buyers.device_hash,
        buyers.known_from,
        buyers.known_until
    from buyers

)

select * from final
