-- The ring of a merchant at a date, without the merchant itself: number of other members, number of those found to sell
-- counterfeits by then, and the first day on which two members share a value. One row per merchant in a ring, and date. Verified
-- rings depend only on links that a third party cannot plant, spoofable ones on all links. A label of the same case or day as one
-- of the merchant or its listings does not count.
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

members as (

    select * from {{ source('landed', 'merchant_rings') }}

),

int_merchant_edges as (

    select * from {{ ref('int_merchant_edges') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

{{ own_cases_and_days() }}

-- Between two rating dates, the ring of the earlier one is used.
dates as (

    {{ last_rating_dates('merchant_windows') }}

),

mates as (

    select
        merchant_windows.merchant_id,
        merchant_windows.as_of_date,
        mates.merchant_id as neighbour_id,
        mates.is_verified,
        mates.ring_id,
        dates.rating_date
    from merchant_windows
    inner join dates
        on dates.as_of_date = merchant_windows.as_of_date
    inner join members
        on
            members.merchant_id = merchant_windows.merchant_id
            and members.as_of_date = dates.rating_date
    inner join members as mates
        on
            mates.as_of_date = members.as_of_date
            and mates.is_verified = members.is_verified
            and mates.ring_id = members.ring_id
            and mates.merchant_id <> members.merchant_id

),

{{ confirmed_among('mates') }}

ages as (

    select
        members.as_of_date,
        members.ring_id,
        min(int_merchant_edges.known_from) as since_date
    from members
    inner join int_merchant_edges
        on
            int_merchant_edges.merchant_id_a = members.merchant_id
            and int_merchant_edges.verified_from <= members.as_of_date
            and int_merchant_edges.verified_until > members.as_of_date
            and int_merchant_edges.known_until > members.as_of_date
    inner join members as others
        on
            others.merchant_id = int_merchant_edges.merchant_id_b
            and others.as_of_date = members.as_of_date
            and others.is_verified
            and others.ring_id = members.ring_id
    where members.is_verified
    group by
        members.as_of_date,
        members.ring_id

),

final as (

    select
        mates.merchant_id,
        mates.as_of_date,
        cast(count(*) filter (where mates.is_verified) as integer) as verified_count,
        cast(count(*) filter (where not mates.is_verified) as integer) as spoofable_count,
        cast(count(confirmed.neighbour_id) filter (where mates.is_verified) as integer) as verified_confirmed_count,
        cast(count(confirmed.neighbour_id) filter (where not mates.is_verified) as integer) as spoofable_confirmed_count,
        min(ages.since_date) as since_date
    from mates
    left join confirmed
        on
            confirmed.merchant_id = mates.merchant_id
            and confirmed.as_of_date = mates.as_of_date
            and confirmed.neighbour_id = mates.neighbour_id
    left join ages
        on
            mates.is_verified
            and ages.as_of_date = mates.rating_date
            and ages.ring_id = mates.ring_id
    group by
        mates.merchant_id,
        mates.as_of_date

)

select * from final
