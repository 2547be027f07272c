-- Orders, refunds and reviews of a listing by a date, summed over all time and the last 90 and 30 days; one row per listing and
-- date of the spine. Each part is summed separately, so that few columns are processed at a time.
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
final as (

    select
        places.listing_id,
        {% for part, columns in summed_columns_by_part().items() %}
        {{ windowed_sums_of(columns, part) }},
        {% endfor %}
        places.as_of_date
    from places
    {% for part in summed_columns_by_part() %}
    left join {{ part }}
        on
            {{ part }}.listing_id = places.listing_id
            and {{ part }}.as_of_date = places.as_of_date
    {% endfor %}

)

select * from final
