-- Every decision on brushing that is known at the cut, one row each, on what it is a label of: a trade (entity_kind review) or
-- a merchant. A review's decision is its order's, where it has one, whose chance of being audited it does not tell. A trade that
-- was found fake is a label of its merchant only where the decision says that the merchant had a hand in it (reason
-- merchant_involved): rivals brush, too. None makes a row of its own (is_alone): the weeks before it do.
with

run as (

    select * from {{ source('landed', 'run') }}

),

decisions as (

    select int_labels.*
    from {{ ref('int_labels') }} as int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)
    where int_labels.matter = 'brushing'

),

trades as (

    select
        review_key,
        order_id,
        review_id,
        listing_id,
        merchant_id
    from {{ ref('int_trades') }}

),

decided_trades as (

    select
        decisions.*,
        trades.review_key,
        trades.merchant_id,
        trades.listing_id,
        decisions.inclusion_probability as audit_probability
    from decisions
    inner join trades
        on trades.order_id = decisions.entity_id
    where decisions.entity_kind = 'order'
    union all
    select
        decisions.*,
        trades.review_key,
        trades.merchant_id,
        trades.listing_id,
        case when trades.order_id is null then decisions.inclusion_probability end as audit_probability
    from decisions
    inner join trades
        on trades.review_id = decisions.entity_id
    where decisions.entity_kind = 'review'

),

told as (

    select
        'review' as entity_kind,
        review_key as entity_id,
        merchant_id,
        listing_id,
        is_positive,
        decided_at,
        source,
        case_id,
        arm,
        audit_probability as inclusion_probability
    from decided_trades
    union all
    select
        'merchant' as entity_kind,
        entity_id,
        entity_id as merchant_id,
        cast(null as varchar) as listing_id,
        is_positive,
        decided_at,
        source,
        case_id,
        arm,
        inclusion_probability
    from decisions
    where entity_kind = 'merchant'
    union all
    select
        'merchant' as entity_kind,
        merchant_id as entity_id,
        merchant_id,
        listing_id,
        is_positive,
        decided_at,
        source,
        case_id,
        arm,
        cast(null as double) as inclusion_probability
    from decided_trades
    where
        is_positive
        and reason = 'merchant_involved'

),

final as (

    select
        entity_kind,
        entity_id,
        merchant_id,
        listing_id,
        is_positive,
        cast(decided_at as date) as decided_date,
        decided_at,
        source,
        2 as strength,
        case_id,
        arm,
        inclusion_probability,
        false as is_alone
    from told

)

select * from final
