-- Titles in which the phrases are marked that say what an offer fits ("compatible with X", "X uyumlu"); one row per title. A
-- title never changes, so it is examined once: a run adds new ones, and the hook deletes those that no listing has any more.
-- Which words are brands changes with the brands, and is decided later (compatible_listings), for the few titles with a mark.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='title_digest',
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where
        kept.recipe not in (select {{ digest_recipe() }} from {{ source('landed', 'run') }} as run)
        or kept.title_digest not in (select {{ text_digest('history.title') }} from {{ ref('stg_listing_history') }} as history)",
) }}

with

run as (

    select * from {{ source('landed', 'run') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

lexicon as (

    select * from {{ ref('int_lexicon') }}

),

examined as (

    select examined.title_digest
    from {{ source('previous', 'int_marked_titles') }} as examined
    inner join run
        on examined.recipe = {{ digest_recipe() }}

),

titles as (

    select distinct
        {{ text_digest('listing_history.title') }} as title_digest,
        listing_history.title
    from listing_history
    left join examined
        on examined.title_digest = {{ text_digest('listing_history.title') }}
    where
        examined.title_digest is null
        and listing_history.title is not null

),

spaced as (

    select
        title_digest,
        {{ as_title_words('title') }} as words
    from titles
    where length(title) <= {{ most_characters() }}

),

searched_for as (

    select
        {{ as_words(for_lexicon('phrase')) }} as phrase,
        case
            when bool_and(meaning = 'compatible') then ' < '
            when bool_and(meaning = 'compatible_after') then ' > '
            else ' = '
        end as mark
    from lexicon
    where meaning in ('compatible', 'compatible_after')
    group by {{ as_words(for_lexicon('phrase')) }}

),

-- Longer phrases first: "compatible with" contains "compatible".
phrases as (

    select {{ collect_longest_first("phrase || '|' || mark") }} as phrases
    from searched_for

),

first_words as (

    select distinct {{ replace_matches('trim(phrase)', "' .*'", "''") }} as word
    from searched_for

),

title_words as (

    select
        title_digest,
        {{ each_member(parts_of('trim(words)', "' '")) }} as word
    from spaced

),

-- Most titles have no phrase, and are told apart by words.
candidates as (

    select distinct title_words.title_digest
    from title_words
    inner join first_words
        on first_words.word = title_words.word

),

marked as (

    select
        spaced.title_digest,
        {{ replaced_parts('spaced.words', 'phrases.phrases') }} as words
    from spaced
    inner join candidates
        on candidates.title_digest = spaced.title_digest
    cross join phrases

),

final as (

    select
        titles.title_digest,
        case
            when {{ matches('marked.words', "'[<>=]'") }} then {{ parts_of(single_spaced('marked.words'), "' '") }}
        end as marked_words,
        {{ digest_recipe() }} as recipe
    from titles
    cross join run
    left join marked
        on marked.title_digest = titles.title_digest

)

select * from final
