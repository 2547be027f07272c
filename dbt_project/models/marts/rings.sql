-- Rings as of the date, for analysts; one row per member. They are found by all shared values, including spoofable ones;
-- ring_edges has each tie, and whether a third party could have planted it.
with

run as (

    select * from {{ source('landed', 'run') }}

),

members as (

    {{ ring_members() }}

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
