-- Days of the listings' daily tables that this run rebuilds; one row per part and day. These are the days whose digest of events
-- differs from the one that the table had before the run, and those with an event of a listing that has a different merchant now.
-- A day that lost its last event is included, with a null digest. Every day is built with the current owners or checked when they
-- change, so all days are up to date with the newest owner change that any marker has.
-- Digests are computed from the sums that int_load_days keeps per load, so that no event is read.
{{ config(materialized='table') }}

{% set parts = listing_parts() %}
{% set owned_parts = ['reviews', 'sightings', 'cases'] %}

with

-- The moments (table and column) that the events of a part come from.
moments as (

    select
        event_moments.part,
        event_moments.table_name,
        event_moments.moment
    from (
        values
        ('orders', 'orders', 'placed_at'),
        ('orders', 'orders', 'delivered_at'),
        ('orders', 'orders', 'refunded_at'),
        ('reviews', 'reviews', 'created_at'),
        ('sightings', 'listing_prices', 'observed_at'),
        ('sightings', 'listing_snapshots', 'observed_at'),
        ('sightings', 'listings', 'last_seen_at'),
        ('cases', 'listings', 'listed_at'),
        ('cases', 'listings', 'delisted_at'),
        ('cases', 'notices', 'submitted_at'),
        ('cases', 'notices', 'decided_at'),
        ('cases', 'test_buys', 'decided_at'),
        ('cases', 'moderation_decisions', 'decided_at'),
        ('cases', 'platform_actions', 'occurred_at')
    ) as event_moments (part, table_name, moment)

),

load_days as (

    select
        load_days.table_name,
        load_days.moment,
        load_days.day,
        load_days.row_count,
        load_days.hash_sum,
        loads.is_current
    from {{ ref('int_load_days') }} as load_days
    inner join {{ source('landed', 'loads') }} as loads
        on
            loads.table_name = load_days.table_name
            and loads.content_digest = load_days.content_digest
            and loads.landed_at = load_days.landed_at

),

sums as (

    select
        moments.part,
        load_days.day,
        sum(load_days.row_count) as row_count,
        sum(load_days.hash_sum) as hash_sum
    from load_days
    inner join moments
        on
            moments.table_name = load_days.table_name
            and moments.moment = load_days.moment
    where
        load_days.is_current
        and load_days.moment <> 'last_seen_at'
    group by
        moments.part,
        load_days.day
    union all
    -- Every load has the time at which a listing was last seen, and all of them count; loads with equal times count once.
    select
        moments.part,
        load_days.day,
        count(distinct load_days.hash_sum) as row_count,
        sum(distinct load_days.hash_sum) as hash_sum
    from load_days
    inner join moments
        on
            moments.table_name = load_days.table_name
            and moments.moment = load_days.moment
    where load_days.moment = 'last_seen_at'
    group by
        moments.part,
        load_days.day

),

rates as (

    select
        fx_rates.date as day,
        sum({{ row_hash(['fx_rates.currency', 'fx_rates.rate']) }}) as hash_sum
    from {{ ref('stg_fx_rates') }} as fx_rates
    group by fx_rates.date

),

-- A day of reviews also depends on the orders and reviews of the days before it.
looked_back_on as (

    select
        days.day,
        sum(load_days.hash_sum) as hash_sum
    from (select distinct day from sums where part = 'reviews') as days
    inner join load_days
        on
            load_days.day >= {{ add_days('days.day', -review_look_back_days()) }}
            and load_days.day <= days.day
    where
        load_days.is_current
        and (
            (load_days.table_name = 'reviews' and load_days.moment = 'created_at')
            or (load_days.table_name = 'orders' and load_days.moment in ('placed_at', 'delivered_at'))
        )
    group by days.day

),

digests as (

    select
        sums.part,
        sums.day,
        {{ text_digest(
            "concat_ws(':', sum(sums.row_count), sum(sums.hash_sum), "
            ~ "case when sums.part in ('orders', 'sightings') then coalesce(min(rates.hash_sum), 0) end, "
            ~ "case when sums.part in ('orders', 'sightings') then min(run.base_currency) end, "
            ~ "case when sums.part = 'reviews' then coalesce(min(looked_back_on.hash_sum), 0) end, "
            ~ "min(" ~ digest_recipe() ~ '))'
        ) }} as events_digest
    from sums
    cross join {{ source('landed', 'run') }} as run
    left join rates
        on rates.day = sums.day
    left join looked_back_on
        on looked_back_on.day = sums.day
    group by
        sums.part,
        sums.day
    having sum(sums.row_count) <> 0

),

kept as (

    {% for part, model in parts.items() %}
    select
        '{{ part }}' as part,
        day,
        events_digest,
        owner_change
    from {{ source('previous', model) }}
    where is_marker
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- The owner change up to which all days of a part are up to date. -1, so that all are checked, if the table of owners was rebuilt
-- since and its numbers restarted below that.
seen as (

    select
        kept.part,
        case
            when max(kept.owner_change) <= (select max(owner_change) from {{ ref('int_listing_owners') }})
                then max(kept.owner_change)
            else -1
        end as owner_change
    from kept
    group by kept.part

),

changed_owners as (

    select
        seen.part,
        owners.listing_id,
        owners.merchant_id,
        owners.is_new
    from {{ ref('int_listing_owners') }} as owners
    inner join seen
        on seen.owner_change < owners.owner_change

),

moved as (

    {% for part in owned_parts %}
    select
        '{{ part }}' as part,
        built.day
    from {{ source('previous', parts[part]) }} as built
    inner join changed_owners
        on changed_owners.listing_id = built.listing_id
    where
        changed_owners.part = '{{ part }}'
        and not changed_owners.is_new
        and not built.is_marker
        and changed_owners.merchant_id is distinct from built.merchant_id
    union
    -- Of a new listing, only events that had no merchant yet can have been summed before.
    select
        '{{ part }}' as part,
        built.day
    from {{ source('previous', parts[part]) }} as built
    inner join changed_owners
        on changed_owners.listing_id = built.listing_id
    where
        changed_owners.part = '{{ part }}'
        and changed_owners.is_new
        and not built.is_marker
        and built.merchant_id is null
    {{ 'union' if not loop.last }}
    {% endfor %}

),

changed as (

    select
        coalesce(digests.part, kept.part) as part,
        coalesce(digests.day, kept.day) as day,
        digests.events_digest,
        case
            when coalesce(digests.part, kept.part) = 'orders' then 0
            else coalesce((select max(owner_change) from {{ ref('int_listing_owners') }}), 0)
        end as owner_change
    from digests
    full outer join kept
        on
            kept.part = digests.part
            and kept.day = digests.day
    left join moved
        on
            moved.part = kept.part
            and moved.day = kept.day
    where
        digests.events_digest is distinct from kept.events_digest
        or moved.day is not null

),

final as (

    select
        part,
        day,
        events_digest,
        {{ text_digest("events_digest || ':' || owner_change") }} as day_digest,
        owner_change
    from changed

)

select * from final
