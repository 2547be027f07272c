{# What several models of the features step say in the same words; plain SQL, the same on every engine. #}

{# One number over another, rounded to six digits; null where either is unknown or there is nothing to divide by. #}
{% macro ratio(numerator, denominator) -%}
    round(cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0), 6)
{%- endmacro %}

{#
    A share that few cases do not make extreme: some imagined cases are added in which nothing was amiss. Null where there is no
    case. (Not cases at the platform's own share: whoever buys many reviews for some would move it, and with it everybody who
    has few.)
#}
{% macro shrunken_share(part, whole) -%}
    case
        when {{ whole }} > 0
            then round(cast({{ part }} as double) / (cast({{ whole }} as double) + {{ imagined_cases() }}), 6)
    end
{%- endmacro %}

{#
    The select list that sums a daily table's columns up to as_of (`<column>_life`) and, where a feature asks for it, over
    the last 90 and 30 days (`<column>_90`, `<column>_30`); nothing in a window is 0. `columns` as in summed_columns.
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

{# 1 divided by a probability, as a decimal: sums of these are the same in every run. #}
{% macro inverse(probability) -%}
    cast(1.0 / {{ probability }} as decimal(28, 9))
{%- endmacro %}

{# By how many classes of age verdicts are scaled to what lives, at most, and how many verdicts a class holds at least. #}
{% macro age_classes() %}20{% endmacro %}
{% macro verdicts_per_age_class() %}{{ return(var('verdicts_per_age_class', 50)) }}{% endmacro %}

{# How many positive verdicts calibration takes for sure; of more a part teaches instead, at most half (docs/decisions/0010). #}
{% macro calibrating_positives() %}{{ return(var('calibrating_positives', 100)) }}{% endmacro %}

{#
    The rows of a spine, one an entity, date and purpose; see listing_spine for what each purpose means.

    Args:
        entity_kind: 'listing' or 'merchant'.
        rated: name of a CTE with entity_id, merchant_id, category, as_of_date, is_active and active_since (since when it has been there,
            null where that is not known): all that can be rated or learned.
        calibrated_by: the source of labels whose inclusion probabilities count.
        unlabelled_per_date: about how many of those that nothing labels are drawn at each grid date; all, if it is none. A date
            that is learned from has no use for more than a quarter of it, or 80 for each positive if these are more: a training
            keeps 30,000 in all, or 50 for each positive, of those whose components it may see (ml/boosting.py).
        labels: the model that has the labels.
#}
{% macro spine_rows(entity_kind, rated, calibrated_by, unlabelled_per_date=none, labels='entity_labels') %}
{%- set share = 'least(1.0, round(live_counts.wanted_count / live_counts.live_count, 6))' %}
spine_run as (

    select * from {{ source('landed', 'run') }}

),

spine_dates as (

    select * from {{ ref('rating_dates') }}

),

evaluation as (

    select min(as_of_date) as first_date
    from spine_dates
    where purpose = 'evaluate'

),

labels as (

    select * from {{ ref(labels) }} where entity_kind = '{{ entity_kind }}'

),

calibration_labels as (

    select
        labels.*,
        row_number() over (partition by entity_id order by decided_at desc, case_id) as place
    from labels
    where
        source = '{{ calibrated_by }}'
        and inclusion_probability is not null

),

scoring_rows as (

    select
        {{ rated }}.entity_id,
        {{ rated }}.merchant_id,
        {{ rated }}.category,
        {{ rated }}.as_of_date,
        {{ rated }}.is_active,
        'score' as purpose,
        cast(null as boolean) as label,
        cast(null as varchar) as label_source,
        cast(null as date) as label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from {{ rated }}
    inner join spine_dates
        on
            spine_dates.as_of_date = {{ rated }}.as_of_date
            and spine_dates.purpose = 'score'
    where {{ rated }}.is_active

),

-- What lives at the cut and is a positive by another source than the one that calibrates: calibration fits how much of all
-- positives that is.
known_labels as (

    select
        *,
        row_number() over (
            partition by entity_id
            order by strength desc, decided_at desc, is_positive desc, case_id asc
        ) as place
    from labels
    where source <> '{{ calibrated_by }}' or inclusion_probability is null

),

known_rows as (

    select
        scoring_rows.entity_id,
        scoring_rows.merchant_id,
        scoring_rows.category,
        scoring_rows.as_of_date,
        scoring_rows.is_active,
        'known_positive' as purpose,
        true as label,
        known_labels.source as label_source,
        known_labels.decided_date as label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from scoring_rows
    inner join known_labels
        on
            known_labels.entity_id = scoring_rows.entity_id
            and known_labels.place = 1
    inner join spine_run
        on spine_run.with_training
    where known_labels.is_positive

),

on_grid as (

    select
        {{ rated }}.*,
        spine_dates.purpose
    from {{ rated }}
    inner join spine_dates
        on
            spine_dates.as_of_date = {{ rated }}.as_of_date
            and spine_dates.purpose in ('train', 'evaluate')
    where {{ rated }}.is_active

),

labels_ahead as (

    select
        on_grid.*,
        labels.is_positive,
        labels.source,
        labels.decided_date,
        row_number() over (
            partition by on_grid.entity_id, on_grid.as_of_date
            order by labels.strength desc, labels.decided_at desc, labels.is_positive desc, labels.case_id
        ) as place,
        -- What was picked for its risk was chosen by the champion: a challenger would be held to what the champion suspects.
        on_grid.purpose = 'train' or min(
            case when labels.arm = 'risk' then 1 else 0 end
        ) over (partition by on_grid.entity_id, on_grid.as_of_date) = 0 as is_told
    from on_grid
    inner join labels
        on
            labels.entity_id = on_grid.entity_id
            and not labels.is_standalone
            and labels.decided_date > on_grid.as_of_date
    cross join spine_run
    cross join evaluation
    where
        labels.decided_date <= {{ add_days('on_grid.as_of_date', 'spine_run.label_horizon_days') }}
        and (on_grid.purpose = 'evaluate' or labels.decided_date < evaluation.first_date)

),

lone_decisions as (

    select
        {{ rated }}.*,
        case
            when labels.decided_date >= evaluation.first_date then 'evaluate'
            else 'train'
        end as purpose,
        labels.is_positive,
        labels.source,
        labels.decided_date,
        row_number() over (
            partition by {{ rated }}.entity_id, {{ rated }}.as_of_date
            order by labels.decided_at desc, labels.is_positive desc, labels.case_id
        ) as place
    from {{ rated }}
    inner join labels
        on
            labels.entity_id = {{ rated }}.entity_id
            and labels.decided_date = {{ rated }}.as_of_date
            and labels.is_standalone
    inner join spine_run
        on spine_run.with_training
    cross join evaluation

),

-- What stands alone and fell on a grid date of its own entity is told by the label ahead, where there is one.
labelled as (

    select * from labels_ahead where place = 1 and is_told
    union all
    select
        lone_decisions.*,
        true as is_told
    from lone_decisions
    left join labels_ahead
        on
            labels_ahead.entity_id = lone_decisions.entity_id
            and labels_ahead.as_of_date = lone_decisions.as_of_date
            and labels_ahead.purpose = lone_decisions.purpose
            and labels_ahead.place = 1
    where
        lone_decisions.place = 1
        and labels_ahead.entity_id is null

),

labelled_rows as (

    select
        labelled.entity_id,
        labelled.merchant_id,
        labelled.category,
        labelled.as_of_date,
        labelled.is_active,
        labelled.purpose,
        labelled.is_positive as label,
        labelled.source as label_source,
        labelled.decided_date as label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from labelled

),

labelled_entities as (

    select distinct entity_id from labels

),

positive_counts as (

    select
        as_of_date,
        count(*) as positive_count
    from labelled
    where is_positive
    group by as_of_date

),

-- Counted by date first: a count over a window would hold all that lives at all dates, to keep a hundredth of it.
live_counts as (

    select
        on_grid.as_of_date,
        count(*) as live_count,
        {%- if unlabelled_per_date %}
        case
            when on_grid.purpose = 'train'
                then least(
                    {{ unlabelled_per_date }},
                    greatest({{ unlabelled_per_date }} / 4, 80 * coalesce(max(positive_counts.positive_count), 0))
                )
            else {{ unlabelled_per_date }}
        end as wanted_count
        {%- else %}
        count(*) as wanted_count
        {%- endif %}
    from on_grid
    left join positive_counts
        on positive_counts.as_of_date = on_grid.as_of_date
    left join labelled_entities
        on labelled_entities.entity_id = on_grid.entity_id
    where labelled_entities.entity_id is null
    group by
        on_grid.as_of_date,
        on_grid.purpose

),

drawn as (

    select
        on_grid.*,
        {{ share }} as sampling_share
    from on_grid
    inner join live_counts
        on live_counts.as_of_date = on_grid.as_of_date
    where
        {{ key_share("on_grid.entity_id || '|' || cast(on_grid.as_of_date as varchar)") }}
        < {{ share }}

),

unlabelled_rows as (

    select
        drawn.entity_id,
        drawn.merchant_id,
        drawn.category,
        drawn.as_of_date,
        drawn.is_active,
        drawn.purpose,
        false as label,
        cast(null as varchar) as label_source,
        cast(null as date) as label_decided_date,
        cast(drawn.sampling_share as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from drawn
    left join labelled_entities
        on labelled_entities.entity_id = drawn.entity_id
    where labelled_entities.entity_id is null

),

calibration_places as (

    select
        {{ rated }}.*,
        calibration_labels.is_positive,
        calibration_labels.source,
        calibration_labels.decided_date,
        calibration_labels.arm,
        calibration_labels.inclusion_probability,
        spine_dates.purpose = 'score' as is_at_cut,
        row_number() over (
            partition by {{ rated }}.entity_id
            order by
                spine_dates.purpose = 'score' desc,
                {{ rated }}.as_of_date < calibration_labels.decided_date desc,
                abs({{ days_between(rated ~ '.as_of_date', 'calibration_labels.decided_date') }})
        ) as place
    from {{ rated }}
    inner join spine_dates
        on
            spine_dates.as_of_date = {{ rated }}.as_of_date
            and spine_dates.purpose in ('score', 'train', 'evaluate')
    inner join calibration_labels
        on
            calibration_labels.entity_id = {{ rated }}.entity_id
            and calibration_labels.place = 1
    inner join spine_run
        on spine_run.with_training
    where {{ rated }}.is_active

),

-- What is gone by the cut is no part of the goods that are rated then, unless it is gone because of this very verdict:
-- without those, calibration would never see what test buys and audits catch.
removed_for_it as (

    select distinct calibration_labels.entity_id
    from calibration_labels
    inner join {{ ref('stg_platform_actions') }} as actions
        on
            actions.entity_kind = '{{ entity_kind }}'
            and actions.entity_id = calibration_labels.entity_id
            and actions.kind in ('takedown', 'ban')
            and actions.occurred_at >= calibration_labels.decided_at
    inner join spine_run
        on spine_run.as_of >= cast(actions.occurred_at as date)
    left join labels as others
        on
            others.entity_id = calibration_labels.entity_id
            and others.is_positive
            and others.source <> calibration_labels.source
            and actions.occurred_at > others.decided_at
    where
        calibration_labels.place = 1
        and calibration_labels.is_positive
        and others.entity_id is null

),

all_verdicts as (

    select
        calibration_places.*,
        coalesce(calibration_places.active_since, {{ beginning() }}) as since_date,
        known_rows.entity_id is not null as is_known,
        {{ key_share("calibration_places.entity_id || '|held out'") }} as chance
    from calibration_places
    left join removed_for_it
        on removed_for_it.entity_id = calibration_places.entity_id
    left join known_rows
        on known_rows.entity_id = calibration_places.entity_id
    where
        calibration_places.place = 1
        and (calibration_places.is_at_cut or removed_for_it.entity_id is not null)

),

held_share as (

    select
        greatest(
            0.5, least(1.0, cast({{ calibrating_positives() }} as double) / nullif(count(*) filter (where is_positive), 0))
        ) as share
    from all_verdicts

),

-- Verdicts that are held out. Whoever draws them from those that do not teach draws each with this probability.
verdicts as (

    select
        all_verdicts.*,
        all_verdicts.inclusion_probability * held_share.share
        / (1.0 - all_verdicts.inclusion_probability * (1.0 - held_share.share)) as held_out_probability
    from all_verdicts
    cross join held_share
    where all_verdicts.chance < coalesce(held_share.share, 1.0)

),

-- Those that teach are no part of what calibration is about.
taught_rows as (

    select
        all_verdicts.entity_id,
        all_verdicts.merchant_id,
        all_verdicts.category,
        all_verdicts.as_of_date,
        all_verdicts.is_active,
        'training_verdict' as purpose,
        all_verdicts.is_positive as label,
        all_verdicts.source as label_source,
        all_verdicts.decided_date as label_decided_date,
        cast(1 as double) as sampling_share,
        cast(null as double) as inclusion_probability,
        cast(null as double) as expansion_weight,
        false as is_random_arm
    from all_verdicts
    left join verdicts
        on verdicts.entity_id = all_verdicts.entity_id
    where
        all_verdicts.is_at_cut
        and verdicts.entity_id is null

),

-- A verdict comes some time after what it is about, so of what is new few of the planned ones are there. By classes of age, of so
-- many verdicts each, they are scaled to what lives and no other source has found to be a positive.
ranked_by_age as (

    select
        since_date,
        row_number() over (order by since_date, entity_id) - 1 as verdicts_before,
        count(*) over () as verdict_count
    from verdicts
    where not is_known

),

classed as (

    select
        since_date,
        cast(floor(
            verdicts_before
            * greatest(1, least({{ age_classes() }}, floor(verdict_count / {{ verdicts_per_age_class() }})))
            / verdict_count
        ) as integer) as age_class
    from ranked_by_age

),

class_starts as (

    select distinct case when age_class = 0 then {{ beginning() }} else min(since_date) end as from_date
    from classed
    group by age_class

),

age_classes as (

    select
        from_date,
        lead(from_date, 1, {{ end_of_time() }}) over (order by from_date) as until_date
    from class_starts

),

class_weights as (

    select
        age_classes.from_date,
        sum({{ inverse('verdicts.held_out_probability') }}) as weight
    from age_classes
    inner join verdicts
        on
            verdicts.since_date >= age_classes.from_date
            and verdicts.since_date < age_classes.until_date
    where not verdicts.is_known
    group by age_classes.from_date

),

-- Beside what lives what a verdict removed: it stands for its like that nobody examined.
unknown_to_others as (

    select coalesce({{ rated }}.active_since, {{ beginning() }}) as since_date
    from {{ rated }}
    inner join scoring_rows
        on
            scoring_rows.entity_id = {{ rated }}.entity_id
            and scoring_rows.as_of_date = {{ rated }}.as_of_date
    left join known_rows
        on known_rows.entity_id = {{ rated }}.entity_id
    left join taught_rows
        on taught_rows.entity_id = {{ rated }}.entity_id
    where
        known_rows.entity_id is null
        and taught_rows.entity_id is null
    union all
    select since_date
    from verdicts
    where
        not is_known
        and not is_at_cut

),

class_counts as (

    select
        age_classes.from_date,
        count(*) as unknown_count
    from age_classes
    inner join unknown_to_others
        on
            unknown_to_others.since_date >= age_classes.from_date
            and unknown_to_others.since_date < age_classes.until_date
    group by age_classes.from_date

),

calibration_rows as (

    select
        verdicts.entity_id,
        verdicts.merchant_id,
        verdicts.category,
        verdicts.as_of_date,
        verdicts.is_active,
        'calibrate' as purpose,
        verdicts.is_positive as label,
        verdicts.source as label_source,
        verdicts.decided_date as label_decided_date,
        cast(1 as double) as sampling_share,
        verdicts.held_out_probability as inclusion_probability,
        cast(
            coalesce(class_counts.unknown_count / class_weights.weight, 1.0) * {{ inverse('verdicts.held_out_probability') }} as double
        ) as expansion_weight,
        coalesce(verdicts.arm, 'random') = 'random' as is_random_arm
    from verdicts
    left join age_classes
        on
            verdicts.since_date >= age_classes.from_date
            and verdicts.since_date < age_classes.until_date
    left join class_weights
        on class_weights.from_date = age_classes.from_date
    left join class_counts
        on class_counts.from_date = age_classes.from_date

),

spine_rows as (

    select * from scoring_rows
    union all
    select labelled_rows.*
    from labelled_rows
    left join calibration_rows
        on calibration_rows.entity_id = labelled_rows.entity_id
    where
        labelled_rows.purpose <> 'train'
        or calibration_rows.entity_id is null
    union all
    select * from unlabelled_rows
    union all
    select * from calibration_rows
    union all
    select known_rows.*
    from known_rows
    left join taught_rows
        on taught_rows.entity_id = known_rows.entity_id
    where taught_rows.entity_id is null
    union all
    select * from taught_rows

)
{% endmacro %}

{# The select list of windowed sums made before, from a side of a left join that may have no row. #}
{% macro windowed_sums_of(columns, relation) -%}
    {%- for column, windows in columns.items() %}
        {%- for window in windows %}
        coalesce({{ relation }}.{{ column }}_{{ window }}, 0) as {{ column }}_{{ window }}{{ ',' if not loop.last }}
        {%- endfor %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# A ratio that can be summed: DECIMAL(18,6), at most a million. (`least` would make a million of an unknown one.) #}
{% macro decimal_ratio(numerator, denominator) -%}
    cast(
        case
            when {{ ratio(numerator, denominator) }} > 1000000 then 1000000
            else {{ ratio(numerator, denominator) }}
        end as decimal(18, 6)
    )
{%- endmacro %}

{# The geometric mean of ratios out of the sum of their logarithms: a few dear goods among cheap ones do not hide these. #}
{% macro mean_ratio(log_sum, count) -%}
    round(exp({{ ratio(log_sum, count) }}), 6)
{%- endmacro %}

{# The price level of a merchant's goods beside one listing; `goods` is merchant_states or merchant_brands, the listing `offered`. #}
{% macro others_msrp_ratio(goods) -%}
    {{ mean_ratio(
        goods ~ '.log_msrp_ratio_sum - coalesce(offered.own_log_msrp_ratio, 0)',
        less_own(goods ~ '.msrp_ratio_count', 'offered.own_msrp_ratio_count')
    ) }}
{%- endmacro %}

{# The natural logarithm of a price, DECIMAL: a middle of them is exact. Null where nothing is asked. #}
{% macro log_price(price) -%}
    case when {{ price }} > 0 then cast(ln(cast({{ price }} as double)) as decimal(9, 6)) end
{%- endmacro %}

{#
    How many usual distances a price is from the median of the first peers that there are. What is usual among few is drawn
    towards what is among the next wider ones, by as many imagined cases as peers must be, and is never under a twentieth.
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
        {%- do medians.append(peer ~ '.median_price_usd') -%}
    {%- endfor -%}
    {{ ratio(
        log_price(price) ~ ' - ' ~ log_price('coalesce(' ~ medians | join(', ') ~ ')'),
        'greatest(1.4826 * ' ~ distances[-1] ~ ', 0.05)'
    ) }}
{%- endmacro %}

{#
    The columns of the daily tables from which features come, by part, and their windows: counts and whole sums, so they
    add up.
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

{# The sums of a daily table's columns under their own names. #}
{% macro sums(columns, relation) -%}
    {%- for column in columns %}
        cast(coalesce(sum({{ relation }}.{{ column }}), 0) as bigint) as {{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#
    How divided ratings are, for an entity's windowed sums `own`: the share that stands against one at the other end, five stars
    against one, each in a pair. (Five stars and one together are many where all are glad, and where all are cross.)
#}
{% macro polarised_share(own) -%}
    {{ shrunken_share(
        'least(2 * ' ~ own ~ '.one_star_count_life, 2 * ' ~ own ~ '.five_star_count_life)', own ~ '.rating_count_life'
    ) }}
{%- endmacro %}

{# The columns that are summed by merchant and brand too, by part. #}
{% macro brand_columns() %}
    {{ return({
        'orders': ['order_count', 'refund_count', 'refund_not_authentic_count'],
        'reviews': ['rating_count', 'rating_sum', 'text_review_count', 'authenticity_complaint_count'],
    }) }}
{% endmacro %}

{# What a merchant has beside one listing of its own: the merchant's sum less the listing's, never below nothing. #}
{% macro less_own(total, own) -%}
    greatest({{ total }} - coalesce({{ own }}, 0), 0)
{%- endmacro %}

{# How many imagined cases draw a share towards nothing. #}
{% macro imagined_cases() %}10{% endmacro %}

{#
    The features of a merchant's links, for itself and for its goods. Needs `links` (merchant_links) and `rings`
    (merchant_rings), both left joined, and `platform` (platform_states). A platform without identifiers links nobody: that
    is unknown, not nothing.
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
    CTEs over `labels` (entity_labels): a merchant's cases and the days of its decisions, of which no label counts for it; with
    key='listing_id', a listing's. A rejected notice makes neither, unless asked for: anybody can send one, and would choose
    what counts.
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
    CTE `confirmed`: of a relation's pairs (merchant_id, as_of_date, neighbour_id), once each, those whose neighbour was found
    to sell counterfeits by then, in no case and on no day of the merchant's own. Needs `labels` and own_cases_and_days.
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

{# The last rating date by each date of a relation that has one; needs the CTE `rating_dates`. #}
{% macro last_rating_dates(relation) -%}
    select
        asked.as_of_date,
        max(rating_dates.as_of_date) as rating_date
    from (select distinct as_of_date from {{ relation }}) as asked
    inner join rating_dates
        on rating_dates.as_of_date <= asked.as_of_date
    group by asked.as_of_date
{%- endmacro %}

{# Which picture resembles which, a row each way, out of a CTE of landed.picture_matches. #}
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

{# The same, and each picture of a relation with itself: what counts as one picture. `of` is a relation with a sha256. #}
{% macro like_pictures(of) -%}
    {{ both_ways('picture_matches') }}
    union all
    select distinct
        sha256,
        sha256 as like_sha256
    from {{ of }}
{%- endmacro %}

{#
    How much cheaper a merchant's cheapest goods are than its dearest, each against its recommended price; unknown of a single
    one. `states` is merchant_states.
#}
{% macro price_spread(states) -%}
    {{ ratio(states ~ '.low_msrp_ratio', 'case when ' ~ states ~ '.msrp_ratio_count > 1 then ' ~ states ~ '.high_msrp_ratio end') }}
{%- endmacro %}

{#
    Notices against a merchant that were rejected or countered, for each living listing. `states` is merchant_states; needs
    `conduct` (merchant_conduct) and `platform` (platform_states).
#}
{% macro disputed_notice_ratio(states) -%}
    case when platform.has_notices then {{ ratio('conduct.disputed_notice_count', states ~ '.active_listing_count') }} end
{%- endmacro %}

{# Brands for each month since a merchant joined, the first whole; `states` is merchant_states. #}
{% macro brand_age_ratio(states) -%}
    {{ ratio(
        '30 * ' ~ states ~ '.brand_count',
        'case when ' ~ states ~ '.merchant_age_days > 30 then ' ~ states ~ '.merchant_age_days '
        ~ 'when ' ~ states ~ '.merchant_age_days is not null then 30 end'
    ) }}
{%- endmacro %}

{#
  The band of a number, in words: under the first edge, between two, from the last on. Null where it is unknown.

  edges  numbers, rising
  unit   what it counts
#}
{% macro banded(number, edges, unit) -%}
    case
        when {{ number }} < {{ edges[0] }} then 'under {{ edges[0] }} {{ unit }}'
        {%- for edge in edges[1:] %}
        when {{ number }} < {{ edge }} then '{{ edges[loop.index0] }} to {{ edge }} {{ unit }}'
        {%- endfor %}
        when {{ number }} >= {{ edges[-1] }} then '{{ edges[-1] }} {{ unit }} and more'
    end
{%- endmacro %}
