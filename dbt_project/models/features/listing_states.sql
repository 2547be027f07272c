-- State of each listing at a date: text, brand, product, prices and specification as known by then; one row per listing and date.
with

offered_listings as (

    select * from {{ ref('offered_listings') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

fx_rates as (

    select * from {{ ref('stg_fx_rates') }}

),

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

int_spec_comparisons as (

    select * from {{ ref('int_spec_comparisons') }}

),

int_impossible_specs as (

    select * from {{ ref('int_impossible_specs') }}

),

int_unusual_fields as (

    select * from {{ ref('int_unusual_fields') }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

copied_titles as (

    select * from {{ ref('copied_titles') }}

),

listing_gtins as (

    select
        listing_id,
        as_of_date,
        not bool_and(is_valid) as is_gtin_invalid,
        bool_or(is_mismatched) as is_gtin_mismatched
    from {{ ref('listing_gtins') }}
    group by
        listing_id,
        as_of_date

),

compatible_listings as (

    select * from {{ ref('compatible_listings') }}

),

authorisations as (

    select * from {{ ref('brand_authorisations') }}

),

-- Without a catalogue, a brand's models and the possible numbers in a category are unknown.
catalogues as (

    select
        brand_id,
        min(known_from) as known_from
    from int_brand_products
    group by brand_id

),

-- Before any brand's name is known, no name can be hidden.
first_brand as (

    select min(known_from) as known_from from {{ ref('int_brand_names') }}

),

category_catalogues as (

    select
        category,
        min(known_from) as known_from
    from int_brand_products
    where specs is not null
    group by category

),

-- Few listings have such fields, and then one or two.
{% for name, fields in {'impossible': 'int_impossible_specs', 'unusual': 'int_unusual_fields'}.items() %}
{{ name }}_fields as (

    select
        offered_listings.listing_id,
        offered_listings.as_of_date,
        cast(count(*) as integer) as {{ name }}_field_count
    from offered_listings
    inner join {{ fields }}
        on
            {{ fields }}.listing_id = offered_listings.listing_id
            and {{ fields }}.known_from <= offered_listings.as_of_date
            and {{ fields }}.known_until > offered_listings.as_of_date
    group by
        offered_listings.listing_id,
        offered_listings.as_of_date

),

{% endfor %}
-- If a brand lists no authorised merchants by then, authorisation is unknown.
brand_lists as (

    select
        brand_id,
        min(known_from) as known_from
    from authorisations
    group by brand_id

),

described as (

    select
        offered_listings.as_of_date,
        offered_listings.is_rating_date,
        offered_listings.listing_id,
        offered_listings.merchant_id,
        offered_listings.is_active,
        {{ days_between('offered_listings.listed_date', 'offered_listings.as_of_date') }} as listing_age_days,
        listing_history.category,
        listing_history.condition,
        int_listing_brands.brand_id,
        int_listing_brands.model_key,
        coalesce(int_listing_brands.is_model_in_text, false) as is_model_in_text,
        int_listing_brands.specs_hash,
        coalesce(offered_listings.price_date, offered_listings.as_of_date) as price_date,
        coalesce(offered_listings.lowest_price_date, offered_listings.as_of_date) as lowest_price_date,
        offered_listings.price_base as seen_price_base,
        offered_listings.lowest_price_base as lowest_seen_price_base,
        offered_listings.highest_price_base as highest_seen_price_base,
        offered_listings.price_change_count,
        offered_listings.largest_price_drop,
        offered_listings.paid_base,
        offered_listings.asked_base,
        listing_counters.paid_base as counted_paid_base,
        listing_counters.paid_unit_count as counted_unit_count,
        {{ in_base_currency('listing_history.price', 'listing_history.currency', 'fx_rates.rate') }} as stated_price_base,
        cast(listing_history.brand_claimed is null as integer)
        + cast(listing_history.category is null as integer)
        + cast(listing_history.condition is null as integer)
        + cast(listing_history.description is null as integer)
        + cast(listing_history.specs is null as integer)
        + cast(
            int_listing_brands.model_key is null or coalesce(int_listing_brands.is_model_in_text, false) as integer
        ) as missing_field_count,
        case when brand_lists.brand_id is not null then authorisations.brand_id is not null end as is_authorised
    from offered_listings
    left join listing_history
        on
            listing_history.listing_id = offered_listings.listing_id
            and listing_history.known_from <= offered_listings.as_of_date
            and listing_history.known_until > offered_listings.as_of_date
    left join int_listing_brands
        on
            int_listing_brands.listing_id = offered_listings.listing_id
            and int_listing_brands.known_from <= offered_listings.as_of_date
            and int_listing_brands.known_until > offered_listings.as_of_date
    left join {{ ref('int_listing_counters') }} as listing_counters
        on
            listing_counters.listing_id = offered_listings.listing_id
            and listing_counters.known_from <= offered_listings.as_of_date
            and listing_counters.known_until > offered_listings.as_of_date
    left join fx_rates
        on
            fx_rates.currency = listing_history.currency
            and fx_rates.date = offered_listings.as_of_date
    left join brand_lists
        on
            brand_lists.brand_id = int_listing_brands.brand_id
            and brand_lists.known_from <= offered_listings.as_of_date
    left join authorisations
        on
            authorisations.brand_id = int_listing_brands.brand_id
            and authorisations.merchant_id = offered_listings.merchant_id
            and authorisations.known_from <= offered_listings.as_of_date
            and authorisations.known_until > offered_listings.as_of_date

),

products_in_order as (

    select
        *,
        coalesce(
            lead(known_from) over (partition by brand_id, model_key order by known_from),
            {{ end_of_time() }}
        ) as next_known_from
    from int_brand_products

),

-- A model that the brand no longer sells is still known, but without a price.
products as (

    select
        brand_id,
        model_key,
        known_from,
        known_until,
        msrp,
        floor_price,
        currency
    from products_in_order
    union all
    select
        brand_id,
        model_key,
        known_until as known_from,
        next_known_from as known_until,
        cast(null as decimal(18, 4)) as msrp,
        cast(null as decimal(18, 4)) as floor_price,
        cast(null as varchar) as currency
    from products_in_order
    where known_until < next_known_from

),

-- If no price was seen by then, the price stated in the listing is used, at the day's exchange rate. The brand's prices are those
-- in force, at the exchange rate of the day of the price that they are compared with.
priced as (

    select
        described.*,
        coalesce(described.seen_price_base, described.stated_price_base) as price_base,
        coalesce(described.lowest_seen_price_base, described.stated_price_base) as lowest_price_base,
        coalesce(described.highest_seen_price_base, described.stated_price_base) as highest_price_base,
        products.brand_id is not null as is_model_known,
        {{ in_base_currency('products.msrp', 'products.currency', 'price_rates.rate') }} as msrp_base,
        {{ in_base_currency('products.floor_price', 'products.currency', 'price_rates.rate') }} as floor_price_base,
        {{ in_base_currency('products.msrp', 'products.currency', 'lowest_rates.rate') }} as lowest_price_msrp_base
    from described
    left join products
        on
            products.brand_id = described.brand_id
            and products.model_key = described.model_key
            and products.known_from <= described.as_of_date
            and products.known_until > described.as_of_date
    left join fx_rates as price_rates
        on
            price_rates.currency = products.currency
            and price_rates.date = described.price_date
    left join fx_rates as lowest_rates
        on
            lowest_rates.currency = products.currency
            and lowest_rates.date = described.lowest_price_date

),

final as (

    select
        priced.as_of_date,
        priced.is_rating_date,
        priced.listing_id,
        priced.merchant_id,
        priced.is_active,
        priced.listing_age_days,
        priced.category,
        priced.condition,
        priced.brand_id,
        priced.model_key,
        priced.is_model_in_text,
        priced.specs_hash,
        priced.price_base,
        priced.lowest_price_base,
        priced.highest_price_base,
        priced.price_change_count,
        priced.largest_price_drop,
        coalesce(
            priced.paid_base,
            case when priced.price_base > 0 then priced.counted_paid_base end
        ) as paid_base,
        coalesce(
            priced.asked_base,
            case
                when priced.counted_paid_base is not null and priced.price_base > 0
                    then cast(priced.counted_unit_count * priced.price_base as decimal(18, 4))
            end
        ) as asked_base,
        priced.missing_field_count,
        priced.is_authorised,
        priced.msrp_base,
        priced.floor_price_base,
        priced.lowest_price_msrp_base,
        {{ decimal_ratio('priced.price_base', 'priced.msrp_base') }} as msrp_ratio,
        {{ log_price(decimal_ratio('priced.price_base', 'priced.msrp_base')) }} as log_msrp_ratio,
        priced.model_key is not null and not priced.is_model_in_text as has_model_ref,
        case
            when catalogues.brand_id is not null and priced.model_key is not null and not priced.is_model_in_text
                then priced.is_model_known
        end as is_model_known,
        int_spec_comparisons.compared_field_count,
        int_spec_comparisons.discrepant_field_count,
        int_spec_comparisons.omitted_field_count,
        int_spec_comparisons.most_millionths_apart,
        case
            when category_catalogues.category is not null and priced.specs_hash is not null
                then coalesce(impossible_fields.impossible_field_count, 0)
        end as impossible_field_count,
        case
            when category_catalogues.category is not null and priced.specs_hash is not null
                then coalesce(unusual_fields.unusual_field_count, 0)
        end as unusual_field_count,
        int_listing_texts.evasive_word_count,
        int_listing_texts.odd_word_count,
        case
            when int_listing_texts.evasive_word_count is not null and first_brand.known_from <= priced.as_of_date
                then coalesce(
                    int_listing_texts.brand_hidden_from <= priced.as_of_date
                    and int_listing_texts.brand_hidden_until > priced.as_of_date,
                    false
                )
        end as is_brand_hidden,
        int_listing_texts.title_word_count,
        int_listing_texts.description_word_count,
        case
            when int_listing_texts.evasive_word_count is not null then copied_titles.listing_id is not null
        end as is_title_copied,
        case
            when int_listing_texts.evasive_word_count is not null and first_brand.known_from <= priced.as_of_date
                then compatible_listings.listing_id is not null
        end as is_compatible_product,
        listing_gtins.is_gtin_invalid,
        listing_gtins.is_gtin_mismatched
    from priced
    cross join first_brand
    left join catalogues
        on
            catalogues.brand_id = priced.brand_id
            and catalogues.known_from <= priced.as_of_date
    left join category_catalogues
        on
            category_catalogues.category = priced.category
            and category_catalogues.known_from <= priced.as_of_date
    left join impossible_fields
        on
            impossible_fields.listing_id = priced.listing_id
            and impossible_fields.as_of_date = priced.as_of_date
    left join unusual_fields
        on
            unusual_fields.listing_id = priced.listing_id
            and unusual_fields.as_of_date = priced.as_of_date
    left join int_spec_comparisons
        on
            int_spec_comparisons.listing_id = priced.listing_id
            and int_spec_comparisons.known_from <= priced.as_of_date
            and int_spec_comparisons.known_until > priced.as_of_date
    left join int_listing_texts
        on
            int_listing_texts.listing_id = priced.listing_id
            and int_listing_texts.known_from <= priced.as_of_date
            and int_listing_texts.known_until > priced.as_of_date
    left join copied_titles
        on
            copied_titles.listing_id = priced.listing_id
            and copied_titles.copied_from <= priced.as_of_date
            and copied_titles.copied_until > priced.as_of_date
    left join compatible_listings
        on
            compatible_listings.listing_id = priced.listing_id
            and compatible_listings.as_of_date = priced.as_of_date
    left join listing_gtins
        on
            listing_gtins.listing_id = priced.listing_id
            and listing_gtins.as_of_date = priced.as_of_date

)

select * from final
