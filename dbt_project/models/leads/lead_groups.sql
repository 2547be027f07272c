-- The groups that are leads as of the date, one row per group and member: a ring with an entry on a published list, listed
-- merchants outside any ring, and a brushing service with a listed merchant or transaction.
with

listed_candidates as (

    select * from {{ ref('listed_candidates') }}
    where kind <> 'merchant' or is_listed or is_brushing_listed

),

groups as (

    select
        kind,
        group_id,
        bool_or(is_listed or is_brushing_listed or listed_listing_count > 0) as has_listed,
        bool_or(is_brushing_listed or listed_transaction_count > 0) as has_brushing
    from listed_candidates
    group by kind, group_id

),

final as (

    select listed_candidates.*
    from listed_candidates
    inner join groups
        on
            groups.kind = listed_candidates.kind
            and groups.group_id = listed_candidates.group_id
    where case when groups.kind = 'service' then groups.has_brushing else groups.has_listed end

)

select * from final
