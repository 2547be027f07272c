-- Contradictions of rated listings to the brand's product, to peers, to their picture or to their own text, for analysts; one row
-- per listing, field and reference.
with

listing_discrepancies as (

    select * from {{ ref('listing_discrepancies') }}

),

scores as (

    select * from {{ source('landed', 'listing_scores') }}

),

stg_listings as (

    select * from {{ ref('stg_listings') }}

),

final as (

    select
        listing_discrepancies.as_of_date,
        listing_discrepancies.listing_id,
        stg_listings.merchant_id,
        scores.score,
        listing_discrepancies.signal,
        listing_discrepancies.field,
        listing_discrepancies.claimed,
        listing_discrepancies.expected,
        listing_discrepancies.reference,
        {{ ratio('listing_discrepancies.millionths_apart', '1000000') }} as apart_ratio,
        listing_discrepancies.picture_sha256,
        listing_discrepancies.region,
        listing_discrepancies.words
    from listing_discrepancies
    inner join scores
        on scores.listing_id = listing_discrepancies.listing_id
    inner join stg_listings
        on stg_listings.listing_id = listing_discrepancies.listing_id

)

select * from final
