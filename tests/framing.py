"""Competitors that frame honest merchants of a demo marketplace: bad reviews, false reports, returned orders, brushing.

The attack on each victim is drawn by hypothesis, once for all victims; the rows follow from the draw and obey the
contract. No false report is upheld: an upheld report is the platform's own finding, a label, and no model can know
better than its labels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml.declarations import load_declarations
from touchstone.core.lists import LISTS, ListName
from touchstone.publishing.candidate import newest_candidate

MOST_TIMES = 50
"""Multiples of a listing's usual number of reviews, reports and orders."""
LIST_OF_MODEL: dict[str, ListName] = {rated.model: name for name, rated in LISTS.items() if rated.entity != "review"}
"""Entities that others can frame. A review's subject is its author, and an attack adds to the rated reviews and orders."""


@dataclass(frozen=True)
class Attack:
    """A competitor's attack on one merchant.

    Attributes:
        listing_count: The number of attacked listings.
        review_times: Bad reviews as a multiple of the listing's reviews; of one review for a listing without any.
        report_times: The same for reports.
        order_times: The same for orders.
        days_ago: The number of days before as_of on which it begins.
        burst_days: Its duration in days.
        delivery_days: The delivery time to the buyers, in days.
        refund_percent: The percentage of orders returned as not authentic.
        verified_percent: The percentage of reviews tied to one of these orders, as far as there are enough.
        is_brushing: Whether it brushes the merchant to have it punished for that: praise instead of bad reviews, by
            accounts on a few devices, and no returns.
        is_copied: Whether all reviews of a listing share one text.
        outcome: The platform's decision on the reports.
        reason: The reason of that decision.
        decision_days: The time to that decision, in days.
    """

    listing_count: int
    review_times: int
    report_times: int
    order_times: int
    days_ago: int
    burst_days: int
    delivery_days: int
    refund_percent: int
    verified_percent: int
    is_brushing: bool
    is_copied: bool
    outcome: str
    reason: str | None
    decision_days: int


DECISIONS = (
    ("pending", None),
    ("rejected", "genuine"),
    ("rejected", "authorised_seller"),
    ("rejected", "insufficient_evidence"),
    ("countered", "seller_objected"),
)


@st.composite
def attacks(draw: st.DrawFn) -> Attack:
    """An attack: on one listing, a few or all of a merchant's, by any combination of means."""
    times = st.integers(0, MOST_TIMES)
    days_ago = draw(st.integers(3, 100))
    outcome, reason = draw(st.sampled_from(DECISIONS))
    return Attack(
        listing_count=draw(st.sampled_from((1, 3, 1_000_000))),
        review_times=draw(times),
        report_times=draw(times),
        order_times=draw(times),
        days_ago=days_ago,
        burst_days=draw(st.integers(1, min(days_ago, 30))),
        delivery_days=draw(st.integers(0, 30)),
        refund_percent=draw(st.integers(0, 100)),
        verified_percent=draw(st.integers(0, 100)),
        is_brushing=draw(st.booleans()),
        is_copied=draw(st.booleans()),
        outcome=outcome,
        reason=reason,
        decision_days=draw(st.integers(0, 20)),
    )


def drawn_attacks(count: int) -> list[Attack]:
    """Draws a number of attacks, deterministically."""
    drawn: list[Attack] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(attacks())
    def draw(attack: Attack) -> None:
        drawn.append(attack)

    draw()
    assert len(drawn) >= count, "hypothesis drew too few attacks"
    return drawn[:count]


def honest_merchants(home: Path, as_of: str, count: int) -> list[str]:
    """Returns merchants that are truly honest and active at as_of, in any order."""
    found = duckdb.execute(
        f"""
        select merchant_id from '{home}/marketplace/truth/merchants.parquet'
        semi join '{home}/scores/merchant_counterfeit/as_of={as_of}/scores.parquet' using (merchant_id)
        where not is_counterfeit and not is_brushing
        order by md5(merchant_id) limit {count}
        """
    ).fetchall()
    return [merchant for (merchant,) in found]


