-- Which transactions are rated or learned from, and when: one row a transaction, date and purpose, as in listing_spine. At
-- the scoring date every transaction of the year that shows two indicators; at the dates of a training those that are
-- decided on within H days, and a hash sample of those that nothing labels: of the merchants that are drawn, about so many
-- transactions a date. Calibrated on audited transactions.
with

transactions as (

    select * from {{ ref('transaction_indicators') }} where indicator_count >= {{ min_indicators() }}

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
        transactions.as_of_date,
        least(1.0, round(cast({{ transactions_per_date() }} as double) / count(*), 6)) as transaction_share,
        max(places.drawn_share) as merchant_share
    from transactions
    inner join {{ ref('brushing_places') }} as places
        on
            places.as_of_date = transactions.as_of_date
            and places.merchant_id = transactions.merchant_id
    where
        transactions.is_drawn
        and not transactions.is_scored
    group by transactions.as_of_date

),

rated as (

    select
        transactions.review_key as entity_id,
        transactions.merchant_id,
        listings.category,
        transactions.as_of_date,
        true as is_active,
        transactions.occurred_date as active_since
    from transactions
    left join drawn_shares
        on drawn_shares.as_of_date = transactions.as_of_date
    left join listings
        on
            listings.listing_id = transactions.listing_id
            and listings.known_from <= transactions.as_of_date
            and listings.known_until > transactions.as_of_date
    left join brushing_labels
        on brushing_labels.entity_id = transactions.review_key
    where
        transactions.is_scored
        or brushing_labels.entity_id is not null
        or (
            transactions.is_drawn
            and {{ key_share("transactions.review_key || '|' || cast(transactions.as_of_date as varchar)") }}
            < drawn_shares.transaction_share
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
                then spine_rows.sampling_share * drawn_shares.transaction_share * drawn_shares.merchant_share
            else spine_rows.sampling_share
        end as sampling_share,
        spine_rows.inclusion_probability,
        spine_rows.expansion_weight,
        spine_rows.is_random_arm,
        spine_rows.is_active
    from spine_rows
    left join drawn_shares
        on drawn_shares.as_of_date = spine_rows.as_of_date

)

select * from final
