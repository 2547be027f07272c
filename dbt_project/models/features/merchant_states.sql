-- State of each merchant at a date: age, storefront, and counts and sums over its active listings; one row per merchant with an
-- active listing, and date.
with

listing_states as (

    select * from {{ ref('listing_states') }} where is_active

),

merchants as (

    select * from {{ ref('stg_merchants') }}

),

merchant_history as (

    select * from {{ ref('stg_merchant_history') }}

),

-- Counted by category and by brand first: counting distinct values over all listings at all dates takes three times as long.
category_counts as (

    select
        as_of_date,
        merchant_id,
        category,
        count(*) as listing_count
    from listing_states
    group by
        as_of_date,
        merchant_id,
        category

),

categories as (

    select
        *,
        row_number() over (
            partition by as_of_date, merchant_id
            order by listing_count desc, category asc
        ) as place,
        count(category) over (partition by as_of_date, merchant_id) as category_count
    from category_counts

),

brand_counts as (

    select
        as_of_date,
        merchant_id,
        count(brand_id) as brand_count
    from (
        select distinct
            as_of_date,
            merchant_id,
            brand_id
        from listing_states
    ) as offered_brands
    group by
        as_of_date,
        merchant_id

),

sums as (

    select
        as_of_date,
        merchant_id,
        cast(count(*) as integer) as active_listing_count,
        cast(sum(listing_age_days) as bigint) as listing_age_days_sum,
        cast(count(*) filter (where listing_age_days < 30) as integer) as new_listing_count,
        cast(count(log_msrp_ratio) as integer) as msrp_ratio_count,
        sum(log_msrp_ratio) as log_msrp_ratio_sum,
        {{ p10('msrp_ratio') }} as low_msrp_ratio,
        {{ median('msrp_ratio') }} as middle_msrp_ratio,
        {{ p90('msrp_ratio') }} as high_msrp_ratio,
        cast(sum(compared_field_count) as bigint) as compared_field_count,
        cast(sum(discrepant_field_count) as bigint) as discrepant_field_count,
        cast(coalesce(sum(omitted_field_count), 0) as bigint) as omitted_field_count,
        cast(count(*) filter (where impossible_field_count > 0) as integer) as impossible_listing_count,
        cast(count(impossible_field_count) as integer) as possible_known_count,
        cast(count(*) filter (where unusual_field_count > 0) as integer) as unusual_listing_count,
        cast(count(*) filter (where not is_model_known) as integer) as unknown_model_count,
        cast(count(is_model_known) as integer) as model_count,
        cast(count(*) filter (where has_model_ref) as integer) as model_ref_count,
        cast(count(price_change_count) as integer) as sighted_count,
        cast(coalesce(sum(price_change_count), 0) as bigint) as price_change_count,
        cast(count({{ decimal_ratio('price_base', 'highest_price_base') }}) as integer) as price_ratio_count,
        sum({{ decimal_ratio('price_base', 'highest_price_base') }}) as highest_price_ratio_sum,
        sum({{ decimal_ratio('lowest_price_base', 'highest_price_base') }}) as price_range_ratio_sum,
        sum(paid_base) as paid_base,
        sum(asked_base) as asked_base,
        cast(count(is_authorised) as integer) as authorisation_count,
        cast(count(*) filter (where not is_authorised) as integer) as unauthorised_count,
        cast(count(evasive_word_count) as integer) as text_count,
        cast(count(*) filter (where evasive_word_count > 0) as integer) as evasive_count,
        cast(count(*) filter (where odd_word_count > 0) as integer) as odd_count,
        cast(sum(cast(is_brand_hidden as integer)) as integer) as brand_hidden_count,
        cast(count(*) filter (where is_title_copied) as integer) as title_copied_count,
        cast(sum(title_word_count) as bigint) as title_word_count,
        cast(sum(description_word_count) as bigint) as description_word_count
    from listing_states
    group by
        as_of_date,
        merchant_id

),

final as (

    select
        sums.*,
        cast(categories.category_count as integer) as category_count,
        cast(brand_counts.brand_count as integer) as brand_count,
        categories.category,
        case
            when cast(merchants.registered_at as date) <= sums.as_of_date
                then {{ days_between('cast(merchants.registered_at as date)', 'sums.as_of_date') }}
        end as merchant_age_days,
        case
            when coalesce(cast(merchants.registered_at as date) <= sums.as_of_date, true)
                then merchant_history.is_default_storefront
        end as is_default_storefront,
        true as is_active
    from sums
    inner join categories
        on
            categories.as_of_date = sums.as_of_date
            and categories.merchant_id = sums.merchant_id
            and categories.place = 1
    inner join brand_counts
        on
            brand_counts.as_of_date = sums.as_of_date
            and brand_counts.merchant_id = sums.merchant_id
    left join merchants
        on merchants.merchant_id = sums.merchant_id
    left join merchant_history
        on
            merchant_history.merchant_id = sums.merchant_id
            and merchant_history.known_from <= sums.as_of_date
            and merchant_history.known_until > sums.as_of_date

)

select * from final
