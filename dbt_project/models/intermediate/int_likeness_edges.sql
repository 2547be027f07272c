-- Pairs of merchants with similar listings, and the span in which they are: at least three nearly identical titles, or three
-- pictures with equal bytes, that few merchants show. A single title or picture in common is no evidence: listings have common
-- names, and pictures are passed on. A picture counts until either merchant removes it. Such an edge is never verified, because
-- the copied merchant has no part in it.
{% set least_pictures = 3 %}
{# Two titles have at most 4 bands in common each; only a third reaches the limit. #}
{% set least_bands = 2 * (title_bands() | length) + 2 %}

with

listings as (

    select * from {{ ref('stg_listings') }}

),

int_listing_texts as (

    select * from {{ ref('int_listing_texts') }}

),

images as (

    select * from {{ ref('stg_listing_image_history') }}

),

shown as (

    {% for band in title_bands() -%}
    select
        'title' as kind,
        '{{ band }} ' || cast(title_band_{{ band }} as varchar) as value,
        listing_id,
        known_from,
        {{ end_of_time() }} as known_until
    from int_listing_texts
    where title_band_{{ band }} is not null
    union all
    {% endfor -%}
    select
        'picture' as kind,
        sha256 as value,
        listing_id,
        known_from,
        known_until
    from images
    where sha256 is not null

),

first_shown as (

    select
        shown.kind,
        shown.value,
        listings.merchant_id,
        min(greatest(shown.known_from, cast(listings.listed_at as date))) as shown_from,
        max(shown.known_until) as shown_until
    from shown
    inner join listings
        on listings.listing_id = shown.listing_id
    where greatest(shown.known_from, cast(listings.listed_at as date)) < shown.known_until
    group by
        shown.kind,
        shown.value,
        listings.merchant_id

),

ranked as (

    select
        *,
        row_number() over (partition by kind, value order by shown_from, merchant_id) as place,
        count(*) over (partition by kind, value) as merchant_count
    from first_shown

),

common as (

    select
        kind,
        value,
        shown_from as common_from
    from ranked
    where place = {{ most_bearers() }} + 1

),

few as (

    select
        ranked.kind,
        ranked.value,
        ranked.merchant_id,
        ranked.shown_from,
        ranked.shown_until,
        coalesce(common.common_from, {{ end_of_time() }}) as common_from,
        ranked.place
    from ranked
    left join common
        on
            common.kind = ranked.kind
            and common.value = ranked.value
    where
        ranked.merchant_count > 1
        and ranked.place <= {{ most_bearers() }}

),

pairs as (

    select
        least(earlier.merchant_id, later.merchant_id) as merchant_id_a,
        greatest(earlier.merchant_id, later.merchant_id) as merchant_id_b,
        later.kind,
        later.shown_from as shared_from,
        least(earlier.shown_until, later.shown_until, later.common_from) as shared_until
    from few as later
    inner join few as earlier
        on
            earlier.kind = later.kind
            and earlier.value = later.value
            and earlier.place < later.place
    where later.shown_from < least(earlier.shown_until, later.shown_until, later.common_from)

),

counted as (

    select
        *,
        count(*) over (partition by merchant_id_a, merchant_id_b, kind) as shared_count
    from pairs

),

enough as (

    select *
    from counted
    where shared_count >= case kind when 'title' then {{ least_bands }} else {{ least_pictures }} end

),

changes as (

    select
        merchant_id_a,
        merchant_id_b,
        kind,
        shared_from as day,
        1 as change
    from enough
    union all
    select
        merchant_id_a,
        merchant_id_b,
        kind,
        shared_until as day,
        -1 as change
    from enough
    where shared_until < {{ end_of_time() }}

),

day_changes as (

    select
        merchant_id_a,
        merchant_id_b,
        kind,
        day,
        sum(change) as change
    from changes
    group by
        merchant_id_a,
        merchant_id_b,
        kind,
        day

),

spans as (

    select
        merchant_id_a,
        merchant_id_b,
        kind,
        day as known_from,
        coalesce(
            lead(day) over (partition by merchant_id_a, merchant_id_b, kind order by day),
            {{ end_of_time() }}
        ) as known_until,
        sum(change) over (
            partition by merchant_id_a, merchant_id_b, kind
            order by day
            rows between unbounded preceding and current row
        ) as shared_count
    from day_changes

),

final as (

    select
        merchant_id_a,
        merchant_id_b,
        kind,
        known_from,
        known_until
    from spans
    where shared_count >= case kind when 'title' then {{ least_bands }} else {{ least_pictures }} end

)

select * from final
