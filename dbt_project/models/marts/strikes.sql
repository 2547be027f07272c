-- Strikes of each merchant as of the date; one row per merchant and violation type: findings against it or one of its listings,
-- counted once per case and not reversed by a later appeal. Strikes count for strike_window_days, and their weight halves every
-- strike_half_life_days.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ labels_and_reversals() }},

found as (

    select
        labels.entity_id as merchant_id,
        labels.violation_type,
        labels.source,
        labels.case_id,
        coalesce(labels.via_listing_id, '') as via_listing_id,
        min(labels.decided_at) as struck_at,
        bool_and(
            coalesce(of_merchant.reversed_at >= labels.decided_at, false)
            or coalesce(of_listing.reversed_at >= labels.decided_at, false)
        ) as is_lifted
    from labels
    left join reversals as of_merchant
        on
            of_merchant.entity_kind = 'merchant'
            and of_merchant.entity_id = labels.entity_id
            and of_merchant.violation_type = labels.violation_type
    left join reversals as of_listing
        on
            of_listing.entity_kind = 'listing'
            and of_listing.entity_id = labels.via_listing_id
            and of_listing.violation_type = labels.violation_type
    where
        labels.entity_kind = 'merchant'
        and labels.is_positive
    group by
        labels.entity_id,
        labels.violation_type,
        labels.source,
        labels.case_id,
        labels.via_listing_id

),

aged as (

    select
        found.*,
        run.as_of,
        {{ days_between('cast(found.struck_at as date)', 'run.as_of') }} as age_days
    from found
    cross join run

),

weighed as (

    select
        *,
        not is_lifted and age_days < {{ strike_window_days() }} as is_counted,
        cast(round(power(0.5, cast(age_days as double) / {{ strike_half_life_days() }}), 6) as decimal(9, 6)) as points
    from aged

),

final as (

    select
        as_of as as_of_date,
        merchant_id,
        violation_type,
        count(*) filter (where is_counted) as strike_count,
        cast(coalesce(sum(points) filter (where is_counted), 0) as decimal(18, 6)) as strike_points,
        count(*) filter (where is_lifted) as lifted_count,
        count(*) filter (where not is_lifted and not is_counted) as expired_count,
        min(struck_at) filter (where is_counted) as first_struck_at,
        max(struck_at) filter (where is_counted) as last_struck_at
    from weighed
    group by
        as_of,
        merchant_id,
        violation_type

)

select * from final
