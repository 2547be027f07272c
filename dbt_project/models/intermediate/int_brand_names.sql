-- The brand that a spelling of a name refers to; one row per spelling and span of days, from the brands' names and aliases over
-- all loads. If two brands claim one spelling, the earlier one has it for as long as it claims it; at a tie, the one whose name
-- (not alias) it is, then the lesser id.
with

brands as (

    {{ row_versions('brands', ['brand_id'], ['name', 'aliases'], ends=true) }}

),

aliases as (

    select
        brands.brand_id,
        brands.known_from,
        brands.known_until,
        {{ each_member(json_texts('brands.aliases')) }} as alias
    from brands

),

spellings as (

    select
        brands.brand_id,
        brands.known_from,
        brands.known_until,
        {{ name_key('brands.name') }} as name_key,
        {{ words_in('brands.name') }} as word_count,
        'name' as matched_by
    from brands
    union all
    select
        aliases.brand_id,
        aliases.known_from,
        aliases.known_until,
        {{ name_key('aliases.alias') }} as name_key,
        {{ words_in('aliases.alias') }} as word_count,
        'alias' as matched_by
    from aliases

),

ranked as (

    select
        *,
        max(word_count) over (partition by name_key, known_from) as most_words,
        max(known_until) over (partition by name_key, brand_id) as claimed_until,
        row_number() over (
            partition by name_key, brand_id
            order by known_from asc, matched_by desc
        ) as place
    from spellings
    where name_key <> ''

),

-- The day until which earlier claimants hold the spelling.
claims as (

    select
        *,
        max(claimed_until) over (
            partition by name_key
            order by known_from asc, matched_by desc, brand_id asc
            rows between unbounded preceding and 1 preceding
        ) as others_until
    from ranked
    where place = 1

),

final as (

    select
        name_key,
        brand_id,
        matched_by,
        most_words as word_count,
        greatest(known_from, coalesce(others_until, known_from)) as known_from,
        claimed_until as known_until
    from claims
    where greatest(known_from, coalesce(others_until, known_from)) < claimed_until

)

select * from final
