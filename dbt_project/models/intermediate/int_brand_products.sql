-- What a brand sells, one row a product and span of days, spans of one product never overlapping: a row holds until its
-- valid_to, or until a later row of the same product begins. A day belongs to the row that holds at its end.
with

brand_products as (

    select * from {{ ref('stg_brand_products') }}

),

numbered as (

    select
        brand_products.*,
        cast(brand_products.valid_from as date) as known_from,
        row_number() over (
            partition by brand_products.brand_id, brand_products.model_ref, cast(brand_products.valid_from as date)
            order by brand_products.valid_from desc
        ) as place_in_day
    from brand_products

),

spans as (

    select
        numbered.*,
        least(
            coalesce(cast(numbered.valid_to as date), {{ end_of_time() }}),
            coalesce(
                lead(numbered.known_from) over (
                    partition by numbered.brand_id, numbered.model_ref
                    order by numbered.known_from
                ),
                {{ end_of_time() }}
            )
        ) as known_until
    from numbered
    where numbered.place_in_day = 1

),

final as (

    select
        brand_id,
        model_ref,
        known_from,
        known_until,
        category,
        msrp_usd,
        floor_price_usd,
        specs
    from spans
    where known_from < known_until

)

select * from final
