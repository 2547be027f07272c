-- Brushing services: groups of buyers that serve several merchants; one row per service, buyer and merchant served. Merchants
-- that are tied by their buyers far beyond chance (co_purchases) form a component, and components visited by the same accounts
-- form one service. Its accounts are buyers with most of their transactions at its merchants that buy from several of them, or
-- share a device or payer with an account that does. The row includes what connects the service.
{% set rounds = 8 %}
{% set part_rounds = 4 %}
with

run as (

    select * from {{ source('landed', 'run') }}

),

ties as (

    select
        co_purchases.merchant_id,
        co_purchases.other_id
    from {{ ref('co_purchases') }} as co_purchases
    inner join run
        on run.as_of = co_purchases.as_of_date

),

indicators as (

    select transaction_indicators.*
    from {{ ref('transaction_indicators') }} as transaction_indicators
    where
        transaction_indicators.is_scored
        and transaction_indicators.buyer_id is not null

),

-- A component is named by the least merchant id reachable in a fixed number of steps; in a round robin each merchant is reached
-- in a few.
labels_0 as (

    select
        merchant_id,
        least(merchant_id, min(other_id)) as label
    from ties
    group by merchant_id

),

{% for round in range(1, rounds) %}
labels_{{ round }} as (

    select
        ties.merchant_id,
        min(least(own.label, others.label)) as label
    from ties
    inner join labels_{{ round - 1 }} as own
        on own.merchant_id = ties.merchant_id
    inner join labels_{{ round - 1 }} as others
        on others.merchant_id = ties.other_id
    group by ties.merchant_id

),

{% endfor %}
components as (

    select * from labels_{{ rounds - 1 }}

),

visits as (

    select
        components.label,
        indicators.buyer_id,
        count(distinct indicators.merchant_id) as merchant_count,
        count(*) as transaction_count,
        max(indicators.buyer_transaction_count) as all_transaction_count
    from indicators
    inner join components
        on components.merchant_id = indicators.merchant_id
    group by
        components.label,
        indicators.buyer_id

),

-- A service sends teams to its clients, and two teams may hardly have an account in common; its merchants then form several
-- components. Accounts that buy from both components, and hardly elsewhere, merge them.
bridges as (

    select
        visits.label,
        others.label as other_label
    from visits
    inner join visits as others
        on
            others.buyer_id = visits.buyer_id
            and others.label <> visits.label
    where
        visits.merchant_count + others.merchant_count > 2
        and 2 * (visits.transaction_count + others.transaction_count) > visits.all_transaction_count
    group by
        visits.label,
        others.label
    having count(*) >= {{ least_bridging_buyers() }}

),

parts_0 as (

    select distinct
        label as part,
        label
    from components

),

{% for round in range(1, part_rounds) %}
parts_{{ round }} as (

    select
        own.part,
        least(own.label, coalesce(min(others.label), own.label)) as label
    from parts_{{ round - 1 }} as own
    left join bridges
        on bridges.label = own.part
    left join parts_{{ round - 1 }} as others
        on others.part = bridges.other_label
    group by
        own.part,
        own.label

),

{% endfor %}
clients as (

    select
        components.merchant_id,
        parts.label as service_id
    from components
    inner join parts_{{ part_rounds - 1 }} as parts
        on parts.part = components.label

),

purchases as (

    select
        clients.service_id,
        indicators.buyer_id,
        indicators.merchant_id,
        count(*) as transaction_count,
        max(indicators.buyer_transaction_count) as all_transaction_count,
        min(indicators.occurred_date) as since_date,
        sum(cast(indicators.is_repeated as integer)) as repeated_text_count
    from indicators
    inner join clients
        on clients.merchant_id = indicators.merchant_id
    group by
        clients.service_id,
        indicators.buyer_id,
        indicators.merchant_id

),

