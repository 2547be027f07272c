-- Merchants that are banned as of the date, one row each, with the accounts of their ring that registered after the ban:
-- merchants that may have returned under another name.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ bans() }},

{{ ties() }},

tied as (

    select distinct
        merchant_id,
        other_merchant_id
    from ties

),

returned as (

    select
        bans.merchant_id,
        count(*) as returned_count,
        min(stg_merchants.registered_at) as returned_at,
        {{ value_at_least('stg_merchants.merchant_id', '(stg_merchants.registered_at, stg_merchants.merchant_id)') }}
            as returned_merchant_id
    from bans
    inner join tied
        on tied.merchant_id = bans.merchant_id
    inner join {{ ref('stg_merchants') }} as stg_merchants
        on
            stg_merchants.merchant_id = tied.other_merchant_id
            and stg_merchants.registered_at > bans.banned_at
    cross join run
    where cast(stg_merchants.registered_at as date) <= run.as_of
    group by bans.merchant_id

),

final as (

    select
        run.as_of as as_of_date,
        bans.merchant_id,
        bans.banned_at,
        coalesce(returned.returned_count, 0) as returned_count,
        returned.returned_at,
        returned.returned_merchant_id
    from bans
    cross join run
    left join returned
        on returned.merchant_id = bans.merchant_id

)

select * from final
