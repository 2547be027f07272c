-- What each trade of brushing_trades shows beside the merchant's others, the buyer's others and what is usual, one row a trade
-- and date. A sign (is_...) is null where it cannot be known; what counts as one is said in macros/brushing.sql.
{% set hour = 'interval 1 hour' %}
with

trades as (

    select * from {{ ref('brushing_trades') }}

),

all_trades as (

    select * from {{ ref('int_trades') }}

),

-- What is usual

listing_usuals as (

    select
        as_of_date,
        listing_id,
        {{ middle_value('unit_weight_g') }} as unit_weight_g
    from trades
    where unit_weight_g is not null
    group by
        as_of_date,
        listing_id

),

merchant_usuals as (

    select
        as_of_date,
        merchant_id,
        {{ middle_value('delivery_hours') }} as delivery_hours,
        sum(cast(is_order as integer)) as order_count,
        min(began_date) as first_date
    from trades
    group by
        as_of_date,
        merchant_id

),

merchant_days as (

    select
        as_of_date,
        merchant_id,
        began_date,
        count(*) as order_count
    from trades
    where is_order
    group by
        as_of_date,
        merchant_id,
        began_date

),

-- Who buys

buyers as (

    select distinct
        as_of_date,
        buyer_id
    from trades
    where buyer_id is not null

),

buyer_totals as (

    select
        buyers.as_of_date,
        buyers.buyer_id,
        count(*) as trade_count,
        count(distinct all_trades.merchant_id) as merchant_count
    from buyers
    inner join all_trades
        on
            all_trades.buyer_id = buyers.buyer_id
            and cast(all_trades.began_at as date) <= buyers.as_of_date
    group by
        buyers.as_of_date,
        buyers.buyer_id

),

buyer_trades as (

    select
        as_of_date,
        merchant_id,
        buyer_id,
        count(*) as trade_count
    from trades
    where buyer_id is not null
    group by
        as_of_date,
        merchant_id,
        buyer_id

),

accounts as (

    select
        buyers.as_of_date,
        buyers.buyer_id,
        history.registered_at,
        history.country,
        history.device_hash
    from buyers
    inner join {{ ref('stg_buyer_history') }} as history
        on
            history.buyer_id = buyers.buyer_id
            and history.known_from <= buyers.as_of_date
            and history.known_until > buyers.as_of_date
    where
        history.registered_at is null
        or cast(history.registered_at as date) <= buyers.as_of_date

),

devices as (

    select distinct
        as_of_date,
        device_hash
    from accounts
    where device_hash is not null

),

device_totals as (

    select
        devices.as_of_date,
        devices.device_hash,
        count(*) as buyer_count
    from devices
    inner join {{ ref('stg_buyer_history') }} as history
        on
            history.device_hash = devices.device_hash
            and history.known_from <= devices.as_of_date
            and history.known_until > devices.as_of_date
            and cast(history.registered_at as date) <= devices.as_of_date
    group by
        devices.as_of_date,
        devices.device_hash

),

payers as (

    select distinct
        as_of_date,
        payer_hash
    from trades
    where payer_hash is not null

),

payer_totals as (

    select
        payers.as_of_date,
        payers.payer_hash,
        count(distinct all_trades.buyer_id) as buyer_count
    from payers
    inner join all_trades
        on
            all_trades.payer_hash = payers.payer_hash
            and cast(all_trades.began_at as date) <= payers.as_of_date
    group by
        payers.as_of_date,
        payers.payer_hash

),

-- How long a route takes: from where the goods are sent to the buyer's country. At the dates of a training by the trades of the
-- merchants that were drawn, who are a sample of all.
routes as (

    select
        trades.as_of_date,
        listings.ships_from,
        accounts.country,
        {{ low_value('trades.delivery_hours') }} as delivery_hours
    from trades
    inner join {{ ref('stg_listing_history') }} as listings
        on
            listings.listing_id = trades.listing_id
            and listings.known_from <= trades.as_of_date
            and listings.known_until > trades.as_of_date
    inner join accounts
        on
            accounts.as_of_date = trades.as_of_date
            and accounts.buyer_id = trades.buyer_id
    where
        trades.delivery_hours is not null
        and (trades.is_scored or trades.is_drawn)
    group by
        trades.as_of_date,
        listings.ships_from,
        accounts.country

),

