-- Features of merchants for the brushing model; one row for each row of brushing_merchant_spine: the share of the merchant's
-- transactions with each indicator. Ties are left out: in the demo they alone would identify the clients of a service. All are
-- null for a merchant without transactions.
with

brushing_merchant_spine as (

    select * from {{ ref('brushing_merchant_spine') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

merchant_transactions as (

    select * from {{ ref('merchant_transactions') }}

),

final as (

    select
        spine.purpose,
        spine.merchant_id,
        spine.category,
        spine.as_of_date,

        merchant_states.merchant_age_days,
        merchant_states.active_listing_count,
        merchant_transactions.order_count,
        {{ ratio('merchant_transactions.order_count', 'merchant_transactions.buyer_count') }} as order_buyer_ratio,
        {% for name in transaction_counts() if name != 'tied' %}
        {{ shrunken_share(
            'merchant_transactions.' ~ name ~ '_count', 'merchant_transactions.' ~ name ~ '_known_count'
        ) }} as {{ name }}_share,
        {% endfor %}
        merchant_transactions.hour_order_buyer_ratio
    from brushing_merchant_spine as spine
    inner join merchant_states
        on
            merchant_states.merchant_id = spine.merchant_id
            and merchant_states.as_of_date = spine.as_of_date
    left join merchant_transactions
        on
            merchant_transactions.merchant_id = spine.merchant_id
            and merchant_transactions.as_of_date = spine.as_of_date

)

select * from final
