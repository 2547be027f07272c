-- Spans in which a brand authorises a merchant to sell it; one row per brand, merchant and span. Overlapping and adjacent
-- authorisations are merged, so that a day is in at most one span.
with

authorised_merchants as (

    select
        brand_id,
        merchant_id,
        cast(valid_from as date) as known_from,
        coalesce(cast(valid_to as date), {{ end_of_time() }}) as known_until
    from {{ ref('stg_authorised_merchants') }}

),

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

final as (

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

)

select * from final
