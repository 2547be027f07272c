-- What a merchant's snapshots count, in place of events; one row per merchant and span of days in which a snapshot is its newest
-- one.
with

{{ counter_spans(ref('stg_merchant_snapshots'), 'merchant_id', {'extra': 'extra'}) }}

select * from final
