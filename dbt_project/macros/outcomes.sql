{# CTEs shared by the marts of outcomes: the state of notices, actions and merchants known by the end of as_of. #}

{#
    CTE `known_notices`: each notice with its state as of the run's date. `is_right` is true if the notice was upheld, unless an
    appeal of the listing reversed that later, and false if it was rejected. It is null if undecided or rejected as a duplicate.
#}
{% macro known_notices() %}
reversals as (

    select
        stg_appeals.entity_id as listing_id,
        max(stg_appeals.decided_at) as reversed_at
    from {{ ref('stg_appeals') }} as stg_appeals
    cross join run
    where
        stg_appeals.entity_kind = 'listing'
        and stg_appeals.violation_type = 'counterfeit'
        and stg_appeals.outcome = 'upheld'
        and cast(stg_appeals.decided_at as date) <= run.as_of
    group by stg_appeals.entity_id

),

noticed as (

    select
        stg_notices.*,
        coalesce(cast(stg_notices.decided_at as date) <= run.as_of, false) as is_decided,
        run.as_of
    from {{ ref('stg_notices') }} as stg_notices
    inner join run
        on run.as_of >= cast(stg_notices.submitted_at as date)

),

known_notices as (

    select
        noticed.as_of,
        noticed.notice_id,
        noticed.listing_id,
        noticed.reporter_id,
        noticed.brand_id,
        noticed.kind,
        noticed.submitted_at,
        case when noticed.is_decided then coalesce(noticed.outcome, 'pending') else 'pending' end as outcome,
        case when noticed.is_decided then noticed.reason end as reason,
        case when noticed.is_decided then noticed.decided_at end as decided_at,
        case
            when not noticed.is_decided then null
            when noticed.outcome = 'upheld'
                then coalesce(reversals.reversed_at <= noticed.decided_at, true)
            when noticed.outcome = 'rejected' and coalesce(noticed.reason, '') <> 'duplicate' then false
        end as is_right
    from noticed
    left join reversals
        on reversals.listing_id = noticed.listing_id

)
{% endmacro %}

{#
    CTEs `reporter_counts`, and `reporter_prior`: one row with the mean and the weight of a beta distribution fitted to all
    reporters by the method of moments for a beta-binomial (Kleinman 1973). The intraclass correlation r is
        (S / (p q) - (k - 1)) / (n - sum n_i^2 / n - (k - 1)),    S = sum n_i (x_i / n_i - p)^2,
    and the weight is 1 / r - 1, limited to 2 to 50 notices. p includes one additional upheld and one additional rejected notice,
    so that it is neither 0 nor 1. Only integers and decimals are summed; these sums are equal in every run.
#}
{% macro reporter_prior() %}
reporter_counts as (

    select
        known_notices.as_of,
        known_notices.reporter_id,
        count(*) as notice_count,
        count(known_notices.is_right) as judged_count,
        count(*) filter (where known_notices.is_right) as right_count,
        count(*) filter (where known_notices.outcome = 'pending') as pending_count,
        min(known_notices.submitted_at) as first_submitted_at,
        max(known_notices.submitted_at) as last_submitted_at
    from known_notices
    where known_notices.reporter_id is not null
    group by
        known_notices.as_of,
        known_notices.reporter_id

),

reporter_sums as (

    select
        count(*) as k,
        coalesce(sum(judged_count), 0) as n,
        coalesce(sum(right_count), 0) as x,
        coalesce(sum(judged_count * judged_count), 0) as n_squares,
        coalesce(sum(cast(right_count * right_count / judged_count as decimal(28, 9))), 0) as x_squares
    from reporter_counts
    where judged_count > 0

),

reporter_mean as (

    select
        *,
        cast(x + 1 as double) / cast(n + 2 as double) as p
    from reporter_sums

),

reporter_spread as (

    select
        p,
        case
            when k > 1
                then
                    ((cast(x_squares as double) - 2 * p * x + p * p * n) / (p * (1 - p)) - (k - 1))
                    / nullif(n - cast(n_squares as double) / n - (k - 1), 0)
        end as r
    from reporter_mean

),

-- If there is one reporter, or one notice per reporter, r cannot be estimated: the prior then has the least weight.
reporter_prior as (

    select
        round(p, 6) as prior_share,
        round(1 / greatest(least(coalesce(r, 1.0), 1.0 / 3), 1.0 / 51) - 1, 6) as prior_weight
    from reporter_spread

)
{% endmacro %}

{# Accuracy of a reporter with this many judged notices: mean of the posterior beta distribution. #}
{% macro accuracy(right, judged) -%}
    cast(round(
        ({{ right }} + reporter_prior.prior_weight * reporter_prior.prior_share)
        / ({{ judged }} + reporter_prior.prior_weight), 6
    ) as decimal(9, 6))
{%- endmacro %}

{# Days for which a strike counts, and the half-life of its weight in days; a platform can override both as dbt vars. #}
{% macro strike_window_days() %}{{ return(var('strike_window_days', 365)) }}{% endmacro %}
{% macro strike_half_life_days() %}{{ return(var('strike_half_life_days', 90)) }}{% endmacro %}

{# CTE `bans`: merchants that are banned as of the run's date, with the time of the ban. #}
{% macro bans() %}
merchant_actions as (

    select
        stg_platform_actions.entity_id as merchant_id,
        stg_platform_actions.kind,
        stg_platform_actions.occurred_at,
        row_number() over (
            partition by stg_platform_actions.entity_id
            order by stg_platform_actions.occurred_at desc, stg_platform_actions.action_id desc
        ) as place
    from {{ ref('stg_platform_actions') }} as stg_platform_actions
    cross join run
    where
        stg_platform_actions.entity_kind = 'merchant'
        and stg_platform_actions.kind in ('ban', 'reinstatement')
        and cast(stg_platform_actions.occurred_at as date) <= run.as_of

),

bans as (

    select
        merchant_id,
        occurred_at as banned_at
    from merchant_actions
    where
        place = 1
        and kind = 'ban'

)
{% endmacro %}

{#
    CTE `named`: merchants named by each lead, and since when, in leads made before as_of. CTE `brand_of_merchants`: the brand of
    most of a merchant's listings, active or not, for the merchants of the given CTE.
#}
{% macro named() %}
named as (

    select
        lead_members.lead_id,
        lead_members.merchant_id,
        min(lead_members.as_of_date) as named_date
    from {{ source('landed', 'lead_members') }} as lead_members
    inner join run
        on run.as_of > lead_members.as_of_date
    group by
        lead_members.lead_id,
        lead_members.merchant_id

)
{% endmacro %}

{#
    Aggregate over the members of a lead: the violation that the lead is about. A brushing service's lead is about brushing; any
    other is about counterfeits if one of its merchants or listings is on a list of those, and about brushing if none is.
#}
{% macro violation_type_of_members() -%}
    case
        when bool_or(role <> 'served' and (is_listed or listed_listing_count > 0)) then 'counterfeit'
        else 'brushing'
    end
{%- endmacro %}

{% macro brand_of_merchants(wanted) %}
wanted_merchants as (

    select distinct merchant_id from {{ wanted }}

),

{{ brands_of_listings() }},

brands_of_wanted as (

    select
        wanted_merchants.merchant_id,
        brands_of_listings.brand,
        row_number() over (
            partition by wanted_merchants.merchant_id order by count(*) desc, brands_of_listings.brand asc
        ) as place
    from wanted_merchants
    cross join run
    inner join {{ ref('stg_listings') }} as stg_listings
        on
            stg_listings.merchant_id = wanted_merchants.merchant_id
            and cast(stg_listings.listed_at as date) <= run.as_of
    inner join brands_of_listings
        on brands_of_listings.listing_id = stg_listings.listing_id
    where brands_of_listings.brand is not null
    group by
        wanted_merchants.merchant_id,
        brands_of_listings.brand

),

brand_of_merchants as (

    select
        merchant_id,
        brand
    from brands_of_wanted
    where place = 1

)
{% endmacro %}

{#
    CTE `labels`: labels decided by the end of as_of. CTE `reversals`: entities with an upheld appeal, and the time of the last
    one.
#}
{% macro labels_and_reversals() %}
labels as (

    select int_labels.*
    from {{ ref('int_labels') }} as int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)

),

reversals as (

    select
        entity_kind,
        entity_id,
        violation_type,
        max(decided_at) as reversed_at
    from labels
    where source = 'appeal'
    group by
        entity_kind,
        entity_id,
        violation_type

)
{% endmacro %}

{# CTE `ties`: identifiers shared by two members of a ring, one row per direction. #}
{% macro ties() %}
ties as (

    {% for one, other in [('a', 'b'), ('b', 'a')] %}
    select
        merchant_id_{{ one }} as merchant_id,
        merchant_id_{{ other }} as other_merchant_id,
        ring_id,
        kind,
        since_date,
        is_verified
    from {{ ref('ring_edges') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)
{% endmacro %}
