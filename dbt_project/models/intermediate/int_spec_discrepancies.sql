-- The specification fields in which a listing contradicts the brand's own product, one row a listing, field and span.
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