own_identifiers as (

    select distinct
        merchant_id,
        value_hash,
        kind,
        cast(first_seen_at as date) as first_seen_date
    from {{ ref('stg_merchant_identifiers') }}
    where kind in ('device', 'bank_account')

),

-- Hours: from each order on, how many orders the merchant had within the hour, and of how many buyers; an order's is the
-- greatest of the hours that it lies in.

hours as (

    select
        as_of_date,
        review_key,
        merchant_id,
        began_at,
        count(*) over from_it as order_count,
        count(distinct buyer_id) over from_it as buyer_count
    from trades
    where
        is_order
        and buyer_id is not null
    window from_it as (
        partition by as_of_date, merchant_id
        order by began_at
        range between current row and {{ hour }} following
    )

),

busiest_hours as (

    select
        as_of_date,
        review_key,
        max(order_count) over up_to_it as hour_order_count,
        max({{ ratio('order_count', 'buyer_count') }}) over up_to_it as hour_order_buyer_ratio
    from hours
    window up_to_it as (
        partition by as_of_date, merchant_id
        order by began_at
        range between {{ hour }} preceding and current row
    )

),

-- When the platform looked at ranks

looks as (

    select distinct cast(observed_at as date) as look_date
    from {{ ref('stg_listing_ranks') }}

),

days_to_looks as (

    select
        days.as_of_date,
        days.began_date,
        {{ days_between('days.began_date', 'min(looks.look_date)') }} as days_to_look
    from (select distinct as_of_date, began_date from trades) as days
    inner join looks
        on
            looks.look_date >= days.began_date
            and looks.look_date <= days.as_of_date
    group by
        days.as_of_date,
        days.began_date

),

-- What is said

texts as (

    select distinct
        as_of_date,
        text_hash
    from trades
    where text_hash is not null

),

repeated_texts as (

    select
        texts.as_of_date,
        texts.text_hash,
        count(*) as writing_count
    from texts
    inner join all_trades
        on
            all_trades.text_hash = texts.text_hash
            and cast(all_trades.reviewed_at as date) <= texts.as_of_date
    group by
        texts.as_of_date,
        texts.text_hash
    having count(*) > 1

),

-- Round robins: at how many of the merchants that the merchant is tied to the buyer buys, too.

ties as (

    select
        buyer_trades.as_of_date,
        buyer_trades.merchant_id,
        buyer_trades.buyer_id,
        count(*) as tied_merchant_count
    from buyer_trades
    inner join {{ ref('co_purchases') }} as co_purchases
        on
            co_purchases.as_of_date = buyer_trades.as_of_date
            and co_purchases.merchant_id = buyer_trades.merchant_id
    inner join (
        select
            buyer_id,
            merchant_id,
            cast(min(began_at) as date) as first_date
        from all_trades
        group by
            buyer_id,
            merchant_id
    ) as purchases
        on
            purchases.merchant_id = co_purchases.other_id
            and purchases.buyer_id = buyer_trades.buyer_id
            and purchases.first_date <= buyer_trades.as_of_date
    group by
        buyer_trades.as_of_date,
        buyer_trades.merchant_id,
        buyer_trades.buyer_id

),

