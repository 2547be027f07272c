-- What is found inside the pictures of a listing at a date; one row per listing with a picture that was read, and date.
with

states as (

    select
        listing_id,
        merchant_id,
        as_of_date,
        is_active,
        brand_id
    from {{ ref('listing_states') }}

),

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

picture_readings as (

    select * from {{ source('landed', 'picture_readings') }} where reason is null

),

finding_appearances as (

    select * from {{ ref('finding_appearances') }} where kind <> 'logo'

),

logo_appearances as (

    select * from {{ ref('logo_appearances') }}

),

unnamed_logos as (

    select * from {{ ref('unnamed_logos') }}

),

read_spans as (

    select distinct
        picture_appearances.listing_id,
        picture_appearances.shown_from,
        picture_appearances.shown_until
    from picture_appearances
    inner join picture_readings
        on picture_readings.sha256 = picture_appearances.sha256

),

read_states as (

    select distinct states.*
    from states
    inner join read_spans
        on
            read_spans.listing_id = states.listing_id
            and read_spans.shown_from <= states.as_of_date
            and read_spans.shown_until > states.as_of_date

),

texts as (

    select
        read_states.listing_id,
        read_states.as_of_date,
        bool_or(findings.kind = 'contact') as has_contact,
        bool_or(findings.kind = 'evasive_text') as has_evasive_text,
        bool_or(findings.kind = 'watermark') as has_watermark
    from read_states
    inner join finding_appearances as findings
        on
            findings.listing_id = read_states.listing_id
            and findings.shown_from <= read_states.as_of_date
            and findings.shown_until > read_states.as_of_date
    group by
        read_states.listing_id,
        read_states.as_of_date

),

claimed_logos as (

    select distinct
        read_states.listing_id,
        read_states.as_of_date
    from read_states
    inner join logo_appearances
        on
            logo_appearances.listing_id = read_states.listing_id
            and logo_appearances.brand_id = read_states.brand_id
            and logo_appearances.shown_from <= read_states.as_of_date
            and logo_appearances.shown_until > read_states.as_of_date

),

-- A logo that the title does not name, of another brand than the claimed one, where none of the claimed one is shown.
mismatches as (

    select
        read_states.listing_id,
        read_states.as_of_date,
        min(unnamed_logos.brand_id) as shown_brand_id
    from read_states
    inner join unnamed_logos
        on
            unnamed_logos.listing_id = read_states.listing_id
            and unnamed_logos.unnamed_from <= read_states.as_of_date
            and unnamed_logos.unnamed_until > read_states.as_of_date
            and unnamed_logos.brand_id is distinct from read_states.brand_id
    left join claimed_logos
        on
            claimed_logos.listing_id = read_states.listing_id
            and claimed_logos.as_of_date = read_states.as_of_date
    where claimed_logos.listing_id is null
    group by
        read_states.listing_id,
        read_states.as_of_date

),

final as (

    select
        read_states.listing_id,
        read_states.merchant_id,
        read_states.as_of_date,
        read_states.is_active,
        mismatches.listing_id is not null as has_logo_brand_mismatch,
        mismatches.shown_brand_id,
        coalesce(texts.has_contact, false) as has_contact_in_picture,
        coalesce(texts.has_evasive_text, false) as has_evasive_text_in_picture,
        coalesce(texts.has_watermark, false) as has_watermark_of_other_merchant
    from read_states
    left join mismatches
        on
            mismatches.listing_id = read_states.listing_id
            and mismatches.as_of_date = read_states.as_of_date
    left join texts
        on
            texts.listing_id = read_states.listing_id
            and texts.as_of_date = read_states.as_of_date

)

select * from final
