-- Findings in titles and descriptions; one row per text: phrases that imply that listings are copies, a brand's name hidden from
-- search, words of mixed scripts, and the bands by which similar titles are found.
-- A text never changes, so it is examined once: a run adds new ones, and the hook deletes those that no listing has any more.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='text_digest',
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where
        kept.recipe not in ({{ text_recipes() }})
        or kept.text_digest not in (select {{ written_digest('history') }} from {{ ref('stg_listing_history') }} as history)",
) }}

with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

lexicon as (

    select * from {{ ref('int_lexicon') }}

),

brand_names as (

    select * from {{ ref('int_brand_names') }}

),

recipes as (

    {{ text_recipes() }}

),

-- Texts that were examined by the same code and engine, and for the same brands.
examined as (

    select examined.text_digest
    from {{ source('previous', 'int_text_findings') }} as examined
    inner join recipes
        on recipes.recipe = examined.recipe

),

written as (

    select
        {{ written_digest('listing_history') }} as text_digest,
        listing_history.title,
        listing_history.description
    from listing_history

),

texts as (

    select
        written.text_digest,
        min(written.title) as title,
        min(coalesce(written.title, '') || ' ' || coalesce(written.description, '')) as text
    from written
    left join examined
        on examined.text_digest = written.text_digest
    where examined.text_digest is null
    group by written.text_digest

),

written_plainly as (

    select
        text_digest,
        title,
        text,
        {{ as_read('title') }} as title_read,
        {{ as_read('text') }} as text_read
    from texts
    where length(text) <= {{ most_characters() }}

),

for_search as (

    select
        *,
        {{ for_lexicon('text_read') }} as text_for_lexicon
    from written_plainly

),

readable as (

    select
        text_digest,
        {{ as_words('title_read') }} as title_words,
        {{ as_words_and_ratios('text_for_lexicon') }} as words,
        {{ words_in('title') }} as title_word_count,
        {{ words_in('text') }} as word_count,
        {{ parts_of(on_one_line('title'), "' '") }} as title,
        {{ on_one_line('text') }} as text
    from for_search

),

evasive_phrases as (

    select
        language,
        {{ for_lexicon('phrase') }} as phrase
    from lexicon
    where meaning = 'evasive'

),

phrases as (

    select distinct
        language,
        {{ as_words_and_ratios('phrase') }} as phrase
    from evasive_phrases

),

-- A text is searched for the phrases of all languages, as nobody states its own.
inflected_words as (

    select distinct
        '' as language,
        phrases.language as stem_language,
        {{ each_member(parts_of('trim(phrases.phrase)', "' '")) }} as word
    from phrases

),

vocabulary as (

    select distinct
        '' as language,
        {{ each_member(parts_of('trim(readable.words)', "' '")) }} as word
    from readable

),

{{ inflected_forms('vocabulary', 'inflected_words') }},

searched as (

    select
        readable.text_digest,
        {{ in_lexicon_forms('readable.words', 'forms.word_of_form') }} as words
    from readable
    left join forms
        on forms.language = ''

),

searched_for as (

    select distinct phrase
    from phrases

),

evasions as (

    select
        searched.text_digest,
        count(*) as evasive_word_count
    from searched
    inner join searched_for
        on {{ has_text('searched.words', 'searched_for.phrase') }}
    group by searched.text_digest

),

-- A name may be hidden by characters that imitate letters, in any word, or by splitting it, in a title.
split_texts as (

    select
        text_digest,
        title,
        {{ parts_of('text', "' '") }} as written,
        {{ parts_of(look_alike_key('text'), "' '") }} as keys
    from readable

),

-- A text begins with its title.
title_keys as (

    select
        text_digest,
        title as title_written,
        {{ members_from('keys', 1, 'len(title)') }} as title_keys
    from split_texts

),

runs as (

    select
        text_digest,
        {{ each_member('written') }} as run,
        {{ each_member('keys') }} as look_alike_key
    from split_texts
    union all
    select
        text_digest,
        {{ each_member(runs_of('title_written', 2)) }} as run,
        {{ each_member(runs_of('title_keys', 2)) }} as look_alike_key
    from title_keys
    union all
    select
        text_digest,
        {{ each_member(runs_of('title_written', 3)) }} as run,
        {{ each_member(runs_of('title_keys', 3)) }} as look_alike_key
    from title_keys

),

-- Names of three letters or fewer match by chance, and so does a name in a run without letters, or a name of four letters in a
-- run with one letter.
hideable as (

    select
        {{ look_alike_key('name_key') }} as look_alike_key,
        {{ without_accents('name_key') }} as plain_key,
        case when length({{ look_alike_key('name_key') }}) > 4 then 1 else 2 end as least_letters,
        max(word_count) as word_count,
        min(known_from) as known_from,
        max(known_until) as known_until,
        substr(min(cast(known_from as varchar) || brand_id), 11) as brand_id
    from brand_names
    where length({{ look_alike_key('name_key') }}) >= 4
    group by all

),

hidden_runs as (

    select
        runs.text_digest,
        runs.run,
        hideable.brand_id,
        hideable.known_from,
        max(hideable.known_until) over (partition by runs.text_digest) as known_until,
        row_number() over (
            partition by runs.text_digest
            order by hideable.known_from, hideable.brand_id, runs.run
        ) as place
    from runs
    inner join hideable
        on hideable.look_alike_key = replace(runs.look_alike_key, ' ', '')
    where
        -- The case expression is evaluated only for matches; a plain comparison would be evaluated for every run before the join.
        case
            when
                {{ without_accents(name_key('runs.run')) }} <> hideable.plain_key
                or {{ words_in('runs.run') }} > hideable.word_count
                then {{ count_matches('runs.run', "'\\p{L}'") }} >= hideable.least_letters
        end

),

-- The earliest known name: the choice does not change when other names become known.
hidden as (

    select
        text_digest,
        known_from as brand_hidden_from,
        known_until as brand_hidden_until,
        brand_id as hidden_brand_id,
        run as hidden_as
    from hidden_runs
    where place = 1

),

title_words as (

    select
        text_digest,
        {{ parts_of('trim(title_words)', "' '") }} as title_words
    from readable
    where trim(title_words) <> ''

),

shingles as (

    select
        text_digest,
        {{ hashes_of(both_lists('title_words', runs_of('title_words', 2))) }} as title_shingles
    from title_words

),

title_bands as (

    select
        text_digest,
        {{ title_band('title_shingles', 0) }} as title_band_0,
        {{ title_band('title_shingles', 1) }} as title_band_1,
        {{ title_band('title_shingles', 2) }} as title_band_2,
        {{ title_band('title_shingles', 3) }} as title_band_3
    from shingles

),

final as (

    select
        texts.text_digest,
        case when readable.text_digest is null then 'too long' end as reason,
        case when readable.text_digest is not null then coalesce(evasions.evasive_word_count, 0) end as evasive_word_count,
        case when readable.text_digest is not null then {{ mixed_words('texts.text') }} end as odd_word_count,
        hidden.brand_hidden_from,
        hidden.brand_hidden_until,
        hidden.hidden_brand_id,
        hidden.hidden_as,
        cast(readable.title_word_count as integer) as title_word_count,
        cast(readable.word_count - readable.title_word_count as integer) as description_word_count,
        {{ title_band_columns('title_bands') }},
        recipes.recipe
    from texts
    cross join recipes
    left join readable
        on readable.text_digest = texts.text_digest
    left join evasions
        on evasions.text_digest = texts.text_digest
    left join hidden
        on hidden.text_digest = texts.text_digest
    left join title_bands
        on title_bands.text_digest = texts.text_digest

)

select * from final
