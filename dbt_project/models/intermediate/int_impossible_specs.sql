-- Numbers that are far outside the category's range; one row per listing, field and span of days. A number is far outside if it
-- is more than twice the greatest or less than half of the least that any brand states for the field; if all brands' values are 0
-- or less, the limits are those values. Only products that the brands have by then count.
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
        int_brand_products.known_from,
        min(statements.amount) as least_amount,
        max(statements.amount) as greatest_amount
    from int_brand_products
    inner join statements
        on statements.specs_hash = {{ specs_hash('int_brand_products.specs') }}
    where int_brand_products.category is not null
    group by
        int_brand_products.category,
        statements.field_key,
        statements.base_unit,
        int_brand_products.known_from

),

ranged as (

    select
        category,
        field_key,
        base_unit,
        known_from,
        min(least_amount) over so_far as least_amount,
        max(greatest_amount) over so_far as greatest_amount,
        min(least_amount) over before_it as least_before,
        max(greatest_amount) over before_it as greatest_before
    from catalogue
    window
        so_far as (
            partition by category, field_key, base_unit
            order by known_from
            rows between unbounded preceding and current row
        ),
        before_it as (
            partition by category, field_key, base_unit
            order by known_from
            rows between unbounded preceding and 1 preceding
        )

),

-- The range and the span in which it was valid: few spans, however many products there are.
ranges as (

    select
        category,
        field_key,
        base_unit,
        known_from,
        coalesce(
            lead(known_from) over (partition by category, field_key, base_unit order by known_from),
            {{ end_of_time() }}
        ) as known_until,
        least_amount,
        greatest_amount
    from ranged
    where
        greatest_before is null
        or greatest_amount > greatest_before
        or least_amount < least_before

),

{{ written_specs() }}

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

impossible as (

    select
        ranges.*,
        claims.amount
    from claims
    inner join ranges
        on
            ranges.category = claims.category
            and ranges.field_key = claims.field_key
            and ranges.base_unit = claims.base_unit
    where
        claims.amount > greatest(ranges.greatest_amount, 2 * ranges.greatest_amount)
        or claims.amount < least(ranges.least_amount, ranges.least_amount / 2)

),

written_so as (

    select
        written.category,
        written.specs_hash,
        statements.field,
        statements.stated as claimed,
        impossible.known_from as impossible_from,
        impossible.known_until as impossible_until,
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
