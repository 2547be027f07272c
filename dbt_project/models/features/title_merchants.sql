-- Merchants with a title in a band value, in order of first appearance; one row per band value that several merchants have, and
-- merchant.
with

first_shown as (

    select
        band,
        title_band,
        merchant_id,
        min(shown_from) as shown_from
    from {{ ref('title_appearances') }}
    group by
        band,
        title_band,
        merchant_id

),

ranked as (

    select
        *,
        row_number() over (partition by band, title_band order by shown_from, merchant_id) as place,
        count(*) over (partition by band, title_band) as merchant_count
    from first_shown

),

final as (

    select
        band,
        title_band,
        merchant_id,
        shown_from,
        place
    from ranked
    where merchant_count > 1

)

select * from final
