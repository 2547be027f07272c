-- Comparison of a listing's specification with the brand's; one row per listing and span of days in which both are valid. It
-- counts the fields that both state and those that disagree, and has the greatest difference of numbers.
with

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

int_spec_fields as (

    select * from {{ ref('int_spec_fields') }}

),

compared as (

    select
        brand_id,
        model_key,
        specs_hash,
        known_from,
        known_until,
        cast(count(*) filter (where claimed is not null) as integer) as compared_field_count,
        cast(count(*) filter (where is_discrepant) as integer) as discrepant_field_count,
        cast(count(*) filter (where claimed is null) as integer) as omitted_field_count,
        max(case when is_discrepant then millionths_apart when millionths_apart is not null then 0 end) as most_millionths_apart
    from int_spec_fields
    group by
        brand_id,
        model_key,
        specs_hash,
        known_from,
        known_until

),

final as (

    select
        int_listing_brands.listing_id,
        greatest(int_listing_brands.known_from, compared.known_from) as known_from,
        least(int_listing_brands.known_until, compared.known_until) as known_until,
        compared.brand_id,
        compared.model_key,
        compared.compared_field_count,
        compared.discrepant_field_count,
        compared.omitted_field_count,
        compared.most_millionths_apart
    from int_listing_brands
    inner join compared
        on
            compared.specs_hash = int_listing_brands.specs_hash
            and compared.brand_id = int_listing_brands.brand_id
            and compared.model_key = int_listing_brands.model_key
            and compared.known_from < int_listing_brands.known_until
            and compared.known_until > int_listing_brands.known_from

)

select * from final
