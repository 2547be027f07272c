-- The brand and product that a listing claims to be; one row per listing and span of days. The brand is identified by its name or
-- an alias, else by a model that only one brand has by then. While a spelling was unknown, it refers to no brand. A listing of a
-- known brand without a model claims the one model of the brand that its title or description names.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_text_codes as (

    select * from {{ ref('int_text_codes') }} where model_numbers is not null

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
        {{ model_key('model_ref') }} as model_key,
        min(known_from) as known_from
    from int_brand_products
    group by all

),

own_models as (

    select
        brand_id,
        model_ref,
        model_key,
        min(known_from) as known_from
    from int_brand_products
    where model_key = {{ own_model_key('model_ref') }}
    group by
        brand_id,
        model_ref,
        model_key

),

ranked_products as (

    select
        *,
        row_number() over (partition by model_key order by known_from, brand_id) as place,
        coalesce(
            lead(known_from) over (partition by model_key order by known_from, brand_id),
            {{ end_of_time() }}
        ) as known_until
    from first_products

),

-- A model identifies a brand from the day on which the first brand has it until the day on which a second brand has it too.
known_models as (

    select * from ranked_products
    where
        place = 1
        and known_from < known_until

),

model_spans as (

    select
        model_key,
        brand_id,
        known_from,
        known_until
    from known_models
    union all
    select
        model_key,
        cast(null as varchar) as brand_id,
        {{ beginning() }} as known_from,
        known_from as known_until
    from known_models
    union all
    select
        model_key,
        cast(null as varchar) as brand_id,
        known_until as known_from,
        {{ end_of_time() }} as known_until
    from known_models

),

written as (

    select
        *,
        {{ json_text('specs', "'model_ref'") }} as model_ref
    from listing_history

),

claims as (

    select
        listing_id,
        known_from,
        known_until,
        brand_claimed,
        {{ name_key('brand_claimed') }} as name_key,
        model_ref,
        {{ model_key('model_ref') }} as model_key,
        case when {{ can_be_read('specs') }} then {{ specs_hash('specs') }} end as specs_hash
    from written

),

-- All days of every spelling that is ever known, with or without the brand that it refers to.
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
        claims.model_key,
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

claimed as (

    select
        spans.listing_id,
        greatest(spans.known_from, coalesce(model_spans.known_from, spans.known_from)) as known_from,
        least(spans.known_until, coalesce(model_spans.known_until, spans.known_until)) as known_until,
        spans.brand_claimed,
        coalesce(spans.named_brand_id, model_spans.brand_id) as brand_id,
        coalesce(spans.named_by, case when model_spans.brand_id is not null then 'model_ref' end) as matched_by,
        spans.model_ref,
        spans.model_key,
        spans.specs_hash
    from spans
    left join model_spans
        on
            spans.named_brand_id is null
            and model_spans.model_key = spans.model_key
            and model_spans.known_from < spans.known_until
            and model_spans.known_until > spans.known_from
    where spans.known_from < spans.known_until

),

-- A spelling that has a model key of its own (own_model_key) refers to that model from the day on which the brand has it.
identified as (

    select
        claimed.listing_id,
        case when own_models.known_from > claimed.known_from then own_models.known_from else claimed.known_from end as known_from,
        claimed.known_until,
        claimed.brand_claimed,
        claimed.brand_id,
        claimed.matched_by,
        coalesce(own_models.model_key, claimed.model_key) as model_key,
        claimed.specs_hash
    from claimed
    left join own_models
        on
            own_models.brand_id = claimed.brand_id
            and own_models.model_ref = claimed.model_ref
            and own_models.known_from < claimed.known_until
    union all
    select
        claimed.listing_id,
        claimed.known_from,
        own_models.known_from as known_until,
        claimed.brand_claimed,
        claimed.brand_id,
        claimed.matched_by,
        claimed.model_key,
        claimed.specs_hash
    from claimed
    inner join own_models
        on
            own_models.brand_id = claimed.brand_id
            and own_models.model_ref = claimed.model_ref
            and own_models.known_from > claimed.known_from
            and own_models.known_from < claimed.known_until

),

unnamed as (

    select
        identified.listing_id,
        identified.known_from,
        identified.brand_id,
        {{ written_digest('listing_history') }} as text_digest
    from identified
    inner join listing_history
        on
            listing_history.listing_id = identified.listing_id
            and listing_history.known_from <= identified.known_from
            and listing_history.known_until > identified.known_from
    where
        identified.brand_id is not null
        and identified.model_key is null

),

numbers as (

    select
        unnamed.listing_id,
        unnamed.known_from,
        unnamed.brand_id,
        {{ each_member('int_text_codes.model_numbers') }} as model_number
    from unnamed
    inner join int_text_codes
        on int_text_codes.text_digest = unnamed.text_digest

),

named_models as (

    select distinct
        listing_id,
        known_from,
        brand_id,
        {{ model_key('model_number') }} as model_key
    from numbers

),

models_in_order as (

    select
        named_models.listing_id,
        named_models.known_from,
        first_products.model_key,
        first_products.known_from as model_from,
        row_number() over (
            partition by named_models.listing_id, named_models.known_from
            order by first_products.known_from, first_products.model_key
        ) as place,
        coalesce(
            lead(first_products.known_from) over (
                partition by named_models.listing_id, named_models.known_from
                order by first_products.known_from, first_products.model_key
            ),
            {{ end_of_time() }}
        ) as model_until
    from named_models
    inner join first_products
        on
            first_products.brand_id = named_models.brand_id
            and first_products.model_key = named_models.model_key

),

-- From the day on which the brand has one of the models that a text names until the day on which it has a second one.
text_models as (

    select * from models_in_order
    where
        place = 1
        and model_from < model_until

),

spans_in_texts as (

    select
        identified.listing_id,
        identified.known_from as span_from,
        greatest(identified.known_from, text_models.model_from) as known_from,
        least(identified.known_until, text_models.model_until) as known_until,
        text_models.model_key
    from identified
    inner join text_models
        on
            text_models.listing_id = identified.listing_id
            and text_models.known_from = identified.known_from
            and text_models.model_from < identified.known_until
            and text_models.model_until > identified.known_from

),

final as (

    select
        identified.listing_id,
        identified.known_from,
        coalesce(spans_in_texts.known_from, identified.known_until) as known_until,
        identified.brand_claimed,
        identified.brand_id,
        identified.matched_by,
        identified.model_key,
        false as is_model_in_text,
        identified.specs_hash
    from identified
    left join spans_in_texts
        on
            spans_in_texts.listing_id = identified.listing_id
            and spans_in_texts.span_from = identified.known_from
    where
        spans_in_texts.listing_id is null
        or spans_in_texts.known_from > identified.known_from
    union all
    select
        identified.listing_id,
        spans_in_texts.known_from,
        spans_in_texts.known_until,
        identified.brand_claimed,
        identified.brand_id,
        identified.matched_by,
        spans_in_texts.model_key,
        true as is_model_in_text,
        identified.specs_hash
    from identified
    inner join spans_in_texts
        on
            spans_in_texts.listing_id = identified.listing_id
            and spans_in_texts.span_from = identified.known_from
    union all
    select
        identified.listing_id,
        spans_in_texts.known_until as known_from,
        identified.known_until,
        identified.brand_claimed,
        identified.brand_id,
        identified.matched_by,
        identified.model_key,
        false as is_model_in_text,
        identified.specs_hash
    from identified
    inner join spans_in_texts
        on
            spans_in_texts.listing_id = identified.listing_id
            and spans_in_texts.span_from = identified.known_from
            and spans_in_texts.known_until < identified.known_until

)

select * from final
