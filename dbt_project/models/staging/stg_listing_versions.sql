-- The load that contains each version of a listing. A table, because four models read stg_listing_history, and finding the
-- versions reads the columns of all loads.
{{ config(materialized='table') }}

with

final as (

    {{ version_spans('listings', ['listing_id'], [
        'merchant_id', 'title', 'description', 'brand_claimed', 'category', 'condition', 'price', 'currency',
        'ships_from', 'ships_to', 'specs', 'gtin', 'stock',
    ]) }}

)

select * from final
