{# What the models of brushing say in the same words: keys, limits, and what counts as an indicator. #}

{# The key of what can be brushed: an order, or a review without one; their ids may be the same. #}
{% macro transaction_key(kind, id) %}'{{ kind }}:' || {{ id }}{% endmacro %}

{# Hash of an id where millions of rows are joined by it; null for none. #}
{% macro key_hash(id) %}case when {{ id }} is not null then {{ row_hash([id]) }} end{% endmacro %}

{# How long a transaction is rated: what is older moves no rank any more. #}
{% macro transaction_days() %}365{% endmacro %}

{# A parcel is light under so many hundredths of what the listing's typically weigh, a delivery fast under so many of the typical hours. #}
{% macro light_hundredths() %}65{% endmacro %}
{% macro fast_hundredths() %}60{% endmacro %}

{# A review is hasty within so many hours after the delivery, a buyer new for so many days, an order just before a look for as many. #}
{% macro hasty_hours() %}48{% endmacro %}
{% macro new_buyer_days() %}60{% endmacro %}
{% macro before_look_days() %}3{% endmacro %}

{# Who serves fewer merchants is no service. #}
{% macro least_clients() %}3{% endmacro %}

{# So many accounts that go round two components of merchants, and hardly elsewhere, make one service of them. #}
{% macro least_bridging_buyers() %}3{% endmacro %}

{# A transaction that shows fewer indicators is not rated: nobody would flag it, and they are four of five. #}
{% macro min_indicators() %}2{% endmacro %}

{# So many buyers, and so many times as many as chance would have, make two merchants tied; who buys everywhere ties nobody. #}
{% macro least_common_buyers() %}4{% endmacro %}
{% macro least_chance_ratio() %}15{% endmacro %}
{% macro most_merchants_of_a_tie() %}30{% endmacro %}

{# About how many merchants, and how many of their transactions, are drawn at each grid date of those that nothing labels. #}
{% macro merchants_per_date() %}{{ return(var('brushing_merchants_per_date', 400)) }}{% endmacro %}
{% macro transactions_per_date() %}{{ return(var('brushing_transactions_per_date', 4000)) }}{% endmacro %}

{#
    What is counted of a merchant's transactions, and of a buyer's with the merchant: by name, whether a transaction shows it (a boolean of
    transaction_indicators, null where that is unknown).
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
{# Those of them that count as indicators: what half of all transactions do, as praise, tells nothing by itself. #}
{% macro telling_indicators() %}
    {{ return([
        'is_light', 'is_fast', 'is_hasty', 'is_repeated', 'is_own', 'is_device_shared', 'is_payer_shared', 'is_devoted',
        'is_crowded', 'is_tied',
    ]) }}
{% endmacro %}
{# Those of them that a merchant's other transactions are asked for. #}
{% macro context_counts() %}
    {{ return([
        'light', 'fast', 'hasty', 'repeated', 'before_look', 'crowded', 'own', 'shared_device', 'shared_payer', 'devoted',
        'new_buyer',
    ]) }}
{% endmacro %}

{# Those of them that a buyer's other transactions with the merchant are asked for. #}
{% macro pair_counts() %}{{ return(['light', 'fast', 'hasty', 'repeated', 'before_look', 'crowded']) }}{% endmacro %}

{# The share of a relation's transactions that show an indicator, the transaction of `own` left out; shrunk towards 0 where they are few. #}
{% macro other_share(relation, name, own) -%}
    {%- set indicator = own ~ '.' ~ transaction_counts()[name] -%}
    {{ shrunken_share(
        '(' ~ relation ~ '.' ~ name ~ '_count - cast(coalesce(' ~ indicator ~ ', false) as integer))',
        '(' ~ relation ~ '.' ~ name ~ '_known_count - cast(' ~ indicator ~ ' is not null as integer))'
    ) }}
{%- endmacro %}

{# The indicators of a transaction that a rule of the policy may look at (touchstone/publishing/policy.py has the same). #}
{% macro rule_columns() %}
    {{ return([
        'buyer_age_days', 'buyer_transaction_count', 'buyer_merchant_count', 'buyer_here_count', 'device_buyer_count',
        'payer_buyer_count', 'tied_merchant_count', 'weight_ratio', 'delivery_ratio', 'delivery_route_ratio', 'day_burst_ratio',
        'hour_order_count', 'hour_order_buyer_ratio', 'days_to_look', 'review_lag_hours', 'text_writing_count',
    ]) }}
{% endmacro %}