served as (

    select
        service_id,
        buyer_id,
        count(*) as merchant_count,
        sum(transaction_count) as transaction_count,
        max(all_transaction_count) as all_transaction_count
    from purchases
    group by
        service_id,
        buyer_id

),

devoted as (

    select * from served
    where 2 * transaction_count > all_transaction_count

),

-- Device and payers of an account.
means as (

    select
        devoted.service_id,
        devoted.buyer_id,
        'device' as kind,
        history.device_hash as value_hash
    from devoted
    cross join run
    inner join {{ ref('stg_buyer_history') }} as history
        on
            history.buyer_id = devoted.buyer_id
            and history.known_from <= run.as_of
            and history.known_until > run.as_of
    where history.device_hash is not null
    union
    select
        devoted.service_id,
        devoted.buyer_id,
        'payer' as kind,
        transactions.payer_hash as value_hash
    from devoted
    inner join {{ ref('int_transactions') }} as transactions
        on transactions.buyer_id = devoted.buyer_id
    inner join clients
        on
            clients.merchant_id = transactions.merchant_id
            and clients.service_id = devoted.service_id
    cross join run
    where
        transactions.payer_hash is not null
        and cast(transactions.occurred_at as date) <= run.as_of

),

-- Devices and payers shared with an account that buys from several of the merchants. (Regular customers of a shop share devices,
-- too, but none of them buys from several.)
shared_means as (

    select
        means.service_id,
        means.kind,
        means.value_hash
    from means
    inner join devoted
        on
            devoted.service_id = means.service_id
            and devoted.buyer_id = means.buyer_id
    group by
        means.service_id,
        means.kind,
        means.value_hash
    having
        count(distinct means.buyer_id) > 1
        and max(devoted.merchant_count) > 1

),

sharing as (

    select
        means.service_id,
        means.buyer_id,
        max(cast(means.kind = 'device' as integer)) as shares_device,
        max(cast(means.kind = 'payer' as integer)) as shares_payer
    from means
    inner join shared_means
        on
            shared_means.service_id = means.service_id
            and shared_means.kind = means.kind
            and shared_means.value_hash = means.value_hash
    group by
        means.service_id,
        means.buyer_id

),

accounts as (

    select
        devoted.*,
        coalesce(sharing.shares_device, 0) = 1 as shares_device,
        coalesce(sharing.shares_payer, 0) = 1 as shares_payer
    from devoted
    left join sharing
        on
            sharing.service_id = devoted.service_id
            and sharing.buyer_id = devoted.buyer_id
    where
        devoted.merchant_count > 1
        or sharing.buyer_id is not null

),

service_counts as (

    select
        accounts.service_id,
        count(distinct accounts.buyer_id) as buyer_count,
        count(distinct purchases.merchant_id) as merchant_count,
        cast(sum(purchases.transaction_count) as bigint) as transaction_count,
        min(purchases.since_date) as since_date
    from accounts
    inner join purchases
        on
            purchases.service_id = accounts.service_id
            and purchases.buyer_id = accounts.buyer_id
    group by accounts.service_id

),

final as (

    select
        run.as_of as as_of_date,
        accounts.service_id,
        accounts.buyer_id,
        purchases.merchant_id,
        purchases.transaction_count,
        purchases.since_date,
        cast(coalesce(purchases.repeated_text_count, 0) as bigint) as repeated_text_count,
        accounts.merchant_count as buyer_merchant_count,
        accounts.shares_device,
        accounts.shares_payer,
        service_counts.buyer_count as service_buyer_count,
        service_counts.merchant_count as service_merchant_count,
        service_counts.transaction_count as service_transaction_count,
        service_counts.since_date as service_since_date
    from accounts
    inner join purchases
        on
            purchases.service_id = accounts.service_id
            and purchases.buyer_id = accounts.buyer_id
    inner join service_counts
        on
            service_counts.service_id = accounts.service_id
            and service_counts.merchant_count >= {{ least_clients() }}
    cross join run

)

select * from final
