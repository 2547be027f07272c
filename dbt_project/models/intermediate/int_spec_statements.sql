-- Statements in specifications of listings and brands; one row per specification and field. Each distinct text is read once, and
-- each distinct value is normalised once. A text that cannot be parsed has no rows; int_unread_texts has the reasons.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

spec_units as (

    select * from {{ ref('spec_units') }}

),

texts as (

    select specs from listing_history
    union
    select specs from int_brand_products

),

readable as (

    select
        specs,
        {{ json_member_names('specs') }} as fields
    from texts
    where length(specs) <= {{ most_characters() }}

),

named as (

    select
        specs,
        {{ each_member('fields') }} as field
    from readable
    where len(fields) <= {{ most_fields() }}

),

stated as (

    select distinct
        {{ specs_hash('specs') }} as specs_hash,
        field,
        {{ json_text('specs', 'field') }} as stated
    from named
    where field <> 'model_ref'

),

distinct_values as (

    select distinct
        field,
        stated,
        trim({{ translated(plain_text('field'), "'()[]'", "'    '") }}) as plain_field,
        {{ plain_text('stated') }} as plain
    from stated

),

measured as (

    select
        distinct_values.field,
        distinct_values.stated,
        {{ text_key('distinct_values.plain') }} as text_key,
        {{ name_key('distinct_values.plain_field') }} as whole_field_key,
        {{ name_key(
            "case when field_units.unit is null then distinct_values.plain_field else " ~ field_without_unit('distinct_values.plain_field') ~ " end"
        ) }} as field_key,
        case when {{ is_quantity('distinct_values.plain') }} then {{ leading_number('distinct_values.plain') }} end as number,
        case
            when {{ unit_behind('distinct_values.plain') }} = '' then coalesce(field_units.unit, '')
            else {{ unit_behind('distinct_values.plain') }}
        end as unit,
        coalesce(field_units.base_unit, '') as field_base_unit
    from distinct_values
    left join spec_units as field_units
        on
            field_units.unit = {{ unit_of_field('distinct_values.plain_field') }}
            and field_units.unit <> distinct_values.plain_field
    where length(distinct_values.plain) <= {{ most_value_characters() }}

),

-- A unit that is not in the seed is its own base unit.
converted as (

    select
        measured.field,
        measured.stated,
        measured.whole_field_key,
        measured.field_key,
        case
            when measured.number is null then measured.field_base_unit
            else coalesce(spec_units.base_unit, measured.unit)
        end as dimension,
        measured.text_key,
        measured.number,
        case when measured.number is not null then measured.unit end as unit,
        case when measured.number is not null then coalesce(spec_units.base_unit, measured.unit) end as base_unit,
        {{ safe_cast_to(
            'round(cast(measured.number as double) * cast(coalesce(spec_units.factor, 1) as double), 6)', 'decimal(30, 6)'
        ) }} as amount
    from measured
    left join spec_units
        on spec_units.unit = measured.unit
    where
        measured.field_key <> ''
        and measured.text_key <> ''

),

final as (

    select
        stated.specs_hash,
        stated.field,
        stated.stated,
        converted.whole_field_key,
        converted.field_key,
        converted.dimension,
        converted.text_key,
        converted.number,
        converted.unit,
        converted.base_unit,
        converted.amount
    from stated
    inner join converted
        on
            converted.field = stated.field
            and converted.stated = stated.stated

)

select * from final
