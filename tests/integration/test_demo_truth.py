"""The truth of a generated marketplace and the platform's findings: prevalence, labels, lifecycles, signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.demo_fixtures import connect
from touchstone.demo.brushing import MOST_BRUSHED_SHARE
from touchstone.demo.generate import generate
from touchstone.demo.merchants import (
    ARCHETYPES,
    BRUSHER,
    BRUSHERS,
    BRUSHING_LOOK_ALIKES,
    COUNTERFEITERS,
    NEWCOMER,
)

SCALE = 0.03
LISTINGS, ORDERS, REVIEWS, MERCHANTS = 60_000, 600_000, 300_000, 3_000


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    directory: Path = tmp_path_factory.mktemp("truth") / "demo"
    generate(directory, scale=SCALE, seed=502)
    return connect(directory)


def one(market: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = market.execute(query).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_sizes_are_proportional_to_scale(market: duckdb.DuckDBPyConnection) -> None:
    for table, count in {"merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS, "reviews": REVIEWS}.items():
        assert one(market, f"select count(*) from {table}") == count
        assert one(market, f"select count(*) from truth_{table}") == count


def test_three_percent_of_listings_and_five_percent_of_merchants_are_counterfeit(
    market: duckdb.DuckDBPyConnection,
) -> None:
    live = (
        "select avg(is_counterfeit::int) from truth_listings join listings using (listing_id) where delisted_at is null"
    )
    assert 0.024 < one(market, live) < 0.037
    assert 0.024 < one(market, "select avg(is_counterfeit::int) from truth_listings") < 0.042
    assert 0.042 < one(market, "select avg(is_counterfeit::int) from truth_merchants") < 0.060


def test_a_merchant_is_counterfeit_if_it_has_an_active_counterfeit_listing(market: duckdb.DuckDBPyConnection) -> None:
    different = """
      with live as (
        select merchant_id, bool_or(t.is_counterfeit) as is_counterfeit, min(since) filter (t.is_counterfeit) as since
        from listings join truth_listings t using (listing_id) where delisted_at is null group by 1)
      select count(*) from truth_merchants t left join live using (merchant_id)
      where t.is_counterfeit <> coalesce(live.is_counterfeit, false) or (t.is_counterfeit and t.since > live.since)
    """
    assert one(market, different) == 0


def test_every_archetype_occurs_and_half_of_the_brushers_sell_genuine_listings(
    market: duckdb.DuckDBPyConnection,
) -> None:
    found = {row[0] for row in market.execute("select distinct archetype from truth_merchants").fetchall()}
    assert found == set(ARCHETYPES) - {
        ARCHETYPES[BRUSHER],
        ARCHETYPES[NEWCOMER],
    }  # generated only on request
    honest = found - set(COUNTERFEITERS) - set(BRUSHERS)
    assert honest > set(BRUSHING_LOOK_ALIKES)
    assert (
        one(market, f"select count(*) from truth_listings where is_counterfeit and archetype in {tuple(honest)}") == 0
    )
    brushers, genuine = one(
        market,
        f"""select count(*), count(*) filter (not sells) from (
             select merchant_id, bool_or(t.is_counterfeit) as sells from listings join truth_listings t using (listing_id)
             where archetype in {BRUSHERS} group by 1)""",
    )
    assert 0.35 < genuine / brushers < 0.65
    wrong = f"select count(*) from truth_merchants where is_brushing <> (archetype in {BRUSHERS})"
    assert one(market, wrong) == 0


def test_rings_share_identifiers_and_have_several_members(market: duckdb.DuckDBPyConnection) -> None:
    assert (
        one(
            market,
            "select min(n) from (select count(*) as n from truth_merchants where ring_id is not null group by ring_id)",
        )
        >= 3
    )
    linked = """
      with pair as (
        select distinct a.merchant_id, x.ring_id from merchant_identifiers a
        join merchant_identifiers b on a.kind = b.kind and a.value_hash = b.value_hash and a.merchant_id <> b.merchant_id
        join truth_merchants x on x.merchant_id = a.merchant_id
        join truth_merchants y on y.merchant_id = b.merchant_id and y.ring_id = x.ring_id)
      select (select count(*) from pair) / count(*) from truth_merchants where ring_id is not null
    """
    assert one(market, linked) > 0.7


def test_counterfeits_start_when_listed_or_when_the_merchant_turned_counterfeiter(
    market: duckdb.DuckDBPyConnection,
) -> None:
    fakes = "from truth_listings join listings using (listing_id) where is_counterfeit"
    early, late, equal = one(
        market,
        f"""select count(*) filter (since < listed_at::date), count(*) filter (since > listed_at::date),
                   count(*) filter (since = listed_at::date) {fakes}""",
    )
    assert early == 0
    assert 0 < late < 0.15 * equal
    mute = "select count(*) from truth_listings where (since is null) = (is_counterfeit or is_brushing)"
    assert one(market, mute) == 0


def test_most_counterfeits_stay_unlabelled_and_some_notices_are_wrong_or_late(
    market: duckdb.DuckDBPyConnection,
) -> None:
    labelled = """
      with fake as (
        select listing_id from notices where outcome = 'upheld'
        union select listing_id from test_buys where verdict = 'counterfeit'
        union select entity_id from moderation_decisions where entity_kind = 'listing' and verdict = 'fake')
      select avg((fake.listing_id is not null)::int) from truth_listings left join fake using (listing_id) where is_counterfeit
    """
    assert 0.08 < one(market, labelled) < 0.40
    wrong, late = one(
        market,
        """select avg((not is_counterfeit)::int) filter (outcome = 'upheld'),
                  avg((decided_at > submitted_at + interval 20 day)::int) filter (decided_at is not null)
           from notices join truth_listings using (listing_id)""",
    )
    assert 0.02 < wrong < 0.20
    assert 0.005 < late < 0.20
    reasons = {
        row[0] for row in market.execute("select distinct reason from notices where outcome = 'rejected'").fetchall()
    }
    assert reasons == {"genuine", "authorised_seller", "proof_of_purchase", "insufficient_evidence", "duplicate"}
    assert one(market, "select count(*) from notices where (outcome = 'pending') <> (decided_at is null)") == 0


def test_most_counterfeiters_are_never_reported_and_some_often(market: duckdb.DuckDBPyConnection) -> None:
    """Reporters watch few brands and find few merchants, so that whole merchants have no notice."""
    never, often = one(
        market,
        """with fake as (select distinct merchant_id from listings join truth_listings using (listing_id) where is_counterfeit),
           reported as (select merchant_id, count(*) as n from notices join listings using (listing_id) group by 1)
           select avg((n is null)::int), avg(coalesce(n >= 5, false)::int) from fake left join reported using (merchant_id)""",
    )
    assert 0.5 < never < 0.8
    assert often > 0.05


def test_test_buys_follow_the_design(market: duckdb.DuckDBPyConnection) -> None:
    arms = dict(market.execute("select arm, count(*) from test_buys group by 1").fetchall())
    assert arms == {"random": 600, "risk": 300}
    assert one(market, "select count(distinct listing_id) from test_buys") == 900
    shares = market.execute("select distinct inclusion_probability from test_buys order by 1").fetchall()
    assert shares == [(pytest.approx(0.01),), (pytest.approx(0.11),)]
    sizes = one(market, "select sum(1 / inclusion_probability) from test_buys")
    assert sizes == pytest.approx(LISTINGS, rel=0.10)
    outside = """select count(*) from test_buys join listings using (listing_id)
                 where ordered_at < listed_at or ordered_at > coalesce(delisted_at, timestamptz '2026-07-01')"""
    assert one(market, outside) == 0


def test_audits_sample_random_shares_of_merchants_orders_and_reviews(market: duckdb.DuckDBPyConnection) -> None:
    audited = dict(
        market.execute(
            """select entity_kind || ' ' || violation_type, count(distinct entity_id) from moderation_decisions
               where inclusion_probability is not null group by 1"""
        ).fetchall()
    )
    assert audited == {
        "merchant counterfeit": 450,
        "merchant brushing": 450,
        "order brushing": 900,
        "review brushing": 900,
    }
    known = "select count(*) from moderation_decisions where (reason = 'random_audit') <> (inclusion_probability is not null)"
    assert one(market, known) == 0
    shares = market.execute(
        "select distinct entity_kind, inclusion_probability from moderation_decisions where inclusion_probability is not null"
    ).fetchall()
    assert dict(shares) == pytest.approx({"merchant": 0.15, "order": 0.0015, "review": 0.003})
    assert one(market, "select count(*) from moderation_decisions where inclusion_probability is null") > 0
    before = """select count(*) from moderation_decisions d join orders on entity_kind = 'order' and entity_id = order_id
                where decided_at < placed_at"""
    assert one(market, before) == 0


def test_verdicts_are_almost_always_correct(market: duckdb.DuckDBPyConnection) -> None:
    right = """select avg(((verdict = 'counterfeit') = (is_counterfeit and since <= ordered_at::date))::int)
               from test_buys join truth_listings using (listing_id) where verdict in ('genuine', 'counterfeit')"""
    assert one(market, right) > 0.98
    orders = """select avg(((verdict = 'fake') = is_brushing)::int) from moderation_decisions
                join truth_orders on entity_kind = 'order' and entity_id = order_id where {}"""
    assert one(market, orders.format("reason = 'random_audit'")) > 0.98
    # Targeted moderation looks at much more brushing, and misses one in sixteen.
    assert one(market, orders.format("reason <> 'random_audit'")) > 0.95


def test_moderators_find_part_of_the_brushing_and_suspect_some_genuine_transactions(
    market: duckdb.DuckDBPyConnection,
) -> None:
    for kind in ("order", "review"):
        found, suspected = one(
            market,
            f"""with spotted as (
                  select entity_id from moderation_decisions
                  where entity_kind = '{kind}' and reason in ('moderator_review', 'merchant_involved'))
                select avg((entity_id is not null)::int) filter (is_brushing),
                       avg((entity_id is not null)::int) filter (not is_brushing)
                from truth_{kind}s left join spotted on entity_id = {kind}_id""",
        )
        assert 0.06 < found < 0.18
        assert 0 < suspected < 0.002


FINDINGS = """
with subject as (
  select order_id as entity_id, merchant_id, placed_at as began from orders
  union all select review_id, merchant_id, created_at from reviews join listings using (listing_id)
  union all select merchant_id, merchant_id, registered_at from merchants),
