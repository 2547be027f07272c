with

orders as (

    {{ current_rows('orders', ['order_id']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        orders.order_id,
        orders.listing_id,
        orders.merchant_id,
        orders.buyer_id,
        orders.quantity,
        orders.amount,
        {{ in_base_currency('orders.amount', 'orders.currency', 'fx_rates.rate') }} as amount_base,
        orders.currency,
        orders.placed_at,
        orders.shipped_at,
        orders.delivered_at,
        orders.refunded_at,
        orders.refund_reason,
        orders.parcel_weight_g,
        orders.payer_hash
    from orders
    left join fx_rates
        on
            fx_rates.currency = orders.currency
            and fx_rates.date = cast(orders.placed_at as date)

)

select * from final
