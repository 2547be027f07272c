-- One row a day and merchant with anything that happened to it or to its listings: int_listing_days summed, and the
-- events of the merchant itself. Incremental in the same way; a day's digest is that of its listings' rows and of the
-- merchants' own events.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='append_new_columns',
    post_hook='delete from {{ this }} where is_marker',
) }}

{% set from_listings = listing_measures() %}
{% do from_listings.pop('price_usd_last') %}
{% set of_merchants = merchant_measures() %}

with

merchant_events as (

    select * from {{ ref('int_merchant_events') }}

),

int_listing_days as (

    select * from {{ ref('int_listing_days') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

day_parts as (

    select
        int_listing_days.day,
        min(int_listing_days.day_digest) as listings_digest,
        cast(0 as bigint) as event_count,
        cast(0 as hugeint) as hash_sum
    from int_listing_days
    group by int_listing_days.day
    union all
    select
        merchant_events.event_date as day,
        cast(null as varchar) as listings_digest,
        count(*) as event_count,
        sum({{ row_hash(event_columns().keys()) }}) as hash_sum
    from merchant_events
    group by merchant_events.event_date

),

digests as (

    select
        day_parts.day,
        {{ day_digest(
            "coalesce(min(day_parts.listings_digest), 'none') || ':' || sum(day_parts.event_count)",
            'sum(day_parts.hash_sum)'
        ) }} as day_digest
    from day_parts
    cross join run
    group by
        day_parts.day,
        run.project_digest

),

changed_days as (

    {{ changed_days('digests') }}

),

listing_sums as (

    select
        int_listing_days.day,
        int_listing_days.merchant_id,
        {{ merged_measures(from_listings, 'int_listing_days') }},
        cast(count(case when int_listing_days.order_count > 0 then 1 end) as integer) as ordered_listing_count,
        cast(count(case when int_listing_days.sighting_count > 0 then 1 end) as integer) as sighted_listing_count
    from int_listing_days
    inner join changed_days
        on changed_days.day = int_listing_days.day
    group by
        int_listing_days.day,
        int_listing_days.merchant_id

),

merchant_sums as (

    select
        merchant_events.event_date as day,
        merchant_events.merchant_id,
        {{ measures_of_events(of_merchants, of_merchants) }},
        {{ value_at_greatest('merchant_events.rating', 'merchant_events.event_at') }} as shown_rating_last,
        {{ value_at_greatest('merchant_events.sales_count', 'merchant_events.event_at') }} as shown_sales_count_last
    from merchant_events
    inner join changed_days
        on changed_days.day = merchant_events.event_date
    group by
        merchant_events.event_date,
        merchant_events.merchant_id

),

merchant_days as (

    select
        coalesce(listing_sums.day, merchant_sums.day) as day,
        coalesce(listing_sums.merchant_id, merchant_sums.merchant_id) as merchant_id,
        {%- for name, measure in from_listings.items() %}
        {% if measure.merge == 'sum' -%}
        coalesce(listing_sums.{{ name }}, 0) as {{ name }},
        {%- else -%}
        listing_sums.{{ name }},
        {%- endif %}
        {%- endfor %}
        coalesce(listing_sums.ordered_listing_count, 0) as ordered_listing_count,
        coalesce(listing_sums.sighted_listing_count, 0) as sighted_listing_count,
        {%- for name in of_merchants %}
        coalesce(merchant_sums.{{ name }}, 0) as {{ name }},
        {%- endfor %}
        merchant_sums.shown_rating_last,
        merchant_sums.shown_sales_count_last
    from listing_sums
    full outer join merchant_sums
        on
            merchant_sums.day = listing_sums.day
            and merchant_sums.merchant_id = listing_sums.merchant_id

),

markers as (

    select
        changed_days.day,
        cast(null as varchar) as merchant_id,
        {{ no_measures(from_listings) }},
        cast(null as integer) as ordered_listing_count,
        cast(null as integer) as sighted_listing_count,
        {{ no_measures(of_merchants) }},
        cast(null as decimal(18, 4)) as shown_rating_last,
        cast(null as bigint) as shown_sales_count_last
    from changed_days

),

final as (

    select
        merchant_days.*,
        changed_days.day_digest,
        false as is_marker
    from merchant_days
    inner join changed_days
        on changed_days.day = merchant_days.day
    union all
    select
        markers.*,
        changed_days.day_digest,
        true as is_marker
    from markers
    inner join changed_days
        on changed_days.day = markers.day

)

select * from final
