-- What there is to find in a title and its description, one row a text: words that say without saying it that goods are
-- copies, a brand's name hidden from a search for it, words of two scripts, and bands by which like titles are found.
-- A text never changes, so it is looked through once: a run adds new ones, and the hook takes out those that are gone.
{{ config(materialized='goes_on', forget='forget_other_texts') }}

with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

evasive_words as (

    select * from {{ ref('evasive_words') }}

),

brand_names as (

    select * from {{ ref('int_brand_names') }}

),

recipes as (

    {{ text_recipes() }}

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
        text_digest,
        min(title) as title,
        min(coalesce(title, '') || ' ' || coalesce(description, '')) as text
    from written
    where {{ is_not_found_out('written.text_digest') }}
    group by text_digest

),

readable as (

    select
        text_digest,
        {{ as_words(without_invisible('title')) }} as title_words,
        {{ as_words(without_invisible('text')) }} as words,
        {{ words_in('title') }} as title_word_count,
        {{ words_in('text') }} as word_count,
        {{ parts_of(on_one_line('title'), "' '") }} as title,
        {{ on_one_line('text') }} as text
    from texts
    where length(text) <= {{ most_characters() }}

),

phrases as (

    select distinct {{ as_words('phrase') }} as phrase
    from evasive_words

),

evasions as (

    select
        readable.text_digest,
        count(*) as evasive_word_count
    from readable
    inner join phrases
        on {{ has_text('readable.words', 'phrases.phrase') }}
    group by readable.text_digest

),

-- A name may be hidden by signs for letters, in any word, or by taking it apart, in a title.
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

-- What has three letters or fewer is found by chance.
hideable as (

    select
        {{ look_alike_key('name_key') }} as look_alike_key,
        {{ without_accents('name_key') }} as plain_key,
        max(word_count) as word_count,
        min(known_from) as known_from,
        max(known_until) as known_until
    from brand_names
    where length({{ look_alike_key('name_key') }}) >= 4
    group by all

),

hidden as (

    select
        runs.text_digest,
        min(hideable.known_from) as brand_hidden_from,
        max(hideable.known_until) as brand_hidden_until
    from runs
    inner join hideable
        on hideable.look_alike_key = replace(runs.look_alike_key, ' ', '')
    where
        {{ without_accents(name_key('runs.run')) }} <> hideable.plain_key
        or {{ words_in('runs.run') }} > hideable.word_count
    group by runs.text_digest

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
