-- Merchants to rate or train on; one row per merchant, date and purpose, as in listing_spine. A merchant's labels are its
-- confirmed counterfeit listings, enforcement actions, and decisions on the merchant itself; audited decisions calibrate. A
-- merchant without a confirmed listing counts as unlabelled.
with

final as (

    select
        entity_id as merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'merchant'

)

select * from final
