-- Decisions on brushing known by the cutoff date; one row per decision and labelled entity: a transaction (entity_kind review)
-- or a merchant. An enforcement action against a brusher is a decision on the merchant. A decision on a review applies to its
-- order, if it has one. Such a transaction may have been selected by an audit of orders or one of reviews, so its inclusion
-- probability is that of either; it is null if no orders are audited, because reviewed orders are not representative of the
-- others. A transaction that was found fake is a label of its merchant only if the decision states that the merchant was
-- involved (reason merchant_involved): competitors brush, too. No label is standalone (is_standalone): the rows come from the
-- weeks before the decision.
with

run as (

    select * from {{ source('landed', 'run') }}

),

decisions as (

    select int_labels.*
    from {{ ref('int_labels') }} as int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)
    where int_labels.violation_type = 'brushing'

),

-- One row per order and one per review.
transactions as (

    select
        'order' as id_kind,
        order_id as id,
        review_key,
        order_id,
        listing_id,
        merchant_id,
        cast(reviewed_at as date) as reviewed_date
    from {{ ref('int_transactions') }}
    where order_id is not null
    union all
    select
        'review' as id_kind,
        review_id as id,
        review_key,
        order_id,
        listing_id,
        merchant_id,
        cast(reviewed_at as date) as reviewed_date
    from {{ ref('int_transactions') }}
    where review_id is not null

),

decided_transactions as (

    select
        decisions.*,
        transactions.review_key,
        transactions.merchant_id,
        transactions.listing_id,
        transactions.order_id is not null and coalesce(transactions.reviewed_date <= run.as_of, false) as is_reviewed_order
    from decisions
    inner join transactions
        on
            transactions.id_kind = decisions.entity_kind
            and transactions.id = decisions.entity_id
    cross join run

),

-- Mean probability with which an audit selects a reviewed order, by the kind of audit.
mean_probabilities as (

    select
        case when entity_kind = 'order' then 'review' else 'order' end as other_kind,
        count(*) / sum({{ inverse('inclusion_probability') }}) as mean_probability
    from decided_transactions
    where
        is_reviewed_order
        and inclusion_probability is not null
    group by entity_kind

),

audited as (

    select
        decided_transactions.*,
        case
            when not decided_transactions.is_reviewed_order then decided_transactions.inclusion_probability
            when decided_transactions.entity_kind = 'order' or mean_probabilities.mean_probability is not null
                then round(
                    1.0
                    - (1.0 - decided_transactions.inclusion_probability)
                    * (1.0 - coalesce(mean_probabilities.mean_probability, 0.0)),
                    9
                )
        end as audit_probability
    from decided_transactions
    left join mean_probabilities
        on mean_probabilities.other_kind = decided_transactions.entity_kind

),

labelled as (

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
    from audited
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
    from decided_transactions
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
        case source when 'enforcement' then 4 else 2 end as strength,
        case_id,
        arm,
        inclusion_probability,
        false as is_standalone
    from labelled

)

select * from final
