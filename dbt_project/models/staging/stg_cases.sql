with

cases as (

    {{ current_rows('cases', ['case_id', 'merchant_id', 'stage', 'stage_at']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        cases.case_id,
        cases.merchant_id,
        cases.stage,
        cases.stage_at,
        cases.plaintiff,
        cases.defendant,
        cases.violation_type,
        cases.court,
        cases.claim,
        cases.amount,
        {{ in_base_currency('cases.amount', 'cases.currency', 'fx_rates.rate') }} as amount_base,
        cases.currency,
        cases.lead_id
    from cases
    left join fx_rates
        on
            fx_rates.currency = cases.currency
            and fx_rates.date = cast(cases.stage_at as date)

)

select * from final
