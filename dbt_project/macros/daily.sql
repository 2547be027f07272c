{#
    What the daily tables hold, said once: the name of each measure, how it comes out of one day's events, its type, and
    whether it adds up over days and listings (counts and sums do, prices do not). Means and shares are for later, over a
    window. Sums are of integers and decimals only: a sum of doubles differs from run to run.
#}
{% macro listing_measures() %}
    {% set measures = {} %}
    {% for part in listing_parts().values() %}
        {% do measures.update(part.measures) %}
    {% endfor %}
    {{ return(measures) }}
{% endmacro %}

{#
    The measures by what they are made of. Each part is grouped on its own and gives rows of its own: few events of a
    listing share a day, so that one grouping by all measures (45 counters for every group, five times the time and
    memory) would save one row in a hundred.
#}
{% macro listing_parts() %}
    {{ return({
        'orders': {
            'kinds': ['order_placed', 'order_delivered', 'order_refunded'],
            'measures': {
                'order_count': count_where("kind = 'order_placed'"),
                'unit_count': sum_where('coalesce(quantity, 1)', "kind = 'order_placed'"),
                'amount_usd': money_where('amount_usd', "kind = 'order_placed'"),
                'delivered_count': count_where("kind = 'order_delivered'"),
                'delivery_hours_sum': sum_where('waited_hours', "kind = 'order_delivered'"),
                'refund_count': count_where("kind = 'order_refunded'"),
                'refund_reason_count': count_where("kind = 'order_refunded' and detail is not null"),
                'refund_not_authentic_count': count_where("kind = 'order_refunded' and detail = 'not_authentic'"),
                'refund_not_as_described_count': count_where(
                    "kind = 'order_refunded' and detail = 'not_as_described'"
                ),
            },
        },
        'reviews': {
            'kinds': ['review'],
            'measures': {
                'review_count': count_where("kind = 'review'"),
                'rating_count': count_where('rating is not null'),
                'rating_sum': sum_where('cast(rating as bigint)', 'rating is not null'),
                'rating_square_sum': sum_where('cast(rating * rating as bigint)', 'rating is not null'),
                'one_star_count': count_where('rating <= 1'),
                'five_star_count': count_where('rating >= 5'),
                'verified_known_count': count_where('is_verified is not null'),
                'verified_review_count': count_where('is_verified'),
                'photo_known_count': count_where('has_photo is not null'),
                'photo_review_count': count_where('has_photo'),
                'text_review_count': count_where('is_authenticity_complaint is not null'),
                'authenticity_complaint_count': count_where('is_authenticity_complaint'),
            },
        },
        'sightings': {
            'kinds': ['sighting'],
            'measures': {
                'sighting_count': count_where("kind = 'sighting'"),
                'price_usd_min': price_at('min(price_usd)'),
                'price_usd_max': price_at('max(price_usd)'),
                'price_usd_last': price_at(value_at_greatest('price_usd', 'event_at')),
            },
        },
        'cases': {
            'kinds': [
                'listed', 'delisted', 'notice', 'notice_decided', 'test_buy_decided', 'counterfeit_decided',
                'brushing_decided', 'takedown', 'restriction', 'ban', 'reinstatement',
            ],
            'measures': {
                'listed_count': count_where("kind = 'listed'"),
                'delisted_count': count_where("kind = 'delisted'"),
                'notice_count': count_where("kind = 'notice'"),
                'counterfeit_notice_count': count_where(
                    "kind = 'notice' and coalesce(detail, 'counterfeit') = 'counterfeit'"
                ),
                'notice_upheld_count': count_where("kind = 'notice_decided' and detail = 'upheld'"),
                'notice_rejected_count': count_where("kind = 'notice_decided' and detail = 'rejected'"),
                'test_buy_counterfeit_count': count_where("kind = 'test_buy_decided' and detail = 'counterfeit'"),
                'test_buy_genuine_count': count_where("kind = 'test_buy_decided' and detail = 'genuine'"),
                'counterfeit_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'fake'"),
                'genuine_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'genuine'"),
                'brushing_decision_count': count_where("kind = 'brushing_decided' and detail = 'fake'"),
                'takedown_count': count_where("kind = 'takedown'"),
                'restriction_count': count_where("kind = 'restriction'"),
                'reinstatement_count': count_where("kind = 'reinstatement'"),
            },
        },
    }) }}
{% endmacro %}

{# What happens to a merchant itself, beside what happens to its listings. #}
{% macro merchant_measures() %}
    {{ return({
        'merchant_counterfeit_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'fake'"),
        'merchant_genuine_decision_count': count_where("kind = 'counterfeit_decided' and detail = 'genuine'"),
        'merchant_brushing_decision_count': count_where("kind = 'brushing_decided' and detail = 'fake'"),
        'merchant_takedown_count': count_where("kind = 'takedown'"),
        'merchant_restriction_count': count_where("kind = 'restriction'"),
        'merchant_ban_count': count_where("kind = 'ban'"),
        'merchant_reinstatement_count': count_where("kind = 'reinstatement'"),
        'enforcement_count': count_where("kind = 'enforcement'"),
        'seized_value_usd': money_where('amount_usd', "kind = 'enforcement'"),
        'snapshot_count': count_where("kind = 'snapshot'"),
    }) }}
{% endmacro %}

{% macro count_where(condition) %}
    {{ return({'of_events': 'count(case when ' ~ condition ~ ' then 1 end)', 'adds_up': true, 'type': 'integer'}) }}
{% endmacro %}

{% macro sum_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(case when ' ~ condition ~ ' then ' ~ value ~ ' end), 0)', 'adds_up': true, 'type': 'bigint'}) }}
{% endmacro %}

{% macro money_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(case when ' ~ condition ~ ' then ' ~ value ~ ' end), 0)', 'adds_up': true, 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{% macro price_at(of_events) %}
    {{ return({'of_events': of_events, 'adds_up': false, 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{# The measures that can be added up over listings: not the prices, which of different goods say nothing together. #}
{% macro adding_up(measures) %}
    {% set kept = {} %}
    {% for name, measure in measures.items() if measure.adds_up %}
        {% do kept.update({name: measure}) %}
    {% endfor %}
    {{ return(kept) }}
{% endmacro %}

{# The select list that makes measures out of events; those of other parts are nothing: zero, or no price. #}
{% macro measures_of_events(measures, own) -%}
    {%- for name, measure in measures.items() %}
        {%- set nothing = '0' if measure.adds_up else 'null' %}
        cast({{ measure.of_events if name in own else nothing }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list of nothing at all, for markers. #}
{% macro no_measures(measures) -%}
    {%- for name, measure in measures.items() %}
        cast(null as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list that adds up measures already made, over whatever the query groups by. #}
{% macro added_up(measures, relation) -%}
    {%- for name, measure in measures.items() %}
        cast(sum({{ relation }}.{{ name }}) as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list of measures from a side of an outer join that may have no row. #}
{% macro or_zero(measures, relation) -%}
    {%- for name in measures %}
        coalesce({{ relation }}.{{ name }}, 0) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The digest of one day: how many rows it has and what is in them, under this code and this engine. #}
{% macro day_digest(row_count, hash_sum) -%}
    {{ text_digest(
        "concat_ws(':', " ~ row_count ~ ", " ~ hash_sum ~ ", run.project_digest, " ~ engine_version() ~ ")"
    ) }}
{%- endmacro %}

{#
    The days to build: all of them the first time, afterwards those whose digest is not the one kept in the table. A day
    that has lost its last event is among them, with a null digest.
#}
{% macro changed_days(digests) -%}
    {% if is_incremental() %}
    select
        coalesce({{ digests }}.day, kept.day) as day,
        {{ digests }}.day_digest
    from {{ digests }}
    full outer join (
        select
            day,
            min(day_digest) as day_digest
        from {{ this }}
        group by day
    ) as kept
        on kept.day = {{ digests }}.day
    where {{ digests }}.day_digest is distinct from kept.day_digest
    {% else %}
    select
        day,
        day_digest
    from {{ digests }}
    {% endif %}
{%- endmacro %}
