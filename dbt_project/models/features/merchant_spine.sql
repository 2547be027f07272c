-- Which merchants are rated or learned from, and when: one row a merchant, date and purpose, as in listing_spine. A
-- merchant's labels are its confirmed counterfeit listings, what authorities did, and decisions on itself; it is
-- calibrated on audited decisions. A merchant none of whose goods was confirmed counts as unlabelled.
with

final as (

    select
        entity_id as merchant_id,
        category,
        as_of_date,
        purpose,
        label,
        label_source,
        label_decided_date,
        sampling_share,
        inclusion_probability,
        expansion_weight,
        is_random_arm,
        is_active
    from {{ ref('spines') }}
    where relation = 'merchant'

)

select * from final
