-- Reviews that doubt that the listing is authentic, by a lexicon of phrases in several languages: a phrase for fake that is not
-- negated ("not a fake"), or a phrase for genuine that is negated ("not the original") up to three words before it in the same
-- clause. Phrases that only look like a negation do not count ("no doubt an original"). Accents do not matter.
-- The fast search for one word of each phrase comes first: of 10 million reviews few are left for the expensive steps. A regular
-- expression taken from a column would be compiled again for every pair of review and word (185 s for 400,000).
-- A review in a language without phrases in the seed is neither a complaint nor none (int_review_days, int_unread_texts).
-- A load never changes, so its reviews are searched once: a run adds those of new loads, and the hook deletes those of loads that
-- are no longer current.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='load_id',
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where not exists (
        select 1
        from {{ source('landed', 'loads') }} as loads
        where loads.table_name = 'reviews' and loads.load_id = kept.load_id and loads.is_current
    )",
) }}

with

known_loads as (

    select distinct load_id
    from {{ source('previous', 'int_authenticity_complaints') }}

),

reviews as (

    select * from {{ ref('stg_reviews') }}

),

authenticity_words as (

    select
        language,
        {{ for_lexicon('phrase') }} as phrase,
        meaning
    from {{ ref('authenticity_words') }}

),

negation_words as (

    select
        language,
        {{ for_lexicon('word') }} as word
    from {{ ref('negation_words') }}

),

idle_negations as (

    select
        language,
        {{ for_lexicon('phrase') }} as phrase
    from {{ ref('idle_negations') }}

),

-- A review without a language is searched for the phrases of all languages; its language is then an empty string.
phrases as (

    select
        authenticity_words.language,
        authenticity_words.phrase,
        authenticity_words.meaning
    from authenticity_words
    union all
    select
        '' as language,
        authenticity_words.phrase,
        authenticity_words.meaning
    from authenticity_words

),

-- The longest word of each phrase is searched for first; a longest word that contains another one is redundant.
phrase_words as (

    select
        phrases.language,
        phrases.phrase,
        {{ each_member(parts_of('phrases.phrase', "' '")) }} as word
    from phrases

),

longest_words as (

    select
        language,
        phrase,
        word,
        row_number() over (partition by language, phrase order by length(word) desc, word asc) as place
    from phrase_words

),

stems as (

    select distinct
        longest_words.language,
        longest_words.word as stem
    from longest_words
    left join longest_words as shorter
        on
            shorter.language = longest_words.language
            and shorter.place = 1
            and shorter.word <> longest_words.word
            and {{ has_text('longest_words.word', 'shorter.word') }}
    where
        longest_words.place = 1
        and shorter.word is null

),

negations as (

    select
        negation_words.language,
        {{ collect('negation_words.word') }} as words
    from negation_words
    group by negation_words.language
    union all
    select
        '' as language,
        {{ collect('negation_words.word') }} as words
    from negation_words

),

idle as (

    select
        idle_negations.language,
        {{ collect_in_order(as_words('idle_negations.phrase')) }} as phrases
    from idle_negations
    group by idle_negations.language
    union all
    select
        '' as language,
        {{ collect_in_order(as_words('idle_negations.phrase')) }} as phrases
    from idle_negations

),

read_texts as (

    select
        reviews.load_id,
        reviews.review_id,
        {{ as_read('reviews.text') }} as text,
        {{ review_language('reviews') }} as language
    from reviews
    left join known_loads
        on known_loads.load_id = reviews.load_id
    where
        reviews.text is not null
        and known_loads.load_id is null

),

texts as (

    select
        load_id,
        review_id,
        language,
        lower({{ for_lexicon('text') }}) as text
    from read_texts

),

candidates as (

    select distinct
        texts.load_id,
        texts.review_id,
        texts.language,
        texts.text
    from texts
    inner join stems
        on
            stems.language = texts.language
            and {{ has_text('texts.text', 'stems.stem') }}

),

words as (

    select
        candidates.load_id,
        candidates.review_id,
        candidates.language,
        {{ as_clauses('candidates.text') }} as text
    from candidates

),

spaced_phrases as (

    select
        phrases.language,
        phrases.meaning,
        {{ as_words('phrases.phrase') }} as phrase
    from phrases

),

mentions as (

    select
        words.load_id,
        words.review_id,
        words.language,
        spaced_phrases.meaning,
        {{ each_member(all_but_last(parts_of('words.text', 'spaced_phrases.phrase'))) }} as text_before
    from words
    inner join spaced_phrases
        on
            spaced_phrases.language = words.language
            and {{ has_text('words.text', 'spaced_phrases.phrase') }}

),

clauses as (

    select
        mentions.load_id,
        mentions.review_id,
        mentions.language,
        mentions.meaning,
        {{ replace_matches("' ' || mentions.text_before || ' '", "'^.* [.] '", "' '") }} as text_before
    from mentions

),

meant as (

    select
        clauses.load_id,
        clauses.review_id,
        clauses.language,
        clauses.meaning,
        case
            when idle.language is null then clauses.text_before
            else {{ without_members('clauses.text_before', 'idle.phrases') }}
        end as text_before
    from clauses
    left join idle
        on idle.language = clauses.language

),

judged as (

    select
        meant.load_id,
        meant.review_id,
        meant.meaning,
        coalesce(
            {{ have_common_member(
                last_members(parts_of('trim(meant.text_before)', "' '"), 3), 'negations.words'
            ) }},
            false
        ) as is_negated
    from meant
    left join negations
        on negations.language = meant.language

),

final as (

    select
        judged.load_id,
        judged.review_id,
        cast(count(*) as integer) as mention_count
    from judged
    where (judged.meaning = 'genuine') = judged.is_negated
    group by
        judged.load_id,
        judged.review_id

)

select * from final
