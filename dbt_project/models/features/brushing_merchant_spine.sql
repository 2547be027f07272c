-- Merchants to rate or train on for brushing; one row per merchant, date and purpose, as in merchant_spine. The dates of a
-- training have merchants with a decision within H days, and a sample of the others.
with

final as (

    select
        entity_id as merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'brushing_merchant'

)

select * from final
