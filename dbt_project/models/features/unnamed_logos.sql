-- Spans in which a listing shows a brand's logo, inside a picture or as one, while its title does not name the brand; one row
-- per listing, brand and span of days. A title names a brand if it contains any spelling known by then. A spelling of three
-- letters or fewer has to be a separate word, or its letters separate words ("H&M"); otherwise a third of all titles would match.
with

logo_appearances as (

    select * from {{ ref('logo_appearances') }}

),

listing_history as (

    select * from {{ ref('stg_listing_history') }}

),

int_brand_names as (

    select * from {{ ref('int_brand_names') }}

),

spellings as (

    select
        brand_id,
        name_key,
        known_from,
        known_until,
        ' ' || name_key || ' ' as as_word,
        ' ' || {{ replace_matches('name_key', "'(.)'", "'\\1 '") }} as as_letters
    from int_brand_names

),

logos_shown as (

    select distinct
        logo_appearances.listing_id,
        logo_appearances.brand_id,
        greatest(logo_appearances.shown_from, listing_history.known_from) as shown_from,
        least(logo_appearances.shown_until, listing_history.known_until) as shown_until,
        {{ name_key('listing_history.title') }} as title_key,
        {{ as_words(as_read('listing_history.title')) }} as title_words
    from logo_appearances
    inner join listing_history
        on
            listing_history.listing_id = logo_appearances.listing_id
            and listing_history.known_from < logo_appearances.shown_until
            and listing_history.known_until > logo_appearances.shown_from

),

named as (

    select
        logos_shown.listing_id,
        logos_shown.brand_id,
        logos_shown.shown_from,
        logos_shown.shown_until,
        min(spellings.known_from) as named_from,
        max(spellings.known_until) as named_until
    from logos_shown
    left join spellings
        on
            spellings.brand_id = logos_shown.brand_id
            and {{ has_text('logos_shown.title_key', 'spellings.name_key') }}
            and (
                length(spellings.name_key) > 3
                or {{ has_text('logos_shown.title_words', 'spellings.as_word') }}
                or {{ has_text('logos_shown.title_words', 'spellings.as_letters') }}
            )
    group by
        logos_shown.listing_id,
        logos_shown.brand_id,
        logos_shown.shown_from,
        logos_shown.shown_until,
        logos_shown.title_key,
        logos_shown.title_words

),

final as (

    select
        listing_id,
        brand_id,
        shown_from as unnamed_from,
        least(shown_until, coalesce(named_from, shown_until)) as unnamed_until
    from named
    where shown_from < least(shown_until, coalesce(named_from, shown_until))
    union all
    select
        listing_id,
        brand_id,
        greatest(shown_from, named_until) as unnamed_from,
        shown_until as unnamed_until
    from named
    where named_until < shown_until

)

select * from final
