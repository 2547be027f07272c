-- Specification fields that no product of the category has; one row per listing, field and span of days. A field is unusual from
-- the day on which the first product of the category has a specification until the day on which one has the field.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

statements as (

    select * from {{ ref('int_spec_statements') }}

),

catalogue as (

    select
        int_brand_products.category,
        statements.field_key,
        min(int_brand_products.known_from) as known_from
    from int_brand_products
    inner join statements
        on statements.specs_hash = {{ specs_hash('int_brand_products.specs') }}
    where int_brand_products.category is not null
    group by
        int_brand_products.category,
        statements.field_key

),

categories as (

    select
        category,
        min(known_from) as known_from
    from catalogue
    group by category

),

{{ written_specs() }}

unusual as (

    select
        written.category,
        written.specs_hash,
        statements.field,
        categories.known_from as unusual_from,
        coalesce(catalogue.known_from, {{ end_of_time() }}) as unusual_until
    from written
    inner join categories
        on categories.category = written.category
    inner join statements
        on statements.specs_hash = written.specs_hash
    left join catalogue
        on
            catalogue.category = written.category
            and catalogue.field_key = statements.field_key
    where
        catalogue.known_from is null
        or catalogue.known_from > categories.known_from

),

final as (

    select
        listing_history.listing_id,
        greatest(listing_history.known_from, unusual.unusual_from) as known_from,
        least(listing_history.known_until, unusual.unusual_until) as known_until,
        unusual.field
    from unusual
    inner join listing_history
        on
            {{ specs_hash('listing_history.specs') }} = unusual.specs_hash
            and listing_history.category = unusual.category
            and listing_history.known_from < unusual.unusual_until
            and listing_history.known_until > unusual.unusual_from

)

select * from final
