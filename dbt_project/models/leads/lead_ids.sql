-- The id of each group's lead. A group continues the lead of the previous date with which it shares the most harm; ended leads
-- count only where no other does. If several groups come from one lead, the one that shares the most continues it, and the
-- others are split from it.
with

lead_groups as (

    select * from {{ ref('lead_groups') }}

),

previous_leads as (

    select * from {{ source('landed', 'previous_leads') }}
    where status <> 'merged'

),

previous_lead_merchants as (

    select * from {{ source('landed', 'previous_lead_merchants') }}

),

dates as (

    select max(as_of_date) as as_of_date from {{ source('landed', 'published_lists') }}

),

pairs as (

    select
        lead_groups.family,
        lead_groups.group_id,
        previous_leads.lead_id,
        previous_leads.since_date,
        previous_leads.status = 'found' as was_found,
        sum(lead_groups.expected_harm_base) as shared_harm_base,
        count(*) as shared_count
    from lead_groups
    inner join previous_lead_merchants
        on previous_lead_merchants.merchant_id = lead_groups.merchant_id
    inner join previous_leads
        on
            previous_leads.lead_id = previous_lead_merchants.lead_id
            and previous_leads.family = lead_groups.family
    group by
        lead_groups.family, lead_groups.group_id, previous_leads.lead_id, previous_leads.since_date, previous_leads.status

),

best_pairs as (

    select *
    from pairs
    qualify row_number() over (
        partition by family, group_id
        order by was_found desc, shared_harm_base desc, shared_count desc, since_date asc, lead_id asc
    ) = 1

),

ranked_pairs as (

    select
        *,
        row_number() over (
            partition by lead_id order by shared_harm_base desc, shared_count desc, group_id asc
        ) = 1 as is_same
    from best_pairs

),

groups as (

    select
        family,
        kind,
        group_id,
        min(merchant_id) as smallest_merchant_id
    from lead_groups
    group by family, kind, group_id

),

final as (

    select
        dates.as_of_date,
        groups.family,
        groups.kind,
        groups.group_id,
        case
            when ranked_pairs.is_same then ranked_pairs.lead_id
            else
                'lead-' || left(
                    sha256(groups.kind || ' ' || cast(dates.as_of_date as varchar) || ' ' || groups.smallest_merchant_id), 12
                )
        end as lead_id,
        coalesce(ranked_pairs.is_same, false) as is_known,
        case when not ranked_pairs.is_same and ranked_pairs.was_found then ranked_pairs.lead_id end as split_from
    from groups
    cross join dates
    left join ranked_pairs
        on
            ranked_pairs.family = groups.family
            and ranked_pairs.group_id = groups.group_id

)

select * from final
