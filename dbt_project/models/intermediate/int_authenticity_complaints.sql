-- Reviews that doubt that the listing is authentic, by a lexicon of phrases in several languages: a phrase for fake that is not
-- negated ("not a fake"), or a phrase for genuine that is negated ("not the original") up to three words before it in the same
-- clause, or after it in languages that negate so (Japanese, Turkish). Phrases that only look like a negation do not count ("no
-- doubt an original"). Accents do not matter, and other forms of a phrase's words count as well (inflected_forms), but not of
-- English words for genuine, which as adjectives have none.
-- The fast search for the beginning of one word of each phrase comes first: of 10 million reviews few are left for the expensive
-- steps. A regular expression taken from a column would be compiled again for every pair of review and word (185 s for 400,000).
-- A review in a language without phrases in the lexicon is neither a complaint nor none (int_review_days, int_unread_texts).
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

lexicon as (

    select * from {{ ref('int_lexicon') }}

),

-- A review without a language is searched for the phrases of all languages; its language is then an empty string.
authenticity_phrases as (

    select
        language,
        language as stem_language,
        phrase,
        meaning
    from lexicon
    where meaning in ('fake', 'genuine')
    union all
    select
        '' as language,
        language as stem_language,
        phrase,
        meaning
    from lexicon
    where meaning in ('fake', 'genuine')

),

phrases as (

    select
        language,
        stem_language,
        {{ without_accents('phrase') }} as phrase,
        {{ as_words(for_lexicon_of_words('phrase')) }} as phrase_in_words,
        meaning,
        stem_language in ('ja', 'tr') as is_negated_after
    from authenticity_phrases

),

-- The longest word of each phrase is searched for first, without its last two letters, which other forms may lack; a word that
-- contains another one is redundant.
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
        left(word, cast(greatest(4, length(word) - 2) as integer)) as beginning,
        row_number() over (partition by language, phrase order by length(word) desc, word asc) as place
    from phrase_words

),

beginnings as (

    select distinct
        longest_words.language,
        longest_words.beginning
    from longest_words
    left join longest_words as shorter
        on
            shorter.language = longest_words.language
            and shorter.place = 1
            and shorter.beginning <> longest_words.beginning
            and {{ has_text('longest_words.beginning', 'shorter.beginning') }}
    where
        longest_words.place = 1
        and shorter.beginning is null

),

negation_words as (

    select
        language,
        {{ without_accents('phrase') }} as word
    from lexicon
    where meaning = 'negation'

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

idle_negations as (

    select
        language,
        {{ as_words(for_lexicon_of_words('phrase')) }} as phrase
    from lexicon
    where meaning = 'idle_negation'

),

idle as (

    select
        idle_negations.language,
        {{ collect_in_order('idle_negations.phrase') }} as phrases
    from idle_negations
    group by idle_negations.language
    union all
    select
        '' as language,
        {{ collect_in_order('idle_negations.phrase') }} as phrases
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
        text,
        lower({{ without_accents('text') }}) as plain_text
    from read_texts

),

candidates as (

    select distinct
        texts.load_id,
        texts.review_id,
        texts.language,
        texts.text
    from texts
    inner join beginnings
        on
            beginnings.language = texts.language
            and {{ has_text('texts.plain_text', 'beginnings.beginning') }}

),

written_words as (

    select
        candidates.load_id,
        candidates.review_id,
        candidates.language,
        {{ as_clauses(for_lexicon_of_words('candidates.text')) }} as text
    from candidates

),

vocabulary as (

    select distinct
        written_words.language,
        {{ each_member(parts_of('trim(written_words.text)', "' '")) }} as word
    from written_words

),

inflected_words as (

    select distinct
        phrases.language,
        phrases.stem_language,
        {{ each_member(parts_of('trim(phrases.phrase_in_words)', "' '")) }} as word
    from phrases
    where
        phrases.meaning = 'fake'
        or phrases.stem_language <> 'en'

),

{{ inflected_forms('vocabulary', 'inflected_words') }},

words as (

    select
        written_words.load_id,
        written_words.review_id,
        written_words.language,
        {{ in_lexicon_forms('written_words.text', 'forms.word_of_form') }} as text
    from written_words
    left join forms
        on forms.language = written_words.language

),

spaced_phrases as (

    select distinct
        language,
        meaning,
        is_negated_after,
        phrase_in_words as phrase
    from phrases

),

mentions as (

    select
        words.load_id,
        words.review_id,
        words.language,
        spaced_phrases.meaning,
        spaced_phrases.is_negated_after,
        {{ each_member(all_but_last(parts_of('words.text', 'spaced_phrases.phrase'))) }} as text_before,
        {{ each_member(members_from(parts_of('words.text', 'spaced_phrases.phrase'), 2, 'len(words.text)')) }} as text_after
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
        mentions.is_negated_after,
        case
            when mentions.is_negated_after then {{ replace_matches("' ' || mentions.text_after || ' '", "' [.] .*$'", "' '") }}
            else {{ replace_matches("' ' || mentions.text_before || ' '", "'^.* [.] '", "' '") }}
        end as context
    from mentions

),

meant as (

    select
        clauses.load_id,
        clauses.review_id,
        clauses.language,
        clauses.meaning,
        clauses.is_negated_after,
        {{ parts_of("trim(" ~ "case when idle.language is null then clauses.context else "
            ~ without_members('clauses.context', 'idle.phrases') ~ " end)", "' '") }} as context_words
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
                'case when meant.is_negated_after then ' ~ members_from('meant.context_words', 1, '3')
                ~ ' else ' ~ last_members('meant.context_words', 3) ~ ' end', 'negations.words'
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
