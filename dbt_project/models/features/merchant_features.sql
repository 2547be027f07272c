-- Features of merchants; one row for each row of merchant_spine. Point in time: only what had happened and was known by the end
-- of as_of_date; null if unknown. Findings about the merchant or its listings, and their consequences (a takedown, a notice that
-- is the source of a label), are excluded: a confirmed listing is a label of its merchant.
with

merchant_spine as (

    select * from {{ ref('merchant_spine') }}

),

places as (

    select distinct
        merchant_id,
        category,
        as_of_date
    from merchant_spine

),

listing_states as (

    select * from {{ ref('listing_states') }} where is_active

),

states as (

    select * from {{ ref('merchant_states') }}

),

windows as (

    select * from {{ ref('merchant_windows') }}

),

brands as (

    select * from {{ ref('merchant_brands') }}

),

platform as (

    select * from {{ ref('platform_states') }}

),

links as (

    select * from {{ ref('merchant_links') }}

),

rings as (

    select * from {{ ref('merchant_rings') }}

),

linked_findings as (

    select * from {{ ref('linked_findings') }}

),

pictures as (

    select * from {{ ref('merchant_pictures') }}

),

picture_findings as (

    select
        merchant_id,
        as_of_date,
        count(*) as read_listing_count,
        count(*) filter (where has_logo_brand_mismatch) as logo_brand_mismatch_count,
        count(*) filter (where has_contact_in_picture) as contact_count,
        count(*) filter (where has_evasive_text_in_picture) as evasive_text_count,
        count(*) filter (where has_watermark_of_other_merchant) as watermark_count
    from {{ ref('listing_picture_findings') }}
    where is_active
    group by
        merchant_id,
        as_of_date

),

conduct as (

    select * from {{ ref('merchant_conduct') }}

),

offers as (

    select
        listing_states.merchant_id,
        listing_states.as_of_date,
        {{ median('listing_states.price_base') }} as middle_price_base,
        cast(count(*) filter (where listing_states.price_base < listing_states.floor_price_base) as integer) as below_floor_count,
        cast(count(listing_states.price_base - listing_states.floor_price_base) as integer) as floor_known_count,
        cast(count(*) filter (where listing_states.discrepant_field_count > 0) as integer) as discrepant_listing_count,
        cast(count(*) filter (where listing_states.compared_field_count > 0) as integer) as compared_listing_count,
        cast(sum(listing_states.missing_field_count) as bigint) as missing_field_count,
        cast(count(*) filter (where listing_states.brand_id is null) as integer) as unknown_brand_count,
        cast(count(listing_states.condition) as integer) as condition_count,
        cast(count(*) filter (where listing_states.condition = 'new') as integer) as condition_new_count
    from listing_states
    inner join places
        on
            places.merchant_id = listing_states.merchant_id
            and places.as_of_date = listing_states.as_of_date
    group by
        listing_states.merchant_id,
        listing_states.as_of_date

),

-- The brand with the worst value per merchant: counterfeits are brand-specific, and a mean over all listings hides them.
worst_brands as (

    select
        brands.merchant_id,
        brands.as_of_date,
        min({{ mean_ratio('brands.log_msrp_ratio_sum', 'brands.msrp_ratio_count') }}) as price_msrp_ratio,
        max({{ ratio('brands.discrepant_field_count', 'brands.compared_field_count') }}) as spec_discrepant_share,
        max({{ shrunken_share('brands.authenticity_complaint_count_life', 'brands.text_review_count_life') }}) as complaint_share,
        max({{ shrunken_share(
            'brands.refund_not_authentic_count_life', 'brands.order_count_life'
        ) }}) as refund_not_authentic_share,
        min({{ ratio('brands.rating_sum_life', '5 * brands.rating_count_life') }}) as rating_ratio
    from brands
    where brands.active_listing_count > 0
    group by
        brands.merchant_id,
        brands.as_of_date

),

-- Means of a marketplace's own columns over the active listings.
listing_values as (

    select
        listing_states.merchant_id,
        listing_states.as_of_date,
        {{ each_entry('listing_counters.extra') }} as entry
    from listing_states
    inner join places
        on
            places.merchant_id = listing_states.merchant_id
            and places.as_of_date = listing_states.as_of_date
    inner join {{ ref('int_listing_counters') }} as listing_counters
        on
            listing_counters.listing_id = listing_states.listing_id
            and listing_counters.known_from <= listing_states.as_of_date
            and listing_counters.known_until > listing_states.as_of_date
            and listing_counters.extra is not null

),

listing_means as (

    select
        merchant_id,
        as_of_date,
        entry.key as name,
        {{ ordered_mean('entry.value') }} as mean
    from listing_values
    where entry.value is not null
    group by
        merchant_id,
        as_of_date,
        entry.key

),

listing_extra as (

    select
        merchant_id,
        as_of_date,
        {{ collect_map('name', 'mean') }} as means
    from listing_means
    group by
        merchant_id,
        as_of_date

),

