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
        listing_number,
        {{ middle_value('unit_weight_g') }} as unit_weight_g
    from trades
    where unit_weight_g is not null
    group by
        as_of_date,
        listing_number

),

merchant_usuals as (

    select
        as_of_date,
        merchant_number,
        {{ middle_value('delivery_hours') }} as delivery_hours,
        sum(cast(is_order as integer)) as order_count,
        min(began_date) as first_date
    from trades
    group by
        as_of_date,
        merchant_number

),

merchant_days as (

    select
        as_of_date,
        merchant_number,
        began_date,
        count(*) as order_count
    from trades
    where is_order
    group by
        as_of_date,
        merchant_number,
        began_date

),

-- Who buys

buyers as (

    select distinct
        as_of_date,
        buyer_number
    from trades
    where buyer_number is not null

),

buyer_totals as (

    select
        buyers.as_of_date,
        buyers.buyer_number,
        count(*) as trade_count,
        count(distinct all_trades.merchant_number) as merchant_count
    from buyers
    inner join all_trades
        on
            all_trades.buyer_number = buyers.buyer_number
            and cast(all_trades.began_at as date) <= buyers.as_of_date
    group by
        buyers.as_of_date,
        buyers.buyer_number

),

buyer_trades as (

    select
        as_of_date,
        merchant_number,
        buyer_number,
        count(*) as trade_count
    from trades
    where buyer_number is not null
    group by
        as_of_date,
        merchant_number,
        buyer_number

),

accounts as (

    select
        buyers.as_of_date,
        buyers.buyer_number,
        history.registered_at,
        history.country,
        {{ number_of('history.device_hash') }} as device_number
    from buyers
    inner join {{ ref('stg_buyer_history') }} as history
        on
            {{ number_of('history.buyer_id') }} = buyers.buyer_number
            and history.known_from <= buyers.as_of_date
            and history.known_until > buyers.as_of_date
    where
        history.registered_at is null
        or cast(history.registered_at as date) <= buyers.as_of_date

),

devices as (

    select distinct
        as_of_date,
        device_number
    from accounts
    where device_number is not null

),

device_totals as (

    select
        devices.as_of_date,
        devices.device_number,
        count(*) as buyer_count
    from devices
    inner join {{ ref('stg_buyer_history') }} as history
        on
            {{ number_of('history.device_hash') }} = devices.device_number
            and history.known_from <= devices.as_of_date
            and history.known_until > devices.as_of_date
            and cast(history.registered_at as date) <= devices.as_of_date
    group by
        devices.as_of_date,
        devices.device_number

),

payers as (

    select distinct
        as_of_date,
        payer_number
    from trades
    where payer_number is not null

),

payer_totals as (

    select
        payers.as_of_date,
        payers.payer_number,
        count(distinct all_trades.buyer_number) as buyer_count
    from payers
    inner join all_trades
        on
            all_trades.payer_number = payers.payer_number
            and cast(all_trades.began_at as date) <= payers.as_of_date
    group by
        payers.as_of_date,
        payers.payer_number

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
            {{ number_of('listings.listing_id') }} = trades.listing_number
            and listings.known_from <= trades.as_of_date
            and listings.known_until > trades.as_of_date
    inner join accounts
        on
            accounts.as_of_date = trades.as_of_date
            and accounts.buyer_number = trades.buyer_number
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
        {{ number_of('merchant_id') }} as merchant_number,
        {{ number_of('value_hash') }} as value_number,
        kind,
        cast(first_seen_at as date) as first_seen_date
    from {{ ref('stg_merchant_identifiers') }}
    where kind in ('device', 'bank_account')

),

-- Hours: from each order on, how many orders the merchant had within the hour, and of how many buyers; an order's is the
-- greatest of the hours that it lies in. Most have no other within an hour: pairs are made of those that have, by the hour of
-- the clock, in which an order is looked for from its own and from the one before.

bought as (

    select
        as_of_date,
        trade_number,
        merchant_number,
        buyer_number,
        began_at,
        lag(began_at) over (partition by as_of_date, merchant_number order by began_at, trade_number) as before_at,
        lead(began_at) over (partition by as_of_date, merchant_number order by began_at, trade_number) as next_at
    from trades
    where
        is_order
        and buyer_number is not null

),

crowding as (

    select
        *,
        cast(floor({{ milliseconds_until('began_at') }} / 3600000) as bigint) as clock_hour
    from bought
    where
        before_at >= began_at - {{ hour }}
        or next_at <= began_at + {{ hour }}

),

reached as (

    select
        *,
        clock_hour as from_hour
    from crowding
    union all
    select
        *,
        clock_hour - 1 as from_hour
    from crowding

),

within_hours as (

    select
        crowding.as_of_date,
        crowding.trade_number as first_number,
        reached.trade_number,
        reached.buyer_number
    from crowding
    inner join reached
        on
            reached.as_of_date = crowding.as_of_date
            and reached.merchant_number = crowding.merchant_number
            and reached.from_hour = crowding.clock_hour
            and reached.began_at >= crowding.began_at
            and reached.began_at <= crowding.began_at + {{ hour }}

),

