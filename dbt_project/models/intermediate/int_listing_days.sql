-- What happened to a listing on a day, to be added up: up to four rows a day, listing and merchant, one for each part. A view
-- over the tables of the parts. An event of a listing that no merchant offers is in its part's table, waiting, and not here.
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
