-- What the model of brushing merchants sees, one row for each row of brushing_merchant_spine: how many of the merchant's trades
-- show each sign, but for ties: in the demo these by themselves would give the clients of a service away. A merchant without
-- trades is unknown in all of them.
with

brushing_merchant_spine as (

    select * from {{ ref('brushing_merchant_spine') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

merchant_trades as (

    select * from {{ ref('merchant_trades') }}

),

final as (

    select
        spine.purpose,
        spine.merchant_id,
        spine.category,
        spine.as_of_date,

        merchant_states.merchant_age_days,
        merchant_states.live_listing_count,
        merchant_trades.order_count,
        {{ ratio('merchant_trades.order_count', 'merchant_trades.buyer_count') }} as order_buyer_ratio,
        {% for name in trade_counts() if name != 'tied' %}
        {{ shrunken_share(
            'merchant_trades.' ~ name ~ '_count', 'merchant_trades.' ~ name ~ '_known_count'
        ) }} as {{ name }}_share,
        {% endfor %}
        merchant_trades.hour_order_buyer_ratio
    from brushing_merchant_spine as spine
    inner join merchant_states
        on
            merchant_states.merchant_id = spine.merchant_id
            and merchant_states.as_of_date = spine.as_of_date
    left join merchant_trades
        on
            merchant_trades.merchant_id = spine.merchant_id
            and merchant_trades.as_of_date = spine.as_of_date

)

select * from final
