-- Pictures of listings of the spine; one row per listing with an analysed picture, and date: altered pictures, other merchants
-- with the same picture and how many of them were found to sell counterfeits with it, and logos of brands that the title does not
-- name. A label of the same case or day as one of the merchant or its listings does not count.
with

places as (

    select distinct
        listing_id,
        merchant_id,
        as_of_date,
        is_active
    from {{ ref('listing_spine') }}

),

picture_appearances as (

    select * from {{ ref('picture_appearances') }}

),

picture_matches as (

    select * from {{ source('landed', 'picture_matches') }}

),

picture_merchants as (

    select * from {{ ref('picture_merchants') }}

),

unnamed_logos as (

    select * from {{ ref('unnamed_logos') }}

),

labels as (

    select * from {{ ref('entity_labels') }}

),

{{ own_cases_and_days() }}

labelled as (

    select distinct merchant_id from labels

),

dates as (

    select distinct as_of_date from places

),

likes as (

    {{ like_pictures('picture_appearances') }}

),

arrivals as (

    select
        sha256,
        shown_from,
        count(*) as merchant_count
    from picture_merchants
    group by
        sha256,
        shown_from

),

merchant_counts as (

    select
        sha256,
        shown_from as counted_from,
        coalesce(lead(shown_from) over (partition by sha256 order by shown_from), {{ end_of_time() }}) as counted_until,
        sum(merchant_count) over (
            partition by sha256
            order by shown_from
            rows between unbounded preceding and current row
        ) as merchant_count
    from arrivals

),

confirmed_with as (

    select distinct
        likes.sha256,
        picture_appearances.merchant_id,
        labels.decided_date,
        labels.case_id
    from labels
    inner join picture_appearances
        on
            picture_appearances.listing_id = labels.listing_id
            and picture_appearances.shown_from <= labels.decided_date
            and picture_appearances.shown_until > labels.decided_date
    inner join likes
        on likes.like_sha256 = picture_appearances.sha256
    where
        labels.entity_kind = 'listing'
        and labels.is_positive

),

confirmed_counts as (

    select
        confirmed_with.sha256,
        dates.as_of_date,
        count(distinct confirmed_with.merchant_id) as confirmed_count
    from dates
    inner join confirmed_with
        on confirmed_with.decided_date <= dates.as_of_date
    group by
        confirmed_with.sha256,
        dates.as_of_date

),

shown as (

    select
        places.*,
        picture_appearances.sha256,
        picture_appearances.is_altered
    from places
    inner join picture_appearances
        on
            picture_appearances.listing_id = places.listing_id
            and picture_appearances.shown_from <= places.as_of_date
            and picture_appearances.shown_until > places.as_of_date

),

-- Exclusions apply only to merchants that have labels: their own labels, and those of their cases and days.
shown_by_labelled as (

    select distinct
        shown.sha256,
        shown.merchant_id,
        shown.as_of_date
    from shown
    inner join labelled
        on labelled.merchant_id = shown.merchant_id

),

confirmed_counts_of_labelled as (

    select
        shown_by_labelled.sha256,
        shown_by_labelled.merchant_id,
        shown_by_labelled.as_of_date,
        count(distinct confirmed_with.merchant_id) as confirmed_count
    from shown_by_labelled
    inner join confirmed_with
        on
            confirmed_with.sha256 = shown_by_labelled.sha256
            and confirmed_with.merchant_id <> shown_by_labelled.merchant_id
            and confirmed_with.decided_date <= shown_by_labelled.as_of_date
    left join own_cases
        on
            own_cases.merchant_id = shown_by_labelled.merchant_id
            and own_cases.case_id = confirmed_with.case_id
    left join own_days
        on
            own_days.merchant_id = shown_by_labelled.merchant_id
            and own_days.decided_date = confirmed_with.decided_date
    where
        own_cases.case_id is null
        and own_days.decided_date is null
    group by
        shown_by_labelled.sha256,
        shown_by_labelled.merchant_id,
        shown_by_labelled.as_of_date

),

unnamed_counts as (

    select
        places.listing_id,
        places.as_of_date,
        cast(count(distinct unnamed_logos.brand_id) as integer) as unnamed_logo_count,
        min(unnamed_logos.brand_id) as unnamed_brand_id
    from places
    inner join unnamed_logos
        on
            unnamed_logos.listing_id = places.listing_id
            and unnamed_logos.unnamed_from <= places.as_of_date
            and unnamed_logos.unnamed_until > places.as_of_date
    group by
        places.listing_id,
        places.as_of_date

),

counted as (

    select
        shown.*,
        coalesce(unnamed_counts.unnamed_logo_count, 0) as unnamed_logo_count,
        unnamed_counts.unnamed_brand_id,
        merchant_counts.merchant_count - 1 as merchant_count,
        coalesce(
            case
                when labelled.merchant_id is null then confirmed_counts.confirmed_count
                else confirmed_counts_of_labelled.confirmed_count
            end,
            0
        ) as confirmed_count
    from shown
    inner join merchant_counts
        on
            merchant_counts.sha256 = shown.sha256
            and merchant_counts.counted_from <= shown.as_of_date
            and merchant_counts.counted_until > shown.as_of_date
    left join labelled
        on labelled.merchant_id = shown.merchant_id
    left join confirmed_counts
        on
            confirmed_counts.sha256 = shown.sha256
            and confirmed_counts.as_of_date = shown.as_of_date
    left join confirmed_counts_of_labelled
        on
            confirmed_counts_of_labelled.sha256 = shown.sha256
            and confirmed_counts_of_labelled.merchant_id = shown.merchant_id
            and confirmed_counts_of_labelled.as_of_date = shown.as_of_date
    left join unnamed_counts
        on
            unnamed_counts.listing_id = shown.listing_id
            and unnamed_counts.as_of_date = shown.as_of_date

),

final as (

    select
        listing_id,
        merchant_id,
        as_of_date,
        is_active,
        cast(count(*) as integer) as picture_count,
        cast(count(*) filter (where is_altered) as integer) as altered_picture_count,
        cast(count(*) filter (where merchant_count >= {{ most_bearers() }}) as integer) as common_picture_count,
        cast(max(merchant_count) as integer) as picture_merchant_count,
        max(unnamed_logo_count) as unnamed_logo_count,
        min(unnamed_brand_id) as unnamed_brand_id,
        max({{ decimal_ratio('confirmed_count', 'merchant_count') }}) as confirmed_merchant_share
    from counted
    group by
        listing_id,
        merchant_id,
        as_of_date,
        is_active

)

select * from final
