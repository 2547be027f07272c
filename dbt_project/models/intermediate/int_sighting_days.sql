-- When a listing was seen on offer, and at what price, one row a day and listing. Incremental as int_order_days is.
{{ daily_table() }}

with

{{ daily_part('sightings') }}

select * from final
