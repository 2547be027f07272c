-- Pairs of merchants that bear the same identifier. A value that more than 20 merchants bear links nobody (a shop's
-- address, a shared proxy): its edges hold only until the day on which the 21st is seen with it. So a value has at most
-- 190 edges, however many bear it. An edge is firm, no more to be planted, from the day on which both ends bear the value;
-- a phone, an address or an email anybody can give as his own, so those are firm only once the platform has verified both.
with

merchant_identifiers as (

    select * from {{ ref('stg_merchant_identifiers') }}

),

verifications as (

    {{ row_versions('merchant_identifiers', ['merchant_id', 'kind', 'value_hash'], ['is_verified']) }}

),

verified as (

    select
        merchant_id,
        kind,
        value_hash,
        known_from as verified_from
    from verifications
    where
        is_verified
        and known_until = {{ end_of_time() }}

),

bearers as (

    select
        merchant_identifiers.merchant_id,
        merchant_identifiers.kind,
        merchant_identifiers.value_hash,
        cast(merchant_identifiers.first_seen_at as date) as known_from,
        verified.verified_from,
        row_number() over (
            partition by merchant_identifiers.kind, merchant_identifiers.value_hash
            order by merchant_identifiers.first_seen_at, merchant_identifiers.merchant_id
        ) as place,
        count(*) over (
            partition by merchant_identifiers.kind, merchant_identifiers.value_hash
        ) as bearer_count
    from merchant_identifiers
    left join verified
        on
            verified.merchant_id = merchant_identifiers.merchant_id
            and verified.kind = merchant_identifiers.kind
            and verified.value_hash = merchant_identifiers.value_hash

),

crowded as (

    select
        kind,
        value_hash,
        known_from as crowded_from
    from bearers
    where place = {{ most_bearers() }} + 1

),

pairs as (

    select
        least(earlier.merchant_id, later.merchant_id) as merchant_id_a,
        greatest(earlier.merchant_id, later.merchant_id) as merchant_id_b,
        later.kind,
        later.value_hash,
        later.known_from,
        later.bearer_count,
        case
            when later.kind in ('phone', 'address', 'email')
                then greatest(
                    later.known_from,
                    coalesce(earlier.verified_from, {{ end_of_time() }}),
                    coalesce(later.verified_from, {{ end_of_time() }})
                )
            else later.known_from
        end as firm_from
    from bearers as later
    inner join bearers as earlier
        on
            earlier.kind = later.kind
            and earlier.value_hash = later.value_hash
            and earlier.place < later.place
    where
        later.bearer_count > 1
        and earlier.place <= {{ most_bearers() }}
        and later.place <= {{ most_bearers() }}

),

final as (

    select
        pairs.merchant_id_a,
        pairs.merchant_id_b,
        pairs.kind,
        pairs.value_hash,
        pairs.known_from,
        coalesce(crowded.crowded_from, {{ end_of_time() }}) as known_until,
        pairs.firm_from,
        cast(pairs.bearer_count as integer) as bearer_count
    from pairs
    left join crowded
        on
            crowded.kind = pairs.kind
            and crowded.value_hash = pairs.value_hash
    where pairs.known_from < coalesce(crowded.crowded_from, {{ end_of_time() }})

)

select * from final
