-- Which merchants are rated or learned from, and when: one row a merchant, date and purpose, as in listing_spine. A
-- merchant's labels are its confirmed counterfeit listings, what authorities did, and decisions on itself; it is
-- calibrated on audited decisions. A merchant none of whose listings was confirmed counts as unlabelled.
with

final as (

    select
        entity_id as merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'merchant'

)

select * from final
