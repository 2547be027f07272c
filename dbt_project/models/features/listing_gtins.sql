-- GTINs that listings on offer at a date state, next to the products that brands' catalogues have under them; one row per
-- listing, date and GTIN. It is mismatched if catalogues have it only for other brands or models than the listing claims. A
-- listing that claims no brand claims no product; without a known brand, a GTIN in its text may be that of what the offer fits.
with

offered_listings as (

    select * from {{ ref('offered_listings') }}

),

int_listing_gtins as (

    select * from {{ ref('int_listing_gtins') }}

),

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }} where gtin is not null

),

stated as (

    select
        offered_listings.listing_id,
        offered_listings.as_of_date,
        int_listing_gtins.gtin,
        int_listing_gtins.is_valid,
        int_listing_gtins.is_in_text,
        int_listing_brands.brand_id,
        int_listing_brands.model_key,
        int_listing_brands.brand_id is not null
        or (int_listing_brands.brand_claimed is not null and not int_listing_gtins.is_in_text) as is_claim
    from offered_listings
    inner join int_listing_gtins
        on
            int_listing_gtins.listing_id = offered_listings.listing_id
            and int_listing_gtins.known_from <= offered_listings.as_of_date
            and int_listing_gtins.known_until > offered_listings.as_of_date
    left join int_listing_brands
        on
            int_listing_brands.listing_id = offered_listings.listing_id
            and int_listing_brands.known_from <= offered_listings.as_of_date
            and int_listing_brands.known_until > offered_listings.as_of_date

),

final as (

    select
        stated.listing_id,
        stated.as_of_date,
        stated.gtin,
        stated.is_valid,
        stated.is_in_text,
        {{ value_at_least(
            'int_brand_products.brand_id', "int_brand_products.brand_id || ' ' || int_brand_products.model_ref"
        ) }} as catalogue_brand_id,
        {{ value_at_least(
            'int_brand_products.model_ref', "int_brand_products.brand_id || ' ' || int_brand_products.model_ref"
        ) }} as catalogue_model_ref,
        case
            when stated.is_claim and count(int_brand_products.brand_id) > 0
                then not coalesce(bool_or(
                    int_brand_products.brand_id = stated.brand_id
                    and (stated.model_key is null or int_brand_products.model_key = stated.model_key)
                ), false)
        end as is_mismatched
    from stated
    left join int_brand_products
        on
            int_brand_products.gtin = stated.gtin
            and int_brand_products.known_from <= stated.as_of_date
            and int_brand_products.known_until > stated.as_of_date
    group by
        stated.listing_id,
        stated.as_of_date,
        stated.gtin,
        stated.is_valid,
        stated.is_in_text,
        stated.is_claim

)

select * from final