def frame(home: Path, as_of: str, victims: dict[str, Attack]) -> None:
    """Adds the attacks to the sources of a home's demo marketplace.

    Args:
        home: Its marketplace is changed; nothing else is.
        as_of: The last day that the attackers have seen.
        victims: The attack on each merchant.
    """
    sources = home / "marketplace" / "sources"
    table = [{"merchant_id": merchant, **dataclasses.asdict(attack)} for merchant, attack in victims.items()]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("attacks", pa.Table.from_pylist(table))
        connection.execute(ATTACKED.format(sources=sources, as_of=as_of))
        for name, rows in {"orders": ORDERS, "reviews": REVIEWS, "notices": NOTICES, "buyers": BUYERS}.items():
            connection.execute(
                f"copy (from '{sources}/{name}.parquet' union all by name {rows} order by all)"
                f" to '{sources}/{name}.new' (format parquet)"
            )
            (sources / f"{name}.new").rename(sources / f"{name}.parquet")


# Every number drawn for a row comes from a hash of that row's identity.
ATTACKED = """
create macro drawn(what, number, below) as cast(hash(what || number) % below as bigint);
create macro by_then(moment) as case when moment <= timestamptz '{as_of} 23:59:59+00' then moment end;
create table attacked as
with usual as (
    select
        listing_id,
        (select count(*) from '{sources}/orders.parquet' as own where own.listing_id = listings.listing_id) as orders,
        (
            select quantile_disc(parcel_weight_g // quantity, 0.5)
            from '{sources}/orders.parquet' as own where own.listing_id = listings.listing_id
        ) as weight_g,
        (select count(*) from '{sources}/reviews.parquet' as own where own.listing_id = listings.listing_id) as reviews,
        (select count(*) from '{sources}/notices.parquet' as own where own.listing_id = listings.listing_id) as notices
    from '{sources}/listings.parquet' as listings
    semi join attacks using (merchant_id)
),
placed as (
    select
        *,
        greatest(listed_at, timestamptz '{as_of} 00:00:00+00' - to_days(days_ago)) as first_at,
        row_number() over (partition by merchant_id order by md5(listing_id)) as place
    from '{sources}/listings.parquet' inner join attacks using (merchant_id)
    where
        listed_at <= timestamptz '{as_of} 00:00:00+00'
        and (delisted_at is null or delisted_at > timestamptz '{as_of} 23:59:59+00')
)
select
    placed.*,
    order_times * greatest(orders, 1) as order_count,
    review_times * greatest(reviews, 1) as review_count,
    report_times * greatest(notices, 1) as report_count,
    weight_g,
    extract(epoch from least(to_days(burst_days), timestamptz '{as_of} 23:59:59+00' - first_at))::bigint + 1 as burst_seconds
from placed inner join usual using (listing_id)
where place <= listing_count;
create table bought as
with placed as (
    select
        *,
        unnest(range(order_count)) as number,
        first_at + to_seconds(drawn(listing_id || 'order', number, burst_seconds)) as placed_at
    from attacked
)
select
    *,
    'bought-' || listing_id || '-' || number as order_id,
    by_then(placed_at + interval 12 hour) as shipped_at,
    by_then(placed_at + interval 13 hour + to_days(delivery_days)) as delivered_at,
    by_then(placed_at + interval 36 hour + to_days(delivery_days)) as sent_back_at,
    not is_brushing and drawn(listing_id || 'refund', number, 100) < refund_percent as is_sent_back
from placed
"""
ORDERS = """
select
    order_id,
    listing_id,
    merchant_id,
    'rival-' || drawn(listing_id || 'buyer', number, 10000) as buyer_id,
    1 as quantity,
    price as amount,
    currency,
    placed_at,
    shipped_at,
    delivered_at,
    case when is_sent_back then sent_back_at end as refunded_at,
    case when is_sent_back and sent_back_at is not null then 'not_authentic' end as refund_reason,
    case when shipped_at is not null then coalesce(weight_g, 300) end as parcel_weight_g,
    'rival-' || drawn(listing_id || 'payer', number, 100) as payer_hash
from bought
"""
REVIEWS = """
select
    'bought-' || written.listing_id || '-' || written.number as review_id,
    written.listing_id,
    'rival-' || drawn(written.listing_id || 'author', written.number, 10000) as buyer_id,
    bought.order_id,
    case when written.is_brushing then 5 else 1 end as rating,
    case when written.is_brushing then 'I would buy this again at any time, a very good thing.' else list_extract(
        [
            'This is a fake, do not buy.',
            'Clearly counterfeit. The logo is wrong and so is the stitching, I compared it with a genuine one.',
            'Not authentic. I asked for a refund and reported the seller.',
            'A cheap replica of the real thing, the serial number does not exist.'
        ],
        1 + case when written.is_copied then 0 else drawn(written.listing_id || 'text', written.number, 4) end
    ) end || case when written.is_copied then '' else ' I had ' || (written.number + 1) || ' of them.' end as text,
    'en' as language,
    coalesce(by_then(bought.placed_at + to_days(7)), bought.placed_at, written_at) as created_at,
    drawn(written.listing_id || 'photo', written.number, 2) = 0 as has_photo,
    bought.order_id is not null as is_verified
from (
    select
        *,
        first_at + to_seconds(drawn(listing_id || 'review', number, burst_seconds)) as written_at,
        case when drawn(listing_id || 'tie', number, 100) < verified_percent then number end as tied_number
    from (select *, unnest(range(review_count)) as number from attacked)
) as written
left join bought
    on bought.listing_id = written.listing_id and bought.number = written.tied_number
"""
# The merchant ships what it always does: the competitor controls the destination of a parcel, but not its weight.
BUYERS = """
select
    buyer_id,
    timestamptz '2026-01-01 00:00:00+00' + to_days(drawn(buyer_id, 1, 60)) as registered_at,
    'US' as country,
    'rival-device-' || drawn(buyer_id, 2, case when is_brushing then 20 else 100000 end) as device_hash
from (
    select 'rival-' || drawn(listing_id || 'buyer', number, 10000) as buyer_id, bool_or(is_brushing) as is_brushing
    from bought group by 1
)
"""
NOTICES = """
select
    'false-' || listing_id || '-' || number as notice_id,
    listing_id,
    'rival-' || drawn(listing_id || 'reporter', number, 50) as reporter_id,
    'counterfeit' as kind,
    submitted_at,
    case when decided_at is null then 'pending' else outcome end as outcome,
    case when decided_at is not null then reason end as reason,
    decided_at
from (
    select
        *,
        first_at + to_seconds(drawn(listing_id || 'report', number, burst_seconds)) as submitted_at,
        case when outcome <> 'pending' then by_then(submitted_at + to_days(decision_days)) end as decided_at
    from (select *, unnest(range(report_count)) as number from attacked)
)
"""