hours as (

    select
        as_of_date,
        first_number,
        count(*) as order_count,
        count(distinct buyer_number) as buyer_count
    from within_hours
    group by
        as_of_date,
        first_number

),

crowded_hours as (

    select
        within_hours.as_of_date,
        within_hours.trade_number,
        max(hours.order_count) as hour_order_count,
        max({{ ratio('hours.order_count', 'hours.buyer_count') }}) as hour_order_buyer_ratio
    from within_hours
    inner join hours
        on
            hours.as_of_date = within_hours.as_of_date
            and hours.first_number = within_hours.first_number
    group by
        within_hours.as_of_date,
        within_hours.trade_number

),

busiest_hours as (

    select
        bought.as_of_date,
        bought.trade_number,
        coalesce(crowded_hours.hour_order_count, 1) as hour_order_count,
        coalesce(crowded_hours.hour_order_buyer_ratio, 1) as hour_order_buyer_ratio
    from bought
    left join crowded_hours
        on
            crowded_hours.as_of_date = bought.as_of_date
            and crowded_hours.trade_number = bought.trade_number

),

-- When the platform looked at ranks

looks as (

    select distinct cast(observed_at as date) as look_date
    from {{ ref('stg_listing_ranks') }}

),

days as (

    select distinct
        as_of_date,
        began_date
    from trades

),

days_to_looks as (

    select
        days.as_of_date,
        days.began_date,
        {{ days_between('days.began_date', 'min(looks.look_date)') }} as days_to_look
    from days
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

purchases as (

    select
        buyer_number,
        merchant_number,
        cast(min(began_at) as date) as first_date
    from all_trades
    group by
        buyer_number,
        merchant_number

),

ties as (

    select
        buyer_trades.as_of_date,
        buyer_trades.merchant_number,
        buyer_trades.buyer_number,
        count(*) as tied_merchant_count
    from buyer_trades
    inner join {{ ref('co_purchases') }} as co_purchases
        on
            co_purchases.as_of_date = buyer_trades.as_of_date
            and co_purchases.merchant_number = buyer_trades.merchant_number
    inner join purchases
        on
            purchases.merchant_number = co_purchases.other_number
            and purchases.buyer_number = buyer_trades.buyer_number
            and purchases.first_date <= buyer_trades.as_of_date
    group by
        buyer_trades.as_of_date,
        buyer_trades.merchant_number,
        buyer_trades.buyer_number

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
        own_devices.value_number is not null as is_device_own,
        own_payers.value_number is not null as is_payer_own,
        accounts.device_number is not null or trades.payer_number is not null as is_own_known,
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
        case when trades.buyer_number is not null then coalesce(ties.tied_merchant_count, 0) end as tied_merchant_count
    from trades
    inner join merchant_usuals
        on
            merchant_usuals.as_of_date = trades.as_of_date
            and merchant_usuals.merchant_number = trades.merchant_number
    left join listing_usuals
        on
            listing_usuals.as_of_date = trades.as_of_date
            and listing_usuals.listing_number = trades.listing_number
    left join merchant_days
        on
            merchant_days.as_of_date = trades.as_of_date
            and merchant_days.merchant_number = trades.merchant_number
            and merchant_days.began_date = trades.began_date
    left join accounts
        on
            accounts.as_of_date = trades.as_of_date
            and accounts.buyer_number = trades.buyer_number
    left join buyer_totals
        on
            buyer_totals.as_of_date = trades.as_of_date
            and buyer_totals.buyer_number = trades.buyer_number
    left join buyer_trades
        on
            buyer_trades.as_of_date = trades.as_of_date
            and buyer_trades.merchant_number = trades.merchant_number
            and buyer_trades.buyer_number = trades.buyer_number
    left join {{ ref('stg_listing_history') }} as listings
        on
            {{ number_of('listings.listing_id') }} = trades.listing_number
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
            and device_totals.device_number = accounts.device_number
    left join payer_totals
        on
            payer_totals.as_of_date = trades.as_of_date
            and payer_totals.payer_number = trades.payer_number
    left join own_identifiers as own_devices
        on
            own_devices.kind = 'device'
            and own_devices.merchant_number = trades.merchant_number
            and own_devices.value_number = accounts.device_number
            and own_devices.first_seen_date <= trades.as_of_date
    left join own_identifiers as own_payers
        on
            own_payers.kind = 'bank_account'
            and own_payers.merchant_number = trades.merchant_number
            and own_payers.value_number = trades.payer_number
            and own_payers.first_seen_date <= trades.as_of_date
    left join busiest_hours
        on
            busiest_hours.as_of_date = trades.as_of_date
            and busiest_hours.trade_number = trades.trade_number
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
            and ties.merchant_number = trades.merchant_number
            and ties.buyer_number = trades.buyer_number

),

signs as (

    select
        as_of_date,
        is_scored,
        is_drawn,
        trade_number,
        merchant_number,
        buyer_number,
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

),

final as (

    select
        *,
        is_light and is_fast as is_empty,
        is_own and (is_light or is_fast) as is_own_haste,
        {% for sign in telling_signs() %}
        cast(coalesce({{ sign }}, false) as integer){{ ' +' if not loop.last }}
        {% endfor %} as sign_count
    from signs

)

select * from final
