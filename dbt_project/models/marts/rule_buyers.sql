-- Buyers behind the transactions that a rule of the policy finds: of each merchant those with the most, ties included; one row
-- per rule, merchant and buyer.
with

rule_findings as (

    select * from {{ ref('rule_findings') }}

),

counts as (

    select
        as_of_date,
        rule,
        action,
        merchant_id,
        buyer_id,
        count(*) as transaction_count,
        min(occurred_date) as first_date,
        max(occurred_date) as last_date
    from rule_findings
    group by
        as_of_date,
        rule,
        action,
        merchant_id,
        buyer_id

),

ranked as (

    select
        *,
        sum(transaction_count) over (partition by as_of_date, rule, merchant_id) as merchant_transaction_count,
        max(case when buyer_id is not null then transaction_count end) over (
            partition by as_of_date, rule, merchant_id
        ) as most_count
    from counts

),

final as (

    select
        as_of_date,
        rule,
        action,
        merchant_id,
        buyer_id,
        cast(transaction_count as bigint) as transaction_count,
        cast(merchant_transaction_count as bigint) as merchant_transaction_count,
        first_date,
        last_date
    from ranked
    where
        buyer_id is not null
        and transaction_count = most_count

)

select * from final
