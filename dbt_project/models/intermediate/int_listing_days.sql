-- Daily measures of listings, additive; up to four rows per day, listing and merchant, one for each part. A view over the tables
-- of the parts. An event of a listing without a merchant is only in the part's table until the listing has one.
{{ config(materialized='view') }}

{% set measures = listing_measures() %}

with

final as (

    {% for name, model in listing_parts().items() %}
    select
        day,
        listing_id,
        merchant_id,
        '{{ name }}' as part,
        {{ measures_beside(measures, measures_of_part(name)) }}
    from {{ ref(model) }}
    where merchant_id is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select * from final
