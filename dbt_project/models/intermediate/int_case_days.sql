-- What platform, brands and testers did about a listing on a day, one row a day and listing. Incremental as int_order_days
-- is.
{{ daily_table() }}

with

{{ daily_part('cases') }}

select * from final
