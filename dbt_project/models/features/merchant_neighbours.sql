-- Links between merchants at a date by common identifiers; one row per merchant, neighbour and date. A link is spoofable if all
-- its identifiers could have been planted by a third party. Second-degree neighbours are included, with two hops, if both links
-- are verified and no verified link is shorter. Merchants without listings connect others, too.
with

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

int_merchant_edges as (

    select * from {{ ref('int_merchant_edges') }}

),

edges as (

    select
        merchant_id_a as merchant_id,
        merchant_id_b as neighbour_id,
        known_from,
        known_until,
        verified_from,
        verified_until
    from int_merchant_edges
    union all
    select
        merchant_id_b as merchant_id,
        merchant_id_a as neighbour_id,
        known_from,
        known_until,
        verified_from,
        verified_until
    from int_merchant_edges

),

verified_edges as (

    select
        merchant_id,
        neighbour_id,
        verified_from as known_from,
        least(known_until, verified_until) as known_until
    from edges

),

{{ hops('merchant_windows', 'verified_edges', 'merchant_id') }}

spoofable as (

    select distinct
        merchant_windows.merchant_id,
        merchant_windows.as_of_date,
        edges.neighbour_id
    from merchant_windows
    inner join edges
        on
            edges.merchant_id = merchant_windows.merchant_id
            and edges.known_from <= merchant_windows.as_of_date
            and edges.known_until > merchant_windows.as_of_date
    left join first_hop
        on
            first_hop.merchant_id = merchant_windows.merchant_id
            and first_hop.as_of_date = merchant_windows.as_of_date
            and first_hop.neighbour_id = edges.neighbour_id
    where first_hop.neighbour_id is null

),

final as (

    select
        merchant_id,
        as_of_date,
        neighbour_id,
        hop_count,
        false as is_spoofable
    from hops
    union all
    select
        merchant_id,
        as_of_date,
        neighbour_id,
        1 as hop_count,
        true as is_spoofable
    from spoofable

)

select * from final
