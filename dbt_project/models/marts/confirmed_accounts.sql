-- Other accounts of confirmed counterfeiters; one row per counterfeiter and merchant that shares something with it. These
-- accounts are the next to investigate, also for counterfeiters found during an action.
with

run as (

    select * from {{ source('landed', 'run') }}

),

confirmed as (

    select * from {{ ref('confirmed_counterfeiters') }}

),

scores as (

    select * from {{ source('landed', 'merchant_scores') }}

),

{{ bans() }},

{{ ties() }},

accounts as (

    select
        confirmed.merchant_id,
        confirmed.is_found_during_action,
        ties.other_merchant_id,
        ties.ring_id,
        {{ joined_members(collect_in_order('ties.kind'), "','") }} as kinds,
        min(ties.since_date) as since_date,
        bool_or(ties.is_verified) as is_verified
    from confirmed
    inner join ties
        on ties.merchant_id = confirmed.merchant_id
    group by
        confirmed.merchant_id,
        confirmed.is_found_during_action,
        ties.other_merchant_id,
        ties.ring_id

),

final as (

    select
        run.as_of as as_of_date,
        accounts.merchant_id,
        accounts.is_found_during_action,
        accounts.other_merchant_id,
        accounts.ring_id,
        accounts.kinds,
        accounts.since_date,
        accounts.is_verified,
        others.merchant_id is not null as is_other_confirmed,
        bans.banned_at as other_banned_at,
        cast(scores.score as decimal(9, 4)) as other_score
    from accounts
    cross join run
    left join confirmed as others
        on others.merchant_id = accounts.other_merchant_id
    left join bans
        on bans.merchant_id = accounts.other_merchant_id
    left join scores
        on scores.merchant_id = accounts.other_merchant_id

)

select * from final
