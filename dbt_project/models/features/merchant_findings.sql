-- Counterfeits that platforms, examiners and authorities found among a merchant's listings, and such findings against the
-- merchant; one row per finding, with the day on which it was reversed: by an upheld appeal, or because the listing was
-- reinstated. A case is a listing, however many decisions concern it, or the case of a decision on the merchant itself. (What is
-- passed on from a listing to its merchant is the listing's.)
with

labels as (

    select * from {{ ref('entity_labels') }}
    where
        entity_kind = 'listing'
        or listing_id is null

),

platform_actions as (

    select * from {{ ref('stg_platform_actions') }}

),

findings as (

    select * from labels where is_positive

),

-- An appeal of the merchant reverses what was found about its listings, too.
reversals as (

    select
        findings.merchant_id,
        findings.listing_id,
        findings.case_id,
        findings.decided_at,
        labels.decided_at as reversed_at
    from findings
    inner join labels
        on
            labels.merchant_id = findings.merchant_id
            and coalesce(labels.listing_id = findings.listing_id, labels.listing_id is null)
            and labels.decided_at >= findings.decided_at
    where labels.source = 'appeal'
    union all
    select
        findings.merchant_id,
        findings.listing_id,
        findings.case_id,
        findings.decided_at,
        platform_actions.occurred_at as reversed_at
    from findings
    inner join platform_actions
        on
            platform_actions.entity_id = findings.listing_id
            and platform_actions.occurred_at >= findings.decided_at
    where
        platform_actions.entity_kind = 'listing'
        and platform_actions.kind = 'reinstatement'
    union all
    select
        merchant_id,
        listing_id,
        case_id,
        decided_at,
        cast(null as timestamp) as reversed_at
    from findings

),

final as (

    select
        merchant_id,
        listing_id,
        coalesce('listing:' || listing_id, 'case:' || case_id) as case_id,
        cast(decided_at as date) as decided_date,
        coalesce(cast(min(reversed_at) as date), {{ end_of_time() }}) as reversed_date
    from reversals
    group by
        merchant_id,
        listing_id,
        case_id,
        decided_at

)

select * from final
