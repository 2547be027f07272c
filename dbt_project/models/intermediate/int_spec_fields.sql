-- Every field of a brand's specification beside what the listing of that product claims. A view, under the counts and the
-- discrepancies: at full scale it has 12 million rows.
{{ config(materialized='view') }}

with

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

field_names as (

    select
        brand_id,
        model_ref,
        known_from,
        known_until,
        specs,
        {{ each_member(json_member_names('specs')) }} as field
    from int_brand_products

),

expectations as (

    select
        brand_id,
        model_ref,
        known_from,
        known_until,
        field,
        {{ json_text('specs', 'field') }} as expected
    from field_names
    where field <> 'model_ref'

),

claims as (

    select
        int_listing_brands.listing_id,
        greatest(int_listing_brands.known_from, listing_history.known_from, expectations.known_from) as known_from,
        least(int_listing_brands.known_until, listing_history.known_until, expectations.known_until) as known_until,
        int_listing_brands.brand_id,
        int_listing_brands.model_ref,
        expectations.field,
        {{ json_text('listing_history.specs', 'expectations.field') }} as claimed,
        expectations.expected
    from int_listing_brands
    inner join expectations
        on
            expectations.brand_id = int_listing_brands.brand_id
            and expectations.model_ref = int_listing_brands.model_ref
    inner join listing_history
        on
            listing_history.listing_id = int_listing_brands.listing_id
            and listing_history.known_from <= int_listing_brands.known_from
            and listing_history.known_until > int_listing_brands.known_from

),

compared as (

    select
        *,
        {{ safe_cast_to('claimed', 'decimal(18, 4)') }} as claimed_number,
        {{ safe_cast_to('expected', 'decimal(18, 4)') }} as expected_number
    from claims
    where
        known_from < known_until
        and expected is not null

),

final as (

    select
        listing_id,
        known_from,
        known_until,
        brand_id,
        model_ref,
        field,
        claimed,
        expected,
        case
            when claimed is null then false
            when claimed_number is not null and expected_number is not null then claimed_number <> expected_number
            else lower(trim(claimed)) <> lower(trim(expected))
        end as is_discrepant
    from compared

)

select * from final
