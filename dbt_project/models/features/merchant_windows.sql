-- Orders, refunds and reviews of all listings of a merchant by a date, summed over all time and the last 90 and 30 days, and the
-- rating and sales that the platform last displayed. One row per merchant and date at which it is rated, trained on, or a
-- possible neighbour of one that is. A merchant without events has what its newest snapshot counts, else what those of its
-- listings count together. Null if none of these is known.
with

listing_spine as (

    select * from {{ ref('listing_spine') }}

),

merchant_spine as (

    select * from {{ ref('merchant_spine') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

int_merchant_edges as (

    select * from {{ ref('int_merchant_edges') }}

),

linked as (

    select merchant_id_a as merchant_id from int_merchant_edges
    union
    select merchant_id_b as merchant_id from int_merchant_edges

),

places as (

    select
        merchant_id,
        as_of_date
    from listing_spine
    union
    select
        merchant_id,
        as_of_date
    from merchant_spine
    union
    select
        merchant_states.merchant_id,
        merchant_states.as_of_date
    from merchant_states
    inner join linked
        on linked.merchant_id = merchant_states.merchant_id

),

{% for part, columns in summed_columns_by_part().items() %}
{{ part }} as (

    select
        places.merchant_id,
        places.as_of_date,
        {{ windowed_sums(columns, 'merchant_days', 'places.as_of_date') }}
    from places
    inner join {{ ref('int_merchant_days') }} as merchant_days
        on
            merchant_days.merchant_id = places.merchant_id
            and merchant_days.day <= places.as_of_date
            and merchant_days.part = '{{ part }}'
    group by
        places.merchant_id,
        places.as_of_date

),

{% endfor %}
shown as (

    select
        places.merchant_id,
        places.as_of_date,
        {{ value_at_greatest('merchant_days.shown_rating_last', 'merchant_days.day') }} as shown_rating,
        {{ value_at_greatest('merchant_days.shown_sales_count_last', 'merchant_days.day') }} as shown_sales_count
    from places
    inner join {{ ref('int_merchant_days') }} as merchant_days
        on
            merchant_days.merchant_id = places.merchant_id
            and merchant_days.day <= places.as_of_date
            and merchant_days.part = 'merchant'
    group by
        places.merchant_id,
        places.as_of_date

),

platform as (

    select * from {{ ref('platform_states') }}

),

own_counters as (

    select
        places.merchant_id,
        places.as_of_date,
        {{ counters_at('merchant_counters', 'places.as_of_date') }},
        merchant_counters.extra
    from places
    inner join {{ ref('int_merchant_counters') }} as merchant_counters
        on
            merchant_counters.merchant_id = places.merchant_id
            and merchant_counters.known_from <= places.as_of_date
            and merchant_counters.known_until > places.as_of_date

),

listing_counters as (

    select
        places.merchant_id,
        places.as_of_date,
        {{ summed_counters('counters', 'places.as_of_date') }}
    from places
    inner join {{ ref('stg_listings') }} as listings
        on listings.merchant_id = places.merchant_id
    inner join {{ ref('int_listing_counters') }} as counters
        on
            counters.listing_id = listings.listing_id
            and counters.known_from <= places.as_of_date
            and counters.known_until > places.as_of_date
    group by
        places.merchant_id,
        places.as_of_date

),

final as (

    select
        places.merchant_id,
        places.as_of_date,
        {% for part, columns in summed_columns_by_part().items() %}
        {{ counts_of_either(part, columns, 'merchant_id', ['own_counters', 'listing_counters']) }},
        {% endfor %}
        shown.shown_rating,
        shown.shown_sales_count,
        own_counters.extra
    from places
    left join platform
        on platform.as_of_date = places.as_of_date
    left join own_counters
        on
            own_counters.merchant_id = places.merchant_id
            and own_counters.as_of_date = places.as_of_date
    left join listing_counters
        on
            listing_counters.merchant_id = places.merchant_id
            and listing_counters.as_of_date = places.as_of_date
    {% for part in summed_columns_by_part() %}
    left join {{ part }}
        on
            {{ part }}.merchant_id = places.merchant_id
            and {{ part }}.as_of_date = places.as_of_date
    {% endfor %}
    left join shown
        on
            shown.merchant_id = places.merchant_id
            and shown.as_of_date = places.as_of_date

)

select * from final
