-- Pairs of merchants with the same identifier. A value that more than 20 merchants have creates no links (a shop's address, a
-- shared proxy): its edges are valid only until the day on which the 21st is seen with it. So a value has at most 190 edges. An
-- edge is verified, and cannot be spoofed, from the day on which both merchants have the value. Anybody can state a phone, an
-- address or an email, so edges of these are verified only while the platform has verified both ends: one row for each such span.
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
        known_from as verified_from,
        known_until as verified_until
    from verifications
    where is_verified

),

bearers as (

    select
        merchant_identifiers.merchant_id,
        merchant_identifiers.kind,
        merchant_identifiers.value_hash,
        cast(merchant_identifiers.first_seen_at as date) as known_from,
        row_number() over (
            partition by merchant_identifiers.kind, merchant_identifiers.value_hash
            order by merchant_identifiers.first_seen_at, merchant_identifiers.merchant_id
        ) as place,
        count(*) over (
            partition by merchant_identifiers.kind, merchant_identifiers.value_hash
        ) as bearer_count
    from merchant_identifiers

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
        later.bearer_count
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

-- Spans in which both ends are verified.
both_verified as (

    select
        pairs.merchant_id_a,
        pairs.merchant_id_b,
        pairs.kind,
        pairs.value_hash,
        greatest(one.verified_from, other.verified_from) as verified_from,
        least(one.verified_until, other.verified_until) as verified_until
    from pairs
    inner join verified as one
        on
            one.merchant_id = pairs.merchant_id_a
            and one.kind = pairs.kind
            and one.value_hash = pairs.value_hash
    inner join verified as other
        on
            other.merchant_id = pairs.merchant_id_b
            and other.kind = pairs.kind
            and other.value_hash = pairs.value_hash
            and other.verified_from < one.verified_until
            and other.verified_until > one.verified_from
    where
        pairs.kind in ('phone', 'address', 'email')
        and least(one.verified_until, other.verified_until) > pairs.known_from

),

final as (

    select
        pairs.merchant_id_a,
        pairs.merchant_id_b,
        pairs.kind,
        pairs.value_hash,
        pairs.known_from,
        coalesce(crowded.crowded_from, {{ end_of_time() }}) as known_until,
        case
            when pairs.kind in ('phone', 'address', 'email')
                then greatest(pairs.known_from, coalesce(both_verified.verified_from, {{ end_of_time() }}))
            else pairs.known_from
        end as verified_from,
        coalesce(both_verified.verified_until, {{ end_of_time() }}) as verified_until,
        cast(pairs.bearer_count as integer) as bearer_count
    from pairs
    left join crowded
        on
            crowded.kind = pairs.kind
            and crowded.value_hash = pairs.value_hash
    left join both_verified
        on
            both_verified.merchant_id_a = pairs.merchant_id_a
            and both_verified.merchant_id_b = pairs.merchant_id_b
            and both_verified.kind = pairs.kind
            and both_verified.value_hash = pairs.value_hash
    where pairs.known_from < coalesce(crowded.crowded_from, {{ end_of_time() }})

)

select * from final
