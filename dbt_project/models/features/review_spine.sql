-- Which transactions are rated or learned from, and when: one row a transaction, date and purpose, as in listing_spine. At
-- the scoring date every transaction of the year that shows two indicators; at the dates of a training those that are
-- decided on within H days, and a hash sample of those that nothing labels: of the merchants that are drawn, about so many
-- transactions a date. Calibrated on audited transactions.
with

final as (

    select
        entity_id as review_key,
        merchant_id,
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
    where relation = 'review'

)

select * from final
