-- Comparison of each field of a brand product's specification with what listings of the product state; one row per listing
-- specification, product and field. Many listings have the same specification, which is compared once.
-- Names that differ only in a unit may be one field (case, case_mm) or several (input_v, input_w). So a listing's statement is
-- compared with the field of the same full name, else with fields of the same dimension, and if it agrees with one field it
-- contradicts no other. A statement of another dimension is a contradiction if neither side has a closer match.
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

-- Fields that share a name, except for the unit, with another field of their specification. All others have at most one match.
crowded as (

    select
        specs_hash,
        field_key
    from statements
    group by
        specs_hash,
        field_key
    having count(*) > 1

),

field_pairs as (

    select
        claims.brand_id,
        claims.model_key,
        claims.specs_hash,
        expectations.known_from,
        expectations.known_until,
        expectations.field,
        expectations.field_key,
        claimed.field as claimed_field,
        claimed.stated as claimed,
        expectations.stated as expected,
        coalesce(not {{ says_the_same('claimed', 'expectations') }}, false) as is_discrepant,
        {{ millionths_apart('claimed', 'expectations') }} as millionths_apart,
        case
            when claimed.whole_field_key = expectations.whole_field_key then 0
            when claimed.dimension <> '' and expectations.dimension <> '' and claimed.dimension <> expectations.dimension then 3
            when {{ says_the_same('claimed', 'expectations') }} then 1
            else 2
        end as distance,
        crowded_claims.specs_hash is not null or crowded_expectations.specs_hash is not null as is_crowded
    from claims
    inner join expectations
        on
            expectations.brand_id = claims.brand_id
            and expectations.model_key = claims.model_key
    left join statements as claimed
        on
            claimed.specs_hash = claims.specs_hash
            and claimed.field_key = expectations.field_key
    left join crowded as crowded_claims
        on
            crowded_claims.specs_hash = claims.specs_hash
            and crowded_claims.field_key = expectations.field_key
    left join crowded as crowded_expectations
        on
            crowded_expectations.specs_hash = expectations.specs_hash
            and crowded_expectations.field_key = expectations.field_key

),

measured as (

    select
        *,
        min(distance) over (partition by brand_id, model_key, specs_hash, known_from, claimed_field) as least_from_claim,
        min(distance) over (partition by brand_id, model_key, specs_hash, known_from, field) as least_from_field
    from field_pairs
    where is_crowded

),

judged as (

    select
        *,
        distance = least_from_claim and (distance < 3 or least_from_field = 3) as is_compared
    from measured

),

compared as (

    select
        brand_id,
        model_key,
        specs_hash,
        known_from,
        known_until,
        field,
        field_key,
        claimed,
        expected,
        is_discrepant,
        millionths_apart
    from field_pairs
    where not is_crowded
    union all
    select
        brand_id,
        model_key,
        specs_hash,
        known_from,
        known_until,
        field,
        field_key,
        claimed,
        expected,
        is_discrepant,
        millionths_apart
    from judged
    where is_compared

),

-- A field whose candidate statements all belong to other fields is omitted by the listing.
left_out as (

    select
        brand_id,
        model_key,
        specs_hash,
        known_from,
        known_until,
        field,
        field_key,
        cast(null as varchar) as claimed,
        expected,
        false as is_discrepant,
        cast(null as integer) as millionths_apart
    from judged
    group by all
    having not bool_or(is_compared)

),

final as (

    select * from compared
    union all
    select * from left_out

)

select * from final
