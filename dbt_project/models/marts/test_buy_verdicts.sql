-- Test buys as of the date, one row each, with their place in the plan and the verdict known by then.
with

run as (

    select * from {{ source('landed', 'run') }}

),

bought as (

    select
        stg_test_buys.*,
        coalesce(cast(stg_test_buys.decided_at as date) <= run.as_of, false) as is_decided,
        run.as_of
    from {{ ref('stg_test_buys') }} as stg_test_buys
    inner join run
        on run.as_of >= cast(stg_test_buys.ordered_at as date)

),

final as (

    select
        bought.as_of as as_of_date,
        bought.test_buy_id,
        bought.listing_id,
        bought.plan_id,
        bought.arm,
        nullif(bought.inclusion_probability, 0) as inclusion_probability,
        bought.ordered_at,
        case when bought.is_decided then bought.verdict end as verdict,
        case when bought.is_decided then bought.decided_at end as decided_at,
        bought.cost_base
    from bought

)

select * from final
