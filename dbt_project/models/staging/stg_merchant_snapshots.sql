with

merchant_snapshots as (

    {{ current_rows('merchant_snapshots', ['merchant_id', 'observed_at']) }}

),

final as (

    select
        merchant_snapshots.merchant_id,
        merchant_snapshots.observed_at,
        merchant_snapshots.rating,
        merchant_snapshots.sales_count
    from merchant_snapshots

)

select * from final
