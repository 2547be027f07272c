-- What the policy's own rules find among the trades of the scoring date, one row a rule and trade: no model has a say.
with

rules as (

    select * from {{ source('landed', 'rules') }}

),

signs as (

    select * from {{ ref('trade_signs') }} where is_scored

),

found as (

    {% for column in rule_columns() %}
    select
        rules.rule,
        rules.action,
        signs.as_of_date,
        signs.review_key,
        signs.order_id,
        signs.review_id,
        signs.listing_id,
        signs.merchant_id,
        signs.buyer_id,
        signs.began_date,
        cast(signs.{{ column }} as double) as value
    from signs
    inner join rules
        on
            rules.sign = '{{ column }}'
            and (rules.at_least is null or signs.{{ column }} >= rules.at_least)
            and (rules.at_most is null or signs.{{ column }} <= rules.at_most)
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
        began_date,
        value
    from found

)

select * from final
