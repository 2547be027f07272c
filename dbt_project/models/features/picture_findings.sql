-- What is found inside pictures, and the span of days in which it counts; one row per finding: a brand's logo, contact details, a
-- line of text with a phrase that suggests a copy, or the name of a merchant. When a picture was read does not matter here.
with

picture_texts as (

    select * from {{ source('landed', 'picture_texts') }}

),

picture_contacts as (

    select * from {{ source('landed', 'picture_contacts') }}

),

picture_logos as (

    select * from {{ source('landed', 'picture_logos') }}

),

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

brand_logos as (

    select * from {{ ref('stg_brand_logo_history') }}

),

brand_names as (

    select * from {{ ref('int_brand_names') }}

),

merchant_history as (

    select * from {{ ref('stg_merchant_history') }}

),

merchants as (

    select * from {{ ref('stg_merchants') }}

),

lexicon as (

    select * from {{ ref('int_lexicon') }} where meaning = 'evasive'

),

possible_logos as (

    select
        picture_logos.sha256,
        picture_logos.place,
        picture_logos.region,
        picture_logos.score,
        brand_logos.brand_id,
        brand_logos.known_from,
        brand_logos.known_until
    from picture_logos
    inner join brand_logos
        on brand_logos.sha256 = picture_logos.logo_sha256

),

-- A place shows the brand that matches best, and none if another matches about as well: from the day on which that one's logo is
-- known.
logos as (

    select
        possible_logos.sha256,
        'logo' as kind,
        possible_logos.brand_id,
        cast(null as varchar) as named_merchant_id,
        cast(null as varchar) as text,
        cast(null as varchar) as text_key,
        possible_logos.region,
        possible_logos.known_from as found_from,
        least(
            possible_logos.known_until, coalesce(min(rivals.known_from), possible_logos.known_until)
        ) as found_until
    from possible_logos
    left join possible_logos as rivals
        on
            rivals.sha256 = possible_logos.sha256
            and rivals.place = possible_logos.place
            and rivals.brand_id <> possible_logos.brand_id
            and rivals.score > possible_logos.score - {{ least_logo_margin() }}
            and rivals.known_until > possible_logos.known_from
    group by
        possible_logos.sha256,
        possible_logos.place,
        possible_logos.region,
        possible_logos.score,
        possible_logos.brand_id,
        possible_logos.known_from,
        possible_logos.known_until

),

lines as (

    select
        sha256,
        line,
        text,
        region,
        {{ name_key('text') }} as line_key,
        {{ parts_of('trim(' ~ as_words(as_read('text')) ~ ')', "' '") }} as line_words,
        {{ as_words_and_ratios(for_lexicon(as_read('text'))) }} as words
    from picture_texts

),

phrases as (

    select distinct {{ as_words_and_ratios(for_lexicon('phrase')) }} as phrase from lexicon

),

evasions as (

    select distinct
        lines.sha256,
        'evasive_text' as kind,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as named_merchant_id,
        lines.text,
        cast(null as varchar) as text_key,
        lines.region
    from lines
    inner join phrases
        on {{ has_text('lines.words', 'phrases.phrase') }}

),

hosts as (

    select
        *,
        case
            when kind in ('url', 'email') then {{ replace_matches('lower(value)', "'^https?://|^[^@]*@|/.*$'", "''") }}
            else ''
        end as host
    from picture_contacts

),

-- An address is a brand's own if a part of its host is the brand's name, as in "www.acme.com".
contact_parts as (

    select
        *,
        {{ name_key('value') }} as text_key,
        {{ each_member(parts_of('host', "'.'")) }} as part
    from hosts

),

contacts as (

    select
        contact_parts.sha256,
        'contact' as kind,
        cast(null as varchar) as brand_id,
        cast(null as varchar) as named_merchant_id,
        contact_parts.value as text,
        contact_parts.text_key,
        contact_parts.region,
        min(brand_names.known_from) as brand_from
    from contact_parts
    left join brand_names
        on brand_names.name_key = {{ name_key('contact_parts.part') }}
    group by
        contact_parts.sha256,
        contact_parts.value,
        contact_parts.text_key,
        contact_parts.region

),

