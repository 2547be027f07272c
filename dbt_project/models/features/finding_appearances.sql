-- Spans in which a listing shows a picture with a finding inside; one row per listing, picture, finding and span. The name of a
-- merchant counts if it was known when the picture was first shown, and until the listing's own merchant is known by it.
with

picture_findings as (

    select * from {{ ref('picture_findings') }}

),

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

merchant_history as (

    select * from {{ ref('stg_merchant_history') }}

),

own_names as (

    select
        merchant_id,
        {{ name_key('name') }} as name_key,
        min(known_from) as known_from
    from merchant_history
    where name is not null
    group by
        merchant_id,
        {{ name_key('name') }}

),

shown as (

    select
        appearances.listing_id,
        appearances.merchant_id,
        findings.sha256,
        findings.kind,
        findings.brand_id,
        findings.named_merchant_id,
        findings.text,
        findings.region,
        greatest(appearances.shown_from, findings.found_from) as shown_from,
        least(
            appearances.shown_until,
            findings.found_until,
            coalesce(own_names.known_from, {{ end_of_time() }})
        ) as shown_until
    from picture_findings as findings
    inner join picture_appearances as appearances
        on appearances.sha256 = findings.sha256
    left join own_names
        on
            findings.kind = 'watermark'
            and own_names.merchant_id = appearances.merchant_id
            and own_names.name_key = findings.text_key
    where
        findings.kind <> 'watermark'
        or (findings.named_merchant_id <> appearances.merchant_id and findings.found_from <= appearances.shown_from)

),

final as (

    select distinct * from shown where shown_from < shown_until

)

select * from final
