-- Conduct of a merchant that its active listings do not show: pauses between offers, new identities, relistings after takedowns,
-- and unsuccessful notices against it. One row per merchant and date of merchant_windows.
with

places as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

merchants as (

    select * from {{ ref('stg_merchants') }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

merchant_identifiers as (

    select * from {{ ref('stg_merchant_identifiers') }}

),

verifications as (

    {{ row_versions('merchant_identifiers', ['merchant_id', 'kind', 'value_hash'], ['is_verified']) }}

),

notices as (

    select * from {{ ref('stg_notices') }}

),

relistings as (

    select * from {{ ref('relistings') }} where not is_confirmed

),

labels as (

    select * from {{ ref('entity_labels') }}

),

{{ own_cases_and_days(with_rejected_notices=true) }}

listing_days as (

    select distinct
        merchant_id,
        cast(listed_at as date) as day
    from listings
    where listed_at is not null

),

pauses as (

    select
        merchant_id,
        day,
        {{ days_between('lag(day) over (partition by merchant_id order by day)', 'day') }} as pause_days,
        min(day) over (partition by merchant_id) as first_day
    from listing_days

),

offers as (

    select
        places.merchant_id,
        places.as_of_date,
        min(pauses.first_day) as first_day,
        max(case when pauses.day > {{ add_days('places.as_of_date', '-90') }} then pauses.pause_days end) as longest_pause_days
    from places
    inner join pauses
        on
            pauses.merchant_id = places.merchant_id
            and pauses.day <= places.as_of_date
    group by
        places.merchant_id,
        places.as_of_date

),

-- Only verified identifiers: a third party cannot spoof them. Devices and IP addresses are left out, because they change without
-- a decision of the merchant.
borne as (

    select
        places.merchant_id,
        places.as_of_date,
        merchant_identifiers.kind,
        cast(merchant_identifiers.first_seen_at as date) as first_seen_date
    from places
    inner join merchant_identifiers
        on
            merchant_identifiers.merchant_id = places.merchant_id
            and cast(merchant_identifiers.first_seen_at as date) <= places.as_of_date
    inner join verifications
        on
            verifications.merchant_id = merchant_identifiers.merchant_id
            and verifications.kind = merchant_identifiers.kind
            and verifications.value_hash = merchant_identifiers.value_hash
            and verifications.known_from <= places.as_of_date
            and verifications.known_until > places.as_of_date
    where
        verifications.is_verified
        and merchant_identifiers.kind not in ('device', 'ip')

),

first_borne as (

    select
        merchant_id,
        as_of_date,
        kind,
        min(first_seen_date) as first_seen_date
    from borne
    group by
        merchant_id,
        as_of_date,
        kind

),

identities as (

    select
        borne.merchant_id,
        borne.as_of_date,
        count(*) as identity_change_count
    from borne
    inner join first_borne
        on
            first_borne.merchant_id = borne.merchant_id
            and first_borne.as_of_date = borne.as_of_date
            and first_borne.kind = borne.kind
            and first_borne.first_seen_date < borne.first_seen_date
    group by
        borne.merchant_id,
        borne.as_of_date

),

relisted as (

    select
        places.merchant_id,
        places.as_of_date,
        count(distinct relistings.listing_id) as relisted_count
    from places
    inner join relistings
        on
            relistings.merchant_id = places.merchant_id
            and relistings.known_from <= places.as_of_date
            and relistings.known_until > places.as_of_date
    group by
        places.merchant_id,
        places.as_of_date

),

-- A notice that is the source of a label, or that was decided on the day of one, is not counted.
disputes as (

    select
        listings.merchant_id,
        cast(notices.decided_at as date) as decided_date
    from notices
    inner join listings
        on listings.listing_id = notices.listing_id
    left join own_cases
        on
            own_cases.merchant_id = listings.merchant_id
            and own_cases.case_id = notices.notice_id
    left join own_days
        on
            own_days.merchant_id = listings.merchant_id
            and own_days.decided_date = cast(notices.decided_at as date)
    where
        notices.outcome in ('rejected', 'countered')
        and own_cases.case_id is null
        and own_days.decided_date is null

),

disputed as (

    select
        places.merchant_id,
        places.as_of_date,
        count(*) as disputed_notice_count
    from places
    inner join disputes
        on
            disputes.merchant_id = places.merchant_id
            and disputes.decided_date <= places.as_of_date
    group by
        places.merchant_id,
        places.as_of_date

),

final as (

    select
        places.merchant_id,
        places.as_of_date,
        coalesce(offers.longest_pause_days, 0) as longest_pause_days,
        case
            when cast(merchants.registered_at as date) <= offers.first_day
                then {{ days_between('cast(merchants.registered_at as date)', 'offers.first_day') }}
        end as first_listing_days,
        cast(coalesce(identities.identity_change_count, 0) as integer) as identity_change_count,
        cast(coalesce(relisted.relisted_count, 0) as integer) as relisted_count,
        cast(coalesce(disputed.disputed_notice_count, 0) as integer) as disputed_notice_count
    from places
    left join merchants
        on merchants.merchant_id = places.merchant_id
    left join offers
        on
            offers.merchant_id = places.merchant_id
            and offers.as_of_date = places.as_of_date
    left join identities
        on
            identities.merchant_id = places.merchant_id
            and identities.as_of_date = places.as_of_date
    left join relisted
        on
            relisted.merchant_id = places.merchant_id
            and relisted.as_of_date = places.as_of_date
    left join disputed
        on
            disputed.merchant_id = places.merchant_id
            and disputed.as_of_date = places.as_of_date

)

select * from final
