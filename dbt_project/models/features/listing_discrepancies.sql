-- Claims of scored listings that contradict a reference for the same product; one row per listing, field and reference. Analysts
-- read it first and reasons quote it; no model uses it.
with

run as (

    select * from {{ source('landed', 'run') }}

),

listing_spine as (

    select * from {{ ref('listing_spine') }} where purpose = 'score'

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

brands as (

    {{ row_versions('brands', ['brand_id'], ['name']) }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }} where hidden_as is not null

),

listing_gtins as (

    select listing_gtins.*
    from {{ ref('listing_gtins') }} as listing_gtins
    inner join listing_spine
        on
            listing_spine.listing_id = listing_gtins.listing_id
            and listing_spine.as_of_date = listing_gtins.as_of_date

),

int_text_quantities as (

    select * from {{ ref('int_text_quantities') }}

),

int_spec_statements as (

    select * from {{ ref('int_spec_statements') }} where number is not null

),

pictures as (

    select * from {{ ref('listing_pictures') }}

),

picture_findings as (

    select * from {{ ref('listing_picture_findings') }}

),

finding_appearances as (

    select * from {{ ref('finding_appearances') }} where kind <> 'logo'

),

logo_appearances as (

    select * from {{ ref('logo_appearances') }}

),

peers as (

    select * from {{ ref('listing_peers') }}

),

int_spec_fields as (

    select * from {{ ref('int_spec_fields') }}

),

int_impossible_specs as (

    select * from {{ ref('int_impossible_specs') }}

),

listing_spec_peers as (

    select * from {{ ref('listing_spec_peers') }}

),

states as (

    select listing_states.*
    from {{ ref('listing_states') }} as listing_states
    inner join listing_spine
        on
            listing_spine.listing_id = listing_states.listing_id
            and listing_spine.as_of_date = listing_states.as_of_date

),

beside_brand as (

    select
        states.listing_id,
        'spec' as signal,
        int_spec_fields.field,
        int_spec_fields.claimed,
        int_spec_fields.expected,
        'brand' as reference,
        int_spec_fields.millionths_apart
    from states
    inner join int_spec_fields
        on
            int_spec_fields.brand_id = states.brand_id
            and int_spec_fields.model_key = states.model_key
            and int_spec_fields.specs_hash = states.specs_hash
            and int_spec_fields.known_from <= states.as_of_date
            and int_spec_fields.known_until > states.as_of_date
    where int_spec_fields.is_discrepant

),

beside_category as (

    select
        states.listing_id,
        'spec' as signal,
        int_impossible_specs.field,
        int_impossible_specs.claimed,
        trim(
            {{ as_number('int_impossible_specs.least_amount') }} || ' to '
            || {{ as_number('int_impossible_specs.greatest_amount') }} || ' ' || int_impossible_specs.base_unit
        ) as expected,
        'category' as reference,
        cast(null as integer) as millionths_apart
    from states
    inner join int_impossible_specs
        on
            int_impossible_specs.listing_id = states.listing_id
            and int_impossible_specs.known_from <= states.as_of_date
            and int_impossible_specs.known_until > states.as_of_date

),

beside_peers as (

    select
        listing_spec_peers.listing_id,
        'spec' as signal,
        listing_spec_peers.field,
        listing_spec_peers.claimed,
        listing_spec_peers.expected,
        'peers' as reference,
        listing_spec_peers.millionths_apart
    from listing_spec_peers
    inner join run
        on run.as_of = listing_spec_peers.as_of_date
    inner join listing_spine
        on listing_spine.listing_id = listing_spec_peers.listing_id
    where listing_spec_peers.is_discrepant

),

unknown_models as (

    select
        states.listing_id,
        'spec' as signal,
        'model_ref' as field,
        {{ json_text('listing_history.specs', "'model_ref'") }} as claimed,
        'a model of ' || coalesce(brands.name, states.brand_id) as expected,
        'brand' as reference,
        cast(null as integer) as millionths_apart
    from states
    inner join listing_history
        on
            listing_history.listing_id = states.listing_id
            and listing_history.known_from <= states.as_of_date
            and listing_history.known_until > states.as_of_date
    left join brands
        on
            brands.brand_id = states.brand_id
            and brands.known_from <= states.as_of_date
            and brands.known_until > states.as_of_date
    where not states.is_model_known

),