def moved_features(peaceful: Path, attacked: Path, model: str, as_of: str) -> dict[str, list[str]]:
    """Returns the features of a model that differ between two homes for any entity, by who controls them."""
    declaration = load_declarations()[model]
    file = f"features/{LIST_OF_MODEL[model]}/as_of={as_of}/features.parquet"
    differing = ", ".join(
        f'count(*) filter (where peaceful."{name}" is distinct from attacked."{name}")'
        for name in declaration.stored_columns
    )
    entities, *counts = duckdb.execute(
        f"""select count(*) filter (where peaceful.{declaration.id_column} is null or attacked.{declaration.id_column} is null),
        {differing} from '{peaceful / file}' as peaceful full join '{attacked / file}' as attacked
        using ({declaration.id_column})"""
    ).fetchall()[0]
    assert entities == 0, "the attack changed who is rated"
    moved: dict[str, list[str]] = {"subject": [], "platform": [], "third_party": []}
    stored = [feature for feature in declaration.features if not feature.text]
    for feature, count in zip(stored, counts, strict=True):
        if count:
            moved[feature.controlled_by].append(feature.name)
    return moved


def scores(home: Path, model: str, as_of: str) -> dict[str, tuple[float, float]]:
    """Returns score and own_conduct_score by entity."""
    id_column = load_declarations()[model].id_column
    rows = duckdb.execute(
        f"select {id_column}, score, own_conduct_score from '{home}/scores/{model}/as_of={as_of}/scores.parquet'"
    ).fetchall()
    return {entity: (score, own) for entity, score, own in rows}


def listed(home: Path, name: ListName, as_of: str) -> dict[str, str]:
    """Returns the entities on a day's built list, published or not: the merchant of each entity."""
    candidate = newest_candidate(name, home / "candidates", date.fromisoformat(as_of))
    assert candidate is not None, f"no list of {name} was built"
    rows = duckdb.execute(
        f"select {LISTS[name].key}, merchant_id from '{candidate.directory / name}.parquet'"
    ).fetchall()
    return dict(rows)
