-- Stages that each entity and lead has reached by as_of; one row per entity and stage: flagged (on a published list), reviewed
-- and confirmed (after that), handed over with a lead, acted on by an authority, suspects named; with the days since the previous
-- stage. Only flags published before as_of count: the list of a day is read on the next. A hand-over has the violation type of
-- its lead on the day before, an action its own.
with

run as (

    select * from {{ source('landed', 'run') }}

),

flagged as (

    select
        flags.violation_type,
        flags.entity_kind,
        flags.entity_id,
        min(flags.as_of_date) as flagged_date
    from {{ source('landed', 'published_flags') }} as flags
    inner join run
        on run.as_of > flags.as_of_date
    group by
        flags.violation_type,
        flags.entity_kind,
        flags.entity_id

),

labels as (

    select int_labels.*
    from {{ ref('int_labels') }} as int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)

),

decisions as (

    select
        labels.violation_type,
        labels.entity_kind,
        labels.entity_id,
        labels.decided_at
    from labels
    where labels.source <> 'enforcement'
    union all
    select
        'counterfeit' as violation_type,
        'listing' as entity_kind,
        notices.listing_id as entity_id,
        notices.decided_at
    from {{ ref('notices') }} as notices
    where
        notices.outcome in ('upheld', 'rejected')
        and coalesce(notices.kind, 'counterfeit') = 'counterfeit'
    union all
    select
        appeals.violation_type,
        appeals.entity_kind,
        appeals.entity_id,
        appeals.decided_at
    from {{ ref('appeals') }} as appeals
    where appeals.outcome <> 'pending'

),

results as (

    select * from {{ ref('enforcement_results') }}

),

{{ named() }},

lead_types as (

    select
        lead_members.lead_id,
        lead_members.as_of_date,
        {{ violation_type_of_members() }} as violation_type
    from {{ source('landed', 'lead_members') }} as lead_members
    inner join run
        on run.as_of > lead_members.as_of_date
    group by
        lead_members.lead_id,
        lead_members.as_of_date

),

-- A lead that is not known to have existed before its hand-over counts as one of counterfeits.
hand_overs as (

    select
        stg_lead_hand_overs.lead_id,
        stg_lead_hand_overs.handed_over_at,
        case when stg_lead_hand_overs.audience = 'authority' then stg_lead_hand_overs.recipient end as authority,
        coalesce(
            {{ value_at_greatest('lead_types.violation_type', 'lead_types.as_of_date') }}, 'counterfeit'
        ) as violation_type
    from {{ ref('stg_lead_hand_overs') }} as stg_lead_hand_overs
    inner join run
        on run.as_of >= cast(stg_lead_hand_overs.handed_over_at as date)
    left join lead_types
        on
            lead_types.lead_id = stg_lead_hand_overs.lead_id
            and lead_types.as_of_date < cast(stg_lead_hand_overs.handed_over_at as date)
    group by
        stg_lead_hand_overs.lead_id,
        stg_lead_hand_overs.handed_over_at,
        stg_lead_hand_overs.recipient,
        stg_lead_hand_overs.audience

),

