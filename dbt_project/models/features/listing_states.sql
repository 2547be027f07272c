-- What each listing offers at a date: at the rating dates every active listing, at the date of a standalone decision
-- alone the active listings of its merchant, and in either case what was decided on (it may have gone the same day).
with

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

run as (

    select * from {{ source('landed', 'run') }}

),

entity_labels as (

    select * from {{ ref('entity_labels') }}

),

listings as (

    select
        listing_id,
        merchant_id,
        cast(listed_at as date) as listed_date,
        cast(delisted_at as date) as delisted_date
    from {{ ref('stg_listings') }}

),

int_listing_days as (

    select * from {{ ref('int_listing_days') }}

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

authorised_merchants as (

    select
        brand_id,
        merchant_id,
        cast(valid_from as date) as known_from,
        coalesce(cast(valid_to as date), {{ end_of_time() }}) as known_until
    from {{ ref('stg_authorised_merchants') }}

),

-- A decision that calibrates gives no training row, only, from the first evaluation date on, one that evaluates.
evaluation as (

    select min(as_of_date) as first_date
    from rating_dates
    where purpose = 'evaluate'

),

decision_dates as (

    select distinct
        entity_labels.merchant_id,
        entity_labels.decided_date as as_of_date
    from entity_labels
    inner join run
        on run.with_training
    cross join evaluation
    left join rating_dates
        on rating_dates.as_of_date = entity_labels.decided_date
    where
        entity_labels.is_standalone
        and (
            entity_labels.entity_kind = 'listing'
            or entity_labels.inclusion_probability is null
            or entity_labels.decided_date >= evaluation.first_date
        )
        and rating_dates.as_of_date is null

),

decided as (

    select distinct
        entity_id as listing_id,
        decided_date as as_of_date
    from entity_labels
    where
        entity_kind = 'listing'
        and is_standalone

),

offered as (

    select
        rating_dates.as_of_date,
        true as is_rating_date,
        listings.*
    from listings
    inner join rating_dates
        on rating_dates.as_of_date >= listings.listed_date
    union all
    select
        decision_dates.as_of_date,
        false as is_rating_date,
        listings.*
    from listings
    inner join decision_dates
        on
            decision_dates.merchant_id = listings.merchant_id
            and decision_dates.as_of_date >= listings.listed_date

),

-- Each day on which a listing was seen, until the next, with the prices seen by then. The lowest one's day comes with it as
-- the last digits of one number, so that it takes no second pass.
sightings as (

    select
        listing_id,
        day as seen_date,
        coalesce(lead(day) over (partition by listing_id order by day), {{ end_of_time() }}) as next_seen_date,
        last_value(price_usd_min ignore nulls) over so_far as price_usd,
        last_value(price_usd_min ignore nulls) over before_it as price_usd_before,
        last_value(case when price_usd_min is not null then day end ignore nulls) over so_far as price_date,
        min(price_usd_min) over so_far as lowest_price_usd,
        min(
            cast(10000 * price_usd_min as bigint) * 100000 + {{ days_between(beginning(), 'day') }}
        ) over so_far % 100000 as lowest_price_day,
        max(price_usd_max) over so_far as highest_price_usd
    from int_listing_days
    where sighting_count > 0
    window
        so_far as (partition by listing_id order by day rows between unbounded preceding and current row),
        before_it as (partition by listing_id order by day rows between unbounded preceding and 1 preceding)

),

-- What was paid for what was ordered between one sighting and the next, and what the earlier one asked for it.
payments as (

    select
        sightings.listing_id,
        sightings.seen_date,
        sightings.next_seen_date,
        cast(sum(int_order_days.amount_usd) as decimal(18, 4)) as paid_usd,
        cast(sum(int_order_days.unit_count * sightings.price_usd) as decimal(18, 4)) as asked_usd
    from {{ ref('int_order_days') }} as int_order_days
    inner join sightings
        on
            sightings.listing_id = int_order_days.listing_id
            and sightings.seen_date <= int_order_days.day
            and sightings.next_seen_date > int_order_days.day
    where
        int_order_days.amount_usd > 0
        and sightings.price_usd > 0
    group by
        sightings.listing_id,
        sightings.seen_date,
        sightings.next_seen_date

),

-- Known only when the time between two sightings is over: until then more may be ordered.
payments_so_far as (

    select
        listing_id,
        next_seen_date as known_from,
        coalesce(lead(next_seen_date) over so_far, {{ end_of_time() }}) as known_until,
        cast(sum(paid_usd) over so_far as decimal(18, 4)) as paid_usd,
        cast(sum(asked_usd) over so_far as decimal(18, 4)) as asked_usd
    from payments
    window so_far as (partition by listing_id order by seen_date)

),

-- What moves a price by a fiftieth or less may be the rate of its currency.
price_changes as (

    select
        listing_id,
        seen_date,
        price_usd,
        price_usd_before
    from sightings
    where abs(price_usd - price_usd_before) * 50 > price_usd_before

),

changes_so_far as (

    select
        listing_id,
        seen_date as change_date,
        coalesce(lead(seen_date) over (partition by listing_id order by seen_date), {{ end_of_time() }}) as next_change_date,
        cast(row_number() over (partition by listing_id order by seen_date) as integer) as price_change_count,
        max(
            case
                when price_usd < price_usd_before
                    then cast((price_usd_before - price_usd) / price_usd_before as decimal(18, 6))
                else 0
            end
        ) over (partition by listing_id order by seen_date rows between unbounded preceding and current row) as largest_price_drop
    from price_changes

),

seen as (

    select
        offered.as_of_date,
        offered.is_rating_date,
        offered.listing_id,
        offered.merchant_id,
        offered.listed_date,
        sightings.price_usd,
        sightings.price_date,
        sightings.lowest_price_usd,
        {{ add_days(beginning(), 'sightings.lowest_price_day') }} as lowest_price_date,
        sightings.highest_price_usd,
        case when sightings.price_usd is not null then coalesce(changes_so_far.price_change_count, 0) end as price_change_count,
        case when sightings.price_usd is not null then coalesce(changes_so_far.largest_price_drop, 0) end as largest_price_drop,
        payments_so_far.paid_usd,
        payments_so_far.asked_usd,
        (offered.delisted_date is null or offered.delisted_date > offered.as_of_date)
        and (
            sightings.seen_date is null
            or sightings.seen_date >= {{ add_days('offered.as_of_date', -14) }}
        ) as is_active
    from offered
    left join sightings
        on
            sightings.listing_id = offered.listing_id
            and sightings.seen_date <= offered.as_of_date
            and sightings.next_seen_date > offered.as_of_date
    left join changes_so_far
        on
            changes_so_far.listing_id = offered.listing_id
            and changes_so_far.change_date <= offered.as_of_date
            and changes_so_far.next_change_date > offered.as_of_date
    left join payments_so_far
        on
            payments_so_far.listing_id = offered.listing_id
            and payments_so_far.known_from <= offered.as_of_date
            and payments_so_far.known_until > offered.as_of_date

),

kept as (

    select seen.*
    from seen
    left join decided
        on
            decided.listing_id = seen.listing_id
            and decided.as_of_date = seen.as_of_date
    where
        seen.is_active
        or decided.listing_id is not null

),

-- Of a brand without a catalogue nobody knows which models it has, nor in such a category which numbers are possible.
catalogues as (

    select
        brand_id,
        min(known_from) as known_from
    from int_brand_products
    group by brand_id

),

-- Before any brand has a name, none can be hidden.
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

-- Few listings have any, and those one or two.
{% for name, fields in {'impossible': 'int_impossible_specs', 'unusual': 'int_unusual_fields'}.items() %}
{{ name }}_fields as (

    select
        kept.listing_id,
        kept.as_of_date,
        cast(count(*) as integer) as {{ name }}_field_count
    from kept
    inner join {{ fields }}
        on
            {{ fields }}.listing_id = kept.listing_id
            and {{ fields }}.known_from <= kept.as_of_date
            and {{ fields }}.known_until > kept.as_of_date
    group by
        kept.listing_id,
        kept.as_of_date

),

{% endfor %}
-- A brand that names nobody by then leaves it open who is authorised.
brand_lists as (

    select
        brand_id,
        min(known_from) as known_from
    from authorised_merchants
    group by brand_id

),

-- Authorisations that overlap or meet are one, so that a day is in one of them at most.
ordered_authorisations as (

    select
        *,
        max(known_until) over (
            partition by brand_id, merchant_id
            order by known_from, known_until
            rows between unbounded preceding and 1 preceding
        ) as known_until_before
    from authorised_merchants

),

numbered_authorisations as (

    select
        *,
        sum(case when known_until_before >= known_from then 0 else 1 end) over (
            partition by brand_id, merchant_id
            order by known_from, known_until
            rows between unbounded preceding and current row
        ) as authorisation_number
    from ordered_authorisations

),

authorisations as (

    select
        brand_id,
        merchant_id,
        min(known_from) as known_from,
        max(known_until) as known_until
    from numbered_authorisations
    group by
        brand_id,
        merchant_id,
        authorisation_number

),

described as (

    select
        kept.as_of_date,
        kept.is_rating_date,
        kept.listing_id,
        kept.merchant_id,
        kept.is_active,
        {{ days_between('kept.listed_date', 'kept.as_of_date') }} as listing_age_days,
        listing_history.category,
        listing_history.condition,
        int_listing_brands.brand_id,
        int_listing_brands.model_key,
        int_listing_brands.specs_hash,
        coalesce(kept.price_date, kept.as_of_date) as price_date,
        coalesce(kept.lowest_price_date, kept.as_of_date) as lowest_price_date,
        kept.price_usd as seen_price_usd,
        kept.lowest_price_usd as lowest_seen_price_usd,
        kept.highest_price_usd as highest_seen_price_usd,
        kept.price_change_count,
        kept.largest_price_drop,
        kept.paid_usd,
        kept.asked_usd,
        {{ in_base_currency('listing_history.price', 'listing_history.currency', 'fx_rates.rate') }} as stated_price_usd,
        cast(listing_history.brand_claimed is null as integer)
        + cast(listing_history.category is null as integer)
        + cast(listing_history.condition is null as integer)
        + cast(listing_history.description is null as integer)
        + cast(listing_history.specs is null as integer)
        + cast(int_listing_brands.model_key is null as integer) as missing_field_count,
        case when brand_lists.brand_id is not null then authorisations.brand_id is not null end as is_authorised
    from kept
    left join listing_history
        on
            listing_history.listing_id = kept.listing_id
            and listing_history.known_from <= kept.as_of_date
            and listing_history.known_until > kept.as_of_date
    left join int_listing_brands
        on
            int_listing_brands.listing_id = kept.listing_id
            and int_listing_brands.known_from <= kept.as_of_date
            and int_listing_brands.known_until > kept.as_of_date
    left join fx_rates
        on
            fx_rates.currency = listing_history.currency
            and fx_rates.date = kept.as_of_date
    left join brand_lists
        on
            brand_lists.brand_id = int_listing_brands.brand_id
            and brand_lists.known_from <= kept.as_of_date
    left join authorisations
        on
            authorisations.brand_id = int_listing_brands.brand_id
            and authorisations.merchant_id = kept.merchant_id
            and authorisations.known_from <= kept.as_of_date
            and authorisations.known_until > kept.as_of_date

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

-- A model that the brand no longer sells is one that it had, without a price.
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

-- Where no price was seen by then, the one stated in the listing itself counts, at the day's rate. The brand's prices are those
-- in force, at the rate of the day of the price that is next to them.
priced as (

    select
        described.*,
        coalesce(described.seen_price_usd, described.stated_price_usd) as price_usd,
        coalesce(described.lowest_seen_price_usd, described.stated_price_usd) as lowest_price_usd,
        coalesce(described.highest_seen_price_usd, described.stated_price_usd) as highest_price_usd,
        products.brand_id is not null as is_model_known,
        {{ in_base_currency('products.msrp', 'products.currency', 'price_rates.rate') }} as msrp_usd,
        {{ in_base_currency('products.floor_price', 'products.currency', 'price_rates.rate') }} as floor_price_usd,
        {{ in_base_currency('products.msrp', 'products.currency', 'lowest_rates.rate') }} as lowest_price_msrp_usd
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
        priced.specs_hash,
        priced.price_usd,
        priced.lowest_price_usd,
        priced.highest_price_usd,
        priced.price_change_count,
        priced.largest_price_drop,
        priced.paid_usd,
        priced.asked_usd,
        priced.missing_field_count,
        priced.is_authorised,
        priced.msrp_usd,
        priced.floor_price_usd,
        priced.lowest_price_msrp_usd,
        {{ decimal_ratio('priced.price_usd', 'priced.msrp_usd') }} as msrp_ratio,
        {{ log_price(decimal_ratio('priced.price_usd', 'priced.msrp_usd')) }} as log_msrp_ratio,
        priced.model_key is not null as has_model_ref,
        case
            when catalogues.brand_id is not null and priced.model_key is not null
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
        end as is_title_copied
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

)

select * from final
