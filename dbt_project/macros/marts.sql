-- CTEs shared by the rated marts: the rating of each entity with its band, expected precision, reasons and suppression.

{#
    CTE `ratings`: each scored row with its ids, band, expected_precision, reasons and the end of its suppression. CTE `terms`:
    the policy's terms for these rows (see `decided`). `relation` is the prefix of the scores' tables, `key` the column that
    identifies a row, and `entity_kinds` maps each kind of entity that a row concerns to the column with its id: a suppression of
    any of them suppresses the row.
#}
{% macro ratings(relation, model, key, entity_kinds) %}
run as (

    select * from {{ source('landed', 'run') }}

),

scores as (

    select * from {{ source('landed', relation ~ '_scores') }}

),

explained as (

    select * from {{ source('landed', relation ~ '_reasons') }}

),

terms as (

    select * from {{ source('landed', 'terms') }}
    where model = '{{ model }}'

),

precision_bands as (

    select * from {{ source('landed', 'precision_bands') }}
    where model = '{{ model }}'

),

known_labels as (

    select int_labels.*
    from {{ ref('int_labels') }} as int_labels
    inner join run
        on run.as_of >= cast(int_labels.decided_at as date)
    where int_labels.violation_type = '{{ 'brushing' if 'brushing' in model else 'counterfeit' }}'

),

-- Suppressions recorded by a person, and upheld appeals without a later positive label.
suppressions as (

    select
        stg_suppressions.entity_kind,
        stg_suppressions.entity_id,
        coalesce(cast(stg_suppressions.expires_at as date), date '9999-12-31') as until_date
    from {{ ref('stg_suppressions') }} as stg_suppressions
    cross join run
    where
        cast(stg_suppressions.created_at as date) <= run.as_of
        and (stg_suppressions.expires_at is null or cast(stg_suppressions.expires_at as date) > run.as_of)
    union all
    select
        upheld.entity_kind,
        upheld.entity_id,
        date '9999-12-31' as until_date
    from known_labels as upheld
    left join known_labels as later
        on
            later.entity_kind = upheld.entity_kind
            and later.entity_id = upheld.entity_id
            and later.is_positive
            and later.decided_at > upheld.decided_at
    where
        upheld.source = 'appeal'
        and later.entity_id is null

),

suppressed as (

    select
        entity_kind,
        entity_id,
        max(until_date) as until_date
    from suppressions
    group by
        entity_kind,
        entity_id

),

placed as (

    select
        *,
        least(cast(floor(score / 10) as integer), 9) * 10 as band_start
    from scores

),

banded as (

    select
        *,
        '[' || band_start || ',' || (band_start + 10) || case when band_start = 90 then ']' else ')' end as band
    from placed

),

ratings as (

    select
        run.as_of as as_of_date,
        {% for column in ([key] + (entity_kinds.values() | list)) | unique %}
        banded.{{ column }},
        {% endfor %}
        banded.score,
        banded.own_conduct_score,
        banded.margin,
        banded.band,
        precision_bands.expected_precision,
        explained.reasons,
        explained.signal_count,
        banded.model_digest,
        {% for kind in entity_kinds %}
        suppressed_{{ kind }}.entity_id is not null{{ ' or' if not loop.last else ' as is_suppressed,' }}
        {% endfor %}
        {{ 'greatest(' if entity_kinds | length > 1 }}
        {%- for kind in entity_kinds -%}
            suppressed_{{ kind }}.until_date{{ ', ' if not loop.last }}
        {%- endfor -%}
        {{ ')' if entity_kinds | length > 1 }} as suppressed_until_date
    from banded
    cross join run
    left join precision_bands
        on precision_bands.band = banded.band
    left join explained
        on explained.{{ key }} = banded.{{ key }}
    {% for kind, column in entity_kinds.items() %}
    left join suppressed as suppressed_{{ kind }}
        on
            suppressed_{{ kind }}.entity_kind = '{{ kind }}'
            and suppressed_{{ kind }}.entity_id = banded.{{ column }}
    {% endfor %}

)
{% endmacro %}


-- CTE `brands_of_listings`: the brand of each listing as of the run's date, under the brand's own name if it is known.
{% macro brands_of_listings() %}
brands_of_listings as (

    select
        int_listing_brands.listing_id,
        coalesce(stg_brands.name, int_listing_brands.brand_claimed) as brand
    from {{ ref('int_listing_brands') }} as int_listing_brands
    cross join run
    left join {{ ref('stg_brands') }} as stg_brands
        on stg_brands.brand_id = int_listing_brands.brand_id
    where
        int_listing_brands.known_from <= run.as_of
        and int_listing_brands.known_until > run.as_of

)
{% endmacro %}

{# The rating's columns in the order that all lists share. `reasons` may be an expression that adds quotes. #}
{% macro rating_columns(reasons='ratings.reasons') -%}
    ratings.score,
        ratings.own_conduct_score,
        ratings.margin,
        ratings.band,
        ratings.expected_precision,
        {{ reasons }} as reasons,
        ratings.signal_count,
        ratings.model_digest,
        ratings.is_suppressed,
        ratings.suppressed_until_date
{%- endmacro %}

{#
    CTE `described`: every merchant of the CTE `ratings` with name, country, main category and main brand. Its url, price and
    currency are null; they exist so that all lists have the same columns.
#}
{% macro merchants_of_ratings() %}
{{ brands_of_listings() }},

live_listings as (

    select
        listing_spine.merchant_id,
        listing_spine.category,
        brands_of_listings.brand
    from {{ ref('listing_spine') }} as listing_spine
    left join brands_of_listings
        on brands_of_listings.listing_id = listing_spine.listing_id
    where listing_spine.purpose = 'score'

),

sizes as (

    select
        merchant_id,
        count(*) as active_listing_count
    from live_listings
    group by merchant_id

),

categories as (

    select
        merchant_id,
        category,
        row_number() over (partition by merchant_id order by count(*) desc, category asc) as place
    from live_listings
    where category is not null
    group by
        merchant_id,
        category

),

brands as (

    select
        merchant_id,
        brand,
        row_number() over (partition by merchant_id order by count(*) desc, brand asc) as place
    from live_listings
    where brand is not null
    group by
        merchant_id,
        brand

),

stg_merchants as (

    select * from {{ ref('stg_merchants') }}

),

described as (

    select
        ratings.as_of_date,
        ratings.merchant_id,
        stg_merchants.name,
        stg_merchants.country,
        cast(null as varchar) as url,
        categories.category,
        brands.brand,
        cast(null as decimal(18, 4)) as price,
        cast(null as varchar) as currency,
        coalesce(sizes.active_listing_count, 0) as active_listing_count,
        {{ rating_columns() }}
    from ratings
    inner join stg_merchants
        on stg_merchants.merchant_id = ratings.merchant_id
    left join sizes
        on sizes.merchant_id = ratings.merchant_id
    left join categories
        on
            categories.merchant_id = ratings.merchant_id
            and categories.place = 1
    left join brands
        on
            brands.merchant_id = ratings.merchant_id
            and brands.place = 1

)
{% endmacro %}

{# The signals that discrepancies can belong to. #}
{% macro quoted_signals() %}{{ return(['spec', 'price', 'logo', 'text']) }}{% endmacro %}

{#
    Reasons with a `quote` in the reason of each of these signals. `quotes` has columns <signal>_words, null if there is nothing
    to quote.
#}
{% macro quoting(reasons, quotes) -%}
    {%- set quoted = namespace(reasons=reasons) -%}
    {%- for signal in quoted_signals() -%}
        {%- set words = quotes ~ '.' ~ signal ~ '_words' -%}
        {%- set quoted.reasons -%}
    replace(
        {{ quoted.reasons }},
        '"signal": "{{ signal }}", ',
        '"signal": "{{ signal }}", '
        || case when {{ words }} is null then '' else '"quote": ' || {{ json_quoted(words) }} || ', ' end
    )
        {%- endset -%}
    {%- endfor -%}
    {{ quoted.reasons }}
{%- endmacro %}

{# Members of each ring as of the run's date, including rings that depend on spoofable links. #}
{% macro ring_members() -%}
    select
        merchant_rings.as_of_date,
        merchant_rings.ring_id,
        merchant_rings.merchant_id
    from {{ source('landed', 'merchant_rings') }} as merchant_rings
    inner join run
        on run.as_of = merchant_rings.as_of_date
    where not merchant_rings.is_verified
{%- endmacro %}
