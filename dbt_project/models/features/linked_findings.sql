-- Findings about merchants with a verified link to a merchant; one row per merchant and date with such a finding, with
-- the number of their active listings. Cases and weights as in listing_findings. For a merchant that was decided on itself, what
-- was known on the day before its first decision counts.
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

findings as (

    select * from {{ ref('merchant_findings') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

own as (

    select
        entity_id as merchant_id,
        min(decided_date) as first_date
    from labels
    where entity_kind = 'merchant'
    group by entity_id

),

neighbours as (

    select
        merchant_neighbours.merchant_id,
        merchant_neighbours.as_of_date,
        merchant_neighbours.neighbour_id,
        case
            when own.first_date <= merchant_neighbours.as_of_date then {{ add_days('own.first_date', -1) }}
            else merchant_neighbours.as_of_date
        end as known_date
    from {{ ref('merchant_neighbours') }} as merchant_neighbours
    left join own
        on own.merchant_id = merchant_neighbours.merchant_id
    where
        merchant_neighbours.hop_count = 1
        and not merchant_neighbours.is_spoofable

),

-- Between two rating dates, a neighbour's state at the earlier one is used.
dates as (

    {{ last_rating_dates('neighbours') }}

),

offers as (

    select
        neighbours.merchant_id,
        neighbours.as_of_date,
        cast(coalesce(sum(merchant_states.active_listing_count), 0) as integer) as active_listing_count
    from neighbours
    inner join dates
        on dates.as_of_date = neighbours.as_of_date
    left join merchant_states
        on
            merchant_states.merchant_id = neighbours.neighbour_id
            and merchant_states.as_of_date = dates.rating_date
    group by
        neighbours.merchant_id,
        neighbours.as_of_date

),

cases as (

    select
        neighbours.merchant_id,
        neighbours.as_of_date,
        neighbours.known_date,
        findings.case_id,
        max(findings.decided_date) as found_date
    from neighbours
    inner join findings
        on
            findings.merchant_id = neighbours.neighbour_id
            and findings.decided_date <= neighbours.known_date
            and findings.reversed_date > neighbours.known_date
    group by
        neighbours.merchant_id,
        neighbours.as_of_date,
        neighbours.known_date,
        findings.case_id

),

weights as (

    select
        merchant_id,
        as_of_date,
        {{ finding_weight() }} as finding_weight
    from cases
    group by
        merchant_id,
        as_of_date

),

final as (

    select
        weights.merchant_id,
        weights.as_of_date,
        weights.finding_weight,
        offers.active_listing_count
    from weights
    inner join offers
        on
            offers.merchant_id = weights.merchant_id
            and offers.as_of_date = weights.as_of_date

)

select * from final