-- A discount is no contradiction: a price is one if it is below the brand's lowest price, or below half of the peers' median.
below_floor as (

    select
        listing_id,
        'price' as signal,
        'price' as field,
        cast(cast(price_base as decimal(18, 2)) as varchar) || ' ' || {{ base_currency() }} as claimed,
        cast(cast(floor_price_base as decimal(18, 2)) as varchar) || ' ' || {{ base_currency() }} as expected,
        'brand' as reference,
        cast(round(1000000 * (1 - {{ ratio('price_base', 'floor_price_base') }})) as integer) as millionths_apart
    from states
    where price_base < floor_price_base

),

below_peers as (

    select
        states.listing_id,
        'price' as signal,
        'price' as field,
        cast(cast(states.price_base as decimal(18, 2)) as varchar) || ' ' || {{ base_currency() }} as claimed,
        cast(cast(peers.median_price_base as decimal(18, 2)) as varchar) || ' ' || {{ base_currency() }} as expected,
        'peers' as reference,
        cast(round(1000000 * (1 - {{ ratio('states.price_base', 'peers.median_price_base') }})) as integer) as millionths_apart
    from states
    inner join peers
        on
            peers.level = 'product'
            and peers.as_of_date = states.as_of_date
            and peers.brand_id = states.brand_id
            and peers.model_key = states.model_key
            and peers.condition_key = coalesce(states.condition, '')
    where 2 * states.price_base < peers.median_price_base

),

-- Where a listing shows each brand's logo at the date; inside a picture if there is such a place.
logo_places as (

    select
        states.listing_id,
        logo_appearances.brand_id,
        logo_appearances.sha256,
        logo_appearances.region,
        coalesce(brands.name, logo_appearances.brand_id) as brand_name,
        row_number() over (
            partition by states.listing_id, logo_appearances.brand_id
            order by logo_appearances.region asc nulls last, logo_appearances.sha256 asc
        ) as place
    from states
    inner join logo_appearances
        on
            logo_appearances.listing_id = states.listing_id
            and logo_appearances.shown_from <= states.as_of_date
            and logo_appearances.shown_until > states.as_of_date
    left join brands
        on
            brands.brand_id = logo_appearances.brand_id
            and brands.known_from <= states.as_of_date
            and brands.known_until > states.as_of_date

),

unnamed_logos as (

    select
        states.listing_id,
        'logo' as signal,
        'title' as field,
        listing_history.title as claimed,
        coalesce(logo_places.brand_name, pictures.unnamed_brand_id) as expected,
        'picture' as reference,
        cast(null as integer) as millionths_apart,
        logo_places.sha256 as picture_sha256,
        logo_places.region
    from states
    inner join pictures
        on
            pictures.listing_id = states.listing_id
            and pictures.as_of_date = states.as_of_date
    inner join listing_history
        on
            listing_history.listing_id = states.listing_id
            and listing_history.known_from <= states.as_of_date
            and listing_history.known_until > states.as_of_date
    left join logo_places
        on
            logo_places.listing_id = states.listing_id
            and logo_places.brand_id = pictures.unnamed_brand_id
            and logo_places.place = 1
    where pictures.unnamed_brand_id is not null

),

other_logos as (

    select
        states.listing_id,
        'logo' as signal,
        'brand' as field,
        coalesce(brands.name, states.brand_id) as claimed,
        logo_places.brand_name as expected,
        'picture' as reference,
        cast(null as integer) as millionths_apart,
        logo_places.sha256 as picture_sha256,
        logo_places.region
    from states
    inner join picture_findings
        on
            picture_findings.listing_id = states.listing_id
            and picture_findings.as_of_date = states.as_of_date
    inner join logo_places
        on
            logo_places.listing_id = states.listing_id
            and logo_places.brand_id = picture_findings.shown_brand_id
            and logo_places.place = 1
    left join brands
        on
            brands.brand_id = states.brand_id
            and brands.known_from <= states.as_of_date
            and brands.known_until > states.as_of_date
    where states.brand_id is not null

),

