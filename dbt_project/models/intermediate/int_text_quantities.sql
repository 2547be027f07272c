-- Quantities that titles state with a unit ("500 ml", "2TB"); one row per title and quantity. A title that offers several at once
-- has none: a quantity may be that of one or of all of them. "5G" is a network.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

spec_units as (

    select * from {{ ref('spec_units') }}

),

titles as (

    select distinct title from listing_history
    where {{ matches('title', "'[0-9]'") }} and length(title) <= {{ most_characters() }}

),

written as (

    select
        title,
        {{ plain_text('title') }} as plain
    from titles

),

found as (

    select
        title,
        -- Two quantities have one space between them, which each match needs for itself.
        {{ each_member(all_matches("replace(plain, ' ', '  ')", quantity_pattern())) }} as found
    from written
    where
        {{ matches('plain', quantity_pattern()) }}
        and not {{ is_multipack('plain') }}

),

quantities as (

    select distinct
        title,
        trim({{ replace_matches('found', "'[^0-9a-z.,]+'", "' '") }}, ' .,') as quantity
    from found
    where not {{ matches('found', "'(^|[^0-9.,])[2-6]g'") }}

),

final as (

    select
        {{ text_digest('quantities.title') }} as title_digest,
        quantities.quantity,
        spec_units.base_unit,
        {{ safe_cast_to(
            'round(cast(' ~ leading_number('quantities.quantity') ~ ' as double) * cast(spec_units.factor as double), 6)', 'decimal(30, 6)'
        ) }} as amount
    from quantities
    inner join spec_units
        on spec_units.unit = {{ unit_behind('quantities.quantity') }}

)

select * from final
