-- Rated merchants, for analysts, one row each: name, main category and brand, score and reasons.
with

{{ ratings('merchant', 'merchant_counterfeit', 'merchant_id', {'merchant': 'merchant_id'}) }},

{{ merchants_of_ratings() }},

{{ decided('described', 'merchant_id') }}

select * from decided
