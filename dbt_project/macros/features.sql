{# Expressions that several feature models share; plain SQL, equal on every engine. #}

{# Quotient of two numbers, rounded to six digits; null if either is null or the denominator is 0. #}
{% macro ratio(numerator, denominator) -%}
    round(cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0), 6)
{%- endmacro %}

{#
    A share shrunk towards 0: negative prior cases are added to the denominator, so that few cases do not make it extreme. Null if
    there is no case. (The prior is 0, not the platform's mean: buying many reviews for some entities would move the mean, and
    with it every entity that has few.)
#}
{% macro shrunken_share(part, whole) -%}
    case
        when {{ whole }} > 0
            then round(cast({{ part }} as double) / (cast({{ whole }} as double) + {{ prior_count() }}), 6)
    end
{%- endmacro %}

{#
    Select list that sums a daily table's columns up to the as-of date (`<column>_life`) and, if a feature needs it, over the last
    90 and 30 days (`<column>_90`, `<column>_30`); an empty window is 0. `columns` as in summed_columns.
#}
{% macro windowed_sums(columns, daily, as_of_date) -%}
    {%- for column, windows in columns.items() %}
        {%- for window in windows %}
        {%- set summed = daily ~ '.' ~ column if window == 'life' else
            'case when ' ~ daily ~ '.day > ' ~ add_days(as_of_date, '-' ~ window) ~ ' then ' ~ daily ~ '.' ~ column ~ ' end' %}
        cast(coalesce(sum({{ summed }}), 0) as bigint) as {{ column }}_{{ window }}{{ ',' if not loop.last }}
        {%- endfor %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# 1 divided by a probability, as a decimal: sums of decimals are equal in every run. #}
{% macro inverse(probability) -%}
    cast(1.0 / {{ probability }} as decimal(28, 9))
{%- endmacro %}

{# Maximum number of age classes in which verdicts are scaled to the active entities, and minimum number of verdicts per class. #}
{% macro age_classes() %}20{% endmacro %}
{% macro verdicts_per_age_class() %}{{ return(var('verdicts_per_age_class', 50)) }}{% endmacro %}

{#
    Number of positive verdicts that are always used to calibrate. Of further ones at most half are used to train
    (docs/decisions/0010).
#}
{% macro calibrating_positives() %}{{ return(var('calibrating_positives', 100)) }}{% endmacro %}

{# A ratio that can be summed: DECIMAL(18,6), capped at a million. (`least` would return a million for null.) #}
{% macro decimal_ratio(numerator, denominator) -%}
    cast(
        case
            when {{ ratio(numerator, denominator) }} > 1000000 then 1000000
            else {{ ratio(numerator, denominator) }}
        end as decimal(18, 6)
    )
{%- endmacro %}

{# Geometric mean of ratios, from the sum of their logarithms: a few expensive listings do not hide many cheap ones. #}
{% macro mean_ratio(log_sum, count) -%}
    round(exp({{ ratio(log_sum, count) }}), 6)
{%- endmacro %}

{# Price level of the merchant's listings other than the one in `offered`; `merchants` is merchant_states or merchant_brands. #}
{% macro others_msrp_ratio(merchants) -%}
    {{ mean_ratio(
        merchants ~ '.log_msrp_ratio_sum - coalesce(offered.own_log_msrp_ratio, 0)',
        less_own(merchants ~ '.msrp_ratio_count', 'offered.own_msrp_ratio_count')
    ) }}
{%- endmacro %}

{# Natural logarithm of a price as DECIMAL, so that medians are exact. Null for a price of 0 or less. #}
{% macro log_price(price) -%}
    case when {{ price }} > 0 then cast(ln(cast({{ price }} as double)) as decimal(9, 6)) end
{%- endmacro %}

{#
    Distance of a price from the median of its peers, in units of 1.4826 median absolute deviations of the log price. The median
    is that of the first peer group that exists. The deviation within a small group is shrunk towards that of the next wider one,
    with 20 prior cases (the minimum size of a peer group), and the unit is at least 0.05.
#}
{% macro peer_deviation(price, peers) -%}
    {%- set distances = [] -%}
    {%- for peer in peers | reverse -%}
        {%- if not distances -%}
            {%- do distances.append(peer ~ '.log_price_distance') -%}
        {%- else -%}
            {%- do distances.append(
                'coalesce((' ~ peer ~ '.listing_count * ' ~ peer ~ '.log_price_distance + 20 * ' ~ distances[-1]
                ~ ') / (' ~ peer ~ '.listing_count + 20), ' ~ peer ~ '.log_price_distance, ' ~ distances[-1] ~ ')'
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set medians = [] -%}
    {%- for peer in peers -%}
        {%- do medians.append(peer ~ '.median_price_base') -%}
    {%- endfor -%}
    {{ ratio(
        log_price(price) ~ ' - ' ~ log_price('coalesce(' ~ medians | join(', ') ~ ')'),
        'greatest(1.4826 * ' ~ distances[-1] ~ ', 0.05)'
    ) }}
{%- endmacro %}

{#
    Columns of the daily tables that features are computed from, by part, with their windows. All are counts or integer sums,
    hence additive.
#}
{% macro summed_columns_by_part() %}
    {{ return({
        'orders': {
            'order_count': ['life', '90', '30'],
            'refund_count': ['life', '90'],
            'refund_not_authentic_count': ['life'],
            'refund_not_as_described_count': ['life'],
            'delivered_count': ['life'],
            'delivery_hours_sum': ['life'],
        },
        'reviews': {
            'review_count': ['life', '90', '30'],
            'rating_count': ['life', '30'],
            'rating_sum': ['life', '30'],
            'one_star_count': ['life'],
            'five_star_count': ['life'],
            'verified_known_count': ['life'],
            'verified_review_count': ['life'],
            'photo_known_count': ['life'],
            'photo_review_count': ['life'],
            'text_review_count': ['life', '90'],
            'authenticity_complaint_count': ['life', '90'],
            'order_review_count': ['life'],
            'early_review_count': ['life'],
            'long_text_review_count': ['life'],
            'repeated_review_count': ['life'],
        },
    }) }}
{% endmacro %}

{# The same columns of all parts together. #}
{% macro summed_columns() %}
    {% set columns = {} %}
    {% for part in summed_columns_by_part().values() %}
        {% do columns.update(part) %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{#
    Polarisation of ratings, from an entity's windowed sums `own`: the share of ratings that can be paired off as five stars
    against one star. (The share of five-star and one-star ratings together would also be high where all are satisfied or all are
    not.)
#}
{% macro polarised_share(own) -%}
    {{ shrunken_share(
        'least(2 * ' ~ own ~ '.one_star_count_life, 2 * ' ~ own ~ '.five_star_count_life)', own ~ '.rating_count_life'
    ) }}
{%- endmacro %}

{# Columns that are also summed by merchant and brand, by part, with their windows. #}
{% macro brand_columns() %}
    {{ return({
        'orders': {'order_count': ['life'], 'refund_count': ['life'], 'refund_not_authentic_count': ['life']},
        'reviews': {
            'rating_count': ['life'],
            'rating_sum': ['life'],
            'text_review_count': ['life'],
            'authenticity_complaint_count': ['life'],
        },
    }) }}
{% endmacro %}

{# A merchant's sum without one of its own listings, at least 0; null if it is unknown. (`greatest` would return 0 for null.) #}
{% macro less_own(total, own) -%}
    case when {{ total }} is not null then greatest({{ total }} - coalesce({{ own }}, 0), 0) end
{%- endmacro %}

{# Number of prior cases that shrink a share towards 0. #}
{% macro prior_count() %}10{% endmacro %}

{#
    Link features of a merchant, used for the merchant and for its listings. Needs `links` (merchant_links) and `rings`
    (merchant_rings), both left joined, and `platform` (platform_states). On a platform without identifiers counts are null
    (unknown), not 0.
#}
{% macro link_features() -%}
        case when platform.has_identifiers then coalesce(links.verified_count, 0) end as link_merchant_count,
        case when platform.has_identifiers then coalesce(links.spoofable_count, 0) end as spoofable_link_merchant_count,
        {{ ratio('links.verified_confirmed_count', 'links.verified_count') }} as link_confirmed_share,
        {{ ratio('links.spoofable_confirmed_count', 'links.spoofable_count') }} as spoofable_link_confirmed_share,
        {%- for hop in ('', 'second_') %}
        {{ mean_ratio('links.' ~ hop ~ 'log_msrp_ratio_sum', 'links.' ~ hop ~ 'msrp_ratio_count') }} as {{ hop }}link_price_msrp_ratio,
        {{ ratio(
            'links.' ~ hop ~ 'discrepant_field_count', 'links.' ~ hop ~ 'compared_field_count'
        ) }} as {{ hop }}link_spec_discrepant_share,
        {{ shrunken_share(
            'links.' ~ hop ~ 'authenticity_complaint_count', 'links.' ~ hop ~ 'text_review_count'
        ) }} as {{ hop }}link_complaint_share,
        {{ shrunken_share(
            'links.' ~ hop ~ 'refund_not_authentic_count', 'links.' ~ hop ~ 'order_count'
        ) }} as {{ hop }}link_refund_not_authentic_share,
        {%- endfor %}
        case when platform.has_identifiers then coalesce(rings.verified_count, 0) end as ring_merchant_count,
        case when platform.has_identifiers then coalesce(rings.spoofable_count, 0) end as spoofable_ring_merchant_count,
        {{ ratio('rings.verified_confirmed_count', 'rings.verified_count') }} as ring_confirmed_share,
        {{ ratio('rings.spoofable_confirmed_count', 'rings.spoofable_count') }} as spoofable_ring_confirmed_share,
        {{ days_between('rings.since_date', 'rings.as_of_date') }} as ring_age_days
{%- endmacro %}

{#
    CTEs over `labels` (entity_labels): a merchant's own cases and decision days, on which no label counts for it; with
    key='listing_id', a listing's. Rejected notices are left out by default: anybody can submit one, and could otherwise choose
    which labels are ignored.
#}
{% macro own_cases_and_days(with_rejected_notices=false, key='merchant_id') -%}
own_labels as (

    select
        {{ key }},
        case_id,
        decided_date
    from labels
    {{ "where is_positive or source <> 'notice'" if not with_rejected_notices }}

),

own_cases as (

    select distinct
        {{ key }},
        case_id
    from own_labels

),

own_days as (

    select distinct
        {{ key }},
        decided_date
    from own_labels

),
{%- endmacro %}

{#
    CTE `confirmed`: the distinct pairs (merchant_id, as_of_date, neighbour_id) of a relation whose neighbour had been found to
    sell counterfeits by the date, in no case and on no decision day of the merchant itself. Needs `labels` and
    own_cases_and_days.
#}
{% macro confirmed_among(pairs) -%}
confirmed as (

    select distinct
        {{ pairs }}.merchant_id,
        {{ pairs }}.as_of_date,
        {{ pairs }}.neighbour_id
    from {{ pairs }}
    inner join labels
        on
            labels.entity_kind = 'merchant'
            and labels.is_positive
            and labels.entity_id = {{ pairs }}.neighbour_id
            and labels.decided_date <= {{ pairs }}.as_of_date
    left join own_cases
        on
            own_cases.merchant_id = {{ pairs }}.merchant_id
            and own_cases.case_id = labels.case_id
    left join own_days
        on
            own_days.merchant_id = {{ pairs }}.merchant_id
            and own_days.decided_date = labels.decided_date
    where
        own_cases.case_id is null
        and own_days.decided_date is null

),
{%- endmacro %}

{# For each date of a relation, the last rating date up to it, if any; needs the CTE `rating_dates`. #}
{% macro last_rating_dates(relation) -%}
    select
        asked.as_of_date,
        max(rating_dates.as_of_date) as rating_date
    from (select distinct as_of_date from {{ relation }}) as asked
    inner join rating_dates
        on rating_dates.as_of_date <= asked.as_of_date
    group by asked.as_of_date
{%- endmacro %}

{# Pairs of similar pictures in both directions, from a CTE over landed.picture_matches. #}
{% macro both_ways(picture_matches) -%}
    select
        sha256,
        like_sha256
    from {{ picture_matches }}
    union all
    select
        like_sha256 as sha256,
        sha256 as like_sha256
    from {{ picture_matches }}
{%- endmacro %}

{#
    The same pairs plus each picture of a relation with itself: the pictures that count as one. `of` is a relation with a sha256.
#}
{% macro like_pictures(of) -%}
    {{ both_ways('picture_matches') }}
    union all
    select distinct
        sha256,
        sha256 as like_sha256
    from {{ of }}
{%- endmacro %}

{#
    Price of a merchant's cheapest listings divided by that of its most expensive ones, each relative to the recommended price;
    null for a single listing. `states` is merchant_states.
#}
{% macro price_spread(states) -%}
    {{ ratio(states ~ '.low_msrp_ratio', 'case when ' ~ states ~ '.msrp_ratio_count > 1 then ' ~ states ~ '.high_msrp_ratio end') }}
{%- endmacro %}

{#
    Notices against a merchant that were rejected or countered, per active listing. `states` is merchant_states; needs `conduct`
    (merchant_conduct) and `platform` (platform_states).
#}
{% macro disputed_notice_ratio(states) -%}
    case when platform.has_notices then {{ ratio('conduct.disputed_notice_count', states ~ '.active_listing_count') }} end
{%- endmacro %}

{# Brands per month since the merchant joined; the first month counts as a whole one. `states` is merchant_states. #}
{% macro brand_age_ratio(states) -%}
    {{ ratio(
        '30 * ' ~ states ~ '.brand_count',
        'case when ' ~ states ~ '.merchant_age_days > 30 then ' ~ states ~ '.merchant_age_days '
        ~ 'when ' ~ states ~ '.merchant_age_days is not null then 30 end'
    ) }}
{%- endmacro %}

{#
    The band of a number as text: below the first edge, between two edges, or from the last edge on. Null if unknown.
    edges  numbers, ascending
    unit   what the number counts, as SQL
#}
{% macro banded(number, edges, unit) -%}
    case
        when {{ number }} < {{ edges[0] }} then 'under {{ edges[0] }} ' || {{ unit }}
        {%- for edge in edges[1:] %}
        when {{ number }} < {{ edge }} then '{{ edges[loop.index0] }} to {{ edge }} ' || {{ unit }}
        {%- endfor %}
        when {{ number }} >= {{ edges[-1] }} then '{{ edges[-1] }} ' || {{ unit }} || ' and more'
    end
{%- endmacro %}

{# The columns that the four spines have in common. #}
{% macro spine_columns() -%}
        category,
        as_of_date,
        purpose,
        label,
        label_source,
        label_decided_date,
        sampling_share,
        inclusion_probability,
        expansion_weight,
        is_random_arm,
        is_active
{%- endmacro %}

{# The first date that evaluates, of all rating dates; the day after the last one if none does, so that every label trains. #}
{% macro first_evaluation_date() -%}
    coalesce(min(case when purpose = 'evaluate' then as_of_date end), {{ add_days('max(as_of_date)', 1) }})
{%- endmacro %}

{# How much better than any other brand's a logo must match at a place, as LEAST_MARGIN in ml/signals/logos.py. #}
{% macro least_logo_margin() %}0.05{% endmacro %}

{# Days after which a finding weighs half. #}
{% macro finding_half_life_days() %}{{ return(var('finding_half_life_days', 180)) }}{% endmacro %}

{# Weight of the cases of a relation with found_date, at known_date, as a decimal: sums of decimals are equal in every run. #}
{% macro finding_weight() -%}
    cast(sum(cast(
            round(power(0.5, cast({{ days_between('found_date', 'known_date') }} as double) / {{ finding_half_life_days() }}), 6)
            as decimal(9, 6)
        )) as decimal(18, 6))
{%- endmacro %}

{# Weight of findings per active listing; 0 without any. Null if the platform has no findings; needs `platform`. #}
{% macro finding_ratio(weight, active_count) -%}
    case
            when platform.has_findings
                then {{ ratio('coalesce(' ~ weight ~ ', 0)', 'greatest(coalesce(' ~ active_count ~ ', 0), 1)') }}
        end
{%- endmacro %}
