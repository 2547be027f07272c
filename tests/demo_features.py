"""Simple features of a generated marketplace's listings, for the tests of its difficulty: an analyst's first attempts.

They are independent of the pipeline on purpose: the demo must be neither trivial nor unsolvable whatever the pipeline's
features are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.demo_fixtures import connect

DOUBT = "(?i)fake|counterfeit|authentic|replica|imitation|knock-off|cheap copy|clone|not original|not the genuine|假|仿|山寨"
_STEPS = f"""
create table rate as
  with day as (select unnest(generate_series(date '2026-02-20', date '2026-06-30', interval 1 day))::date as date),
  code as (select distinct currency from fx_rates)
  select currency, day.date, (
    select arg_min(rate, r.date) from fx_rates r where r.currency = code.currency and r.date >= day.date
  ) as rate from code, day
  union all select 'USD', date, 1.0 from day;
create table spelling as
  select brand_id, lower(name) as spelling from brands
  union select brand_id, lower(unnest(from_json(aliases, '["VARCHAR"]'))) from brands;
create table last_price as
  select listing_id, arg_max(price * rate, observed_at) as usd
  from listing_prices join rate on rate.currency = listing_prices.currency and rate.date = observed_at::date group by 1;
create table offer as
  select l.*, s.brand_id, p.usd, (l.specs ->> 'model_ref') as model from listings l
  left join spelling s on s.spelling = lower(brand_claimed) left join last_price p using (listing_id);
create table wrong as
  with field as (select listing_id, brand_id, model, specs, unnest(json_keys(specs)) as name from offer)
  select listing_id, count(*) filter ((field.specs ->> name) is distinct from (b.specs ->> name)) as wrong
  from field join brand_products b using (brand_id) where b.model_ref = model and valid_to is null and name <> 'model_ref'
  group by 1;
create table priced as
  select offer.*, coalesce(wrong, 0) as spec_wrong, (model is null)::int as has_no_model, ln(usd / msrp) as to_msrp,
    ln(usd / floor_price) as to_floor, ln(usd / median(usd) over (partition by offer.brand_id, offer.category)) as to_peers
  from offer left join wrong using (listing_id)
  left join brand_products b on b.brand_id = offer.brand_id and b.model_ref = model and valid_to is null;
create table sold as
  select listing_id, o.merchant_id, (refunded_at is not null)::int as refunded, (refund_reason = 'not_authentic')::int as doubted,
    date_diff('minute', placed_at, delivered_at) / 60.0 as hours, parcel_weight_g / quantity as weight, o.buyer_id, device_hash,
    payer_hash, date_diff('day', registered_at, placed_at) as buyer_days
  from orders o left join buyers using (buyer_id);
create table reviewed as
  select r.listing_id, merchant_id, rating, is_verified::int as verified, has_photo::int as photo,
    (rating <= 3 and regexp_matches(text, '{DOUBT}'))::int as doubting
  from reviews r join listings using (listing_id);
create table about_merchant as
  select merchant_id, date_diff('day', registered_at, timestamptz '2026-07-01') as age, is_default_storefront::int as is_default
  from merchants;
create table range as
  select merchant_id, count(*) as listings, count(distinct brand_id) as brands, avg(to_msrp) as to_msrp,
    avg(to_floor) as to_floor, avg(to_peers) as to_peers, avg(spec_wrong) as spec_wrong, avg(has_no_model) as has_no_model,
    avg((listed_at > timestamptz '2026-05-01')::int) as is_recent
  from priced group by 1;
create table allowed as
  select listing_id, exists (
    select 1 from authorised_merchants a where a.merchant_id = priced.merchant_id and a.brand_id = priced.brand_id
  )::int as is_authorised from priced;
create table shared as
  with identifier_counts as (select kind, value_hash, count(*) as bearers from merchant_identifiers group by 1, 2)
  select merchant_id, sum((bearers > 1)::int) as identifiers, max(bearers) as bearers
  from merchant_identifiers join identifier_counts using (kind, value_hash) group by 1;