decision as (from moderation_decisions join subject using (entity_id) where violation_type = 'brushing'),
known as (
  select merchant_id, min(decided_at) as known_at from decision
  where reason = 'merchant_involved' or (entity_kind = 'merchant' and verdict = 'fake') group by 1)
"""


def test_only_brushing_merchants_are_found_involved_and_half_their_orders_are_investigated(
    market: duckdb.DuckDBPyConnection,
) -> None:
    innocent = """select count(*), count(*) filter (not is_brushing or verdict = 'genuine')
                  from decision join truth_merchants using (merchant_id) where reason = 'merchant_involved'"""
    involved, wrong = one(market, FINDINGS + innocent)
    assert involved > 50
    assert wrong == 0
    rivals = """select count(*) from decision join truth_merchants using (merchant_id)
                where archetype = 'brushed_by_rival' and entity_kind = 'order' and verdict = 'fake'"""
    assert one(market, FINDINGS + rivals) > 0
    investigated = """select count(*), count(*) filter (decided_at > greatest(began, known_at)
                             and decided_at < greatest(began, known_at) + interval 14 day), count(*) filter (began > known_at)
                      from decision left join known using (merchant_id) where reason = 'investigation'"""
    orders, timely, later = one(market, FINDINGS + investigated)
    assert orders == timely > 100
    assert 0 < later < orders
    theirs = "select count(*) from orders join listings using (listing_id) join known on known.merchant_id = listings.merchant_id"
    assert 0.4 < orders / one(market, FINDINGS + theirs) < 0.6


def test_takedowns_are_partial_and_come_later(market: duckdb.DuckDBPyConnection) -> None:
    share, hours = one(
        market,
        """with found as (select listing_id, min(decided_at) as found_at from (
             select listing_id, decided_at from notices where outcome = 'upheld' union all
             select listing_id, decided_at from test_buys where verdict = 'counterfeit') group by 1),
           down as (select entity_id, min(occurred_at) as down_at from platform_actions where kind = 'takedown' group by 1)
           select avg((down_at is not null)::int), min(date_diff('hour', found_at, down_at))
           from found left join down on entity_id = listing_id""",
    )
    assert 0.4 < share < 0.8
    assert hours > 0
    gone = """select count(*) from platform_actions a join listings on listing_id = entity_id where kind = 'takedown'
              and not exists (select 1 from platform_actions b where b.entity_id = a.entity_id and b.kind = 'reinstatement')
              and (delisted_at is null or abs(date_diff('minute', delisted_at, occurred_at)) > 1)"""
    assert one(market, gone) <= 2  # a reinstatement may fall after the end of the history


def test_on_every_past_day_each_offered_listing_was_seen_within_fourteen_days(
    market: duckdb.DuckDBPyConnection,
) -> None:
    unseen = """
      with day as (select unnest(generate_series(timestamptz '2026-03-31', timestamptz '2026-06-30', interval 7 day)) as day),
      live as (select day, listing_id from listings, day where listed_at < day and (delisted_at is null or delisted_at > day))
      select count(*) from live where not exists (
        select 1 from listing_prices p
        where p.listing_id = live.listing_id and observed_at <= day + interval 12 hour and observed_at > day - interval 14 day)
    """
    assert one(market, unseen) == 0
    assert (
        one(
            market,
            "select count(*) from listings where delisted_at is null and last_seen_at < timestamptz '2026-06-29'",
        )
        == 0
    )
    assert (
        one(
            market,
            "select count(*) from listing_prices join listings using (listing_id) where observed_at >= delisted_at",
        )
        == 0
    )
    assert one(market, "select count(*) / (select count(*) from listings) from listing_prices") < 7.5


def test_order_events_are_in_chronological_order(market: duckdb.DuckDBPyConnection) -> None:
    wrong = """select count(*) from orders join listings using (listing_id) join merchants m on m.merchant_id = orders.merchant_id
               where orders.merchant_id <> listings.merchant_id or placed_at < listed_at or placed_at > delisted_at
                  or shipped_at < placed_at or delivered_at < shipped_at or (refunded_at is null) <> (refund_reason is null)
                  or refunded_at < placed_at or listed_at < registered_at"""
    assert one(market, wrong) == 0
    assert one(market, "select count(*) from orders join buyers using (buyer_id) where registered_at > placed_at") == 0
    assert one(market, "select count(*) from orders where buyer_id not in (select buyer_id from buyers)") == 0
    assert one(market, "select count(*) from reviews join orders using (order_id) where created_at < placed_at") == 0


def test_registration_dates_are_plausible(market: duckdb.DuckDBPyConnection) -> None:
    for table in ("merchants", "buyers"):
        assert one(market, f"select min(registered_at) >= timestamptz '2005-01-01' from {table}")


def test_orders_have_a_weekly_rhythm_and_sale_days(market: duckdb.DuckDBPyConnection) -> None:
    weekend, week = one(
        market,
        "select avg(n) filter (isodow(day) >= 6), avg(n) filter (isodow(day) < 6) from "
        "(select placed_at::date as day, count(*) as n from orders group by 1)",
    )
    assert weekend > 1.08 * week
    assert (
        one(market, "select max(n) / median(n) from (select count(*) as n from orders group by placed_at::date)") > 1.4
    )


def test_brushed_orders_come_from_buyer_circles_in_light_parcels_with_praise(market: duckdb.DuckDBPyConnection) -> None:
    query = """select avg(parcel_weight_g), count(distinct payer_hash) / count(*) from orders o
               join truth_orders t using (order_id) join truth_listings l using (listing_id)
               where l.is_brushing and t.is_brushing = {}"""
    fake_weight, fake_payers = one(market, query.format("true"))
    weight, payers = one(market, query.format("false"))
    assert fake_weight < 0.9 * weight
    assert fake_payers < 0.8 * payers
    assert one(market, "select avg(rating) from reviews join truth_reviews using (review_id) where is_brushing") > 4.8


def test_review_buyers_have_brushed_reviews_and_no_brushed_orders(market: duckdb.DuckDBPyConnection) -> None:
    brushed = "from truth_{} where is_brushing and archetype = 'review_buyer'"
    assert one(market, f"select count(*) {brushed.format('orders')}") == 0
    reviews, with_order, merchants = one(
        market,
        f"""select count(*), count(order_id), count(distinct merchant_id)
            {brushed.format("reviews join reviews using (review_id) join listings using (listing_id)")}""",
    )
    assert reviews > 0
    assert with_order == 0
    assert merchants == one(market, "select count(*) from truth_merchants where archetype = 'review_buyer'")


def test_orders_brushed_by_a_rival_count_as_brushed_and_their_merchant_is_innocent(
    market: duckdb.DuckDBPyConnection,
) -> None:
    for kind in ("orders", "reviews"):
        archetypes = {
            row[0]
            for row in market.execute(f"select distinct archetype from truth_{kind} where is_brushing").fetchall()
        }
        assert archetypes == {*BRUSHERS, "brushed_by_rival"} - ({"review_buyer"} if kind == "orders" else set())
    for kind in ("merchants", "listings"):
        victims = f"select count(*) filter (is_brushing or is_counterfeit) from truth_{kind} where archetype = 'brushed_by_rival'"
        assert one(market, victims) == 0


def test_a_brushing_service_serves_many_merchants_with_accounts_sharing_devices_and_payers(
    market: duckdb.DuckDBPyConnection,
) -> None:
    clients, merchants_of_account, devices, payers = one(
        market,
        """select count(distinct merchant_id), count(distinct (buyer_id, merchant_id)) / count(distinct buyer_id),
                  count(distinct device_hash) / count(distinct buyer_id), count(distinct payer_hash) / count(distinct buyer_id)
           from orders join truth_orders t using (order_id) join buyers using (buyer_id) where t.service_id is not null""",
    )
    assert clients == one(market, "select count(*) from truth_merchants where archetype = 'service_client'") >= 5
    assert merchants_of_account > 1.1
    assert devices < 0.9
    assert payers < 0.9


def test_the_truth_about_services_matches_the_truth_about_orders(market: duckdb.DuckDBPyConnection) -> None:
    ordered = """select service_id, buyer_id, merchant_id, count(*) as order_count from truth_orders join orders using (order_id)
                 where service_id is not null group by all"""
    truth = "select service_id, buyer_id, merchant_id, order_count from truth_services"
    assert market.execute(f"{ordered} order by all").fetchall() == market.execute(f"{truth} order by all").fetchall()
    assert one(market, f"select count(*) from ({truth})") > 0
    others = """select count(*) from truth_services s join truth_merchants m using (merchant_id)
                where m.service_id is distinct from s.service_id or archetype <> 'service_client'"""
    assert one(market, others) == 0
    innocent = "select count(*) from truth_{} where service_id is not null and not is_brushing"
    assert one(market, innocent.format("orders")) == one(market, innocent.format("reviews")) == 0
    reviewed = """select count(*) from truth_reviews r join reviews using (review_id) join truth_orders o using (order_id)
                  where r.service_id is distinct from o.service_id"""
    assert one(market, reviewed) == 0


def test_brushed_orders_come_in_sessions_before_ranks_are_observed(market: duckdb.DuckDBPyConnection) -> None:
    """Compared with the other orders of brushing merchants, so that merchant size does not matter."""
    of_them = """
      with looked as (select distinct observed_at from listing_ranks),
      placed as (
        select is_brushing, placed_at, placed_at - lag(placed_at) over (
                 partition by merchant_id, is_brushing order by placed_at) as gap,
               bool_or(is_brushing) over (partition by merchant_id) as has_brushed
        from orders join truth_orders using (order_id))
      select avg((gap < interval 5 minute)::int),
             avg((exists (from looked where placed_at < observed_at and placed_at > observed_at - interval 84 hour))::int)
      from placed where has_brushed and is_brushing = {}"""
    in_session, before_look = one(market, of_them.format("true"))
    by_chance, at_any_time = one(market, of_them.format("false"))
    assert in_session > 5 * by_chance  # a campaign without sessions has four times as many
    assert before_look > 2 * at_any_time


def test_self_brushers_share_devices_and_accounts_with_buyers_more_than_honest_merchants(
    market: duckdb.DuckDBPyConnection,
) -> None:
    own = """
      with own as (
        select merchant_id, avg((exists (
                 select 1 from merchant_identifiers i where i.merchant_id = o.merchant_id
                 and (i.kind, i.value_hash) in (('device', device_hash), ('bank_account', payer_hash))))::int) as share
        from orders o join buyers using (buyer_id) group by 1)
      select archetype, avg((share > 0)::int), avg(share), max(share)
      from own join truth_merchants using (merchant_id) group by archetype"""
    of = {archetype: result for archetype, *result in market.execute(own).fetchall()}
    merchants, share, most = of["self_brusher"]
    honest_merchants, honest_share, _ = of["honest"]
    assert merchants > 3 * honest_merchants > 0  # honest merchants have employees who buy
    assert share > 5 * honest_share
    assert most < MOST_BRUSHED_SHARE
    assert of["brushed_by_rival"] == [0, 0, 0]


def test_innocent_look_alikes_have_shared_devices_or_payers_or_order_peaks(market: duckdb.DuckDBPyConnection) -> None:
    shown = """
      with busy as (
        select merchant_id, max(n) / sum(n) as peak, sum(n) as orders from (
          select merchant_id, count(*) as n from orders group by merchant_id, time_bucket(interval 3 day, placed_at)) group by 1),
      shared as (
        select merchant_id, count(distinct device_hash) / count(*) as devices, count(distinct payer_hash) / count(*) as payers
        from orders join buyers using (buyer_id) group by 1)
      select archetype, avg(devices), avg(payers), avg(peak)
      from busy join shared using (merchant_id) join truth_merchants using (merchant_id)
      where orders >= 30 group by archetype"""
    of = {archetype: means for archetype, *means in market.execute(shown).fetchall()}
    devices, payers, peak = of["honest"]
    assert of["dormitory"][0] < devices - 0.1
    assert of["company"][1] < payers - 0.1
    assert min(of["viral_product"][2], of["sale_day"][2]) > 1.25 * peak


def test_bought_praise_reuses_texts(market: duckdb.DuckDBPyConnection) -> None:
    repeated = """select avg((n > 1)::int) filter (is_brushing), avg((n > 1)::int) filter (not is_brushing)
                  from (select is_brushing, count(*) over (partition by text) as n
                        from reviews join truth_reviews using (review_id))"""
    bought, usual = one(market, repeated)
    assert bought > 3 * usual


def test_texts_rarely_repeat(market: duckdb.DuckDBPyConnection) -> None:
    for table, column in {"listings": "title", "reviews": "text"}.items():
        assert one(market, f"select count(distinct {column}) / count(*) from {table}") > 0.87


TRICKS = {
    "too_cheap": "select listing_id, max(price) / min(price) - 1 as shown from listing_prices group by 1",
    "complaint_drawing": """select r.listing_id, avg((r.created_at < delivered_at)::int) as shown
                            from reviews r join orders using (order_id) group by 1""",
    "spec_liar": """select listing_id, (specs::json ->> 'model_ref' not in (select model_ref from brand_products))::int as shown
                    from listings""",
    "picture_copier": """select listing_id, max((sha256 in (select sha256 from brand_logos))::int) as shown
                         from listing_images group by 1""",
    "word_evader": """select listing_id, regexp_matches(title, '1:1|AAA|Mirror|Same as|Inspired|Copy')::int as shown
                      from listings""",
    "fly_by_night": """select listing_id, (kinds > 1)::int as shown from listings join (
                         select merchant_id, max(n) as kinds from (
                           select merchant_id, count(*) as n from merchant_identifiers group by merchant_id, kind)
                         group by 1) using (merchant_id)""",
    "ring": """select listing_id, shared as shown from listings join (
                 select merchant_id, sum((bearers > 1)::int) as shared from merchant_identifiers join (
                   select kind, value_hash, count(*) as bearers from merchant_identifiers group by 1, 2) using (kind, value_hash)
                 group by 1) using (merchant_id)""",
}


@pytest.mark.parametrize("archetype", TRICKS)
def test_an_archetype_shows_its_trick_more_often_than_others_but_not_exclusively(
    market: duckdb.DuckDBPyConnection, archetype: str
) -> None:
    """Among its counterfeits, compared with everyone else's listings, some of which show it too."""
    its_own, others, innocents = one(
        market,
        f"""select avg(shown) filter (archetype = '{archetype}' and is_counterfeit),
                   avg(shown) filter (archetype <> '{archetype}'), max(shown) filter (not is_counterfeit)
            from ({TRICKS[archetype]}) join truth_listings using (listing_id)""",
    )
    assert its_own > 1.1 * others
    assert innocents > 0