beside as (

    select
        trades.*,
        {{ days_between('cast(accounts.registered_at as date)', 'trades.began_date') }} as buyer_age_days,
        buyer_totals.trade_count as buyer_trade_count,
        buyer_totals.merchant_count as buyer_merchant_count,
        buyer_trades.trade_count as buyer_here_count,
        device_totals.buyer_count as device_buyer_count,
        payer_totals.buyer_count as payer_buyer_count,
        own_devices.value_hash is not null as is_device_own,
        own_payers.value_hash is not null as is_payer_own,
        accounts.device_hash is not null or trades.payer_hash is not null as is_own_known,
        {{ ratio('trades.unit_weight_g', 'listing_usuals.unit_weight_g') }} as weight_ratio,
        {{ ratio('trades.delivery_hours', 'merchant_usuals.delivery_hours') }} as delivery_ratio,
        {{ ratio('trades.delivery_hours', 'routes.delivery_hours') }} as delivery_route_ratio,
        {{ ratio(
            'merchant_days.order_count * (' ~ days_between('merchant_usuals.first_date', 'trades.as_of_date') ~ ' + 1)',
            'merchant_usuals.order_count'
        ) }} as day_burst_ratio,
        busiest_hours.hour_order_count,
        busiest_hours.hour_order_buyer_ratio,
        days_to_looks.days_to_look,
        case
            when trades.text_hash is not null then coalesce(repeated_texts.writing_count, 1)
        end as text_writing_count,
        case when trades.buyer_id is not null then coalesce(ties.tied_merchant_count, 0) end as tied_merchant_count
    from trades
    inner join merchant_usuals
        on
            merchant_usuals.as_of_date = trades.as_of_date
            and merchant_usuals.merchant_id = trades.merchant_id
    left join listing_usuals
        on
            listing_usuals.as_of_date = trades.as_of_date
            and listing_usuals.listing_id = trades.listing_id
    left join merchant_days
        on
            merchant_days.as_of_date = trades.as_of_date
            and merchant_days.merchant_id = trades.merchant_id
            and merchant_days.began_date = trades.began_date
    left join accounts
        on
            accounts.as_of_date = trades.as_of_date
            and accounts.buyer_id = trades.buyer_id
    left join buyer_totals
        on
            buyer_totals.as_of_date = trades.as_of_date
            and buyer_totals.buyer_id = trades.buyer_id
    left join buyer_trades
        on
            buyer_trades.as_of_date = trades.as_of_date
            and buyer_trades.merchant_id = trades.merchant_id
            and buyer_trades.buyer_id = trades.buyer_id
    left join {{ ref('stg_listing_history') }} as listings
        on
            listings.listing_id = trades.listing_id
            and listings.known_from <= trades.as_of_date
            and listings.known_until > trades.as_of_date
    left join routes
        on
            routes.as_of_date = trades.as_of_date
            and routes.ships_from = listings.ships_from
            and routes.country = accounts.country
    left join device_totals
        on
            device_totals.as_of_date = trades.as_of_date
            and device_totals.device_hash = accounts.device_hash
    left join payer_totals
        on
            payer_totals.as_of_date = trades.as_of_date
            and payer_totals.payer_hash = trades.payer_hash
    left join own_identifiers as own_devices
        on
            own_devices.kind = 'device'
            and own_devices.merchant_id = trades.merchant_id
            and own_devices.value_hash = accounts.device_hash
            and own_devices.first_seen_date <= trades.as_of_date
    left join own_identifiers as own_payers
        on
            own_payers.kind = 'bank_account'
            and own_payers.merchant_id = trades.merchant_id
            and own_payers.value_hash = trades.payer_hash
            and own_payers.first_seen_date <= trades.as_of_date
    left join busiest_hours
        on
            busiest_hours.as_of_date = trades.as_of_date
            and busiest_hours.review_key = trades.review_key
    left join days_to_looks
        on
            days_to_looks.as_of_date = trades.as_of_date
            and days_to_looks.began_date = trades.began_date
    left join repeated_texts
        on
            repeated_texts.as_of_date = trades.as_of_date
            and repeated_texts.text_hash = trades.text_hash
    left join ties
        on
            ties.as_of_date = trades.as_of_date
            and ties.merchant_id = trades.merchant_id
            and ties.buyer_id = trades.buyer_id

),

final as (

    select
        as_of_date,
        is_scored,
        is_drawn,
        review_key,
        order_id,
        review_id,
        listing_id,
        merchant_id,
        buyer_id,
        began_date,
        is_order,
        rating,
        has_photo,
        buyer_age_days,
        buyer_trade_count,
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
    from beside

)

select * from final