steps as (

    select
        flagged.violation_type,
        flagged.entity_kind,
        flagged.entity_id,
        'flagged' as stage,
        1 as stage_number,
        cast(flagged.flagged_date as timestamp) as reached_at,
        cast(null as varchar) as lead_id,
        cast(null as varchar) as authority
    from flagged
    union all
    select
        flagged.violation_type,
        flagged.entity_kind,
        flagged.entity_id,
        'reviewed' as stage,
        2 as stage_number,
        decisions.decided_at as reached_at,
        cast(null as varchar) as lead_id,
        cast(null as varchar) as authority
    from flagged
    inner join decisions
        on
            decisions.violation_type = flagged.violation_type
            and decisions.entity_kind = flagged.entity_kind
            and decisions.entity_id = flagged.entity_id
            and cast(decisions.decided_at as date) > flagged.flagged_date
    union all
    select
        flagged.violation_type,
        flagged.entity_kind,
        flagged.entity_id,
        'confirmed' as stage,
        3 as stage_number,
        labels.decided_at as reached_at,
        cast(null as varchar) as lead_id,
        cast(null as varchar) as authority
    from flagged
    inner join labels
        on
            labels.violation_type = flagged.violation_type
            and labels.entity_kind = flagged.entity_kind
            and labels.entity_id = flagged.entity_id
            and labels.is_positive
            and cast(labels.decided_at as date) > flagged.flagged_date
    union all
    select
        hand_overs.violation_type,
        'merchant' as entity_kind,
        named.merchant_id as entity_id,
        'handed_over' as stage,
        4 as stage_number,
        hand_overs.handed_over_at as reached_at,
        hand_overs.lead_id,
        hand_overs.authority
    from hand_overs
    inner join named
        on
            named.lead_id = hand_overs.lead_id
            and named.named_date < cast(hand_overs.handed_over_at as date)
    union all
    select
        hand_overs.violation_type,
        'lead' as entity_kind,
        hand_overs.lead_id as entity_id,
        'handed_over' as stage,
        4 as stage_number,
        hand_overs.handed_over_at as reached_at,
        hand_overs.lead_id,
        hand_overs.authority
    from hand_overs
    {% for stage, number, condition in [('acted_on', 5, 'true'), ('suspects_named', 6, 'results.suspect_count > 0')] %}
    union all
    select
        results.violation_type,
        'merchant' as entity_kind,
        results.merchant_id as entity_id,
        '{{ stage }}' as stage,
        {{ number }} as stage_number,
        results.occurred_at as reached_at,
        results.lead_id,
        results.authority
    from results
    where {{ condition }}
    union all
    select
        results.violation_type,
        'lead' as entity_kind,
        results.lead_id as entity_id,
        '{{ stage }}' as stage,
        {{ number }} as stage_number,
        results.occurred_at as reached_at,
        results.lead_id,
        results.authority
    from results
    where
        results.lead_id is not null
        and {{ condition }}
    {% endfor %}

),

firsts as (

    select
        *,
        row_number() over (
            partition by violation_type, entity_kind, entity_id, stage
            order by reached_at asc, lead_id asc nulls last, authority asc nulls last
        ) as place
    from steps

),

reached as (

    select
        *,
        lag(stage) over (partition by violation_type, entity_kind, entity_id order by stage_number asc) as stage_before,
        lag(reached_at) over (partition by violation_type, entity_kind, entity_id order by stage_number asc) as reached_before_at
    from firsts
    where place = 1

),

merchants as (

    select entity_id as merchant_id
    from reached
    where entity_kind = 'merchant'

),

{{ brand_of_merchants('merchants') }},

brands as (

    select
        'merchant' as entity_kind,
        brand_of_merchants.merchant_id as entity_id,
        brand_of_merchants.brand
    from brand_of_merchants
    union all
    select
        'listing' as entity_kind,
        brands_of_listings.listing_id as entity_id,
        brands_of_listings.brand
    from brands_of_listings

),

final as (

    select
        run.as_of as as_of_date,
        reached.violation_type,
        reached.entity_kind,
        reached.entity_id,
        reached.stage,
        reached.stage_number,
        reached.reached_at,
        cast(date_trunc('month', reached.reached_at) as date) as month_date,
        reached.lead_id,
        reached.authority,
        brands.brand,
        reached.stage_before,
        case
            when reached.reached_at >= reached.reached_before_at
                then {{ days_between('cast(reached.reached_before_at as date)', 'cast(reached.reached_at as date)') }}
        end as delay_days
    from reached
    cross join run
    left join brands
        on
            brands.entity_kind = reached.entity_kind
            and brands.entity_id = reached.entity_id

)

select * from final