def test_a_copied_title_is_an_earlier_title_of_another_merchant(market: duckdb.DuckDBPyConnection) -> None:
    twins = """from listings a join listings b on a.title = b.title and a.merchant_id <> b.merchant_id
               and (a.listed_at, a.listing_id) < (b.listed_at, b.listing_id)"""
    assert one(market, f"select count(*) {twins}") > 0.03 * LISTINGS
    assert (
        one(market, f"select avg((a.brand_claimed = b.brand_claimed or a.category = b.category)::int) {twins}") > 0.99
    )


def test_framed_merchants_are_reported_often(market: duckdb.DuckDBPyConnection) -> None:
    often, usual = one(
        market,
        """select avg(coalesce(n, 0)) filter (archetype = 'framed'), avg(coalesce(n, 0)) filter (archetype = 'honest')
           from truth_listings left join (select listing_id, count(*) as n from notices group by 1) using (listing_id)""",
    )
    assert often > 3 * usual


def test_clients_of_an_agency_share_its_address_and_nothing_else(market: duckdb.DuckDBPyConnection) -> None:
    shared = """select max(n) from (
                  select count(*) as n from merchant_identifiers join truth_merchants using (merchant_id)
                  where archetype = 'agency_client' and kind {} group by kind, value_hash)"""
    assert one(market, shared.format("= 'address'")) >= 5
    assert one(market, shared.format("<> 'address'")) <= 3
