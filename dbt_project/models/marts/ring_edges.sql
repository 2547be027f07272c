-- What two members of a ring share as of the date, for analysts; one row per pair and kind: the ties (merchant_ties) within the
-- ring.
with

run as (

    select * from {{ source('landed', 'run') }}

),

members as (

    {{ ring_members() }}

),

merchant_ties as (

    select * from {{ ref('merchant_ties') }}

),

final as (

    select
        merchant_ties.as_of_date,
        members.ring_id,
        merchant_ties.merchant_id_a,
        merchant_ties.merchant_id_b,
        merchant_ties.kind,
        merchant_ties.value_count,
        merchant_ties.bearer_count,
        merchant_ties.since_date,
        merchant_ties.is_verified
    from merchant_ties
    inner join members
        on members.merchant_id = merchant_ties.merchant_id_a
    inner join members as others
        on
            others.merchant_id = merchant_ties.merchant_id_b
            and others.ring_id = members.ring_id

)

select * from final
