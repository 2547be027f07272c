-- The phrases that reviews and listings are searched for: the shipped ones (seeds) and those of the marketplace (table lexicon).
{{ config(materialized='view') }}

with

authenticity_words as (

    select * from {{ ref('authenticity_words') }}

),

negation_words as (

    select * from {{ ref('negation_words') }}

),

idle_negations as (

    select * from {{ ref('idle_negations') }}

),

evasive_words as (

    select * from {{ ref('evasive_words') }}

),

compatible_phrases as (

    select * from {{ ref('compatible_phrases') }}

),

added as (

    select * from {{ ref('stg_lexicon') }}

),

final as (

    select
        meaning,
        language,
        phrase
    from authenticity_words
    union
    select
        'negation' as meaning,
        language,
        word as phrase
    from negation_words
    union
    select
        'idle_negation' as meaning,
        language,
        phrase
    from idle_negations
    union
    select
        'evasive' as meaning,
        language,
        phrase
    from evasive_words
    union
    select
        meaning,
        language,
        phrase
    from compatible_phrases
    union
    select
        meaning,
        lower(language) as language,
        {{ translated('lower(trim(phrase))', "'''’'", "''") }} as phrase
    from added

)

select * from final
