-- Orders, refunds and reviews of a listing by a date, summed over all time and the last 90 and 30 days; one row per listing and
-- date of the spine. Each part is summed separately, so that few columns are processed at a time. A listing without events has
-- what its newest snapshot counts. Null if neither is known.
with

places as (

    select distinct
        listing_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

{% for part, columns in summed_columns_by_part().items() %}
{{ part }} as (

    select
        places.listing_id,
        places.as_of_date,
        {{ windowed_sums(columns, 'listing_days', 'places.as_of_date') }}
    from places
    inner join {{ ref(listing_parts()[part]) }} as listing_days
        on
            listing_days.listing_id = places.listing_id
            and listing_days.day <= places.as_of_date
    group by
        places.listing_id,
        places.as_of_date

),

{% endfor %}
platform as (

    select * from {{ ref('platform_states') }}

),

counters as (

    select
        places.listing_id,
        places.as_of_date,
        {{ counters_at('listing_counters', 'places.as_of_date') }},
        listing_counters.photo_count,
        listing_counters.extra
    from places
    inner join {{ ref('int_listing_counters') }} as listing_counters
        on
            listing_counters.listing_id = places.listing_id
            and listing_counters.known_from <= places.as_of_date
            and listing_counters.known_until > places.as_of_date

),

final as (

    select
        places.listing_id,
        {% for part, columns in summed_columns_by_part().items() %}
        {{ counts_of_either(part, columns, 'listing_id', ['counters']) }},
        {% endfor %}
        counters.photo_count,
        counters.extra,
        places.as_of_date
    from places
    inner join platform
        on platform.as_of_date = places.as_of_date
    left join counters
        on
            counters.listing_id = places.listing_id
            and counters.as_of_date = places.as_of_date
    {% for part in summed_columns_by_part() %}
    left join {{ part }}
        on
            {{ part }}.listing_id = places.listing_id
            and {{ part }}.as_of_date = places.as_of_date
    {% endfor %}

)

select * from final
