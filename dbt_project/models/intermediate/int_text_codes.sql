-- Product codes in titles and descriptions; one row per text: GTINs, numbers that are announced as a GTIN but are none, and model
-- numbers. A text never changes, so it is examined once: a run adds new ones, and the hook deletes those that no listing has any
-- more. A number that nothing announces is a GTIN only with 12 to 14 digits: one of 8 is rather a date or a telephone number.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='text_digest',
    on_schema_change='fail',
    post_hook="delete from {{ this }} as kept where
        kept.recipe not in (select {{ digest_recipe() }} from {{ source('landed', 'run') }} as run)
        or kept.text_digest not in (select {{ written_digest('history') }} from {{ ref('stg_listing_history') }} as history)",
) }}

with

run as (

    select * from {{ source('landed', 'run') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

examined as (

    select examined.text_digest
    from {{ source('previous', 'int_text_codes') }} as examined
    inner join run
        on examined.recipe = {{ digest_recipe() }}

),

written as (

    select
        {{ written_digest('listing_history') }} as text_digest,
        coalesce(listing_history.title, '') || ' . ' || coalesce(listing_history.description, '') as text
    from listing_history

),

texts as (

    select
        written.text_digest,
        min(written.text) as text
    from written
    left join examined
        on examined.text_digest = written.text_digest
    where examined.text_digest is null
    group by written.text_digest

),

-- Each word with the one before it.
word_pairs as (

    select distinct
        text_digest,
        {{ each_member(runs_of(parts_of("'. ' || " ~ as_code_words(as_read('text')), "' '"), 2)) }} as word_pair
    from texts
    where length(text) <= {{ most_characters() }}

),

words as (

    select
        text_digest,
        {{ replace_matches('word_pair', "' .*$'", "''") }} as word_before,
        {{ replace_matches('word_pair', "'^[^ ]* |[.]$'", "''") }} as word
    from word_pairs
    where {{ matches('word_pair', "'[0-9][^ ]*$'") }}

),

numbers as (

    select
        text_digest,
        {{ as_gtin("replace(word, '-', '')") }} as gtin,
        {{ announces_gtin('word_before') }} as is_announced
    from words
    where
        {{ matches('word', "'^[0-9][0-9-]*[0-9]$'") }}
        and (
            length(word) in (12, 13, 14) and {{ matches('word', "'^[0-9]+$'") }}
            or length(replace(word, '-', '')) in (8, 12, 13, 14) and {{ announces_gtin('word_before') }}
            or length(replace(word, '-', '')) = 13 and {{ matches('word', "'^97[89]-'") }}
        )
        and not {{ announces_other_number('word_before') }}

),

codes as (

    select
        text_digest,
        case when {{ has_check_digit('gtin') }} and {{ has_traded_prefix('gtin') }} then gtin end as gtin,
        case when is_announced and not {{ has_check_digit('gtin') }} then gtin end as invalid_gtin,
        cast(null as varchar) as model_number
    from numbers
    union all
    select
        text_digest,
        cast(null as varchar) as gtin,
        cast(null as varchar) as invalid_gtin,
        word as model_number
    from words
    where {{ is_model_number('word') }}

),

listed as (

    select
        text_digest,
        {{ collect_distinct_in_order('gtin') }} as gtins,
        {{ collect_distinct_in_order('invalid_gtin') }} as invalid_gtins,
        {{ collect_distinct_in_order('model_number') }} as model_numbers
    from codes
    group by text_digest

),

final as (

    select
        texts.text_digest,
        listed.gtins,
        listed.invalid_gtins,
        listed.model_numbers,
        {{ digest_recipe() }} as recipe
    from texts
    cross join run
    left join listed
        on listed.text_digest = texts.text_digest

)

select * from final
