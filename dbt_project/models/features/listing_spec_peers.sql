-- Comparison of a listing's specification with the statements of most other merchants on the same product, for fields that the
-- brand's catalogue does not have; one row per listing, date and field with a majority (at least three other merchants, and more
-- than half of those that state the field). The listing's own merchant is excluded, and a merchant counts once per value, however
-- many listings it has.
with

places as (

    select distinct
        listing_id,
        as_of_date
    from {{ ref('listing_spine') }}

),

rating_dates as (

    select * from {{ ref('rating_dates') }}

),

listing_states as (

    select * from {{ ref('listing_states') }}
    where
        brand_id is not null
        and model_key is not null
        and specs_hash is not null

),

statements as (

    select * from {{ ref('int_spec_statements') }}

),

int_brand_products as (

    select * from {{ ref('int_brand_products') }}

),

peer_dates as (

    select
        dates.as_of_date,
        max(rating_dates.as_of_date) as peer_date
    from (select distinct as_of_date from places) as dates
    inner join rating_dates
        on rating_dates.as_of_date <= dates.as_of_date
    group by dates.as_of_date

),

catalogue as (

    select distinct
        int_brand_products.brand_id,
        int_brand_products.model_key,
        int_brand_products.known_from,
        statements.field_key
    from int_brand_products
    inner join statements
        on statements.specs_hash = {{ specs_hash('int_brand_products.specs') }}

),

written as (

    select distinct
        as_of_date,
        brand_id,
        model_key,
        specs_hash
    from listing_states

),

-- Statements on fields that the catalogue has never had by then. Numbers of one dimension are compared in any unit; numbers of
-- two dimensions are two fields.
unstated as (

    select
        written.as_of_date,
        written.brand_id,
        written.model_key,
        statements.*,
        statements.field_key || ' ' || statements.dimension as peer_field,
        coalesce(statements.base_unit || ' ' || cast(statements.amount as varchar), statements.text_key) as value_key
    from written
    inner join statements
        on statements.specs_hash = written.specs_hash
    left join catalogue
        on
            catalogue.brand_id = written.brand_id
            and catalogue.model_key = written.model_key
            and catalogue.field_key = statements.field_key
            and catalogue.known_from <= written.as_of_date
    where catalogue.brand_id is null

),

voices as (

    select distinct
        unstated.as_of_date,
        unstated.brand_id,
        unstated.model_key,
        unstated.peer_field,
        unstated.value_key,
        listing_states.merchant_id
    from listing_states
    inner join unstated
        on
            unstated.as_of_date = listing_states.as_of_date
            and unstated.brand_id = listing_states.brand_id
            and unstated.model_key = listing_states.model_key
            and unstated.specs_hash = listing_states.specs_hash
    where
        listing_states.is_active
        and listing_states.is_rating_date

),

field_voices as (

    select distinct
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        merchant_id
    from voices

),

field_counts as (

    select
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        count(*) as merchant_count
    from field_voices
    group by
        as_of_date,
        brand_id,
        model_key,
        peer_field

),

value_counts as (

    select
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        value_key,
        count(*) as merchant_count
    from voices
    group by
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        value_key
    having count(*) >= 3

),

leading_values as (

    select
        *,
        row_number() over (
            partition by as_of_date, brand_id, model_key, peer_field
            order by merchant_count desc, value_key asc
        ) as place
    from value_counts

),

spellings as (

    select
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        value_key,
        min(stated) as stated,
        min(text_key) as text_key,
        min(amount) as number,
        min(base_unit) as unit,
        min(base_unit) as base_unit,
        min(amount) as amount
    from unstated
    group by
        as_of_date,
        brand_id,
        model_key,
        peer_field,
        value_key

),

claims as (

    select
        places.listing_id,
        listing_states.merchant_id,
        peer_dates.peer_date,
        unstated.*
    from places
    inner join peer_dates
        on peer_dates.as_of_date = places.as_of_date
    inner join listing_states
        on
            listing_states.listing_id = places.listing_id
            and listing_states.as_of_date = places.as_of_date
    inner join unstated
        on
            unstated.as_of_date = listing_states.as_of_date
            and unstated.brand_id = listing_states.brand_id
            and unstated.model_key = listing_states.model_key
            and unstated.specs_hash = listing_states.specs_hash

),

beside_others as (

    select
        claims.*,
        leading_values.value_key as leading_value_key,
        leading_values.merchant_count - case when own_value.merchant_id is null then 0 else 1 end as agreeing_count,
        field_counts.merchant_count - case when own_field.merchant_id is null then 0 else 1 end as stating_count
    from claims
    inner join leading_values
        on
            leading_values.as_of_date = claims.peer_date
            and leading_values.brand_id = claims.brand_id
            and leading_values.model_key = claims.model_key
            and leading_values.peer_field = claims.peer_field
            and leading_values.place = 1
    inner join field_counts
        on
            field_counts.as_of_date = claims.peer_date
            and field_counts.brand_id = claims.brand_id
            and field_counts.model_key = claims.model_key
            and field_counts.peer_field = claims.peer_field
    left join voices as own_value
        on
            own_value.as_of_date = claims.peer_date
            and own_value.brand_id = claims.brand_id
            and own_value.model_key = claims.model_key
            and own_value.peer_field = claims.peer_field
            and own_value.value_key = leading_values.value_key
            and own_value.merchant_id = claims.merchant_id
    left join field_voices as own_field
        on
            own_field.as_of_date = claims.peer_date
            and own_field.brand_id = claims.brand_id
            and own_field.model_key = claims.model_key
            and own_field.peer_field = claims.peer_field
            and own_field.merchant_id = claims.merchant_id

),

final as (

    select
        beside_others.listing_id,
        beside_others.as_of_date,
        beside_others.field,
        beside_others.stated as claimed,
        spellings.stated as expected,
        cast(beside_others.agreeing_count as integer) as merchant_count,
        not {{ says_the_same('beside_others', 'spellings') }} as is_discrepant,
        {{ millionths_apart('beside_others', 'spellings') }} as millionths_apart
    from beside_others
    inner join spellings
        on
            spellings.as_of_date = beside_others.peer_date
            and spellings.brand_id = beside_others.brand_id
            and spellings.model_key = beside_others.model_key
            and spellings.peer_field = beside_others.peer_field
            and spellings.value_key = beside_others.leading_value_key
    where
        beside_others.agreeing_count >= 3
        and 2 * beside_others.agreeing_count > beside_others.stating_count

)

select * from final
