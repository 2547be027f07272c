-- Ties between merchants by common buyers: merchants of brushing_places that have far more buyers in common with another merchant
-- than expected by chance (from the number of buyers of each, among all who buy from several merchants). One row per merchant,
-- other merchant and date. Buyers of a large number of merchants are left out, and a merchant with many buyers needs many in
-- common to be tied.
with

places as (

    select
        as_of_date,
        merchant_id,
        {{ key_hash('merchant_id') }} as merchant_hash
    from {{ ref('brushing_places') }}

),

dates as (

    select distinct as_of_date from places

),

first_transactions as (

    select
        buyer_hash,
        merchant_hash,
        cast(min(occurred_at) as date) as first_date
    from {{ ref('int_transactions') }}
    where buyer_hash is not null
    group by
        buyer_hash,
        merchant_hash

),

known as (

    select
        dates.as_of_date,
        first_transactions.buyer_hash,
        first_transactions.merchant_hash
    from dates
    inner join first_transactions
        on first_transactions.first_date <= dates.as_of_date

),

ranging as (

    select
        as_of_date,
        buyer_hash
    from known
    group by
        as_of_date,
        buyer_hash
    having count(*) between 2 and {{ most_merchants_of_a_tie() }}

),

purchases as (

    select known.*
    from known
    inner join ranging
        on
            ranging.as_of_date = known.as_of_date
            and ranging.buyer_hash = known.buyer_hash

),

buyer_counts as (

    select
        as_of_date,
        merchant_hash,
        count(*) as buyer_count
    from purchases
    group by
        as_of_date,
        merchant_hash

),

totals as (

    select
        as_of_date,
        count(*) as buyer_count
    from ranging
    group by as_of_date

),

own_purchases as (

    select purchases.*
    from purchases
    inner join places
        on
            places.as_of_date = purchases.as_of_date
            and places.merchant_hash = purchases.merchant_hash

),

pairs as (

    select
        own_purchases.as_of_date,
        own_purchases.merchant_hash,
        others.merchant_hash as other_number,
        count(*) as common_buyer_count
    from own_purchases
    inner join purchases as others
        on
            others.as_of_date = own_purchases.as_of_date
            and others.buyer_hash = own_purchases.buyer_hash
            and others.merchant_hash <> own_purchases.merchant_hash
    group by
        own_purchases.as_of_date,
        own_purchases.merchant_hash,
        others.merchant_hash
    having count(*) >= {{ least_common_buyers() }}

),

tied as (

    select
        pairs.as_of_date,
        pairs.merchant_hash,
        pairs.other_number,
        pairs.common_buyer_count,
        {{ ratio(
            'pairs.common_buyer_count * totals.buyer_count', 'own_counts.buyer_count * other_counts.buyer_count'
        ) }} as chance_ratio
    from pairs
    inner join buyer_counts as own_counts
        on
            own_counts.as_of_date = pairs.as_of_date
            and own_counts.merchant_hash = pairs.merchant_hash
    inner join buyer_counts as other_counts
        on
            other_counts.as_of_date = pairs.as_of_date
            and other_counts.merchant_hash = pairs.other_number
    inner join totals
        on totals.as_of_date = pairs.as_of_date
    where
        pairs.common_buyer_count * totals.buyer_count
        >= {{ least_chance_ratio() }} * own_counts.buyer_count * other_counts.buyer_count

),

names as (

    select
        merchant_id,
        {{ key_hash('merchant_id') }} as merchant_hash,
        registered_at
    from {{ ref('stg_merchants') }}

),

final as (

    select
        tied.as_of_date,
        own_names.merchant_id,
        other_names.merchant_id as other_id,
        tied.merchant_hash,
        tied.other_number,
        tied.common_buyer_count,
        tied.chance_ratio
    from tied
    inner join names as own_names
        on own_names.merchant_hash = tied.merchant_hash
    inner join names as other_names
        on
            other_names.merchant_hash = tied.other_number
            and (
                other_names.registered_at is null
                or cast(other_names.registered_at as date) <= tied.as_of_date
            )

)

select * from final
