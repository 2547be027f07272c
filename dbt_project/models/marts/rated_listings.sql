-- Rated listings, for analysts, one row each: data of the listing, score and reasons. Lists are published from the flagged ones.
with

{{ ratings('listing', 'listing_counterfeit', 'listing_id', {'listing': 'listing_id'}) }},

{{ brands_of_listings() }},

stg_listings as (

    select * from {{ ref('stg_listings') }}

),

stg_merchants as (

    select * from {{ ref('stg_merchants') }}

),

listing_discrepancies as (

    select
        *,
        row_number() over (
            partition by listing_id, signal
            order by millionths_apart desc nulls last, reference asc, field asc
        ) as place
    from {{ ref('listing_discrepancies') }}

),

-- The greatest discrepancy per signal, which the reason of that signal quotes.
quotes as (

    select
        {% for signal in quoted_signals() %}
        max(words) filter (where signal = '{{ signal }}') as {{ signal }}_words,
        {% endfor %}
        listing_id
    from listing_discrepancies
    where place = 1
    group by listing_id

),

described as (

    select
        ratings.as_of_date,
        ratings.listing_id,
        stg_listings.merchant_id,
        stg_merchants.country,
        stg_listings.title,
        stg_listings.url,
        stg_listings.category,
        brands_of_listings.brand,
        stg_listings.price,
        stg_listings.currency,
        {{ rating_columns(quoting('ratings.reasons', 'quotes')) }}
    from ratings
    inner join stg_listings
        on stg_listings.listing_id = ratings.listing_id
    left join stg_merchants
        on stg_merchants.merchant_id = stg_listings.merchant_id
    left join brands_of_listings
        on brands_of_listings.listing_id = ratings.listing_id
    left join quotes
        on quotes.listing_id = ratings.listing_id

),

{{ decided('described', 'listing_id') }}

select * from decided
