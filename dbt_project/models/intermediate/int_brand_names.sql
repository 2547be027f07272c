-- Which brand a name means: one row a spelling, from the brands' names and aliases over all loads. Where two brands claim
-- one spelling, the one that had it first, then the one whose name it is, then the lesser id.
with

brands as (

    {{ row_versions('brands', ['brand_id'], ['name', 'aliases']) }}

),

aliases as (

    select
        brands.brand_id,
        brands.known_from,
        {{ each_member(json_texts('brands.aliases')) }} as alias
    from brands

),

spellings as (

    select
        brands.brand_id,
        brands.known_from,
        {{ name_key('brands.name') }} as name_key,
        {{ words_in('brands.name') }} as word_count,
        'name' as matched_by
    from brands
    union all
    select
        aliases.brand_id,
        aliases.known_from,
        {{ name_key('aliases.alias') }} as name_key,
        {{ words_in('aliases.alias') }} as word_count,
        'alias' as matched_by
    from aliases

),

ranked as (

    select
        *,
        max(word_count) over (partition by name_key, known_from) as most_words,
        row_number() over (
            partition by name_key
            order by known_from asc, matched_by desc, brand_id asc
        ) as place
    from spellings
    where name_key <> ''

),

final as (

    select
        name_key,
        brand_id,
        matched_by,
        most_words as word_count,
        known_from
    from ranked
    where place = 1

)

select * from final
