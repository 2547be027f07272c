-- Reviews that say the goods are not authentic, by a lexicon of words in several languages. A quick search for the stem
-- comes first; only where it is found do the regular expressions run (an engine compiles one anew for every row).
with

reviews as (

    select * from {{ ref('stg_reviews') }}

),

words as (

    select * from {{ ref('authenticity_words') }}

),

negations as (

    select * from {{ ref('negation_words') }}

),

patterns as (

    select
        words.language,
        words.stem,
        words.pattern,
        case
            when words.is_negatable then '(?:' || negations.pattern || ')\s+(?:\w+\s+){0,2}(?:' || words.pattern || ')'
        end as cleared_pattern
    from words
    left join negations
        on negations.language = words.language

),

mentions as (

    select
        reviews.review_id,
        reviews.listing_id,
        reviews.created_at,
        lower(reviews.text) as text,
        patterns.pattern,
        patterns.cleared_pattern
    from reviews
    inner join patterns
        on
            {{ has_text('lower(reviews.text)', 'patterns.stem') }}
            and (reviews.language is null or patterns.language = reviews.language)

),

complaints as (

    select
        mentions.review_id,
        mentions.listing_id,
        mentions.created_at
    from mentions
    where
        case
            when mentions.cleared_pattern is null then {{ matches('mentions.text', 'mentions.pattern') }}
            else {{ matches(
                replace_matches('mentions.text', 'mentions.cleared_pattern', "' '"), 'mentions.pattern'
            ) }}
        end

),

final as (

    select
        complaints.review_id,
        complaints.listing_id,
        complaints.created_at,
        cast(count(*) as integer) as word_count
    from complaints
    group by
        complaints.review_id,
        complaints.listing_id,
        complaints.created_at

)

select * from final
