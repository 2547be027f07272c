with

merchant_identifiers as (

    {{ current_rows('merchant_identifiers', ['merchant_id', 'kind', 'value_hash']) }}

),

final as (

    select
        merchant_identifiers.merchant_id,
        merchant_identifiers.kind,
        merchant_identifiers.value_hash,
        merchant_identifiers.first_seen_at,
        merchant_identifiers.is_verified
    from merchant_identifiers

)

select * from final
