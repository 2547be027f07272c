-- How many listings have a specification, or a title and description, of which nothing can be told, one row a part and reason.
-- A view: a run asks it once.
{{ config(materialized='view') }}

with

specifications as (

    select
        specs,
        count(*) as listing_count
    from {{ ref('stg_listings') }}
    where specs is not null
    group by specs

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

judged as (

    select
        'specification' as part,
        case
            when length(specs) > {{ most_characters() }} then 'too long'
            when {{ json_kind('specs') }} is null then 'no JSON'
            when {{ json_kind('specs') }} <> 'OBJECT' then 'no object'
            when len({{ json_member_names('specs') }}) > {{ most_fields() }} then 'too many fields'
        end as reason,
        listing_count
    from specifications
    union all
    select
        'title or description' as part,
        reason,
        1 as listing_count
    from int_listing_texts
    where known_until = {{ end_of_time() }}

),

final as (

    select
        part,
        reason,
        cast(sum(listing_count) as bigint) as listing_count
    from judged
    where reason is not null
    group by
        part,
        reason

)

select * from final
