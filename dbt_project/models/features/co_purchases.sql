-- Which merchants are tied by their buyers: those of brushing_places that have far more buyers in common with another than
-- chance would have (how many buyers each has, among all who buy with several). One row a merchant, other merchant and date.
-- Who buys with a crowd of merchants tells of none, and whom many buy with is tied by nothing less than many.
with

places as (

    select
        as_of_date,
        merchant_id,
        {{ number_of('merchant_id') }} as merchant_number
    from {{ ref('brushing_places') }}

),

dates as (

    select distinct as_of_date from places

),

first_trades as (

    select
        buyer_number,
        merchant_number,
        cast(min(began_at) as date) as first_date
    from {{ ref('int_trades') }}
    where buyer_number is not null
    group by
        buyer_number,
        merchant_number

),

known as (

    select
        dates.as_of_date,
        first_trades.buyer_number,
        first_trades.merchant_number
    from dates
    inner join first_trades
        on first_trades.first_date <= dates.as_of_date

),

ranging as (

    select
        as_of_date,
        buyer_number
    from known
    group by
        as_of_date,
        buyer_number
    having count(*) between 2 and {{ most_merchants_of_a_tie() }}

),

purchases as (

    select known.*
    from known
    inner join ranging
        on
            ranging.as_of_date = known.as_of_date
            and ranging.buyer_number = known.buyer_number

),

buyer_counts as (

    select
        as_of_date,
        merchant_number,
        count(*) as buyer_count
    from purchases
    group by
        as_of_date,
        merchant_number

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
            and places.merchant_number = purchases.merchant_number

),

pairs as (

    select
        own_purchases.as_of_date,
        own_purchases.merchant_number,
        others.merchant_number as other_number,
        count(*) as common_buyer_count
    from own_purchases
    inner join purchases as others
        on
            others.as_of_date = own_purchases.as_of_date
            and others.buyer_number = own_purchases.buyer_number
            and others.merchant_number <> own_purchases.merchant_number
    group by
        own_purchases.as_of_date,
        own_purchases.merchant_number,
        others.merchant_number
    having count(*) >= {{ least_common_buyers() }}

),

tied as (

    select
        pairs.as_of_date,
        pairs.merchant_number,
        pairs.other_number,
        pairs.common_buyer_count,
        {{ ratio(
            'pairs.common_buyer_count * totals.buyer_count', 'own_counts.buyer_count * other_counts.buyer_count'
        ) }} as chance_ratio
    from pairs
    inner join buyer_counts as own_counts
        on
            own_counts.as_of_date = pairs.as_of_date
            and own_counts.merchant_number = pairs.merchant_number
    inner join buyer_counts as other_counts
        on
            other_counts.as_of_date = pairs.as_of_date
            and other_counts.merchant_number = pairs.other_number
    inner join totals
        on totals.as_of_date = pairs.as_of_date
    where
        pairs.common_buyer_count * totals.buyer_count
        >= {{ least_chance_ratio() }} * own_counts.buyer_count * other_counts.buyer_count

),

names as (

    select
        merchant_id,
        {{ number_of('merchant_id') }} as merchant_number,
        registered_at
    from {{ ref('stg_merchants') }}

),

final as (

    select
        tied.as_of_date,
        own_names.merchant_id,
        other_names.merchant_id as other_id,
        tied.merchant_number,
        tied.other_number,
        tied.common_buyer_count,
        tied.chance_ratio
    from tied
    inner join names as own_names
        on own_names.merchant_number = tied.merchant_number
    inner join names as other_names
        on
            other_names.merchant_number = tied.other_number
            and (
                other_names.registered_at is null
                or cast(other_names.registered_at as date) <= tied.as_of_date
            )

)

select * from final
