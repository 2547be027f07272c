-- Every label of a listing or a merchant that is known at the cut, one row each, with what the spine and the features ask
-- of it: how strong it is, whose merchant it concerns, and whether it is a decision that stands alone. (A listing's
-- decision, passed on to its merchant, does not: the merchant was there before.)
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
        int_labels.source = 'moderation_decision'
        and int_labels.via_listing_id is null
        and not int_labels.preceded as is_alone
    from int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)
    left join listings
        on listings.listing_id = case when int_labels.entity_kind = 'listing' then int_labels.entity_id end
    where
        int_labels.matter = 'counterfeit'
        and int_labels.entity_kind in ('listing', 'merchant')

)

select * from final
