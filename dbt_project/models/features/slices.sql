-- Attributes by which a reviewer can break down a model's evaluation; one row for each evaluation row of every spine. Null if
-- unknown or not applicable. No model uses it, so it is a view that only a training reads.
{{ config(materialized='view') }}

-- Expressions for the attributes that each spine has; all others are null, except the merchant's age, which is in the features.
{% set spines = [
    {'relation': 'listing', 'key': 'listing_id', 'brand': 'brands.name', 'price': 'features.price_base'},
    {'relation': 'merchant', 'key': 'merchant_id', 'price': 'features.price_base'},
    {'relation': 'review', 'key': 'review_key', 'age': 'cast(null as integer)', 'language': 'reviews.language'},
    {'relation': 'brushing_merchant', 'key': 'merchant_id'},
] %}

with

merchants as (

    select
        merchant_id,
        country,
        known_from,
        known_until
    from {{ ref('stg_merchant_history') }}

),

{% for spine in spines %}
{{ spine.relation }}_rows as (

    select
        '{{ spine.relation }}' as relation,
        spine.{{ spine.key }} as entity_id,
        spine.merchant_id,
        spine.as_of_date,
        spine.purpose,
        {{ spine.brand | default('cast(null as varchar)') }} as brand,
        {{ spine.price | default('cast(null as decimal(18, 4))') }} as price_base,
        {{ spine.age | default('features.merchant_age_days') }} as merchant_age_days,
        {{ spine.language | default('cast(null as varchar)') }} as language
    from {{ ref(spine.relation ~ '_spine') }} as spine
    inner join {{ ref(spine.relation ~ '_features') }} as features
        on
            features.{{ spine.key }} = spine.{{ spine.key }}
            and features.as_of_date = spine.as_of_date
            and features.purpose = spine.purpose
    {% if spine.relation == 'listing' %}
    left join {{ ref('int_listing_brands') }} as listing_brands
        on
            listing_brands.listing_id = spine.listing_id
            and listing_brands.known_from <= spine.as_of_date
            and listing_brands.known_until > spine.as_of_date
    left join {{ ref('stg_brands') }} as brands
        on brands.brand_id = listing_brands.brand_id
    {% elif spine.relation == 'review' %}
    left join {{ ref('stg_reviews') }} as reviews
        on reviews.review_id = features.review_id
    {% endif %}
    where spine.purpose = 'evaluate'

),

{% endfor %}
unioned as (

    {% for spine in spines %}
    select * from {{ spine.relation }}_rows
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

final as (

    select
        unioned.relation,
        unioned.entity_id,
        unioned.as_of_date,
        unioned.purpose,
        unioned.brand,
        merchants.country,
        {{ banded('unioned.price_base', [10, 30, 100, 300], base_currency()) }} as price_band,
        {{ banded('unioned.merchant_age_days', [30, 90, 365, 1095], "'days'") }} as merchant_age_band,
        unioned.language
    from unioned
    left join merchants
        on
            merchants.merchant_id = unioned.merchant_id
            and merchants.known_from <= unioned.as_of_date
            and merchants.known_until > unioned.as_of_date

)

select * from final
