-- Which merchants are linked to which at a date: one row a merchant, neighbour and date, by identifiers that both bear by
-- then. A link is loose where it rests only on what a third party could plant. The neighbours' own neighbours are there too,
-- two hops away, where both links are firm and no firm one is shorter; who offers nothing is a way to others all the same.
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

directed as (

    select
        merchant_id_a as merchant_id,
        merchant_id_b as neighbour_id,
        known_from,
        known_until,
        firm_from,
        firm_until
    from int_merchant_edges
    union all
    select
        merchant_id_b as merchant_id,
        merchant_id_a as neighbour_id,
        known_from,
        known_until,
        firm_from,
        firm_until
    from int_merchant_edges

),

near as (

    select
        merchant_windows.merchant_id,
        merchant_windows.as_of_date,
        directed.neighbour_id,
        not bool_or(
            directed.firm_from <= merchant_windows.as_of_date
            and directed.firm_until > merchant_windows.as_of_date
        ) as is_loose
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

),

firm as (

    select
        merchant_id,
        as_of_date,
        neighbour_id
    from near
    where not is_loose

),

far as (

    select distinct
        firm.merchant_id,
        firm.as_of_date,
        directed.neighbour_id
    from firm
    inner join directed
        on
            directed.merchant_id = firm.neighbour_id
            and directed.neighbour_id <> firm.merchant_id
            and directed.firm_from <= firm.as_of_date
            and directed.firm_until > firm.as_of_date
            and directed.known_until > firm.as_of_date
    left join firm as nearer
        on
            nearer.merchant_id = firm.merchant_id
            and nearer.as_of_date = firm.as_of_date
            and nearer.neighbour_id = directed.neighbour_id
    where nearer.neighbour_id is null

),

final as (

    select
        merchant_id,
        as_of_date,
        neighbour_id,
        1 as hop_count,
        is_loose
    from near
    union all
    select
        merchant_id,
        as_of_date,
        neighbour_id,
        2 as hop_count,
        false as is_loose
    from far

)

select * from final
