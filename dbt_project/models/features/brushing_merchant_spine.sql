-- Which merchants are rated for brushing or learned from, and when: one row a merchant, date and purpose, as in merchant_spine.
-- At the dates of a training those that a decision concerns within H days, and those drawn from the others.
with

final as (

    select
        entity_id as merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'brushing_merchant'

)

select * from final
