-- Every merchant that was rated, for analysts: who it is, what it mostly sells, its score and why.
with

{{ ratings('merchant', 'merchant_counterfeit', 'merchant_id', {'merchant': 'merchant_id'}) }},

{{ merchants_of_ratings() }},

{{ decided('described', 'merchant_id') }}

select * from decided
