-- Transactions of the scoring date that match the policy's rules; one row per rule and transaction. No model is involved.
with

rules as (

    select * from {{ source('landed', 'rules') }}

),

indicators as (

    select * from {{ ref('transaction_indicators') }} where is_scored

),

found as (

    {% for column in rule_columns() %}
    select
        rules.rule,
        rules.action,
        indicators.as_of_date,
        indicators.review_key,
        indicators.order_id,
        indicators.review_id,
        indicators.listing_id,
        indicators.merchant_id,
        indicators.buyer_id,
        indicators.occurred_date,
        cast(indicators.{{ column }} as double) as value
    from indicators
    inner join rules
        on
            rules.indicator = '{{ column }}'
            and (rules.at_least is null or indicators.{{ column }} >= rules.at_least)
            and (rules.at_most is null or indicators.{{ column }} <= rules.at_most)
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

final as (

    select
        as_of_date,
        rule,
        action,
        review_key,
        order_id,
        review_id,
        listing_id,
        merchant_id,
        buyer_id,
        occurred_date,
        value
    from found

)

select * from final
