{#
    Aggregates over an entity's neighbours: which entities are connected over any edges (`hops`), and sums of any tables' columns
    over them (`neighbour_sums`). The entity itself is excluded, and each neighbour counts once, over however many paths. Means
    are ratios of such sums, computed later. Only integers and decimals are summed, so that the order of rows does not matter.
    Plain jinja and plain SQL.
#}

{#
    CTEs that end in `hops`: one row per place, neighbour and hop count, 1 or 2. A direct neighbour is not also a second-degree
    one.
    Args:
        places: name of a CTE with the key and as_of_date for which neighbours are requested; one row each.
        edges: name of a CTE with the key, neighbour_id, and the span of the edge, known_from and known_until (exclusive); one row
            per direction; several edges between two entities are one link.
        key: the column that identifies the entity.
#}
{% macro hops(places, edges, key) -%}
first_hop as (

    select distinct
        {{ places }}.{{ key }},
        {{ places }}.as_of_date,
        {{ edges }}.neighbour_id
    from {{ places }}
    inner join {{ edges }}
        on
            {{ edges }}.{{ key }} = {{ places }}.{{ key }}
            and {{ edges }}.neighbour_id <> {{ places }}.{{ key }}
            and {{ edges }}.known_from <= {{ places }}.as_of_date
            and {{ edges }}.known_until > {{ places }}.as_of_date

),

second_hop as (

    select distinct
        first_hop.{{ key }},
        first_hop.as_of_date,
        {{ edges }}.neighbour_id
    from first_hop
    inner join {{ edges }}
        on
            {{ edges }}.{{ key }} = first_hop.neighbour_id
            and {{ edges }}.neighbour_id <> first_hop.{{ key }}
            and {{ edges }}.known_from <= first_hop.as_of_date
            and {{ edges }}.known_until > first_hop.as_of_date
    left join first_hop as nearer
        on
            nearer.{{ key }} = first_hop.{{ key }}
            and nearer.as_of_date = first_hop.as_of_date
            and nearer.neighbour_id = {{ edges }}.neighbour_id
    where nearer.neighbour_id is null

),

hops as (

    select
        {{ key }},
        as_of_date,
        neighbour_id,
        1 as hop_count
    from first_hop
    union all
    select
        {{ key }},
        as_of_date,
        neighbour_id,
        2 as hop_count
    from second_hop

),
{%- endmacro %}

{#
    Query that sums columns over an entity's neighbours, and over second-degree ones (`second_`): one row per place that has any.
    Null if none of them has a row in the table.
    Args:
        neighbours: name of a CTE with the columns of `hops`, and state_date: the date at which the tables describe a neighbour.
        tables: by the name of a CTE (key, as_of_date, one row per combination), the columns to sum with the types of their sums.
        key: the column that identifies the entity.
#}
{% macro neighbour_sums(neighbours, tables, key) -%}
    select
        {{ neighbours }}.{{ key }},
        {{ neighbours }}.as_of_date
        {%- for prefix, hop_count in {'': 1, 'second_': 2}.items() %}
        {%- set of_hop = 'filter (where ' ~ neighbours ~ '.hop_count = ' ~ hop_count ~ ')' %}
        {%- for table, columns in tables.items() %}
        {%- for column, type in columns.items() %},
        cast(sum({{ table }}.{{ column }}) {{ of_hop }} as {{ type }}) as {{ prefix }}{{ column }}
        {%- endfor %}
        {%- endfor %}
        {%- endfor %}
    from {{ neighbours }}
    {%- for table in tables %}
    left join {{ table }}
        on
            {{ table }}.{{ key }} = {{ neighbours }}.neighbour_id
            and {{ table }}.as_of_date = {{ neighbours }}.state_date
    {%- endfor %}
    group by
        {{ neighbours }}.{{ key }},
        {{ neighbours }}.as_of_date
{%- endmacro %}
