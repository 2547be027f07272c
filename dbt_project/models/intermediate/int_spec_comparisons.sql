-- A listing's specification beside the brand's own, one row a listing and span of days in which both hold, with how many
-- fields both state and how many of those disagree.
with

int_spec_fields as (

    select * from {{ ref('int_spec_fields') }}

),

final as (

    select
        listing_id,
        known_from,
        known_until,
        brand_id,
        model_ref,
        cast(count(*) filter (where claimed is not null) as integer) as compared_field_count,
        cast(count(*) filter (where is_discrepant) as integer) as discrepant_field_count,
        cast(count(*) filter (where claimed is null) as integer) as omitted_field_count
    from int_spec_fields
    group by
        listing_id,
        known_from,
        known_until,
        brand_id,
        model_ref

)

select * from final
