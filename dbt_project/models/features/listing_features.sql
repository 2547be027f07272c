-- Features of listings; one row for each row of listing_spine. Point in time: only what had happened and was known by the end of
-- as_of_date; null if unknown. "Other listings of the merchant" exclude the listing itself.
with

listing_spine as (

    select * from {{ ref('listing_spine') }}

),

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

states as (

    select * from {{ ref('listing_states') }}

),

peers as (

    select * from {{ ref('listing_peers') }}

),

own as (

    select * from {{ ref('listing_windows') }}

),

merchant_states as (

    select * from {{ ref('merchant_states') }}

),

merchant_brands as (

    select * from {{ ref('merchant_brands') }}

),

all_of_merchant as (

    select * from {{ ref('merchant_windows') }}

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

pictures as (

    select * from {{ ref('listing_pictures') }}

),

merchant_pictures as (

    select * from {{ ref('merchant_pictures') }}

),

picture_findings as (

    select * from {{ ref('listing_picture_findings') }}

),

titles as (

    select * from {{ ref('listing_titles') }}

),

spec_peers as (

    select
        listing_id,
        as_of_date,
        cast(count(*) as integer) as compared_field_count,
        cast(count(*) filter (where is_discrepant) as integer) as discrepant_field_count
    from {{ ref('listing_spec_peers') }}
    group by
        listing_id,
        as_of_date

),

conduct as (

    select * from {{ ref('merchant_conduct') }}

),

relistings as (

    select * from {{ ref('relistings') }} where not is_own_case

),

test_buys as (

    select * from {{ ref('listing_test_buys') }}

),

findings as (

    select * from {{ ref('listing_findings') }}

),

peer_dates as (

    select
        dates.as_of_date,
        max(rating_dates.as_of_date) as peer_date
    from (select distinct as_of_date from listing_spine) as dates
    inner join rating_dates
        on rating_dates.as_of_date <= dates.as_of_date
    group by dates.as_of_date

),

-- An inactive listing is not among its merchant's active ones, so its own values are not subtracted from their sums.
offered as (

    select
        listing_spine.purpose,
        peer_dates.peer_date,
        states.*,
        case when states.is_active then 1 else 0 end as own_active_count,
        case when states.is_active then states.listing_age_days end as own_age_days,
        case when states.is_active and states.listing_age_days < 30 then 1 else 0 end as own_new_count,
        case when states.is_active and states.log_msrp_ratio is not null then 1 else 0 end as own_msrp_ratio_count,
        case when states.is_active then states.log_msrp_ratio end as own_log_msrp_ratio,
        case when states.is_active then states.compared_field_count end as own_compared_count,
        case when states.is_active then states.discrepant_field_count end as own_discrepant_count,
        case when states.is_active then states.omitted_field_count end as own_omitted_count,
        case when states.is_active and states.impossible_field_count > 0 then 1 else 0 end as own_impossible_count,
        case when states.is_active and states.unusual_field_count > 0 then 1 else 0 end as own_unusual_count,
        case when states.is_active and states.impossible_field_count is not null then 1 else 0 end as own_possible_known_count,
        case when states.is_active and not states.is_model_known then 1 else 0 end as own_unknown_model_count,
        case when states.is_active and states.is_model_known is not null then 1 else 0 end as own_model_count,
        case when states.is_active and states.has_model_ref then 1 else 0 end as own_model_ref_count,
        case when states.is_active and states.price_change_count is not null then 1 else 0 end as own_sighted_count,
        case when states.is_active then states.price_change_count end as own_price_change_count,
        case
            when states.is_active and {{ decimal_ratio('states.price_base', 'states.highest_price_base') }} is not null then 1
            else 0
        end as own_price_ratio_count,
        case
            when states.is_active then {{ decimal_ratio('states.price_base', 'states.highest_price_base') }}
        end as own_highest_price_ratio,
        case
            when states.is_active then {{ decimal_ratio('states.lowest_price_base', 'states.highest_price_base') }}
        end as own_price_range_ratio,
        case when states.is_active and states.is_authorised is not null then 1 else 0 end as own_authorisation_count,
        case when states.is_active and not states.is_authorised then 1 else 0 end as own_unauthorised_count,
        case when states.is_active and states.evasive_word_count is not null then 1 else 0 end as own_text_count,
        case when states.is_active and states.evasive_word_count > 0 then 1 else 0 end as own_evasive_count,
        case when states.is_active and states.odd_word_count > 0 then 1 else 0 end as own_odd_count,
        case when states.is_active and states.is_brand_hidden then 1 else 0 end as own_brand_hidden_count,
        case when states.is_active and states.is_title_copied then 1 else 0 end as own_title_copied_count,
        case when states.is_active then states.title_word_count end as own_title_word_count,
        case when states.is_active then states.description_word_count end as own_description_word_count
    from listing_spine
    inner join peer_dates
        on peer_dates.as_of_date = listing_spine.as_of_date
    inner join states
        on
            states.listing_id = listing_spine.listing_id
            and states.as_of_date = listing_spine.as_of_date

),

relisted as (

    select distinct
        listing_spine.listing_id,
        listing_spine.as_of_date
    from listing_spine
    inner join relistings
        on
            relistings.listing_id = listing_spine.listing_id
            and relistings.known_from <= listing_spine.as_of_date
            and relistings.known_until > listing_spine.as_of_date

),

final as (

    select
        offered.purpose,
        offered.listing_id,
        offered.merchant_id,
        offered.category,
        offered.as_of_date,

        cast(offered.price_base as double) as price_base,
        {{ ratio('offered.price_base', 'offered.msrp_base') }} as price_msrp_ratio,
        {{ ratio('offered.price_base', 'offered.floor_price_base') }} as price_floor_ratio,
        {{ ratio('offered.price_base', 'coalesce(
            product_peers.median_price_base, brand_peers.median_price_base, compatible_peers.median_price_base,
            category_peers.median_price_base
        )') }} as price_peer_ratio,
        {{ ratio('offered.price_base', 'coalesce(
            compatible_peers.median_price_base, category_peers.median_price_base
        )') }} as price_category_ratio,
        {{ peer_deviation(
            'offered.price_base', ['product_peers', 'brand_peers', 'compatible_peers', 'category_peers']
        ) }} as price_peer_deviation,
        {{ ratio('offered.lowest_price_base', 'offered.lowest_price_msrp_base') }} as lowest_price_msrp_ratio,
        1 - {{ ratio('offered.price_base', 'offered.highest_price_base') }} as price_drop_share,
        cast(offered.largest_price_drop as double) as largest_price_drop_share,
        offered.price_change_count,
        {{ ratio('offered.lowest_price_base', 'offered.highest_price_base') }} as price_range_ratio,
        {{ ratio('offered.paid_base', 'offered.asked_base') }} as paid_price_ratio,
        {{ ratio('offered.msrp_ratio', others_msrp_ratio('merchant_states')) }} as price_own_goods_ratio,

        offered.discrepant_field_count as spec_discrepant_count,
        {{ ratio('offered.discrepant_field_count', 'offered.compared_field_count') }} as spec_discrepant_share,
        {{ ratio(
            'offered.omitted_field_count', 'offered.omitted_field_count + offered.compared_field_count'
        ) }} as spec_omitted_share,
        {{ ratio('offered.most_millionths_apart', '1000000') }} as spec_difference_ratio,
        offered.impossible_field_count as spec_impossible_count,
        offered.unusual_field_count as spec_unusual_count,
        spec_peers.discrepant_field_count as spec_peer_discrepant_count,
        {{ ratio('spec_peers.discrepant_field_count', 'spec_peers.compared_field_count') }} as spec_peer_discrepant_share,
        offered.missing_field_count as spec_missing_count,
        offered.brand_id is not null as is_brand_known,
        offered.has_model_ref,
        offered.is_model_known,
        offered.condition = 'new' as is_condition_new,
        offered.is_gtin_invalid,
        offered.is_gtin_mismatched,

        own.review_count_life as review_count,
        own.review_count_90 as review_90d_count,
        own.review_count_30 as review_30d_count,
        {{ ratio('own.rating_sum_life', '5 * own.rating_count_life') }} as rating_ratio,
        {{ ratio('own.rating_sum_30', '5 * own.rating_count_30') }} as rating_30d_ratio,
        round(
            {{ ratio('own.rating_sum_30', '5 * own.rating_count_30') }}
            - {{ ratio('own.rating_sum_life - own.rating_sum_30', '5 * (own.rating_count_life - own.rating_count_30)') }},
            6
        ) as rating_change_ratio,
        {{ ratio('own.one_star_count_life', 'own.rating_count_life') }} as one_star_share,
        {{ polarised_share('own') }} as polarised_rating_share,
        case when platform.has_review_texts then own.authenticity_complaint_count_life end as complaint_count,
        {{ shrunken_share('own.authenticity_complaint_count_life', 'own.text_review_count_life') }} as complaint_share,
        {{ shrunken_share('own.authenticity_complaint_count_90', 'own.text_review_count_90') }} as complaint_90d_share,
        {{ ratio('own.verified_review_count_life', 'own.verified_known_count_life') }} as verified_review_share,
        {{ ratio('own.photo_review_count_life', 'own.photo_known_count_life') }} as photo_review_share,
        {{ ratio('own.review_count_life', 'own.order_count_life') }} as review_order_ratio,
        case
            when platform.has_deliveries
                then {{ shrunken_share('own.early_review_count_life', 'own.order_review_count_life') }}
        end as early_review_share,
        {{ shrunken_share('own.repeated_review_count_life', 'own.long_text_review_count_life') }} as repeated_review_share,
        {{ ratio('own.long_text_review_count_life', 'own.review_count_life') }} as long_review_share,

        own.order_count_life as order_count,
        own.order_count_90 as order_90d_count,
        own.order_count_30 as order_30d_count,
        {{ shrunken_share('own.refund_count_life', 'own.order_count_life') }} as refund_share,
        {{ shrunken_share('least(own.refund_count_90, own.order_count_90)', 'own.order_count_90') }} as refund_90d_share,
        {{ shrunken_share('own.refund_not_authentic_count_life', 'own.order_count_life') }} as refund_not_authentic_share,
        {{ shrunken_share(
            'own.refund_not_as_described_count_life', 'own.order_count_life'
        ) }} as refund_not_as_described_share,
        {{ ratio('own.delivery_hours_sum_life', '24 * own.delivered_count_life') }} as delivery_days,

        {{ ratio('pictures.altered_picture_count', 'pictures.picture_count') }} as altered_picture_share,
        pictures.picture_merchant_count,
        pictures.unnamed_logo_count,
        cast(pictures.confirmed_merchant_share as double) as picture_confirmed_share,
        cast(coalesce(pictures.picture_count, own.photo_count) as integer) as picture_count,
        {{ ratio('pictures.common_picture_count', 'pictures.picture_count') }} as common_picture_share,
        {{ ratio(
            less_own('merchant_pictures.altered_picture_count', 'case when pictures.is_active then pictures.altered_picture_count end'),
            less_own('merchant_pictures.picture_count', 'case when pictures.is_active then pictures.picture_count end')
        ) }} as merchant_altered_picture_share,
        {{ ratio(
            less_own('merchant_pictures.common_picture_count', 'case when pictures.is_active then pictures.common_picture_count end'),
            less_own('merchant_pictures.picture_count', 'case when pictures.is_active then pictures.picture_count end')
        ) }} as merchant_common_picture_share,
        {{ ratio(
            less_own(
                'merchant_pictures.unnamed_logo_listing_count',
                'case when pictures.is_active then least(pictures.unnamed_logo_count, 1) end'
            ),
            less_own('merchant_pictures.picture_listing_count', 'case when pictures.is_active then 1 end')
        ) }} as merchant_unnamed_logo_share,
        {{ ratio(
            less_own('merchant_pictures.picture_count', 'case when pictures.is_active then pictures.picture_count end'),
            less_own('merchant_pictures.picture_listing_count', 'case when pictures.is_active then 1 end')
        ) }} as merchant_picture_count,
        picture_findings.has_logo_brand_mismatch,
        picture_findings.has_contact_in_picture,
        picture_findings.has_evasive_text_in_picture,
        picture_findings.has_watermark_of_other_merchant,

        offered.is_brand_hidden,
        offered.evasive_word_count,
        offered.odd_word_count,
        offered.is_title_copied,
        offered.is_compatible_product,
        titles.title_merchant_count,
        offered.title_word_count,
        offered.description_word_count,
        {{ ratio(
            less_own('merchant_states.brand_hidden_count', 'offered.own_brand_hidden_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_brand_hidden_share,
        {{ ratio(
            less_own('merchant_states.evasive_count', 'offered.own_evasive_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_evasive_share,
        {{ ratio(
            less_own('merchant_states.odd_count', 'offered.own_odd_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_odd_share,
        {{ ratio(
            less_own('merchant_states.title_copied_count', 'offered.own_title_copied_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_title_copied_share,
        {{ ratio(
            less_own('merchant_states.title_word_count', 'offered.own_title_word_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_title_word_count,
        {{ ratio(
            less_own('merchant_states.description_word_count', 'offered.own_description_word_count'),
            less_own('merchant_states.text_count', 'offered.own_text_count')
        ) }} as merchant_description_word_count,

        offered.listing_age_days,
        merchant_states.merchant_age_days,
        merchant_states.is_default_storefront as is_merchant_default_storefront,
        {{ ratio('all_of_merchant.shown_rating', '5') }} as merchant_shown_rating_ratio,
        all_of_merchant.shown_sales_count as merchant_shown_sales_count,
        merchant_states.active_listing_count as merchant_active_listing_count,
        merchant_states.category_count as merchant_category_count,
        merchant_states.brand_count as merchant_brand_count,
        {{ brand_age_ratio('merchant_states') }} as merchant_brand_age_ratio,
        conduct.longest_pause_days as merchant_longest_pause_days,
        conduct.first_listing_days as merchant_first_listing_days,
        case when platform.has_identifiers then conduct.identity_change_count end as merchant_identity_change_count,
        case when platform.has_takedowns then relisted.listing_id is not null end as is_relisted,
        {{ ratio('test_buys.counterfeit_count', 'test_buys.bought_count') }} as merchant_test_buy_counterfeit_share,
        {{ finding_ratio(
            'findings.finding_weight', less_own('merchant_states.active_listing_count', 'offered.own_active_count')
        ) }} as merchant_confirmed_case_ratio,
        {{ disputed_notice_ratio('merchant_states') }} as merchant_disputed_notice_ratio,
        {{ ratio(
            less_own('merchant_states.listing_age_days_sum', 'offered.own_age_days'),
            less_own('merchant_states.active_listing_count', 'offered.own_active_count')
        ) }} as merchant_listing_age_days,
        {{ ratio(
            less_own('merchant_states.new_listing_count', 'offered.own_new_count'),
            less_own('merchant_states.active_listing_count', 'offered.own_active_count')
        ) }} as merchant_new_listing_share,
        offered.is_authorised as is_merchant_authorised,
        {{ ratio(
            less_own('merchant_states.unauthorised_count', 'offered.own_unauthorised_count'),
            less_own('merchant_states.authorisation_count', 'offered.own_authorisation_count')
        ) }} as merchant_unauthorised_share,

        {{ others_msrp_ratio('merchant_states') }} as merchant_price_msrp_ratio,
        {{ others_msrp_ratio('merchant_brands') }} as merchant_brand_price_msrp_ratio,
        {{ ratio(
            less_own('merchant_states.discrepant_field_count', 'offered.own_discrepant_count'),
            less_own('merchant_states.compared_field_count', 'offered.own_compared_count')
        ) }} as merchant_spec_discrepant_share,
        {{ ratio(
            less_own('merchant_brands.discrepant_field_count', 'offered.own_discrepant_count'),
            less_own('merchant_brands.compared_field_count', 'offered.own_compared_count')
        ) }} as merchant_brand_spec_discrepant_share,
        1 - {{ ratio(
            less_own('merchant_states.highest_price_ratio_sum', 'offered.own_highest_price_ratio'),
            less_own('merchant_states.price_ratio_count', 'offered.own_price_ratio_count')
        ) }} as merchant_price_drop_share,
        {{ ratio(
            less_own('merchant_states.price_range_ratio_sum', 'offered.own_price_range_ratio'),
            less_own('merchant_states.price_ratio_count', 'offered.own_price_ratio_count')
        ) }} as merchant_price_range_ratio,
        {{ ratio(
            less_own('merchant_states.price_change_count', 'offered.own_price_change_count'),
            less_own('merchant_states.sighted_count', 'offered.own_sighted_count')
        ) }} as merchant_price_change_count,
        {{ price_spread('merchant_states') }} as merchant_price_spread_ratio,
        {{ ratio(
            less_own('merchant_states.paid_base', 'case when offered.is_active then offered.paid_base end'),
            less_own('merchant_states.asked_base', 'case when offered.is_active then offered.asked_base end')
        ) }} as merchant_paid_price_ratio,
        {{ ratio(
            less_own('merchant_states.omitted_field_count', 'offered.own_omitted_count'),
            less_own('merchant_states.omitted_field_count', 'offered.own_omitted_count') ~ ' + '
            ~ less_own('merchant_states.compared_field_count', 'offered.own_compared_count')
        ) }} as merchant_spec_omitted_share,
        {{ ratio(
            less_own('merchant_states.impossible_listing_count', 'offered.own_impossible_count'),
            less_own('merchant_states.possible_known_count', 'offered.own_possible_known_count')
        ) }} as merchant_spec_impossible_share,
        {{ ratio(
            less_own('merchant_states.unusual_listing_count', 'offered.own_unusual_count'),
            less_own('merchant_states.possible_known_count', 'offered.own_possible_known_count')
        ) }} as merchant_spec_unusual_share,
        {{ ratio(
            less_own('merchant_states.unknown_model_count', 'offered.own_unknown_model_count'),
            less_own('merchant_states.model_count', 'offered.own_model_count')
        ) }} as merchant_unknown_model_share,
        {{ ratio(
            less_own('merchant_states.model_ref_count', 'offered.own_model_ref_count'),
            less_own('merchant_states.active_listing_count', 'offered.own_active_count')
        ) }} as merchant_model_ref_share,
        {{ shrunken_share(
            less_own('all_of_merchant.authenticity_complaint_count_life', 'own.authenticity_complaint_count_life'),
            less_own('all_of_merchant.text_review_count_life', 'own.text_review_count_life')
        ) }} as merchant_complaint_share,
        {{ shrunken_share(
            less_own('merchant_brands.authenticity_complaint_count_life', 'own.authenticity_complaint_count_life'),
            less_own('merchant_brands.text_review_count_life', 'own.text_review_count_life')
        ) }} as merchant_brand_complaint_share,
        {{ ratio(
            less_own('all_of_merchant.rating_sum_life', 'own.rating_sum_life'),
            '5 * ' ~ less_own('all_of_merchant.rating_count_life', 'own.rating_count_life')
        ) }} as merchant_rating_ratio,
        {{ ratio(
            less_own('merchant_brands.rating_sum_life', 'own.rating_sum_life'),
            '5 * ' ~ less_own('merchant_brands.rating_count_life', 'own.rating_count_life')
        ) }} as merchant_brand_rating_ratio,
        {{ ratio(
            less_own('all_of_merchant.verified_review_count_life', 'own.verified_review_count_life'),
            less_own('all_of_merchant.verified_known_count_life', 'own.verified_known_count_life')
        ) }} as merchant_verified_review_share,
        {{ ratio(
            less_own('all_of_merchant.photo_review_count_life', 'own.photo_review_count_life'),
            less_own('all_of_merchant.photo_known_count_life', 'own.photo_known_count_life')
        ) }} as merchant_photo_review_share,
        case
            when platform.has_deliveries
                then {{ shrunken_share(
                    less_own('all_of_merchant.early_review_count_life', 'own.early_review_count_life'),
                    less_own('all_of_merchant.order_review_count_life', 'own.order_review_count_life')
                ) }}
        end as merchant_early_review_share,
        {{ shrunken_share(
            'least(2 * ' ~ less_own('all_of_merchant.one_star_count_life', 'own.one_star_count_life')
            ~ ', 2 * ' ~ less_own('all_of_merchant.five_star_count_life', 'own.five_star_count_life') ~ ')',
            less_own('all_of_merchant.rating_count_life', 'own.rating_count_life')
        ) }} as merchant_polarised_rating_share,
        {{ shrunken_share(
            less_own('all_of_merchant.repeated_review_count_life', 'own.repeated_review_count_life'),
            less_own('all_of_merchant.long_text_review_count_life', 'own.long_text_review_count_life')
        ) }} as merchant_repeated_review_share,
        {{ ratio(
            less_own('all_of_merchant.long_text_review_count_life', 'own.long_text_review_count_life'),
            less_own('all_of_merchant.review_count_life', 'own.review_count_life')
        ) }} as merchant_long_review_share,
        {{ shrunken_share(
            less_own('all_of_merchant.refund_not_authentic_count_life', 'own.refund_not_authentic_count_life'),
            less_own('all_of_merchant.order_count_life', 'own.order_count_life')
        ) }} as merchant_refund_not_authentic_share,
        {{ shrunken_share(
            less_own('merchant_brands.refund_not_authentic_count_life', 'own.refund_not_authentic_count_life'),
            less_own('merchant_brands.order_count_life', 'own.order_count_life')
        ) }} as merchant_brand_refund_not_authentic_share,
        {{ shrunken_share(
            less_own('all_of_merchant.refund_count_life', 'own.refund_count_life'),
            less_own('all_of_merchant.order_count_life', 'own.order_count_life')
        ) }} as merchant_refund_share,
        {{ ratio(
            less_own('all_of_merchant.delivery_hours_sum_life', 'own.delivery_hours_sum_life'),
            '24 * ' ~ less_own('all_of_merchant.delivered_count_life', 'own.delivered_count_life')
        ) }} as merchant_delivery_days,

        {{ link_features() }},
        own.extra,
        all_of_merchant.extra as merchant_extra
    from offered
    inner join own
        on
            own.listing_id = offered.listing_id
            and own.as_of_date = offered.as_of_date
    inner join platform
        on platform.as_of_date = offered.as_of_date
    left join conduct
        on
            conduct.merchant_id = offered.merchant_id
            and conduct.as_of_date = offered.as_of_date
    left join relisted
        on
            relisted.listing_id = offered.listing_id
            and relisted.as_of_date = offered.as_of_date
    left join test_buys
        on
            test_buys.listing_id = offered.listing_id
            and test_buys.as_of_date = offered.as_of_date
    left join findings
        on
            findings.listing_id = offered.listing_id
            and findings.as_of_date = offered.as_of_date
    left join peers as product_peers
        on
            product_peers.level = 'product'
            and product_peers.condition_key = coalesce(offered.condition, '')
            and product_peers.as_of_date = offered.peer_date
            and product_peers.brand_id = offered.brand_id
            and product_peers.model_key = offered.model_key
    left join peers as brand_peers
        on
            brand_peers.level = 'brand'
            and brand_peers.condition_key = coalesce(offered.condition, '')
            and brand_peers.as_of_date = offered.peer_date
            and brand_peers.brand_id = offered.brand_id
            and brand_peers.category = offered.category
    left join peers as compatible_peers
        on
            compatible_peers.level = 'compatible'
            and offered.is_compatible_product
            and compatible_peers.condition_key = coalesce(offered.condition, '')
            and compatible_peers.as_of_date = offered.peer_date
            and compatible_peers.category = offered.category
    left join peers as category_peers
        on
            category_peers.level = 'category'
            and category_peers.condition_key = coalesce(offered.condition, '')
            and category_peers.as_of_date = offered.peer_date
            and category_peers.category = offered.category
    left join merchant_states
        on
            merchant_states.merchant_id = offered.merchant_id
            and merchant_states.as_of_date = offered.as_of_date
    left join merchant_brands
        on
            merchant_brands.merchant_id = offered.merchant_id
            and merchant_brands.brand_id = offered.brand_id
            and merchant_brands.as_of_date = offered.as_of_date
    left join all_of_merchant
        on
            all_of_merchant.merchant_id = offered.merchant_id
            and all_of_merchant.as_of_date = offered.as_of_date
    left join links
        on
            links.merchant_id = offered.merchant_id
            and links.as_of_date = offered.as_of_date
    left join rings
        on
            rings.merchant_id = offered.merchant_id
            and rings.as_of_date = offered.as_of_date
    left join pictures
        on
            pictures.listing_id = offered.listing_id
            and pictures.as_of_date = offered.as_of_date
    left join titles
        on
            titles.listing_id = offered.listing_id
            and titles.as_of_date = offered.as_of_date
    left join spec_peers
        on
            spec_peers.listing_id = offered.listing_id
            and spec_peers.as_of_date = offered.as_of_date
    left join picture_findings
        on
            picture_findings.listing_id = offered.listing_id
            and picture_findings.as_of_date = offered.as_of_date
    left join merchant_pictures
        on
            merchant_pictures.merchant_id = offered.merchant_id
            and merchant_pictures.as_of_date = offered.as_of_date

)

select * from final
