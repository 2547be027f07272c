{# How models become tables and views. #}

{#
    A table or view that is built as a whole: what the query gives takes its place in one commit, so that a kill leaves the old one.
    (dbt's own build it under another name, rename both and drop the old one in a second commit: twice as many statements, which
    took a run of the demo five seconds. Grants, comments and indexes, which they see to as well, none of our models has.)
#}
{% materialization table, adapter='duckdb' %}{{ return(rebuilt('table')) }}{% endmaterialization %}
{% materialization view, adapter='duckdb' %}{{ return(rebuilt('view')) }}{% endmaterialization %}

{% macro rebuilt(kind) %}
    {% set was, made = load_cached_relation(this), this.incorporate(type=kind) %}
    {{ run_hooks(pre_hooks) }}
    {% call statement('main') %}
        {% if was is not none %}
            drop {{ was.type }} if exists {{ was }};
        {% endif %}
        {{ create_table_as(false, made, sql) if kind == 'table' else get_create_view_as_sql(made, sql) }}
    {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do adapter.commit() %}
    {{ return({'relations': [made]}) }}
{% endmacro %}

{#
    Tables that go on from what they hold: where such a table is there, the macro that its config `forget` names deletes what
    counts no more, and what its query gives comes, in one commit, so that a kill leaves the table as it was. Else it is built as
    a whole, as any table is.
    (dbt's own incremental does the same by way of a copy of the rows and four questions about columns, which took a third of a
    new day's time.)
#}
{% materialization goes_on, adapter='duckdb' %}
    {% if not goes_on() %}
        {{ return(materialization_table_duckdb()) }}
    {% endif %}
    {% call statement('main') %}
        {{ context[config.require('forget')]() }};
        insert into {{ this }} by name ({{ sql }})
    {% endcall %}
    {% do adapter.commit() %}
    {{ return({'relations': [this]}) }}
{% endmaterialization %}

{# Whether a model's table is there, with the columns that it should have, so that only what has changed is built. #}
{% macro goes_on() %}
    {% if not execute %}
        {{ return(false) }}
    {% endif %}
    {% set table = load_cached_relation(this) %}
    {% if table is none or table.type != 'table' or should_full_refresh() %}
        {{ return(false) }}
    {% endif %}
    {% set columns = adapter.get_columns_in_relation(table) | map(attribute='name') | sort %}
    {{ return(columns == model.columns.keys() | sort) }}
{% endmacro %}

{# Deletes from a table that goes on the rows of loads that count no more: those (`kept`) for which no load (`loads`) fits. #}
{% macro forget_loads_unless(fits) %}
    delete from {{ this }} as kept
    where not exists (
        select 1
        from landed.loads as loads
        cross join landed.run as run
        where {{ fits }}
    )
{% endmacro %}
