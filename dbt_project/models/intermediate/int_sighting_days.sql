-- When a listing was seen on offer, and at what price, one row a day and listing. Incremental as int_order_days is.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='day',
    on_schema_change='append_new_columns',
    post_hook="{{ drop_markers_of_nothing() }}",
) }}

with

{{ daily_part('sightings') }}

select * from final
