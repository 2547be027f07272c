-- Findings about a merchant's other listings, or about the merchant itself; one row per listing and date of the spine with a
-- finding that stands by then. Each case counts once; its weight halves every finding_half_life_days from the newest decision.
-- For a listing that was decided on itself, what was known on the day before its first decision counts: what was found later may
-- follow from that decision, which is its label. A rejected notice is no such decision: anybody could choose what is ignored.
with

findings as (

    select * from {{ ref('merchant_findings') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

own as (

    select
        listing_id,
        min(decided_date) as first_date
    from labels
    where
        entity_kind = 'listing'
        and (is_positive or source <> 'notice')
    group by listing_id

),

found_about as (

    select distinct merchant_id from findings

),

places as (

    select distinct
        listing_spine.listing_id,
        listing_spine.merchant_id,
        listing_spine.as_of_date,
        case
            when own.first_date <= listing_spine.as_of_date then {{ add_days('own.first_date', -1) }}
            else listing_spine.as_of_date
        end as known_date
    from {{ ref('listing_spine') }} as listing_spine
    inner join found_about
        on found_about.merchant_id = listing_spine.merchant_id
    left join own
        on own.listing_id = listing_spine.listing_id

),

cases as (

    select
        places.listing_id,
        places.as_of_date,
        places.known_date,
        findings.case_id,
        max(findings.decided_date) as found_date
    from places
    inner join findings
        on
            findings.merchant_id = places.merchant_id
            and coalesce(findings.listing_id <> places.listing_id, true)
            and findings.decided_date <= places.known_date
            and findings.reversed_date > places.known_date
    group by
        places.listing_id,
        places.as_of_date,
        places.known_date,
        findings.case_id

),

final as (

    select
        listing_id,
        as_of_date,
        {{ finding_weight() }} as finding_weight
    from cases
    group by
        listing_id,
        as_of_date

)

select * from final
