-- Numbers that no product of the category comes near, one row a listing, field and span of days: more than twice the
-- greatest or less than half of the least that any brand states of it, nothing or less where none has that. Only products
-- that the brands have by then count.
with

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

statements as (

    select * from {{ ref('int_spec_statements') }} where amount is not null

),

catalogue as (

    select
        int_brand_products.category,
        statements.field_key,
        statements.base_unit,
        statements.amount,
        min(int_brand_products.known_from) as known_from
    from int_brand_products
    inner join statements
        on statements.specs_hash = {{ specs_hash('int_brand_products.specs') }}
    where int_brand_products.category is not null
    group by
        int_brand_products.category,
        statements.field_key,
        statements.base_unit,
        statements.amount

),

ranged as (

    select
        *,
        min(known_from) over (partition by category, field_key, base_unit) as field_known_from,
        max(amount) over before_it as greatest_before,
        min(amount) over before_it as least_before
    from catalogue
    window before_it as (
        partition by category, field_key, base_unit
        order by known_from, amount
        rows between unbounded preceding and 1 preceding
    )

),

-- Each time that the range grew: few, however many products there are.
records as (

    select * from ranged
    where
        greatest_before is null
        or amount > greatest_before
        or amount < least_before

),

written as (

    select distinct
        category,
        specs_hash
    from (
        select
            category,
            {{ specs_hash('specs') }} as specs_hash
        from listing_history
        where
            category is not null
            and specs is not null
    ) as versions

),

claims as (

    select distinct
        written.category,
        statements.field_key,
        statements.base_unit,
        statements.amount
    from written
    inner join statements
        on statements.specs_hash = written.specs_hash

),

-- Until when a claim is impossible: the day by which both ends of the range reach it.
judged as (

    select
        claims.category,
        claims.field_key,
        claims.base_unit,
        claims.amount,
        min(records.field_known_from) as impossible_from,
        greatest(
            coalesce(
                min(records.known_from) filter (where claims.amount <= greatest(records.amount, 2 * records.amount)),
                {{ end_of_time() }}
            ),
            coalesce(
                min(records.known_from) filter (where claims.amount >= least(records.amount, records.amount / 2)),
                {{ end_of_time() }}
            )
        ) as impossible_until,
        min(records.amount) as least_amount,
        max(records.amount) as greatest_amount
    from claims
    inner join records
        on
            records.category = claims.category
            and records.field_key = claims.field_key
            and records.base_unit = claims.base_unit
    group by
        claims.category,
        claims.field_key,
        claims.base_unit,
        claims.amount

),

impossible as (

    select * from judged
    where impossible_from < impossible_until

),

written_so as (

    select
        written.category,
        written.specs_hash,
        statements.field,
        statements.stated as claimed,
        impossible.impossible_from,
        impossible.impossible_until,
        impossible.least_amount,
        impossible.greatest_amount,
        impossible.base_unit
    from impossible
    inner join written
        on written.category = impossible.category
    inner join statements
        on
            statements.specs_hash = written.specs_hash
            and statements.field_key = impossible.field_key
            and statements.base_unit = impossible.base_unit
            and statements.amount = impossible.amount

),

final as (

    select
        listing_history.listing_id,
        greatest(listing_history.known_from, written_so.impossible_from) as known_from,
        least(listing_history.known_until, written_so.impossible_until) as known_until,
        written_so.field,
        written_so.claimed,
        written_so.least_amount,
        written_so.greatest_amount,
        written_so.base_unit
    from written_so
    inner join listing_history
        on
            {{ specs_hash('listing_history.specs') }} = written_so.specs_hash
            and listing_history.category = written_so.category
            and listing_history.known_from < written_so.impossible_until
            and listing_history.known_until > written_so.impossible_from

)

select * from final
