-- Indicators of each transaction of brushing_transactions, compared with the merchant's and the buyer's other transactions and
-- with typical values; one row per transaction and date. An indicator (is_...) is null if unknown; macros/brushing.sql defines
-- which columns count as indicators.
with

transactions as (

    select * from {{ ref('brushing_transactions') }}

),

all_transactions as (

    select * from {{ ref('int_transactions') }}

),

busiest_hours as (

    select * from {{ ref('busiest_hours') }}

),

-- Typical values

typical_listings as (

    select
        as_of_date,
        listing_hash,
        {{ median('unit_weight_g') }} as unit_weight_g
    from transactions
    where unit_weight_g is not null
    group by
        as_of_date,
        listing_hash

),

typical_merchants as (

    select
        as_of_date,
        merchant_hash,
        {{ median('delivery_hours') }} as delivery_hours,
        sum(cast(is_order as integer)) as order_count,
        min(occurred_date) as first_date
    from transactions
    group by
        as_of_date,
        merchant_hash

),

merchant_days as (

    select
        as_of_date,
        merchant_hash,
        occurred_date,
        count(*) as order_count
    from transactions
    where is_order
    group by
        as_of_date,
        merchant_hash,
        occurred_date

),

-- Buyers

buyers as (

    select distinct
        as_of_date,
        buyer_hash
    from transactions
    where buyer_hash is not null

),

buyer_totals as (

    select
        buyers.as_of_date,
        buyers.buyer_hash,
        count(*) as transaction_count,
        count(distinct all_transactions.merchant_hash) as merchant_count
    from buyers
    inner join all_transactions
        on
            all_transactions.buyer_hash = buyers.buyer_hash
            and cast(all_transactions.occurred_at as date) <= buyers.as_of_date
    group by
        buyers.as_of_date,
        buyers.buyer_hash

),

buyer_transactions as (

    select
        as_of_date,
        merchant_hash,
        buyer_hash,
        count(*) as transaction_count
    from transactions
    where buyer_hash is not null
    group by
        as_of_date,
        merchant_hash,
        buyer_hash

),

accounts as (

    select
        buyers.as_of_date,
        buyers.buyer_hash,
        history.registered_at,
        history.country,
        {{ key_hash('history.device_hash') }} as device_hash64
    from buyers
    inner join {{ ref('stg_buyer_history') }} as history
        on
            {{ key_hash('history.buyer_id') }} = buyers.buyer_hash
            and history.known_from <= buyers.as_of_date
            and history.known_until > buyers.as_of_date
    where
        history.registered_at is null
        or cast(history.registered_at as date) <= buyers.as_of_date

),

devices as (

    select distinct
        as_of_date,
        device_hash64
    from accounts
    where device_hash64 is not null

),

device_totals as (

    select
        devices.as_of_date,
        devices.device_hash64,
        count(*) as buyer_count
    from devices
    inner join {{ ref('stg_buyer_history') }} as history
        on
            {{ key_hash('history.device_hash') }} = devices.device_hash64
            and history.known_from <= devices.as_of_date
            and history.known_until > devices.as_of_date
            and cast(history.registered_at as date) <= devices.as_of_date
    group by
        devices.as_of_date,
        devices.device_hash64

),

payers as (

    select distinct
        as_of_date,
        payer_hash64
    from transactions
    where payer_hash64 is not null

),

payer_totals as (

    select
        payers.as_of_date,
        payers.payer_hash64,
        count(distinct all_transactions.buyer_hash) as buyer_count
    from payers
    inner join all_transactions
        on
            all_transactions.payer_hash64 = payers.payer_hash64
            and cast(all_transactions.occurred_at as date) <= payers.as_of_date
    group by
        payers.as_of_date,
        payers.payer_hash64

),

-- Delivery time of a route, from the listing's origin to the buyer's country. At the dates of a training it is computed from
-- transactions of the sampled merchants.
routes as (

    select
        transactions.as_of_date,
        listings.ships_from,
        accounts.country,
        {{ p10('transactions.delivery_hours') }} as delivery_hours
    from transactions
    inner join {{ ref('stg_listing_history') }} as listings
        on
            {{ key_hash('listings.listing_id') }} = transactions.listing_hash
            and listings.known_from <= transactions.as_of_date
            and listings.known_until > transactions.as_of_date
    inner join accounts
        on
            accounts.as_of_date = transactions.as_of_date
            and accounts.buyer_hash = transactions.buyer_hash
    where
        transactions.delivery_hours is not null
        and (transactions.is_scored or transactions.is_drawn)
    group by
        transactions.as_of_date,
        listings.ships_from,
        accounts.country

),

