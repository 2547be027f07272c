-- The candidates of the date with what is on a published list, one row per kind, group and merchant. What is on no published
-- list is not counted. Listed merchants outside any ring that share a rare identifier have one group.
with

lead_candidates as (

    select * from {{ source('landed', 'lead_candidates') }}

),

merchant_groups as (

    select * from {{ source('landed', 'merchant_groups') }}

),

published as (

    select
        coalesce(bool_or(is_published) filter (where list_name = 'listings'), false) as has_listings,
        coalesce(bool_or(is_published) filter (where list_name = 'merchants'), false) as has_merchants,
        coalesce(bool_or(is_published) filter (where list_name = 'reviews'), false) as has_reviews,
        coalesce(bool_or(is_published) filter (where list_name = 'brushing_merchants'), false) as has_brushing_merchants
    from {{ source('landed', 'published_lists') }}

),

final as (

    select
        candidates.kind,
        coalesce(merchant_groups.group_id, candidates.group_id) as group_id,
        case when candidates.kind = 'service' then 'service' else 'goods' end as family,
        candidates.merchant_id,
        candidates.country,
        candidates.tied_since_date,
        candidates.score,
        candidates.brushing_score,
        candidates.listing_count,
        candidates.unit_count,
        candidates.is_listed and published.has_merchants as is_listed,
        candidates.is_brushing_listed and published.has_brushing_merchants as is_brushing_listed,
        case when published.has_listings then candidates.listed_listing_count else 0 end as listed_listing_count,
        case when published.has_reviews then candidates.listed_transaction_count else 0 end as listed_transaction_count,
        case when published.has_listings then candidates.expected_harm_base else 0 end as expected_harm_base
    from lead_candidates as candidates
    cross join published
    left join merchant_groups
        on
            merchant_groups.merchant_id = candidates.merchant_id
            and candidates.kind = 'merchant'

)

select * from final
