-- What a listing's snapshots count, in place of events; one row per listing and span of days in which a snapshot is its newest
-- one. What buyers paid is that of the widest window of which the amount and the units are known.
{% set paid = [] %}
{% set sold = [] %}
{% for window in counter_windows() %}
{% set units = counter('sold', window) %}
{% set amount = counter('gmv', window, 'amount') ~ '_base' %}
{% do paid.append('when ' ~ amount ~ ' > 0 and ' ~ units ~ ' > 0 then ' ~ amount) %}
{% do sold.append('when ' ~ amount ~ ' > 0 and ' ~ units ~ ' > 0 then ' ~ units) %}
{% endfor %}
with

{{ counter_spans(ref('stg_listing_snapshots'), 'listing_id', {
    'photo_count': 'photo_count',
    'extra': 'extra',
    'unit_count_30': 'coalesce(' ~ counter('sold', '30') ~ ', ' ~ counter('order', '30') ~ ')',
    'paid_base': 'case ' ~ paid | join(' ') ~ ' end',
    'paid_unit_count': 'case ' ~ sold | join(' ') ~ ' end',
}) }}

select * from final
