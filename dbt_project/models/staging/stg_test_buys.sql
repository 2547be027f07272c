with

test_buys as (

    {{ current_rows('test_buys', ['test_buy_id']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        test_buys.test_buy_id,
        test_buys.listing_id,
        test_buys.plan_id,
        test_buys.arm,
        test_buys.inclusion_probability,
        test_buys.ordered_at,
        test_buys.verdict,
        test_buys.decided_at,
        test_buys.cost,
        {{ in_base_currency('test_buys.cost', 'test_buys.currency', 'fx_rates.rate') }} as cost_base,
        test_buys.currency,
        test_buys.evidence_uri
    from test_buys
    left join fx_rates
        on
            fx_rates.currency = test_buys.currency
            and fx_rates.date = cast(test_buys.ordered_at as date)

)

select * from final
