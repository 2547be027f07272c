-- What each merchant is and offers at a date: its age, its storefront, its living listings counted and summed. One row a
-- merchant with a living listing, and date.
with

listing_states as (

    select * from {{ ref('listing_states') }} where is_live

),

merchants as (

    select * from {{ ref('stg_merchants') }}

),

merchant_history as (

    select * from {{ ref('stg_merchant_history') }}

),

category_counts as (

    select
        as_of_date,
        merchant_id,
        category,
        row_number() over (
            partition by as_of_date, merchant_id
            order by count(*) desc, category
        ) as place
    from listing_states
    group by
        as_of_date,
        merchant_id,
        category

),

sums as (

    select
        as_of_date,
        merchant_id,
        cast(count(*) as integer) as live_listing_count,
        cast(count(distinct category) as integer) as category_count,
        cast(count(distinct brand_id) as integer) as brand_count,
        cast(sum(listing_age_days) as bigint) as listing_age_days_sum,
        cast(count(*) filter (where listing_age_days < 30) as integer) as new_listing_count,
        cast(count(msrp_ratio) as integer) as msrp_ratio_count,
        sum(msrp_ratio) as msrp_ratio_sum,
        cast(sum(compared_field_count) as bigint) as compared_field_count,
        cast(sum(discrepant_field_count) as bigint) as discrepant_field_count,
        cast(count(is_authorised) as integer) as authorisation_count,
        cast(count(*) filter (where not is_authorised) as integer) as unauthorised_count
    from listing_states
    group by
        as_of_date,
        merchant_id

),

final as (

    select
        sums.*,
        category_counts.category,
        case
            when cast(merchants.registered_at as date) <= sums.as_of_date
                then {{ days_between('cast(merchants.registered_at as date)', 'sums.as_of_date') }}
        end as merchant_age_days,
        merchant_history.is_default_storefront,
        true as is_live
    from sums
    inner join category_counts
        on
            category_counts.as_of_date = sums.as_of_date
            and category_counts.merchant_id = sums.merchant_id
            and category_counts.place = 1
    left join merchants
        on merchants.merchant_id = sums.merchant_id
    left join merchant_history
        on
            merchant_history.merchant_id = sums.merchant_id
            and merchant_history.known_from <= sums.as_of_date
            and merchant_history.known_until > sums.as_of_date

)

select * from final