create table known as
  select listing_id, bool_or(is_fake) as is_fake from (
    select listing_id, outcome = 'upheld' as is_fake from notices
      where outcome = 'upheld' or reason in ('genuine', 'authorised_seller', 'proof_of_purchase')
    union all select listing_id, verdict = 'counterfeit' from test_buys where verdict in ('genuine', 'counterfeit')
    union all select entity_id, verdict = 'fake' from moderation_decisions where entity_kind = 'listing'
  ) group by 1;
"""
_SOLD = """avg(refunded) as {0}_refunded, sum(doubted) / count(*) as {0}_doubted,
  sum(doubted) / sum(refunded) as {0}_doubted_of_refunded, avg(hours) as {0}_hours, avg((hours < 48)::int) as {0}_fast,
  count(distinct buyer_id) / count(*) as {0}_buyers,
  count(distinct device_hash) / count(*) as {0}_devices, count(distinct payer_hash) / count(*) as {0}_payers,
  avg(buyer_days) as {0}_buyer_days, avg(weight) as {0}_weight, count(*) as {0}_orders"""
_REVIEWED = """avg(rating) as {0}_rating, avg((rating = 5)::int) as {0}_five, avg((rating = 1)::int) as {0}_one,
  avg(verified) as {0}_verified, avg(photo) as {0}_photo, avg(doubting) as {0}_doubting, count(*) as {0}_reviews"""
_RESULT = f"""
select p.listing_id, p.merchant_id, p.category, p.to_msrp, p.to_floor, p.to_peers, p.spec_wrong, p.has_no_model, p.stock,
  is_authorised, a.* exclude (merchant_id), columns(r.* exclude (merchant_id)) as 'm_\\0', s.* exclude (merchant_id),
  ls.* exclude (listing_id), ms.* exclude (merchant_id), lr.* exclude (listing_id), mr.* exclude (merchant_id),
  avg(is_authorised) over (partition by p.merchant_id) as m_authorised,
  avg(ls.l_weight / cw.weight) over (partition by p.merchant_id) as m_weight_ratio,
  p.delisted_at is null as is_active, t.is_counterfeit, t.archetype, known.is_fake is not null as is_known,
  coalesce(known.is_fake, false) as is_known_fake
from priced p join truth_listings t using (listing_id) left join known using (listing_id) left join allowed using (listing_id)
left join about_merchant a on a.merchant_id = p.merchant_id left join range r on r.merchant_id = p.merchant_id
left join shared s on s.merchant_id = p.merchant_id
left join (select listing_id, {_SOLD.format("l")} from sold group by 1) ls on ls.listing_id = p.listing_id
left join (select merchant_id, {_SOLD.format("m")} from sold group by 1) ms on ms.merchant_id = p.merchant_id
left join (select listing_id, {_REVIEWED.format("l")} from reviewed group by 1) lr on lr.listing_id = p.listing_id
left join (select merchant_id, {_REVIEWED.format("m")} from reviewed group by 1) mr on mr.merchant_id = p.merchant_id
left join (select category, avg(weight) as weight from sold join listings using (listing_id) group by 1) cw
  on cw.category = p.category
order by p.listing_id
"""
NOT_FEATURES = frozenset({
    "listing_id", "merchant_id", "category", "is_active", "is_counterfeit", "archetype", "is_known", "is_known_fake", "m_weight",
    "l_weight",
})  # fmt: skip

Columns = dict[str, npt.NDArray[np.generic]]


def listing_features(directory: Path) -> Columns:
    """Returns features and truth of every listing as of the end of the history, one column each."""
    connection = connect(directory)
    connection.execute(_STEPS)
    table: Columns = connection.execute(_RESULT).fetchnumpy()
    return {name: np.ma.filled(_plain(values), np.nan) for name, values in table.items()}


def _plain(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values if values.dtype.kind in "Ob" else values.astype(np.float64)


def names(columns: Columns) -> list[str]:
    """Returns the names of the feature columns."""
    return [name for name in columns if name not in NOT_FEATURES]


def matrix(columns: Columns, chosen: list[str]) -> npt.NDArray[np.float32]:
    """Returns the chosen columns as a matrix, (listings, features)."""
    return np.column_stack([columns[name].astype(np.float32) for name in chosen])
