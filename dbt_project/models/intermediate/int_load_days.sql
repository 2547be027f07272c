-- What each load adds to the days of its events: how many rows, and the sum of their hashes, one row a load, moment (the
-- column whose day it is) and day. An increment's rows take the place of earlier ones with the same key, so those come off
-- again: what the loads of a table add together is what its present rows have. A load never changes, so this is computed once
-- a load; it is known by its content's digest, because erasing a person's rows changes that, and by its time.
{{ config(materialized='goes_on', forget='forget_other_loads') }}

{% set loads = loads_to_add_up() %}

with

{% for load in loads %}
{{ load_rows(load) }}
{%- endfor %}
added as (

    {% for load in loads %}
    {{ load_days(load) }}
    {%- endfor %}
    select
        cast(null as varchar) as table_name,
        cast(null as varchar) as content_digest,
        cast(null as timestamp) as landed_at,
        cast(null as varchar) as moment,
        cast(null as date) as day,
        cast(null as bigint) as row_count,
        cast(null as hugeint) as hash_sum
    where false

),

final as (

    select
        added.table_name,
        added.content_digest,
        added.landed_at,
        added.moment,
        added.day,
        cast(sum(added.row_count) as bigint) as row_count,
        sum(added.hash_sum) as hash_sum,
        {{ digest_recipe() }} as recipe
    from added
    cross join {{ source('landed', 'run') }} as run
    group by
        added.table_name,
        added.content_digest,
        added.landed_at,
        added.moment,
        added.day,
        run.project_digest

)

select * from final