-- A name of fewer letters would be found in other words.
shop_names as (

    select
        merchant_history.merchant_id,
        {{ name_key('merchant_history.name') }} as shop_key,
        min(merchant_history.name) as name,
        min(greatest(
            merchant_history.known_from,
            coalesce(cast(merchants.registered_at as date), merchant_history.known_from)
        )) as known_from
    from merchant_history
    inner join merchants
        on merchants.merchant_id = merchant_history.merchant_id
    where length({{ name_key('merchant_history.name') }}) >= 5
    group by
        merchant_history.merchant_id,
        {{ name_key('merchant_history.name') }}

),

runs as (

    select
        sha256,
        region,
        line_key as run_key
    from lines
    {% for size in range(1, 5) %}
    union
    select
        sha256,
        region,
        replace({{ each_member(runs_of('line_words', size)) }}, ' ', '') as run_key
    from lines
    {% endfor %}

),

-- A line that is nothing but the name, or a name of eight letters and more within a line.
watermarks as (

    select
        runs.sha256,
        'watermark' as kind,
        cast(null as varchar) as brand_id,
        shop_names.merchant_id as named_merchant_id,
        shop_names.name as text,
        shop_names.shop_key as text_key,
        min(runs.region) as region,
        shop_names.known_from,
        min(brand_names.known_from) as brand_from
    from runs
    inner join shop_names
        on shop_names.shop_key = runs.run_key
    left join lines
        on
            lines.sha256 = runs.sha256
            and lines.line_key = runs.run_key
    left join brand_names
        on brand_names.name_key = shop_names.shop_key
    where
        length(shop_names.shop_key) >= 8
        or lines.sha256 is not null
    group by
        runs.sha256,
        shop_names.merchant_id,
        shop_names.name,
        shop_names.shop_key,
        shop_names.known_from

),

-- What more than 20 merchants' pictures state is the platform's own, or a usual word.
bearers as (

    select
        findings.kind,
        findings.text_key,
        appearances.merchant_id,
        min(appearances.shown_from) as shown_from
    from (
        select
            sha256,
            kind,
            text_key
        from contacts
        union
        select
            sha256,
            kind,
            text_key
        from watermarks
    ) as findings
    inner join picture_appearances as appearances
        on appearances.sha256 = findings.sha256
    group by
        findings.kind,
        findings.text_key,
        appearances.merchant_id

),

numbered_bearers as (

    select
        kind,
        text_key,
        shown_from as common_from,
        row_number() over (
            partition by kind, text_key
            order by shown_from, merchant_id
        ) as place
    from bearers

),

common as (

    select * from numbered_bearers where place = {{ most_bearers() }} + 1

),

found as (

    select * from logos
    union all
    select
        *,
        {{ beginning() }} as found_from,
        {{ end_of_time() }} as found_until
    from evasions
    union all
    select
        contacts.sha256,
        contacts.kind,
        contacts.brand_id,
        contacts.named_merchant_id,
        contacts.text,
        contacts.text_key,
        contacts.region,
        {{ beginning() }} as found_from,
        least(
            coalesce(contacts.brand_from, {{ end_of_time() }}), coalesce(common.common_from, {{ end_of_time() }})
        ) as found_until
    from contacts
    left join common
        on
            common.kind = contacts.kind
            and common.text_key = contacts.text_key
    union all
    select
        watermarks.sha256,
        watermarks.kind,
        watermarks.brand_id,
        watermarks.named_merchant_id,
        watermarks.text,
        watermarks.text_key,
        watermarks.region,
        watermarks.known_from as found_from,
        least(
            coalesce(watermarks.brand_from, {{ end_of_time() }}), coalesce(common.common_from, {{ end_of_time() }})
        ) as found_until
    from watermarks
    left join common
        on
            common.kind = watermarks.kind
            and common.text_key = watermarks.text_key

),

final as (

    select distinct * from found where found_from < found_until

)

select * from final
