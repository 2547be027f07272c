-- Which trades are rated or learned from, and when: one row a trade, date and purpose, as in listing_spine. At the scoring date
-- every trade of the year; at the dates of a training those that are decided on within H days, and a hash sample of those that
-- nothing labels: of the merchants that are drawn, about so many trades a date. Calibrated on audited trades.
with

brushing_trades as (

    select * from {{ ref('brushing_trades') }}

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
        brushing_trades.as_of_date,
        least(1.0, round({{ trades_per_date() }}.0 / count(*), 6)) as trade_share,
        max(places.drawn_share) as merchant_share
    from brushing_trades
    inner join {{ ref('brushing_places') }} as places
        on
            places.as_of_date = brushing_trades.as_of_date
            and places.merchant_id = brushing_trades.merchant_id
    where
        brushing_trades.is_drawn
        and not brushing_trades.is_scored
    group by brushing_trades.as_of_date

),

rated as (

    select
        brushing_trades.review_key as entity_id,
        brushing_trades.merchant_id,
        listings.category,
        brushing_trades.as_of_date,
        true as is_live
    from brushing_trades
    left join drawn_shares
        on drawn_shares.as_of_date = brushing_trades.as_of_date
    left join listings
        on
            listings.listing_id = brushing_trades.listing_id
            and listings.known_from <= brushing_trades.as_of_date
            and listings.known_until > brushing_trades.as_of_date
    left join brushing_labels
        on brushing_labels.entity_id = brushing_trades.review_key
    where
        brushing_trades.is_scored
        or brushing_labels.entity_id is not null
        or (
            brushing_trades.is_drawn
            and {{ key_share("brushing_trades.review_key || '|' || cast(brushing_trades.as_of_date as varchar)") }}
            < drawn_shares.trade_share
        )

),

{{ spine_rows('review', 'rated', 'moderation_decision', 1000000000, labels='brushing_labels') }},

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
        spine_rows.is_random_arm,
        spine_rows.is_live
    from spine_rows
    left join drawn_shares
        on drawn_shares.as_of_date = spine_rows.as_of_date

)

select * from final
