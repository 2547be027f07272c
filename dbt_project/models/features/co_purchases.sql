-- Which merchants are tied by their buyers: those of brushing_places that have far more buyers in common with another than
-- chance would have (how many buyers each has, among all who buy with several). One row a merchant, other merchant and date.
-- Who buys with a crowd of merchants tells of none, and whom many buy with is tied by nothing less than many.
with

places as (

    select
        as_of_date,
        merchant_id
    from {{ ref('brushing_places') }}

),

dates as (

    select distinct as_of_date from places

),

first_trades as (

    select
        buyer_id,
        merchant_id,
        cast(min(began_at) as date) as first_date
    from {{ ref('int_trades') }}
    where buyer_id is not null
    group by
        buyer_id,
        merchant_id

),

known as (

    select
        dates.as_of_date,
        first_trades.buyer_id,
        first_trades.merchant_id
    from dates
    inner join first_trades
        on first_trades.first_date <= dates.as_of_date

),

ranging as (

    select
        as_of_date,
        buyer_id
    from known
    group by
        as_of_date,
        buyer_id
    having count(*) between 2 and {{ most_merchants_of_a_tie() }}

),

purchases as (

    select known.*
    from known
    inner join ranging
        on
            ranging.as_of_date = known.as_of_date
            and ranging.buyer_id = known.buyer_id

),

buyer_counts as (

    select
        as_of_date,
        merchant_id,
        count(*) as buyer_count
    from purchases
    group by
        as_of_date,
        merchant_id

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
            and places.merchant_id = purchases.merchant_id

),

pairs as (

    select
        own_purchases.as_of_date,
        own_purchases.merchant_id,
        others.merchant_id as other_id,
        count(*) as common_buyer_count
    from own_purchases
    inner join purchases as others
        on
            others.as_of_date = own_purchases.as_of_date
            and others.buyer_id = own_purchases.buyer_id
            and others.merchant_id <> own_purchases.merchant_id
    group by
        own_purchases.as_of_date,
        own_purchases.merchant_id,
        others.merchant_id
    having count(*) >= {{ least_common_buyers() }}

),

final as (

    select
        pairs.as_of_date,
        pairs.merchant_id,
        pairs.other_id,
        pairs.common_buyer_count,
        {{ ratio(
            'pairs.common_buyer_count * totals.buyer_count', 'own_counts.buyer_count * other_counts.buyer_count'
        ) }} as chance_ratio
    from pairs
    inner join buyer_counts as own_counts
        on
            own_counts.as_of_date = pairs.as_of_date
            and own_counts.merchant_id = pairs.merchant_id
    inner join buyer_counts as other_counts
        on
            other_counts.as_of_date = pairs.as_of_date
            and other_counts.merchant_id = pairs.other_id
    inner join totals
        on totals.as_of_date = pairs.as_of_date
    where
        pairs.common_buyer_count * totals.buyer_count
        >= {{ least_chance_ratio() }} * own_counts.buyer_count * other_counts.buyer_count

)

select * from final
