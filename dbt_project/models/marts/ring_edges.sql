-- What two members of a ring share at as_of, for analysts, one row a pair and kind of identifier. The identifiers themselves
-- are not here.
with

run as (

    select * from {{ source('landed', 'run') }}

),

members as (

    select
        merchant_rings.ring_id,
        merchant_rings.merchant_id
    from {{ source('landed', 'merchant_rings') }} as merchant_rings
    inner join run
        on run.as_of = merchant_rings.as_of_date
    where not merchant_rings.is_firm

),

edges as (

    select
        int_merchant_edges.*,
        run.as_of
    from {{ ref('int_merchant_edges') }} as int_merchant_edges
    inner join run
        on
            run.as_of >= int_merchant_edges.known_from
            and run.as_of < int_merchant_edges.known_until

),

bearers as (

    select
        kind,
        value_hash,
        merchant_id_a as merchant_id
    from edges
    union
    select
        kind,
        value_hash,
        merchant_id_b as merchant_id
    from edges

),

bearer_counts as (

    select
        kind,
        value_hash,
        count(*) as bearer_count
    from bearers
    group by
        kind,
        value_hash

),

final as (

    select
        edges.as_of as as_of_date,
        members.ring_id,
        edges.merchant_id_a,
        edges.merchant_id_b,
        edges.kind,
        cast(count(*) as integer) as value_count,
        cast(min(bearer_counts.bearer_count) as integer) as bearer_count,
        min(edges.known_from) as since_date,
        bool_or(edges.firm_from <= edges.as_of) as is_firm
    from edges
    inner join members
        on members.merchant_id = edges.merchant_id_a
    inner join members as others
        on
            others.merchant_id = edges.merchant_id_b
            and others.ring_id = members.ring_id
    inner join bearer_counts
        on
            bearer_counts.kind = edges.kind
            and bearer_counts.value_hash = edges.value_hash
    group by
        edges.as_of,
        members.ring_id,
        edges.merchant_id_a,
        edges.merchant_id_b,
        edges.kind

)

select * from final
