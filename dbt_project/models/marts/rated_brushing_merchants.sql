-- Merchants rated for brushing, for analysts, one row each: name, main category and brand, score and reasons.
with

{{ ratings('brushing_merchant', 'merchant_brushing', 'merchant_id', {'merchant': 'merchant_id'}) }},

{{ merchants_of_ratings() }},

{{ decided('described', 'merchant_id') }}

select * from decided