picture_texts as (

    select
        states.listing_id,
        'logo' as signal,
        findings.kind as field,
        findings.text as claimed,
        cast(null as varchar) as expected,
        'picture' as reference,
        cast(null as integer) as millionths_apart,
        findings.sha256 as picture_sha256,
        findings.region
    from states
    inner join finding_appearances as findings
        on
            findings.listing_id = states.listing_id
            and findings.shown_from <= states.as_of_date
            and findings.shown_until > states.as_of_date

),

hidden_names as (

    select
        states.listing_id,
        'text' as signal,
        case
            when {{ has_text(on_one_line('listing_history.title'), 'texts.hidden_as') }} then 'title'
            else 'description'
        end as field,
        case
            when {{ has_text(on_one_line('listing_history.title'), 'texts.hidden_as') }}
                then {{ around(on_one_line('listing_history.title'), 'texts.hidden_as') }}
            else {{ around(on_one_line('listing_history.description'), 'texts.hidden_as') }}
        end as claimed,
        coalesce(brands.name, texts.hidden_brand_id) as expected,
        'text' as reference,
        cast(null as integer) as millionths_apart
    from states
    inner join listing_history
        on
            listing_history.listing_id = states.listing_id
            and listing_history.known_from <= states.as_of_date
            and listing_history.known_until > states.as_of_date
    inner join int_listing_texts as texts
        on
            texts.listing_id = states.listing_id
            and texts.known_from <= states.as_of_date
            and texts.known_until > states.as_of_date
    left join brands
        on
            brands.brand_id = texts.hidden_brand_id
            and brands.known_from <= states.as_of_date
            and brands.known_until > states.as_of_date
    where states.is_brand_hidden

),

invalid_gtins as (

    select
        listing_id,
        case when is_in_text then 'text' else 'spec' end as signal,
        'gtin' as field,
        gtin as claimed,
        'a valid check digit' as expected,
        'text' as reference,
        cast(null as integer) as millionths_apart
    from listing_gtins
    where not is_valid

),

mismatched_gtins as (

    select
        listing_gtins.listing_id,
        'spec' as signal,
        'gtin' as field,
        listing_gtins.gtin as claimed,
        coalesce(brands.name, listing_gtins.catalogue_brand_id) || ' ' || listing_gtins.catalogue_model_ref as expected,
        'brand' as reference,
        cast(null as integer) as millionths_apart
    from listing_gtins
    left join brands
        on
            brands.brand_id = listing_gtins.catalogue_brand_id
            and brands.known_from <= listing_gtins.as_of_date
            and brands.known_until > listing_gtins.as_of_date
    where listing_gtins.is_mismatched

),

-- Titles of scored listings with one quantity of a base unit, next to their specification, if it states one of that unit.
title_quantities as (

    select
        states.listing_id,
        states.specs_hash,
        int_text_quantities.base_unit,
        min(int_text_quantities.quantity) as quantity,
        min(int_text_quantities.amount) as amount
    from states
    inner join listing_history
        on
            listing_history.listing_id = states.listing_id
            and listing_history.known_from <= states.as_of_date
            and listing_history.known_until > states.as_of_date
    inner join int_text_quantities
        on int_text_quantities.title_digest = {{ text_digest('listing_history.title') }}
    where int_text_quantities.amount is not null
    group by
        states.listing_id,
        states.specs_hash,
        int_text_quantities.base_unit
    having count(distinct int_text_quantities.amount) = 1

),

spec_quantities as (

    select
        specs_hash,
        base_unit,
        min(field) as field,
        min(stated) as stated,
        min(amount) as amount
    from int_spec_statements
    group by
        specs_hash,
        base_unit
    having count(*) = 1

),

