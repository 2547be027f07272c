-- Labels of listings and merchants known by the cutoff date; one row per label, with its strength, the merchant concerned, and
-- whether it is standalone, which means that it has a row on its own day. (A listing's decision that is passed on to its merchant
-- is not standalone: the merchant was active before.) An upheld appeal is standalone if no date of a training before it has the
-- entity: the next training would otherwise not learn of the mistake.
with

run as (

    select * from {{ source('landed', 'run') }}

),

int_labels as (

    select * from {{ ref('int_labels') }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

evaluation as (

    select {{ first_evaluation_date() }} as first_date
    from rating_dates

),

began as (

    select
        'listing' as entity_kind,
        listing_id as entity_id,
        cast(listed_at as date) as active_since
    from listings
    union all
    select
        'merchant' as entity_kind,
        merchant_id as entity_id,
        min(cast(listed_at as date)) as active_since
    from listings
    group by merchant_id

),

-- Upheld appeals whose entity existed at an earlier date of a training. A label decided on or after the first evaluation date is
-- not used at the dates before that one.
appeals_looked_at as (

    select distinct
        int_labels.entity_kind,
        int_labels.entity_id,
        int_labels.decided_at
    from int_labels
    inner join began
        on
            began.entity_kind = int_labels.entity_kind
            and began.entity_id = int_labels.entity_id
    inner join rating_dates
        on
            rating_dates.as_of_date >= began.active_since
            and rating_dates.as_of_date < cast(int_labels.decided_at as date)
    cross join evaluation
    where
        int_labels.source = 'appeal'
        and (
            rating_dates.purpose = 'evaluate'
            or (rating_dates.purpose = 'train' and cast(int_labels.decided_at as date) < evaluation.first_date)
        )

),

final as (

    select
        int_labels.entity_kind,
        int_labels.entity_id,
        case
            when int_labels.entity_kind = 'merchant' then int_labels.entity_id
            else listings.merchant_id
        end as merchant_id,
        case
            when int_labels.entity_kind = 'merchant' then int_labels.via_listing_id
            else int_labels.entity_id
        end as listing_id,
        int_labels.is_positive,
        cast(int_labels.decided_at as date) as decided_date,
        int_labels.decided_at,
        int_labels.source,
        case int_labels.source
            when 'enforcement' then 4
            when 'test_buy' then 3
            when 'moderation_decision' then 2
            when 'appeal' then 2
            else 1
        end as strength,
        int_labels.case_id,
        int_labels.arm,
        int_labels.inclusion_probability,
        case int_labels.source
            when 'moderation_decision' then int_labels.via_listing_id is null and not int_labels.preceded
            when 'appeal' then appeals_looked_at.entity_id is null
            else false
        end as is_standalone
    from int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)
    left join listings
        on listings.listing_id = case when int_labels.entity_kind = 'listing' then int_labels.entity_id end
    left join appeals_looked_at
        on
            int_labels.source = 'appeal'
            and appeals_looked_at.entity_kind = int_labels.entity_kind
            and appeals_looked_at.entity_id = int_labels.entity_id
            and appeals_looked_at.decided_at = int_labels.decided_at
    where
        int_labels.violation_type = 'counterfeit'
        and int_labels.entity_kind in ('listing', 'merchant')

)

select * from final
