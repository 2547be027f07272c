-- Numbers of specifications, of values in them, of titles with descriptions, and of reviews that cannot be read; one row per part
-- and reason. A view, because a run reads it once.
{{ config(materialized='view') }}

with

specifications as (

    select
        specs,
        count(*) as text_count
    from {{ ref('stg_listings') }}
    where specs is not null
    group by specs

),

specification_fields as (

    select
        specs,
        text_count,
        {{ each_member(json_member_names('specs')) }} as field
    from specifications
    where
        length(specs) between {{ most_value_characters() }} and {{ most_characters() }}
        and len({{ json_member_names('specs') }}) <= {{ most_fields() }}

),

reviews as (

    select
        {{ review_language('reviews') }} as language,
        count(reviews.text) as text_count
    from {{ ref('stg_reviews') }} as reviews
    group by {{ review_language('reviews') }}

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
        text_count
    from specifications
    union all
    select
        'value in a specification' as part,
        'too long' as reason,
        text_count
    from specification_fields
    where length({{ plain_text(json_text('specs', 'field')) }}) > {{ most_value_characters() }}
    union all
    select
        'title or description' as part,
        reason,
        1 as text_count
    from int_listing_texts
    where known_until = {{ end_of_time() }}
    union all
    select
        'review' as part,
        'in a language without words for complaints' as reason,
        text_count
    from reviews
    where
        language <> ''
        and text_count > 0
        and language not in (
            select lexicon.language
            from {{ ref('int_lexicon') }} as lexicon
            where lexicon.meaning in ('fake', 'genuine')
        )

),

final as (

    select
        part,
        reason,
        cast(sum(text_count) as bigint) as text_count
    from judged
    where reason is not null
    group by
        part,
        reason

)

select * from final