-- Only what is more than twice or less than half of it: a weight may be that of the parcel, and a capacity the usable one.
beside_title as (

    select
        title_quantities.listing_id,
        'spec' as signal,
        spec_quantities.field,
        title_quantities.quantity as claimed,
        trim(spec_quantities.stated) as expected,
        'text' as reference,
        cast(null as integer) as millionths_apart
    from title_quantities
    inner join spec_quantities
        on
            spec_quantities.specs_hash = title_quantities.specs_hash
            and spec_quantities.base_unit = title_quantities.base_unit
    where
        title_quantities.amount > 2 * spec_quantities.amount
        or 2 * title_quantities.amount < spec_quantities.amount

),

without_picture as (

    select * from beside_brand
    union all
    select * from beside_category
    union all
    select * from beside_peers
    union all
    select * from unknown_models
    union all
    select * from below_floor
    union all
    select * from below_peers
    union all
    select * from hidden_names
    union all
    select * from invalid_gtins
    union all
    select * from mismatched_gtins
    union all
    select * from beside_title

),

found as (

    select
        *,
        cast(null as varchar) as picture_sha256,
        cast(null as varchar) as region
    from without_picture
    union all
    select * from unnamed_logos
    union all
    select * from other_logos
    union all
    select * from picture_texts

),

-- If a listing states a field twice, the statement that is farthest off counts; texts are truncated to the length of a quote.
numbered as (

    select
        listing_id,
        signal,
        field,
        reference,
        millionths_apart,
        picture_sha256,
        region,
        left(
            {{ single_spaced("case when signal = 'text' then claimed else " ~ as_read('claimed') ~ " end") }},
            {{ most_quoted_characters() }}
        ) as claimed,
        left({{ single_spaced('expected') }}, {{ most_quoted_characters() }}) as expected,
        row_number() over (
            partition by listing_id, reference, field
            order by millionths_apart desc nulls last, claimed asc, picture_sha256 asc, region asc
        ) as place
    from found

),

final as (

    select
        run.as_of as as_of_date,
        numbered.listing_id,
        numbered.signal,
        numbered.field,
        numbered.claimed,
        numbered.expected,
        numbered.reference,
        numbered.millionths_apart,
        numbered.picture_sha256,
        numbered.region,
        case
            when numbered.reference = 'picture' and numbered.field = 'contact'
                then 'its picture states contact details: "' || numbered.claimed || '"'
            when numbered.reference = 'picture' and numbered.field = 'evasive_text'
                then 'its picture has a phrase that suggests a copy: "' || numbered.claimed || '"'
            when numbered.reference = 'picture' and numbered.field = 'watermark'
                then 'its picture bears the name of another merchant: "' || numbered.claimed || '"'
            when numbered.reference = 'picture' and numbered.field = 'brand'
                then 'its picture shows the logo of ' || numbered.expected || ', and it claims to be of ' || numbered.claimed
            when numbered.reference = 'picture'
                then 'its picture shows the logo of ' || numbered.expected || ', which its title does not name'
            when numbered.reference = 'text' and numbered.field = 'gtin'
                then
                    case when numbered.signal = 'text' then 'its text' else 'the listing' end
                    || ' states the GTIN ' || numbered.claimed || ', whose check digit is wrong'
            when numbered.reference = 'brand' and numbered.field = 'gtin' and numbered.millionths_apart is null
                then 'the stated GTIN ' || numbered.claimed || ' is that of ' || numbered.expected
            when numbered.reference = 'text' and numbered.signal = 'spec'
                then
                    'the title says "' || numbered.claimed || '", the specification "' || numbered.expected
                    || '" (' || numbered.field || ')'
            when numbered.reference = 'text'
                then numbered.field || ' hides the name of ' || numbered.expected || ': "' || numbered.claimed || '"'
            when numbered.field = 'model_ref'
                then '"' || numbered.claimed || '" is not ' || numbered.expected
            else
                numbered.field || ' is "' || numbered.claimed || '" where '
                || case
                    when numbered.reference = 'brand' and numbered.signal = 'price' then 'the brand never asks less than "'
                    when numbered.reference = 'brand' then 'the brand''s product has "'
                    when numbered.reference = 'category' then 'brands'' products of the category have "'
                    when numbered.signal = 'price' then 'half of its peers ask at least "'
                    else 'most other merchants state "'
                end
                || numbered.expected || '"'
        end as words
    from numbered
    cross join run
    where numbered.place = 1

)

select * from final
