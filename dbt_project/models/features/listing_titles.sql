-- Who else has written nearly the same title, one row a listing of the spine, and date: how many other merchants by then, and
-- whether one of them did before. A title that more merchants share than share an identifier is the goods' usual name.
with

places as (

    select distinct
        listing_id,
        merchant_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

listings as (

    select * from {{ ref('stg_listings') }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

shown as (

    {% for band in title_bands() -%}
    select
        int_listing_texts.listing_id,
        listings.merchant_id,
        {{ band }} as band,
        int_listing_texts.title_band_{{ band }} as title_band,
        greatest(int_listing_texts.known_from, cast(listings.listed_at as date)) as shown_from,
        int_listing_texts.known_until as shown_until
    from int_listing_texts
    inner join listings
        on listings.listing_id = int_listing_texts.listing_id
    where int_listing_texts.title_band_{{ band }} is not null
    {{ 'union all' if not loop.last }}
    {% endfor -%}

),

first_shown as (

    select
        band,
        title_band,
        merchant_id,
        min(shown_from) as shown_from
    from shown
    group by
        band,
        title_band,
        merchant_id

),

ranked as (

    select
        *,
        row_number() over (partition by band, title_band order by shown_from, merchant_id) as place,
        count(*) over (partition by band, title_band) as merchant_count
    from first_shown

),

-- Of a band that one merchant has nothing is told.
shared as (

    select
        band,
        title_band,
        merchant_id,
        shown_from
    from ranked
    where
        merchant_count > 1
        and place <= {{ most_bearers() }}

),

common as (

    select
        band,
        title_band,
        shown_from as common_from
    from ranked
    where place = {{ most_bearers() }} + 1

),

others as (

    select
        places.listing_id,
        places.as_of_date,
        shared.merchant_id,
        bool_or(shared.shown_from < own.shown_from) as is_earlier
    from places
    inner join shown
        on
            shown.listing_id = places.listing_id
            and shown.shown_from <= places.as_of_date
            and shown.shown_until > places.as_of_date
    inner join shared
        on
            shared.band = shown.band
            and shared.title_band = shown.title_band
            and shared.shown_from <= places.as_of_date
            and shared.merchant_id <> places.merchant_id
    inner join first_shown as own
        on
            own.band = shown.band
            and own.title_band = shown.title_band
            and own.merchant_id = shown.merchant_id
    left join common
        on
            common.band = shown.band
            and common.title_band = shown.title_band
            and common.common_from <= places.as_of_date
    where common.title_band is null
    group by
        places.listing_id,
        places.as_of_date,
        shared.merchant_id

),

counted as (

    select
        listing_id,
        as_of_date,
        count(*) as title_merchant_count,
        bool_or(is_earlier) as is_title_copied
    from others
    group by
        listing_id,
        as_of_date

),

final as (

    select
        places.listing_id,
        places.as_of_date,
        cast(coalesce(counted.title_merchant_count, 0) as integer) as title_merchant_count,
        coalesce(counted.is_title_copied, false) as is_title_copied
    from places
    left join counted
        on
            counted.listing_id = places.listing_id
            and counted.as_of_date = places.as_of_date

)

select * from final
