-- Which merchants are linked to which at a date: one row a merchant, neighbour and date, by identifiers that both bear by
-- then. A link is loose where it rests only on what a third party could plant: a phone, an address or an email that the
-- platform has not verified on both sides.
with

merchant_windows as (

    select
        merchant_id,
        as_of_date
    from {{ ref('merchant_windows') }}

),

int_merchant_edges as (

    select * from {{ ref('int_merchant_edges') }}

),

edges as (

    select
        merchant_id_a,
        merchant_id_b,
        known_from,
        known_until,
        case
            when kind in ('phone', 'address', 'email') then coalesce(verified_from, {{ end_of_time() }})
            else known_from
        end as firm_from
    from int_merchant_edges

),

directed as (

    select
        merchant_id_a as merchant_id,
        merchant_id_b as neighbour_id,
        known_from,
        known_until,
        firm_from
    from edges
    union all
    select
        merchant_id_b as merchant_id,
        merchant_id_a as neighbour_id,
        known_from,
        known_until,
        firm_from
    from edges

),

final as (

    select
        merchant_windows.merchant_id,
        merchant_windows.as_of_date,
        directed.neighbour_id,
        not bool_or(directed.firm_from <= merchant_windows.as_of_date) as is_loose
    from merchant_windows
    inner join directed
        on
            directed.merchant_id = merchant_windows.merchant_id
            and directed.known_from <= merchant_windows.as_of_date
            and directed.known_until > merchant_windows.as_of_date
    group by
        merchant_windows.merchant_id,
        merchant_windows.as_of_date,
        directed.neighbour_id

)

select * from final
