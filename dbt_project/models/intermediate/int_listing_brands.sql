-- Which brand and product a listing claims to be, one row a listing and span of days: by the brand's name or an alias of
-- it, else by a model_ref that only one brand has by then. While a spelling was not known, it named no brand.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_names as (

    select * from {{ ref('int_brand_names') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

first_products as (

    select
        brand_id,
        model_ref,
        min(known_from) as known_from
    from int_brand_products
    group by
        brand_id,
        model_ref

),

ranked_products as (

    select
        *,
        row_number() over (partition by model_ref order by known_from, brand_id) as place,
        coalesce(
            lead(known_from) over (partition by model_ref order by known_from, brand_id),
            {{ end_of_time() }}
        ) as known_until
    from first_products

),

-- A model_ref tells a brand from the day on which the first has it until that on which a second one has it too.
model_refs as (

    select * from ranked_products
    where
        place = 1
        and known_from < known_until

),

model_ref_spans as (

    select
        model_ref,
        brand_id,
        known_from,
        known_until
    from model_refs
    union all
    select
        model_ref,
        cast(null as varchar) as brand_id,
        {{ beginning() }} as known_from,
        known_from as known_until
    from model_refs
    union all
    select
        model_ref,
        cast(null as varchar) as brand_id,
        known_until as known_from,
        {{ end_of_time() }} as known_until
    from model_refs

),

claims as (

    select
        listing_history.listing_id,
        listing_history.known_from,
        listing_history.known_until,
        listing_history.brand_claimed,
        {{ name_key('listing_history.brand_claimed') }} as name_key,
        {{ json_text('listing_history.specs', "'model_ref'") }} as model_ref,
        case
            when {{ can_be_read('listing_history.specs') }} then {{ specs_hash('listing_history.specs') }}
        end as specs_hash
    from listing_history

),

-- Every day of a spelling that is ever known, with the brand that it names or without one.
name_spans as (

    select
        name_key,
        brand_id,
        matched_by,
        known_from,
        known_until
    from int_brand_names
    union all
    select
        name_key,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as matched_by,
        coalesce(lag(known_until) over (partition by name_key order by known_from), {{ beginning() }}) as known_from,
        known_from as known_until
    from int_brand_names
    union all
    select
        name_key,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as matched_by,
        max(known_until) as known_from,
        {{ end_of_time() }} as known_until
    from int_brand_names
    group by name_key

),

spans as (

    select
        claims.listing_id,
        greatest(claims.known_from, coalesce(name_spans.known_from, claims.known_from)) as known_from,
        least(claims.known_until, coalesce(name_spans.known_until, claims.known_until)) as known_until,
        claims.brand_claimed,
        claims.model_ref,
        claims.specs_hash,
        name_spans.brand_id as named_brand_id,
        name_spans.matched_by as named_by
    from claims
    left join name_spans
        on
            name_spans.name_key = claims.name_key
            and name_spans.known_from < name_spans.known_until
            and name_spans.known_from < claims.known_until
            and name_spans.known_until > claims.known_from

),

final as (

    select
        spans.listing_id,
        greatest(spans.known_from, coalesce(model_ref_spans.known_from, spans.known_from)) as known_from,
        least(spans.known_until, coalesce(model_ref_spans.known_until, spans.known_until)) as known_until,
        spans.brand_claimed,
        coalesce(spans.named_brand_id, model_ref_spans.brand_id) as brand_id,
        coalesce(spans.named_by, case when model_ref_spans.brand_id is not null then 'model_ref' end) as matched_by,
        spans.model_ref,
        spans.specs_hash
    from spans
    left join model_ref_spans
        on
            spans.named_brand_id is null
            and model_ref_spans.model_ref = spans.model_ref
            and model_ref_spans.known_from < spans.known_until
            and model_ref_spans.known_until > spans.known_from
    where spans.known_from < spans.known_until

)

select * from final
