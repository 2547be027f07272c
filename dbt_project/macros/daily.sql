{#
    What the daily tables hold, said once: the name of each measure, how it comes out of one day's events, how two of
    them merge, and its type. Everything here can be merged over days and listings: counts, sums, least, greatest.
    Means and shares are for later, over a window. Sums are of integers and decimals only: a sum of doubles differs from
    run to run.
#}
{% macro listing_measures() %}
    {{ return({
        'order_count': count_where("kind = 'order_placed'"),
        'unit_count': sum_where('coalesce(quantity, 1)', "kind = 'order_placed'"),
        'amount_usd': money_where('amount_usd', "kind = 'order_placed'"),
        'shipped_count': count_where("kind = 'order_shipped'"),
        'handling_hours_sum': sum_where('waited_hours', "kind = 'order_shipped'"),
        'delivered_count': count_where("kind = 'order_delivered'"),
        'delivery_hours_sum': sum_where('waited_hours', "kind = 'order_delivered'"),
        'refund_count': count_where("kind = 'order_refunded'"),
        'refund_amount_usd': money_where('amount_usd', "kind = 'order_refunded'"),
        'refund_reason_count': count_where("kind = 'order_refunded' and detail is not null"),
        'refund_not_authentic_count': count_where("kind = 'order_refunded' and detail = 'not_authentic'"),
        'refund_not_as_described_count': count_where("kind = 'order_refunded' and detail = 'not_as_described'"),
        'refund_defective_count': count_where("kind = 'order_refunded' and detail = 'defective'"),
        'review_count': count_where("kind = 'review'"),
        'rating_count': count_where("kind = 'review' and rating is not null"),
        'rating_sum': sum_where('cast(rating as bigint)', "kind = 'review'"),
        'rating_square_sum': sum_where('cast(rating * rating as bigint)', "kind = 'review'"),
        'one_star_count': count_where("kind = 'review' and rating <= 1"),
        'five_star_count': count_where("kind = 'review' and rating >= 5"),
        'verified_known_count': count_where("kind = 'review' and is_verified is not null"),
        'verified_review_count': count_where("kind = 'review' and is_verified"),
        'photo_known_count': count_where("kind = 'review' and has_photo is not null"),
        'photo_review_count': count_where("kind = 'review' and has_photo"),
        'text_review_count': count_where("kind = 'review' and is_authenticity_complaint is not null"),
        'authenticity_complaint_count': count_where("kind = 'review' and is_authenticity_complaint"),
        'sighting_count': count_where("kind = 'sighting'"),
        'price_count': count_where("kind = 'sighting' and price_usd is not null"),
        'price_usd_sum': money_where('price_usd', "kind = 'sighting'"),
        'price_usd_min': price_where('min', "kind = 'sighting'"),
        'price_usd_max': price_where('max', "kind = 'sighting'"),
        'listed_count': count_where("kind = 'listed'"),
        'delisted_count': count_where("kind = 'delisted'"),
        'notice_count': count_where("kind = 'notice'"),
        'counterfeit_notice_count': count_where("kind = 'notice' and coalesce(detail, 'counterfeit') = 'counterfeit'"),
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
    {{ return({'of_events': 'count(*) filter (where ' ~ condition ~ ')', 'merge': 'sum', 'type': 'integer'}) }}
{% endmacro %}

{% macro sum_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(' ~ value ~ ') filter (where ' ~ condition ~ '), 0)', 'merge': 'sum', 'type': 'bigint'}) }}
{% endmacro %}

{% macro money_where(value, condition) %}
    {{ return({'of_events': 'coalesce(sum(' ~ value ~ ') filter (where ' ~ condition ~ '), 0)', 'merge': 'sum', 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{% macro price_where(function, condition) %}
    {{ return({'of_events': function ~ '(price_usd) filter (where ' ~ condition ~ ')', 'merge': function, 'type': 'decimal(18, 4)'}) }}
{% endmacro %}

{# The select list that makes measures out of events. #}
{% macro measures_of_events(measures) -%}
    {%- for name, measure in measures.items() %}
        cast({{ measure.of_events }} as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The select list that merges measures already made, over whatever the query groups by. #}
{% macro merged_measures(measures, relation) -%}
    {%- for name, measure in measures.items() %}
        cast({{ measure.merge }}({{ relation }}.{{ name }}) as {{ measure.type }}) as {{ name }}{{ ',' if not loop.last }}
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
