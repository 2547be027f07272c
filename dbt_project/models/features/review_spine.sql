-- Which transactions are rated or learned from, and when: one row a transaction, date and purpose, as in listing_spine. At
-- the scoring date every transaction of the year that shows two indicators; at the dates of a training those that are
-- decided on within H days, and a hash sample of those that nothing labels: of the merchants that are drawn, about so many
-- transactions a date. Calibrated on audited transactions.
with

final as (

    select
        entity_id as review_key,
        merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'review'

)

select * from final