features as (

    select
        places.merchant_id,
        places.category,
        places.as_of_date,

        states.merchant_age_days,
        states.is_default_storefront,
        {{ ratio('windows.shown_rating', '5') }} as shown_rating_ratio,
        windows.shown_sales_count,
        states.active_listing_count,
        states.category_count,
        states.brand_count,
        {{ brand_age_ratio('states') }} as brand_age_ratio,
        conduct.longest_pause_days,
        conduct.first_listing_days,
        case when platform.has_identifiers then conduct.identity_change_count end as identity_change_count,
        case when platform.has_takedowns then conduct.relisted_count end as relisted_count,
        {{ disputed_notice_ratio('states') }} as disputed_notice_ratio,
        {{ ratio('states.listing_age_days_sum', 'states.active_listing_count') }} as listing_age_days,
        {{ ratio('states.new_listing_count', 'states.active_listing_count') }} as new_listing_share,
        {{ ratio('states.unauthorised_count', 'states.authorisation_count') }} as unauthorised_share,

        cast(offers.middle_price_base as double) as price_base,
        {{ mean_ratio('states.log_msrp_ratio_sum', 'states.msrp_ratio_count') }} as price_msrp_ratio,
        cast(states.low_msrp_ratio as double) as low_price_msrp_ratio,
        cast(states.middle_msrp_ratio as double) as middle_price_msrp_ratio,
        {{ price_spread('states') }} as price_spread_ratio,
        1 - {{ ratio('states.highest_price_ratio_sum', 'states.price_ratio_count') }} as price_drop_share,
        {{ ratio('states.price_range_ratio_sum', 'states.price_ratio_count') }} as price_range_ratio,
        {{ ratio('states.paid_base', 'states.asked_base') }} as paid_price_ratio,
        {{ ratio('states.price_change_count', 'states.sighted_count') }} as price_change_count,
        worst_brands.price_msrp_ratio as worst_brand_price_msrp_ratio,
        {{ ratio('offers.below_floor_count', 'offers.floor_known_count') }} as below_floor_share,

        {{ ratio('states.discrepant_field_count', 'states.compared_field_count') }} as spec_discrepant_share,
        {{ ratio('offers.discrepant_listing_count', 'offers.compared_listing_count') }} as spec_discrepant_listing_share,
        worst_brands.spec_discrepant_share as worst_brand_spec_discrepant_share,
        {{ ratio('states.impossible_listing_count', 'states.possible_known_count') }} as spec_impossible_share,
        {{ ratio('states.unusual_listing_count', 'states.possible_known_count') }} as spec_unusual_share,
        {{ ratio('states.model_ref_count', 'states.active_listing_count') }} as model_ref_share,
        {{ ratio(
            'states.omitted_field_count', 'states.omitted_field_count + states.compared_field_count'
        ) }} as spec_omitted_share,
        {{ ratio('offers.missing_field_count', 'states.active_listing_count') }} as spec_missing_count,
        {{ ratio('states.unknown_model_count', 'states.model_count') }} as unknown_model_share,
        {{ ratio('offers.unknown_brand_count', 'states.active_listing_count') }} as unknown_brand_share,
        {{ ratio('offers.condition_new_count', 'offers.condition_count') }} as condition_new_share,

        windows.review_count_life as review_count,
        windows.review_count_30 as review_30d_count,
        {{ ratio('windows.rating_sum_life', '5 * windows.rating_count_life') }} as rating_ratio,
        {{ ratio('windows.rating_sum_30', '5 * windows.rating_count_30') }} as rating_30d_ratio,
        round(
            {{ ratio('windows.rating_sum_30', '5 * windows.rating_count_30') }}
            - {{ ratio(
                'windows.rating_sum_life - windows.rating_sum_30',
                '5 * (windows.rating_count_life - windows.rating_count_30)'
            ) }},
            6
        ) as rating_change_ratio,
        worst_brands.rating_ratio as worst_brand_rating_ratio,
        {{ ratio('windows.one_star_count_life', 'windows.rating_count_life') }} as one_star_share,
        {{ polarised_share('windows') }} as polarised_rating_share,
        case when platform.has_review_texts then windows.authenticity_complaint_count_life end as complaint_count,
        {{ shrunken_share(
            'windows.authenticity_complaint_count_life', 'windows.text_review_count_life'
        ) }} as complaint_share,
        {{ shrunken_share(
            'windows.authenticity_complaint_count_90', 'windows.text_review_count_90'
        ) }} as complaint_90d_share,
        worst_brands.complaint_share as worst_brand_complaint_share,
        {{ ratio('windows.verified_review_count_life', 'windows.verified_known_count_life') }} as verified_review_share,
        {{ ratio('windows.photo_review_count_life', 'windows.photo_known_count_life') }} as photo_review_share,
        {{ ratio('windows.review_count_life', 'windows.order_count_life') }} as review_order_ratio,
        case
            when platform.has_deliveries
                then {{ shrunken_share('windows.early_review_count_life', 'windows.order_review_count_life') }}
        end as early_review_share,
        {{ shrunken_share(
            'windows.repeated_review_count_life', 'windows.long_text_review_count_life'
        ) }} as repeated_review_share,
        {{ ratio('windows.long_text_review_count_life', 'windows.review_count_life') }} as long_review_share,

        windows.order_count_life as order_count,
        windows.order_count_30 as order_30d_count,
        {{ shrunken_share('windows.refund_count_life', 'windows.order_count_life') }} as refund_share,
        {{ shrunken_share(
            'least(windows.refund_count_90, windows.order_count_90)', 'windows.order_count_90'
        ) }} as refund_90d_share,
        {{ shrunken_share(
            'windows.refund_not_authentic_count_life', 'windows.order_count_life'
        ) }} as refund_not_authentic_share,
        worst_brands.refund_not_authentic_share as worst_brand_refund_not_authentic_share,
        {{ shrunken_share(
            'windows.refund_not_as_described_count_life', 'windows.order_count_life'
        ) }} as refund_not_as_described_share,
        {{ ratio('windows.delivery_hours_sum_life', '24 * windows.delivered_count_life') }} as delivery_days,

        {{ ratio('pictures.altered_picture_count', 'pictures.picture_count') }} as altered_picture_share,
        {{ ratio('pictures.common_picture_count', 'pictures.picture_count') }} as common_picture_share,
        {{ ratio('pictures.unnamed_logo_listing_count', 'pictures.picture_listing_count') }} as unnamed_logo_share,
        {{ ratio('pictures.picture_count', 'pictures.picture_listing_count') }} as picture_count,
        {{ ratio(
            'picture_findings.logo_brand_mismatch_count', 'picture_findings.read_listing_count'
        ) }} as logo_brand_mismatch_share,
        {{ ratio('picture_findings.contact_count', 'picture_findings.read_listing_count') }} as contact_in_picture_share,
        {{ ratio(
            'picture_findings.evasive_text_count', 'picture_findings.read_listing_count'
        ) }} as evasive_text_in_picture_share,
        {{ ratio(
            'picture_findings.watermark_count', 'picture_findings.read_listing_count'
        ) }} as watermark_of_other_merchant_share,

        {{ ratio('states.brand_hidden_count', 'states.text_count') }} as brand_hidden_share,
        {{ ratio('states.evasive_count', 'states.text_count') }} as evasive_share,
        {{ ratio('states.odd_count', 'states.text_count') }} as odd_share,
        {{ ratio('states.title_copied_count', 'states.text_count') }} as title_copied_share,
        {{ ratio('states.title_word_count', 'states.text_count') }} as title_word_count,
        {{ ratio('states.description_word_count', 'states.text_count') }} as description_word_count,

        case
            when platform.has_identifiers
                then {{ finding_ratio('linked_findings.finding_weight', 'linked_findings.active_listing_count') }}
        end as link_confirmed_case_ratio,
        {{ link_features() }},
        windows.extra,
        listing_extra.means as listing_extra
    from places
    inner join states
        on
            states.merchant_id = places.merchant_id
            and states.as_of_date = places.as_of_date
    inner join windows
        on
            windows.merchant_id = places.merchant_id
            and windows.as_of_date = places.as_of_date
    inner join offers
        on
            offers.merchant_id = places.merchant_id
            and offers.as_of_date = places.as_of_date
    inner join platform
        on platform.as_of_date = places.as_of_date
    inner join conduct
        on
            conduct.merchant_id = places.merchant_id
            and conduct.as_of_date = places.as_of_date
    left join worst_brands
        on
            worst_brands.merchant_id = places.merchant_id
            and worst_brands.as_of_date = places.as_of_date
    left join links
        on
            links.merchant_id = places.merchant_id
            and links.as_of_date = places.as_of_date
    left join linked_findings
        on
            linked_findings.merchant_id = places.merchant_id
            and linked_findings.as_of_date = places.as_of_date
    left join rings
        on
            rings.merchant_id = places.merchant_id
            and rings.as_of_date = places.as_of_date
    left join pictures
        on
            pictures.merchant_id = places.merchant_id
            and pictures.as_of_date = places.as_of_date
    left join picture_findings
        on
            picture_findings.merchant_id = places.merchant_id
            and picture_findings.as_of_date = places.as_of_date
    left join listing_extra
        on
            listing_extra.merchant_id = places.merchant_id
            and listing_extra.as_of_date = places.as_of_date

),

final as (

    select
        merchant_spine.purpose,
        features.*
    from merchant_spine
    inner join features
        on
            features.merchant_id = merchant_spine.merchant_id
            and features.as_of_date = merchant_spine.as_of_date

)

select * from final
