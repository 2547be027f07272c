-- What two merchants share as of the date, for analysts; one row per pair and kind: identifiers (not their values), similar
-- titles and similar pictures. The rarity is in the same row: the number of merchants that have the rarest of the shared values.
with

run as (

    select * from {{ source('landed', 'run') }}

),

int_merchant_edges as (

    select * from {{ ref('int_merchant_edges') }}

),

int_likeness_edges as (

    select * from {{ ref('int_likeness_edges') }}

),

edges as (

    select
        merchant_id_a,
        merchant_id_b,
        kind,
        value_hash,
        known_from,
        known_until,
        verified_from,
        verified_until
    from int_merchant_edges
    union all
    select
        merchant_id_a,
        merchant_id_b,
        kind,
        merchant_id_a || ' ' || merchant_id_b as value_hash,
        known_from,
        known_until,
        {{ end_of_time() }} as verified_from,
        {{ end_of_time() }} as verified_until
    from int_likeness_edges

),

known_edges as (

    select
        edges.*,
        run.as_of
    from edges
    inner join run
        on
            run.as_of >= edges.known_from
            and run.as_of < edges.known_until

),

bearers as (

    select
        kind,
        value_hash,
        merchant_id_a as merchant_id
    from known_edges
    union
    select
        kind,
        value_hash,
        merchant_id_b as merchant_id
    from known_edges

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
        known_edges.as_of as as_of_date,
        known_edges.merchant_id_a,
        known_edges.merchant_id_b,
        known_edges.kind,
        cast(count(distinct known_edges.value_hash) as integer) as value_count,
        cast(min(bearer_counts.bearer_count) as integer) as bearer_count,
        min(known_edges.known_from) as since_date,
        bool_or(
            known_edges.verified_from <= known_edges.as_of
            and known_edges.verified_until > known_edges.as_of
        ) as is_verified
    from known_edges
    inner join bearer_counts
        on
            bearer_counts.kind = known_edges.kind
            and bearer_counts.value_hash = known_edges.value_hash
    group by
        known_edges.as_of,
        known_edges.merchant_id_a,
        known_edges.merchant_id_b,
        known_edges.kind

)

select * from final
