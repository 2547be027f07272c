-- What was ordered, delivered and refunded of a listing on a day, one row a day, listing and merchant. Incremental by day, and
-- only the days whose digest of events is not the one kept in the table: so a kill, a missed day, a late, corrected or
-- deleted row heal by themselves. How is in the macro, which the four parts of a listing's days share.
{{ daily_table() }}

with

{{ daily_part('orders') }}

select * from final
