-- GTINs that listings state, in their column or in title and description; one row per listing, span of days and GTIN.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_text_codes as (

    select * from {{ ref('int_text_codes') }}
    where
        gtins is not null
        or invalid_gtins is not null

),

stated as (

    select
        listing_id,
        known_from,
        known_until,
        {{ stated_gtin('gtin') }} as gtin,
        false as is_in_text
    from listing_history
    where gtin is not null
    union all
    select
        listing_history.listing_id,
        listing_history.known_from,
        listing_history.known_until,
        {{ each_member(both_lists('int_text_codes.gtins', 'int_text_codes.invalid_gtins')) }} as gtin,
        true as is_in_text
    from listing_history
    inner join int_text_codes
        on int_text_codes.text_digest = {{ written_digest('listing_history') }}

),

final as (

    select
        listing_id,
        known_from,
        known_until,
        gtin,
        {{ has_check_digit('gtin') }} as is_valid,
        bool_and(is_in_text) as is_in_text
    from stated
    where gtin is not null
    group by
        listing_id,
        known_from,
        known_until,
        gtin

)

select * from final
