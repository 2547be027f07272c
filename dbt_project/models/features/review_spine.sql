-- Transactions to rate or train on; one row per transaction, date and purpose, as in listing_spine. The scoring date has every
-- transaction of the last 365 days with two indicators. The dates of a training have those decided within H days, and a hash
-- sample of the unlabelled ones: about a fixed number per date, from the sampled merchants. Audited transactions calibrate.
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
