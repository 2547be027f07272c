{#
    How the policy's terms decide on rated rows. touchstone/publishing/terms.py runs this text without dbt, to compute on demand
    what other terms would do: so it calls no other macro, and is plain SQL.
#}

{#
    CTE `decided`: the rows of `rows`, each with the `term` that decides on it, the term's `action`, `is_flagged` and, if it is
    flagged but kept off the list, `held_by`: suppression, corroboration or capacity, the first that applies. It reads `terms`,
    those of one list; `rows` have category, brand, country, model_digest, score, own_conduct_score, margin, is_suppressed and
    signal_count, and are identified by `key`.
#}
{% macro decided(rows, key) %}
-- Distinct values that conditions refer to: far fewer than rows.
places as (

    select distinct
        category,
        brand,
        country
    from {{ rows }}

),

-- The first term whose conditions all hold.
deciding as (

    select
        places.category,
        places.brand,
        places.country,
        min(terms.term) as term
    from places
    cross join terms
    where
        (
            terms.category is null
            or places.category = terms.category
            or left(places.category, length(terms.category) + 1) = terms.category || '/'
        )
        and (terms.brand is null or lower(places.brand) = lower(terms.brand))
        and (terms.country is null or places.country = terms.country)
    group by
        places.category,
        places.brand,
        places.country

),

flagging as (

    select
        {{ rows }}.*,
        terms.term,
        terms.action,
        coalesce({{ rows }}.score >= terms.threshold and {{ rows }}.own_conduct_score >= terms.floor, false) as is_flagged
    from {{ rows }}
    left join deciding
        on
            deciding.category is not distinct from {{ rows }}.category
            and deciding.brand is not distinct from {{ rows }}.brand
            and deciding.country is not distinct from {{ rows }}.country
    left join terms
        on
            terms.term = deciding.term
            and terms.model_digest = {{ rows }}.model_digest

),

-- A term's capacity goes to the highest scores among the rows that neither suppression nor corroboration holds back.
placed_by_term as (

    select
        flagging.{{ key }},
        terms.capacity,
        row_number() over (
            partition by flagging.term
            order by flagging.score desc, flagging.margin desc, flagging.{{ key }} asc
        ) as place
    from flagging
    inner join terms
        on terms.term = flagging.term
    where
        flagging.is_flagged
        and not flagging.is_suppressed
        and (terms.corroboration = 1 or flagging.signal_count >= terms.corroboration)

),

decided as (

    select
        flagging.*,
        case
            when not flagging.is_flagged then null
            when flagging.is_suppressed then 'suppression'
            when placed_by_term.place is null then 'corroboration'
            when placed_by_term.place > placed_by_term.capacity then 'capacity'
        end as held_by
    from flagging
    left join placed_by_term
        on placed_by_term.{{ key }} = flagging.{{ key }}

)
{% endmacro %}
