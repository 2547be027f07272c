-- All label events of all kinds of entity: verdict, time, source, and whether a notice, a test buy or a takedown came before it.
-- A listing found counterfeit is also a label of its merchant (via_listing_id); a listing found genuine is not a label of the
-- merchant's others. An upheld appeal is a genuine label.
with

notices as (

    select * from {{ ref('stg_notices') }}

),

test_buys as (

    select * from {{ ref('stg_test_buys') }}

),

moderation_decisions as (

    select * from {{ ref('stg_moderation_decisions') }}

),

enforcement_actions as (

    select * from {{ ref('stg_enforcement_actions') }}

),

platform_actions as (

    select * from {{ ref('stg_platform_actions') }}

),

appeals as (

    select * from {{ ref('stg_appeals') }}

),

owners as (

    select
        listing_id,
        merchant_id
    from {{ ref('stg_listings') }}

),

own_labels as (

    select
        'listing' as entity_kind,
        notices.listing_id as entity_id,
        'counterfeit' as violation_type,
        notices.outcome = 'upheld' as is_positive,
        notices.decided_at,
        'notice' as source,
        notices.notice_id as case_id,
        cast(null as varchar) as arm,
        cast(null as double) as inclusion_probability,
        notices.reason
    from notices
    where
        coalesce(notices.kind, 'counterfeit') = 'counterfeit'
        and (
            notices.outcome = 'upheld'
            or (
                notices.outcome = 'rejected'
                and notices.reason in ('genuine', 'authorised_seller', 'proof_of_purchase')
            )
        )
    union all
    select
        'listing' as entity_kind,
        test_buys.listing_id as entity_id,
        'counterfeit' as violation_type,
        test_buys.verdict = 'counterfeit' as is_positive,
        test_buys.decided_at,
        'test_buy' as source,
        coalesce(test_buys.plan_id, test_buys.test_buy_id) as case_id,
        test_buys.arm,
        test_buys.inclusion_probability,
        cast(null as varchar) as reason
    from test_buys
    where test_buys.verdict in ('counterfeit', 'genuine')
    union all
    select
        moderation_decisions.entity_kind,
        moderation_decisions.entity_id,
        moderation_decisions.violation_type,
        moderation_decisions.verdict = 'fake' as is_positive,
        moderation_decisions.decided_at,
        'moderation_decision' as source,
        concat_ws(':', moderation_decisions.entity_kind, moderation_decisions.entity_id) as case_id,
        cast(null as varchar) as arm,
        moderation_decisions.inclusion_probability,
        moderation_decisions.reason
    from moderation_decisions
    union all
    select
        'merchant' as entity_kind,
        enforcement_actions.merchant_id as entity_id,
        enforcement_actions.violation_type,
        true as is_positive,
        enforcement_actions.occurred_at as decided_at,
        'enforcement' as source,
        coalesce(enforcement_actions.lead_id, enforcement_actions.action_id) as case_id,
        cast(null as varchar) as arm,
        cast(null as double) as inclusion_probability,
        enforcement_actions.kind as reason
    from enforcement_actions
    union all
    select
        appeals.entity_kind,
        appeals.entity_id,
        appeals.violation_type,
        false as is_positive,
        appeals.decided_at,
        'appeal' as source,
        appeals.appeal_id as case_id,
        cast(null as varchar) as arm,
        cast(null as double) as inclusion_probability,
        appeals.reason
    from appeals
    where appeals.outcome = 'upheld'

),

labels as (

    select
        own_labels.*,
        cast(null as varchar) as via_listing_id
    from own_labels
    where own_labels.decided_at is not null
    union all
    select
        'merchant' as entity_kind,
        owners.merchant_id as entity_id,
        own_labels.violation_type,
        own_labels.is_positive,
        own_labels.decided_at,
        own_labels.source,
        own_labels.case_id,
        cast(null as varchar) as arm,
        cast(null as double) as inclusion_probability,
        own_labels.reason,
        own_labels.entity_id as via_listing_id
    from own_labels
    inner join owners
        on owners.listing_id = own_labels.entity_id
    where
        own_labels.entity_kind = 'listing'
        and own_labels.violation_type = 'counterfeit'
        and own_labels.is_positive
        and own_labels.decided_at is not null

),

-- Events that may have drawn attention to a listing.
listing_alerts as (

    select
        notices.listing_id,
        notices.submitted_at as alerted_at
    from notices
    union all
    select
        test_buys.listing_id,
        test_buys.ordered_at as alerted_at
    from test_buys
    union all
    select
        platform_actions.entity_id as listing_id,
        platform_actions.occurred_at as alerted_at
    from platform_actions
    where
        platform_actions.entity_kind = 'listing'
        and platform_actions.kind = 'takedown'

),

alerts as (

    select
        'listing' as entity_kind,
        listing_alerts.listing_id as entity_id,
        listing_alerts.alerted_at
    from listing_alerts
    union all
    select
        'merchant' as entity_kind,
        owners.merchant_id as entity_id,
        listing_alerts.alerted_at
    from listing_alerts
    inner join owners
        on owners.listing_id = listing_alerts.listing_id
    union all
    select
        platform_actions.entity_kind,
        platform_actions.entity_id,
        platform_actions.occurred_at as alerted_at
    from platform_actions
    where
        platform_actions.entity_kind <> 'listing'
        and platform_actions.kind in ('takedown', 'ban')

),

first_alerts as (

    select
        entity_kind,
        entity_id,
        min(alerted_at) as alerted_at
    from alerts
    group by
        entity_kind,
        entity_id

),

final as (

    select
        labels.entity_kind,
        labels.entity_id,
        labels.violation_type,
        labels.is_positive,
        labels.decided_at,
        labels.source,
        labels.case_id,
        labels.arm,
        nullif(labels.inclusion_probability, 0) as inclusion_probability,
        labels.reason,
        labels.via_listing_id,
        coalesce(first_alerts.alerted_at < labels.decided_at, false) as preceded
    from labels
    left join first_alerts
        on
            first_alerts.entity_kind = labels.entity_kind
            and first_alerts.entity_id = labels.entity_id

)

select * from final
