{# Keys, limits and indicators that the brushing models share. #}

{#
    Key of a transaction: an order, or a review without an order. The kind is part of the key because ids of the two may coincide.
#}
{% macro transaction_key(kind, id) %}'{{ kind }}:' || {{ id }}{% endmacro %}

{# Hash of an id, used where millions of rows are joined on it; null for a null id. #}
{% macro key_hash(id) %}case when {{ id }} is not null then {{ row_hash([id]) }} end{% endmacro %}

{# Days for which a transaction is rated. Older transactions no longer affect any rank. #}
{% macro transaction_days() %}365{% endmacro %}

{#
    Upper limits in hundredths: parcel weight relative to the listing's typical weight, delivery time relative to the typical
    time.
#}
{% macro light_hundredths() %}65{% endmacro %}
{% macro fast_hundredths() %}60{% endmacro %}

{#
    Hours after delivery within which a review is hasty; days for which a buyer is new; days before a rank observation within
    which an order counts as placed just before it.
#}
{% macro hasty_hours() %}48{% endmacro %}
{% macro new_buyer_days() %}60{% endmacro %}
{% macro before_look_days() %}3{% endmacro %}

{# Minimum number of merchants that a brushing service works for. #}
{% macro least_clients() %}3{% endmacro %}

{#
    Minimum number of buyer accounts shared by two components of merchants, and by few others, that merges them into one service.
#}
{% macro least_bridging_buyers() %}3{% endmacro %}

{#
    Minimum number of indicators for a transaction to be rated. Four of five transactions have fewer; none of them would be
    flagged.
#}
{% macro min_indicators() %}2{% endmacro %}

{#
    Two merchants are tied if they share at least this many buyers and this many times the number expected by chance. Buyers of
    more merchants than the maximum are not counted.
#}
{% macro least_common_buyers() %}4{% endmacro %}
{% macro least_chance_ratio() %}15{% endmacro %}
{% macro most_merchants_of_a_tie() %}30{% endmacro %}

{# Approximate number of merchants, and of their transactions, sampled among the unlabelled ones at each grid date. #}
{% macro merchants_per_date() %}{{ return(var('brushing_merchants_per_date', 400)) }}{% endmacro %}
{% macro transactions_per_date() %}{{ return(var('brushing_transactions_per_date', 4000)) }}{% endmacro %}

{#
    Counts over a merchant's transactions, and over a buyer's transactions with the merchant: name of the count, and the boolean
    column of transaction_indicators that is counted (null if unknown).
#}
{% macro transaction_counts() %}
    {{ return({
        'light': 'is_light',
        'fast': 'is_fast',
        'hasty': 'is_hasty',
        'repeated': 'is_repeated',
        'praise': 'is_praise',
        'before_look': 'is_before_look',
        'own': 'is_own',
        'shared_device': 'is_device_shared',
        'shared_payer': 'is_payer_shared',
        'devoted': 'is_devoted',
        'new_buyer': 'is_buyer_new',
        'crowded': 'is_crowded',
        'tied': 'is_tied',
        'lone_review': 'is_lone_review',
        'empty': 'is_empty',
        'own_haste': 'is_own_haste',
    }) }}
{% endmacro %}
{# Columns that count as indicators. Columns true for about half of all transactions, such as praise, carry no evidence alone. #}
{% macro telling_indicators() %}
    {{ return([
        'is_light', 'is_fast', 'is_hasty', 'is_repeated', 'is_own', 'is_device_shared', 'is_payer_shared', 'is_devoted',
        'is_crowded', 'is_tied',
    ]) }}
{% endmacro %}
{# Counts whose share among the merchant's other transactions is a feature. #}
{% macro context_counts() %}
    {{ return([
        'light', 'fast', 'hasty', 'repeated', 'before_look', 'crowded', 'own', 'shared_device', 'shared_payer', 'devoted',
        'new_buyer',
    ]) }}
{% endmacro %}

{# Counts whose share among the buyer's other transactions with the merchant is a feature. #}
{% macro pair_counts() %}{{ return(['light', 'fast', 'hasty', 'repeated', 'before_look', 'crowded']) }}{% endmacro %}

{# Share of a relation's transactions with an indicator, without the transaction of `own`; shrunk towards 0 if there are few. #}
{% macro other_share(relation, name, own) -%}
    {%- set indicator = own ~ '.' ~ transaction_counts()[name] -%}
    {{ shrunken_share(
        '(' ~ relation ~ '.' ~ name ~ '_count - cast(coalesce(' ~ indicator ~ ', false) as integer))',
        '(' ~ relation ~ '.' ~ name ~ '_known_count - cast(' ~ indicator ~ ' is not null as integer))'
    ) }}
{%- endmacro %}

{# Columns that a rule of the policy may refer to (touchstone/publishing/policy.py has the same list). #}
{% macro rule_columns() %}
    {{ return([
        'buyer_age_days', 'buyer_transaction_count', 'buyer_merchant_count', 'buyer_here_count', 'device_buyer_count',
        'payer_buyer_count', 'tied_merchant_count', 'weight_ratio', 'delivery_ratio', 'delivery_route_ratio', 'day_burst_ratio',
        'hour_order_count', 'hour_order_buyer_ratio', 'days_to_look', 'review_lag_hours', 'text_writing_count',
    ]) }}
{% endmacro %}
