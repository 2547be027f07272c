{#
    What the neighbours of anything are like: who is near whom over any edges (`hops`), and sums of any tables' columns over
    those (`neighbour_sums`). Itself left out, each neighbour once, over however many paths; means are ratios of such sums and
    come last. Whole numbers and decimals only, so that the order of rows does not count. Plain jinja and plain SQL.
#}

{#
    CTEs that end in `hops`: one row a place, neighbour and number of links between them, 1 or 2. Whoever is one link away is
    not two away as well.

    Args:
        places: name of a CTE: the key and as_of_date, for which neighbours are asked; one row each.
        edges: name of a CTE: the key, neighbour_id, and from when until when (exclusive) the two are linked, known_from and
            known_until; a row each way, several of two are one link.
        key: the column that names the entity.
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
    The query that sums columns over an entity's neighbours, and over theirs (`second_`): one row a place that has any. Null
    where none of them has a row; the entity itself is described in the tables.

    Args:
        neighbours: name of a CTE as `hops` is, and state_date: the date of the tables at which a neighbour is looked at.
        tables: columns with the types of their sums, by the name of a CTE that has the key, as_of_date and one row for both.
        key: the column that names the entity.
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
