-- Listings on offer at a date of compatible products, refills and the like; one row per listing and date. The title names a known
-- brand, it names brands only as what the product fits ("compatible with X", "X uyumlu"), and the listing claims no known brand.
-- Whoever shows a brand's logo, hides a name, mixes scripts or offers a copy in other words offers no compatible product.
with

offered_listings as (

    select * from {{ ref('offered_listings') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

marked_titles as (

    select * from {{ ref('int_marked_titles') }} where marked_words is not null

),

int_brand_names as (

    select * from {{ ref('int_brand_names') }}

),

int_listing_brands as (

    select * from {{ ref('int_listing_brands') }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

logo_appearances as (

    select * from {{ ref('logo_appearances') }}

),

spellings as (

    select
        brand_id,
        known_from,
        known_until,
        {{ without_accents('name_key') }} as name_key,
        least(
            greatest(word_count, {{ words_in(for_lexicon('name_key')) }}), {{ most_name_words() }}
        ) as most_words
    from int_brand_names

),

-- Only runs of as many words as some name has are names.
sizes as (

    select {{ each_number('max(most_words)') }} as size
    from spellings

),

places as (

    select
        title_digest,
        marked_words,
        {{ each_number('len(marked_words)') }} as first_place
    from marked_titles

),

runs as (

    select
        places.title_digest,
        places.marked_words,
        places.first_place,
        places.first_place + sizes.size - 1 as last_place,
        {{ joined_members(
            members_from('places.marked_words', 'places.first_place', 'places.first_place + sizes.size - 1'), "''"
        ) }} as run
    from places
    inner join sizes
        on places.first_place + sizes.size - 1 <= len(places.marked_words)

),

mentions as (

    select distinct
        runs.title_digest,
        runs.marked_words,
        runs.first_place,
        runs.last_place,
        spellings.brand_id,
        spellings.known_from,
        spellings.known_until
    from runs
    inner join spellings
        on spellings.name_key = runs.run

),

marks as (

    select
        title_digest,
        first_place as place,
        {{ joined_members(members_from('marked_words', 'first_place', 'first_place'), "''") }} as mark
    from places

),

-- A phrase refers to the name directly after it; one that follows a name refers to the name directly before it, or to the brand
-- of a model before it ("Brother HL 2300 uyumlu"). Other brands near that name belong to the same list ("for HP, Canon").
scopes as (

    select
        mentions.title_digest,
        mentions.known_from,
        mentions.known_until,
        mentions.first_place,
        mentions.last_place + {{ most_words_between() }} as last_place
    from mentions
    inner join marks
        on
            marks.title_digest = mentions.title_digest
            and marks.mark in ('<', '=')
            and marks.place = mentions.first_place - 1
    union all
    select
        mentions.title_digest,
        mentions.known_from,
        mentions.known_until,
        mentions.first_place - {{ most_words_between() }} as first_place,
        marks.place as last_place
    from mentions
    inner join marks
        on
            marks.title_digest = mentions.title_digest
            and marks.mark in ('>', '=')
            and marks.place > mentions.last_place
            and (
                marks.place = mentions.last_place + 1
                or (
                    marks.place <= mentions.last_place + 1 + {{ most_words_between() }}
                    and {{ matches(joined_members(
                        members_from('mentions.marked_words', 'mentions.last_place + 1', 'marks.place - 1'), "''"
                    ), "'^[^<>=]*[0-9][^<>=]*$'") }}
                )
            )

),

titles as (

    select distinct title_digest from scopes

),

titled as (

    select
        listing_history.listing_id,
        listing_history.known_from,
        listing_history.known_until,
        titles.title_digest
    from listing_history
    inner join titles
        on titles.title_digest = {{ text_digest('listing_history.title') }}

),

offered as (

    select
        offered_listings.listing_id,
        offered_listings.as_of_date,
        titled.title_digest
    from offered_listings
    inner join titled
        on
            titled.listing_id = offered_listings.listing_id
            and titled.known_from <= offered_listings.as_of_date
            and titled.known_until > offered_listings.as_of_date

),

-- Each mention of a brand known by then, and whether a phrase refers to it.
naming as (

    select
        offered.listing_id,
        offered.as_of_date,
        mentions.brand_id,
        mentions.first_place,
        bool_or(scopes.title_digest is not null) as is_fitted
    from offered
    inner join mentions
        on
            mentions.title_digest = offered.title_digest
            and mentions.known_from <= offered.as_of_date
            and mentions.known_until > offered.as_of_date
    left join scopes
        on
            scopes.title_digest = offered.title_digest
            and scopes.known_from <= offered.as_of_date
            and scopes.known_until > offered.as_of_date
            and scopes.first_place <= mentions.first_place
            and scopes.last_place >= mentions.last_place
    group by
        offered.listing_id,
        offered.as_of_date,
        mentions.brand_id,
        mentions.first_place

),

fitting as (

    select
        listing_id,
        as_of_date
    from naming
    group by
        listing_id,
        as_of_date
    having bool_and(is_fitted)

),

-- Any brand's logo, also inside a photograph: a title that names one brand and shows the logo of another is no better.
showing_logos as (

    select distinct
        fitting.listing_id,
        fitting.as_of_date
    from fitting
    inner join logo_appearances
        on
            logo_appearances.listing_id = fitting.listing_id
            and logo_appearances.shown_from <= fitting.as_of_date
            and logo_appearances.shown_until > fitting.as_of_date

),

final as (

    select
        fitting.listing_id,
        fitting.as_of_date
    from fitting
    inner join int_listing_brands
        on
            int_listing_brands.listing_id = fitting.listing_id
            and int_listing_brands.known_from <= fitting.as_of_date
            and int_listing_brands.known_until > fitting.as_of_date
            and int_listing_brands.brand_id is null
    inner join int_listing_texts
        on
            int_listing_texts.listing_id = fitting.listing_id
            and int_listing_texts.known_from <= fitting.as_of_date
            and int_listing_texts.known_until > fitting.as_of_date
            and int_listing_texts.evasive_word_count = 0
            and int_listing_texts.odd_word_count = 0
            and not coalesce(
                int_listing_texts.brand_hidden_from <= fitting.as_of_date
                and int_listing_texts.brand_hidden_until > fitting.as_of_date,
                false
            )
    left join showing_logos
        on
            showing_logos.listing_id = fitting.listing_id
            and showing_logos.as_of_date = fitting.as_of_date
    where showing_logos.listing_id is null

)

select * from final
