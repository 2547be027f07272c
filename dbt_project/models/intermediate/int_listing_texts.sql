-- Findings in a listing's title and description; one row per listing and span of days.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_text_findings as (

    select * from {{ ref('int_text_findings') }}

),

final as (

    select
        listing_history.listing_id,
        listing_history.known_from,
        listing_history.known_until,
        int_text_findings.reason,
        int_text_findings.evasive_word_count,
        int_text_findings.odd_word_count,
        int_text_findings.brand_hidden_from,
        int_text_findings.brand_hidden_until,
        int_text_findings.hidden_brand_id,
        int_text_findings.hidden_as,
        int_text_findings.title_word_count,
        int_text_findings.description_word_count,
        {{ title_band_columns('int_text_findings') }}
    from listing_history
    inner join int_text_findings
        on int_text_findings.text_digest = {{ written_digest('listing_history') }}

)

select * from final
