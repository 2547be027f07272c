-- Every field of a brand product's specification beside what listings of that product state, one row a specification as
-- listings write it, product and field: many listings write the same, and it is compared once for all.
with

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

statements as (

    select * from {{ ref('int_spec_statements') }}

),

claims as (

    select distinct
        brand_id,
        model_key,
        specs_hash
    from int_listing_brands
    where specs_hash is not null

),

expectations as (

    select
        int_brand_products.brand_id,
        int_brand_products.model_key,
        int_brand_products.known_from,
        int_brand_products.known_until,
        statements.*
    from int_brand_products
    inner join statements
        on statements.specs_hash = {{ specs_hash('int_brand_products.specs') }}

),

final as (

    select
        claims.brand_id,
        claims.model_key,
        claims.specs_hash,
        expectations.known_from,
        expectations.known_until,
        expectations.field,
        expectations.field_key,
        claimed.stated as claimed,
        expectations.stated as expected,
        coalesce(not {{ says_the_same('claimed', 'expectations') }}, false) as is_discrepant,
        {{ millionths_apart('claimed', 'expectations') }} as millionths_apart
    from claims
    inner join expectations
        on
            expectations.brand_id = claims.brand_id
            and expectations.model_key = claims.model_key
    left join statements as claimed
        on
            claimed.specs_hash = claims.specs_hash
            and claimed.field_key = expectations.field_key

)

select * from final
