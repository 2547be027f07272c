-- Which trades are rated or learned from, and when: one row a trade, date and purpose, as in listing_spine. At the scoring date
-- every trade of the year that shows two signs; at the dates of a training those that are decided on within H days, and a hash
-- sample of those that nothing labels: of the merchants that are drawn, about so many trades a date. Calibrated on audited
-- trades.
with

trades as (

    select * from {{ ref('trade_signs') }} where sign_count >= {{ least_signs() }}

),

brushing_labels as (

    select distinct entity_id
    from {{ ref('brushing_labels') }}
    where
        entity_kind = 'review'
        and inclusion_probability is null

),

listings as (

    select
        listing_id,
        category,
        known_from,
        known_until
    from {{ ref('stg_listing_history') }}

),

drawn_shares as (

    select
        trades.as_of_date,
        least(1.0, round(cast({{ trades_per_date() }} as double) / count(*), 6)) as trade_share,
        max(places.drawn_share) as merchant_share
    from trades
    inner join {{ ref('brushing_places') }} as places
        on
            places.as_of_date = trades.as_of_date
            and places.merchant_id = trades.merchant_id
    where
        trades.is_drawn
        and not trades.is_scored
    group by trades.as_of_date

),

rated as (

    select
        trades.review_key as entity_id,
        trades.merchant_id,
        listings.category,
        trades.as_of_date,
        true as is_live,
        trades.began_date
    from trades
    left join drawn_shares
        on drawn_shares.as_of_date = trades.as_of_date
    left join listings
        on
            listings.listing_id = trades.listing_id
            and listings.known_from <= trades.as_of_date
            and listings.known_until > trades.as_of_date
    left join brushing_labels
        on brushing_labels.entity_id = trades.review_key
    where
        trades.is_scored
        or brushing_labels.entity_id is not null
        or (
            trades.is_drawn
            and {{ key_share("trades.review_key || '|' || cast(trades.as_of_date as varchar)") }}
            < drawn_shares.trade_share
        )

),

{{ spine_rows('review', 'rated', 'moderation_decision', labels='brushing_labels') }},

final as (

    select
        spine_rows.entity_id as review_key,
        spine_rows.merchant_id,
        spine_rows.category,
        spine_rows.as_of_date,
        spine_rows.purpose,
        spine_rows.label,
        spine_rows.label_source,
        spine_rows.label_decided_date,
        case
            when spine_rows.label_source is null and spine_rows.purpose in ('train', 'evaluate')
                then spine_rows.sampling_share * drawn_shares.trade_share * drawn_shares.merchant_share
            else spine_rows.sampling_share
        end as sampling_share,
        spine_rows.inclusion_probability,
        spine_rows.stands_for,
        spine_rows.is_random_arm,
        spine_rows.is_live
    from spine_rows
    left join drawn_shares
        on drawn_shares.as_of_date = spine_rows.as_of_date

)

select * from final