own_identifiers as (

    select distinct
        {{ key_hash('merchant_id') }} as merchant_hash,
        {{ key_hash('value_hash') }} as value_hash64,
        kind,
        cast(first_seen_at as date) as first_seen_date
    from {{ ref('stg_merchant_identifiers') }}
    where kind in ('device', 'bank_account')

),

-- Days on which the platform observed ranks

looks as (

    select distinct cast(observed_at as date) as look_date
    from {{ ref('stg_listing_ranks') }}

),

days as (

    select distinct
        as_of_date,
        occurred_date
    from transactions

),

days_to_looks as (

    select
        days.as_of_date,
        days.occurred_date,
        {{ days_between('days.occurred_date', 'min(looks.look_date)') }} as days_to_look
    from days
    inner join looks
        on
            looks.look_date >= days.occurred_date
            and looks.look_date <= days.as_of_date
    group by
        days.as_of_date,
        days.occurred_date

),

-- Texts

texts as (

    select distinct
        as_of_date,
        text_hash
    from transactions
    where text_hash is not null

),

repeated_texts as (

    select
        texts.as_of_date,
        texts.text_hash,
        count(*) as writing_count
    from texts
    inner join all_transactions
        on
            all_transactions.text_hash = texts.text_hash
            and cast(all_transactions.reviewed_at as date) <= texts.as_of_date
    group by
        texts.as_of_date,
        texts.text_hash
    having count(*) > 1

),

-- Round robins: number of merchants tied to this merchant from which the buyer also buys.

purchases as (

    select
        buyer_hash,
        merchant_hash,
        cast(min(occurred_at) as date) as first_date
    from all_transactions
    group by
        buyer_hash,
        merchant_hash

),

ties as (

    select
        buyer_transactions.as_of_date,
        buyer_transactions.merchant_hash,
        buyer_transactions.buyer_hash,
        count(*) as tied_merchant_count
    from buyer_transactions
    inner join {{ ref('co_purchases') }} as co_purchases
        on
            co_purchases.as_of_date = buyer_transactions.as_of_date
            and co_purchases.merchant_hash = buyer_transactions.merchant_hash
    inner join purchases
        on
            purchases.merchant_hash = co_purchases.other_number
            and purchases.buyer_hash = buyer_transactions.buyer_hash
            and purchases.first_date <= buyer_transactions.as_of_date
    group by
        buyer_transactions.as_of_date,
        buyer_transactions.merchant_hash,
        buyer_transactions.buyer_hash

),

