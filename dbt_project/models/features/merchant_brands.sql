-- A merchant's listings of one brand at a date: sums over its active listings of the brand, and over the orders and reviews of
-- all it ever offered, else what the newest snapshots of these listings count; one row per merchant, brand and date. Counterfeits
-- are brand-specific: a merchant may sell genuine products of other brands.
with

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

listing_states as (

    select
        merchant_id,
        brand_id,
        as_of_date,
        case when is_active then listing_id end as active_listing_id,
        case when is_active then log_msrp_ratio end as log_msrp_ratio,
        case when is_active then compared_field_count end as compared_field_count,
        case when is_active then discrepant_field_count end as discrepant_field_count
    from {{ ref('listing_states') }}
    where brand_id is not null

),

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }} where brand_id is not null

),

offers as (

    select
        listing_states.merchant_id,
        listing_states.brand_id,
        listing_states.as_of_date,
        cast(count(listing_states.active_listing_id) as integer) as active_listing_count,
        cast(count(listing_states.log_msrp_ratio) as integer) as msrp_ratio_count,
        sum(listing_states.log_msrp_ratio) as log_msrp_ratio_sum,
        cast(sum(listing_states.compared_field_count) as bigint) as compared_field_count,
        cast(sum(listing_states.discrepant_field_count) as bigint) as discrepant_field_count
    from listing_states
    inner join merchant_windows
        on
            merchant_windows.merchant_id = listing_states.merchant_id
            and merchant_windows.as_of_date = listing_states.as_of_date
    group by
        listing_states.merchant_id,
        listing_states.brand_id,
        listing_states.as_of_date

),

{% for part in summed_columns_by_part() %}
{% set columns = brand_columns()[part] %}
{{ part }} as (

    select
        offers.merchant_id,
        offers.brand_id,
        offers.as_of_date,
        {{ windowed_sums(columns, 'listing_days', 'offers.as_of_date') }}
    from {{ ref(listing_parts()[part]) }} as listing_days
    inner join int_listing_brands
        on
            int_listing_brands.listing_id = listing_days.listing_id
            and int_listing_brands.known_from <= listing_days.day
            and int_listing_brands.known_until > listing_days.day
    inner join offers
        on
            offers.merchant_id = listing_days.merchant_id
            and offers.brand_id = int_listing_brands.brand_id
            and offers.as_of_date >= listing_days.day
    group by
        offers.merchant_id,
        offers.brand_id,
        offers.as_of_date

),

{% endfor %}
platform as (

    select * from {{ ref('platform_states') }}

),

counters as (

    select
        offers.merchant_id,
        offers.brand_id,
        offers.as_of_date,
        {{ summed_counters('listing_counters', 'offers.as_of_date') }}
    from offers
    inner join {{ ref('stg_listings') }} as listings
        on listings.merchant_id = offers.merchant_id
    inner join int_listing_brands
        on
            int_listing_brands.listing_id = listings.listing_id
            and int_listing_brands.brand_id = offers.brand_id
            and int_listing_brands.known_from <= offers.as_of_date
            and int_listing_brands.known_until > offers.as_of_date
    inner join {{ ref('int_listing_counters') }} as listing_counters
        on
            listing_counters.listing_id = listings.listing_id
            and listing_counters.known_from <= offers.as_of_date
            and listing_counters.known_until > offers.as_of_date
    group by
        offers.merchant_id,
        offers.brand_id,
        offers.as_of_date

),

final as (

    select
        offers.merchant_id,
        offers.brand_id,
        offers.as_of_date,
        offers.active_listing_count,
        offers.msrp_ratio_count,
        offers.log_msrp_ratio_sum,
        offers.compared_field_count,
        {% for part in summed_columns_by_part() %}
        {{ counts_of_either(part, brand_columns()[part], 'merchant_id', ['counters']) }},
        {% endfor %}
        offers.discrepant_field_count
    from offers
    left join platform
        on platform.as_of_date = offers.as_of_date
    left join counters
        on
            counters.merchant_id = offers.merchant_id
            and counters.brand_id = offers.brand_id
            and counters.as_of_date = offers.as_of_date
    {% for part in summed_columns_by_part() %}
    left join {{ part }}
        on
            {{ part }}.merchant_id = offers.merchant_id
            and {{ part }}.brand_id = offers.brand_id
            and {{ part }}.as_of_date = offers.as_of_date
    {% endfor %}

)

select * from final
