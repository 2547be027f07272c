with

enforcement_actions as (

    {{ current_rows('enforcement_actions', ['action_id']) }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

final as (

    select
        enforcement_actions.action_id,
        enforcement_actions.merchant_id,
        enforcement_actions.lead_id,
        enforcement_actions.authority,
        enforcement_actions.kind,
        coalesce(enforcement_actions.violation_type, 'counterfeit') as violation_type,
        enforcement_actions.occurred_at,
        enforcement_actions.seized_value,
        {{ in_base_currency(
            'enforcement_actions.seized_value', 'enforcement_actions.currency', 'fx_rates.rate'
        ) }} as seized_value_base,
        enforcement_actions.seized_items,
        enforcement_actions.currency,
        enforcement_actions.suspects
    from enforcement_actions
    left join fx_rates
        on
            fx_rates.currency = enforcement_actions.currency
            and fx_rates.date = cast(enforcement_actions.occurred_at as date)

)

select * from final
