-- The products of each brand; one row per product and span of days, without overlaps. A row is valid until its valid_to, or until
-- a later row of the same product begins. A day belongs to the row that is valid at its end.
with

brand_products as (

    select * from {{ ref('stg_brand_products') }}

),

models as (

    select
        brand_id,
        model_ref,
        row_number() over (
            partition by brand_id, {{ model_key('model_ref') }}
            order by min(valid_from), model_ref
        ) as place
    from brand_products
    group by
        brand_id,
        model_ref

),

-- Two references that differ only in punctuation are two products; the first has the key that they share.
keyed as (

    select
        brand_products.*,
        cast(brand_products.valid_from as date) as known_from,
        case
            when models.place = 1 then {{ model_key('brand_products.model_ref') }}
            else {{ own_model_key('brand_products.model_ref') }}
        end as model_key
    from brand_products
    inner join models
        on
            models.brand_id = brand_products.brand_id
            and models.model_ref = brand_products.model_ref

),

numbered as (

    select
        *,
        row_number() over (
            partition by brand_id, model_key, known_from
            order by valid_from desc
        ) as place_in_day
    from keyed

),

spans as (

    select
        *,
        least(
            coalesce(cast(valid_to as date), {{ end_of_time() }}),
            coalesce(
                lead(known_from) over (partition by brand_id, model_key order by known_from),
                {{ end_of_time() }}
            )
        ) as known_until
    from numbered
    where place_in_day = 1

),

final as (

    select
        brand_id,
        model_ref,
        model_key,
        known_from,
        known_until,
        category,
        msrp,
        floor_price,
        currency,
        specs,
        {{ stated_gtin('gtin') }} as gtin
    from spans
    where known_from < known_until

)

select * from final
