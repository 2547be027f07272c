-- The specification fields in which a listing contradicts the brand's own product, one row a listing, field and span. A
-- view: features need only how many there are (int_spec_comparisons); who asks which ones asks about few listings.
{{ config(materialized='view') }}

with

int_spec_fields as (

    select * from {{ ref('int_spec_fields') }}

),

final as (

    select
        listing_id,
        field,
        known_from,
        known_until,
        claimed,
        expected
    from int_spec_fields
    where is_discrepant

)

select * from final