joined as (

    select
        transactions.*,
        {{ days_between('cast(accounts.registered_at as date)', 'transactions.occurred_date') }} as buyer_age_days,
        buyer_totals.transaction_count as buyer_transaction_count,
        buyer_totals.merchant_count as buyer_merchant_count,
        buyer_transactions.transaction_count as buyer_here_count,
        device_totals.buyer_count as device_buyer_count,
        payer_totals.buyer_count as payer_buyer_count,
        own_devices.value_hash64 is not null as is_device_own,
        own_payers.value_hash64 is not null as is_payer_own,
        accounts.device_hash64 is not null or transactions.payer_hash64 is not null as is_own_known,
        {{ ratio('transactions.unit_weight_g', 'typical_listings.unit_weight_g') }} as weight_ratio,
        {{ ratio('transactions.delivery_hours', 'typical_merchants.delivery_hours') }} as delivery_ratio,
        {{ ratio('transactions.delivery_hours', 'routes.delivery_hours') }} as delivery_route_ratio,
        {{ ratio(
            'merchant_days.order_count * (' ~ days_between('typical_merchants.first_date', 'transactions.as_of_date') ~ ' + 1)',
            'typical_merchants.order_count'
        ) }} as day_burst_ratio,
        busiest_hours.hour_order_count,
        busiest_hours.hour_order_buyer_ratio,
        days_to_looks.days_to_look,
        case
            when transactions.text_hash is not null then coalesce(repeated_texts.writing_count, 1)
        end as text_writing_count,
        case when transactions.buyer_hash is not null then coalesce(ties.tied_merchant_count, 0) end as tied_merchant_count
    from transactions
    inner join typical_merchants
        on
            typical_merchants.as_of_date = transactions.as_of_date
            and typical_merchants.merchant_hash = transactions.merchant_hash
    left join typical_listings
        on
            typical_listings.as_of_date = transactions.as_of_date
            and typical_listings.listing_hash = transactions.listing_hash
    left join merchant_days
        on
            merchant_days.as_of_date = transactions.as_of_date
            and merchant_days.merchant_hash = transactions.merchant_hash
            and merchant_days.occurred_date = transactions.occurred_date
    left join accounts
        on
            accounts.as_of_date = transactions.as_of_date
            and accounts.buyer_hash = transactions.buyer_hash
    left join buyer_totals
        on
            buyer_totals.as_of_date = transactions.as_of_date
            and buyer_totals.buyer_hash = transactions.buyer_hash
    left join buyer_transactions
        on
            buyer_transactions.as_of_date = transactions.as_of_date
            and buyer_transactions.merchant_hash = transactions.merchant_hash
            and buyer_transactions.buyer_hash = transactions.buyer_hash
    left join {{ ref('stg_listing_history') }} as listings
        on
            {{ key_hash('listings.listing_id') }} = transactions.listing_hash
            and listings.known_from <= transactions.as_of_date
            and listings.known_until > transactions.as_of_date
    left join routes
        on
            routes.as_of_date = transactions.as_of_date
            and routes.ships_from = listings.ships_from
            and routes.country = accounts.country
    left join device_totals
        on
            device_totals.as_of_date = transactions.as_of_date
            and device_totals.device_hash64 = accounts.device_hash64
    left join payer_totals
        on
            payer_totals.as_of_date = transactions.as_of_date
            and payer_totals.payer_hash64 = transactions.payer_hash64
    left join own_identifiers as own_devices
        on
            own_devices.kind = 'device'
            and own_devices.merchant_hash = transactions.merchant_hash
            and own_devices.value_hash64 = accounts.device_hash64
            and own_devices.first_seen_date <= transactions.as_of_date
    left join own_identifiers as own_payers
        on
            own_payers.kind = 'bank_account'
            and own_payers.merchant_hash = transactions.merchant_hash
            and own_payers.value_hash64 = transactions.payer_hash64
            and own_payers.first_seen_date <= transactions.as_of_date
    left join busiest_hours
        on
            busiest_hours.as_of_date = transactions.as_of_date
            and busiest_hours.transaction_hash = transactions.transaction_hash
    left join days_to_looks
        on
            days_to_looks.as_of_date = transactions.as_of_date
            and days_to_looks.occurred_date = transactions.occurred_date
    left join repeated_texts
        on
            repeated_texts.as_of_date = transactions.as_of_date
            and repeated_texts.text_hash = transactions.text_hash
    left join ties
        on
            ties.as_of_date = transactions.as_of_date
            and ties.merchant_hash = transactions.merchant_hash
            and ties.buyer_hash = transactions.buyer_hash

),

indicators as (

    select
        as_of_date,
        is_scored,
        is_drawn,
        transaction_hash,
        merchant_hash,
        buyer_hash,
        review_key,
        order_id,
        review_id,
        listing_id,
        merchant_id,
        buyer_id,
        occurred_date,
        is_order,
        rating,
        has_photo,
        buyer_age_days,
        buyer_transaction_count,
        buyer_merchant_count,
        buyer_here_count,
        device_buyer_count,
        payer_buyer_count,
        case when is_own_known then is_device_own or is_payer_own end as is_own,
        weight_ratio,
        delivery_ratio,
        delivery_route_ratio,
        case when is_order then day_burst_ratio end as day_burst_ratio,
        hour_order_count,
        hour_order_buyer_ratio,
        case when is_order then days_to_look end as days_to_look,
        review_lag_hours,
        text_writing_count,
        tied_merchant_count,
        weight_ratio < {{ light_hundredths() }} / 100.0 as is_light,
        delivery_ratio < {{ fast_hundredths() }} / 100.0 as is_fast,
        review_lag_hours between 0 and {{ hasty_hours() }} as is_hasty,
        text_writing_count > 1 as is_repeated,
        rating >= 5 as is_praise,
        case when is_order then days_to_look <= {{ before_look_days() }} end as is_before_look,
        device_buyer_count > 1 as is_device_shared,
        payer_buyer_count > 1 as is_payer_shared,
        buyer_here_count > 1 and buyer_merchant_count = 1 as is_devoted,
        buyer_age_days < {{ new_buyer_days() }} as is_buyer_new,
        hour_order_count >= 3 as is_crowded,
        tied_merchant_count > 0 as is_tied,
        not is_order as is_lone_review
    from joined

),

final as (

    select
        *,
        is_light and is_fast as is_empty,
        is_own and (is_light or is_fast) as is_own_haste,
        {% for indicator in telling_indicators() %}
        cast(coalesce({{ indicator }}, false) as integer){{ ' +' if not loop.last }}
        {% endfor %} as indicator_count
    from indicators

)

select * from final
