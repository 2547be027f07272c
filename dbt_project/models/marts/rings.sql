-- The rings at as_of, for analysts, one row a member. They are told from all that is shared, planted or not: each tie is in
-- ring_edges, with whether a third party could have planted it.
with

run as (

    select * from {{ source('landed', 'run') }}

),

members as (

    select
        merchant_rings.as_of_date,
        merchant_rings.ring_id,
        merchant_rings.merchant_id
    from {{ source('landed', 'merchant_rings') }} as merchant_rings
    inner join run
        on run.as_of = merchant_rings.as_of_date
    where not merchant_rings.is_firm

),

ring_edges as (

    select * from {{ ref('ring_edges') }}

),

sizes as (

    select
        ring_id,
        count(*) as merchant_count
    from members
    group by ring_id

),

ages as (

    select
        ring_id,
        min(since_date) as since_date
    from ring_edges
    group by ring_id

),

final as (

    select
        members.as_of_date,
        members.ring_id,
        members.merchant_id,
        cast(sizes.merchant_count as integer) as merchant_count,
        ages.since_date
    from members
    inner join sizes
        on sizes.ring_id = members.ring_id
    inner join ages
        on ages.ring_id = members.ring_id

)

select * from final
