"""The generated marketplace as the contract's tables: arrays in, Arrow tables out, sorted by id, whole chunks at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.marketplace import labels as found
from orchestration.marketplace import text
from orchestration.marketplace.arrays import (
    MICROSECONDS_PER_DAY, TIMESTAMP, Bools, Floats, Ints, Keys, decimals, fixed_text, generator, hex_digits, id_text, joined, keys, mix,
    nullable, phrases, picked, salt, sha256_text, unit, weighted,
)  # fmt: skip
from orchestration.marketplace.catalogue import CATEGORIES, CURRENCIES, Catalogue, Fragments
from orchestration.marketplace.labels import Labels
from orchestration.marketplace.listings import CONDITIONS, SIGHTING_DAYS, Listings, nouns, specifications
from orchestration.marketplace.merchants import ARCHETYPES, COUNTRIES, RING, Merchants
from orchestration.marketplace.trade import FAKE_BUYERS, REFUND_REASONS, Brushing, Orders, Reviews, buyer_day

END = datetime(2026, 7, 1, tzinfo=UTC)
DOUBT_PRODUCT_IMAGES = 6


@dataclass(frozen=True)
class Calendar:
    """The history's days: `days` of them, the last one 2026-06-30."""

    days: int

    @property
    def start(self) -> datetime:
        """The first moment of the history."""
        return END - timedelta(days=self.days)

    def moments(self, day: Floats) -> pa.Array:
        """Returns timestamps to the second for days from the start; not-a-number becomes null."""
        is_known = np.isfinite(day)
        origin = int(self.start.timestamp()) * 1_000_000
        seconds = np.floor(np.where(is_known, day, 0.0) * 86_400.0).astype(np.int64)
        column = pa.array(origin + seconds * 1_000_000).cast(TIMESTAMP)
        return column if bool(is_known.all()) else nullable(column, is_known)

    def dates(self, day: Floats) -> pa.Array:
        """Returns the dates of days from the start; not-a-number becomes null."""
        is_known = np.isfinite(day)
        origin = (self.start.date() - date(1970, 1, 1)).days
        column = pa.array((origin + np.floor(np.where(is_known, day, 0.0))).astype(np.int32)).cast(pa.date32())
        return nullable(column, is_known)


@dataclass(frozen=True)
class Chunk:
    """Everything drawn for one chunk of merchants, before it becomes tables.

    Attributes:
        number: The chunk's number.
        first: Number of its first merchant.
        seed: The marketplace's seed.
        population: Number of buyers of the common population.
        buyer_slice: First and last (exclusive) of them that this chunk writes.
    """

    number: int
    first: int
    seed: int
    population: int
    buyer_slice: tuple[int, int]
    calendar: Calendar
    catalogue: Catalogue
    fragments: Fragments
    merchants: Merchants
    listings: Listings
    labels: Labels
    brushing: Brushing
    orders: Orders
    reviews: Reviews

    def rng(self, stream: str) -> np.random.Generator:
        """Returns the generator of one of this chunk's streams."""
        return generator(self.seed, stream, self.number)

    def listing_ids(self, index: Ints) -> pa.Array:
        """Returns the ids of listings."""
        return id_text(self.listings.key[index], "l")

    def merchant_ids(self, index: Ints) -> pa.Array:
        """Returns the ids of merchants."""
        return id_text(self.merchants.key[index], "m")

    def counters(self, count: int) -> Ints:
        """Returns counters that no other chunk uses, for tables of less than 2^24 rows a chunk."""
        return self.number * (1 << 24) + np.arange(count)


def chunk_tables(chunk: Chunk) -> dict[str, pa.Table]:
    """Returns the chunk's rows of every table that grows with the number of merchants."""
    return {
        "merchants": _merchants(chunk),
        "merchant_snapshots": _snapshots(chunk),
        "merchant_identifiers": _identifiers(chunk),
        "listings": _listings(chunk),
        "listing_prices": _prices(chunk),
        "listing_images": _images(chunk),
        "listing_ranks": _ranks(chunk),
        "orders": _orders(chunk),
        "buyers": _buyers(chunk),
        "reviews": _reviews(chunk),
        "authorised_merchants": _authorised(chunk),
        "notices": _notices(chunk),
        "test_buys": _test_buys(chunk),
        "moderation_decisions": _decisions(chunk),
        "platform_actions": _actions(chunk),
        "enforcement_actions": _enforcement(chunk),
        "suppressions": _suppressions(chunk),
    }


def _by(order: Keys | Ints, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Makes a table sorted by the key, whose order the ids share."""
    return pa.table(dict(columns)).take(pa.array(np.argsort(order, kind="stable")))


def brand_ids(seed: int, brand: Ints) -> pa.Array:
    """Returns the ids of brands."""
    return id_text(keys(salt(seed, "brand"), brand), "b")


def _merchants(chunk: Chunk) -> pa.Table:
    rng, merchants = chunk.rng("merchant table"), chunk.merchants
    place = merchants.place
    return _by(merchants.key, {
        "merchant_id": id_text(merchants.key, "m"),
        "name": text.merchant_names(rng, len(place)),
        "registered_at": chunk.calendar.moments(merchants.registered_day),
        "country": phrases([item[0] for item in COUNTRIES], place),
        "region": phrases([item[1] for item in COUNTRIES], place),
        "city": phrases([item[2] for item in COUNTRIES], place),
        "is_default_storefront": pa.array(merchants.trait("storefront") > 1.0),
    })  # fmt: skip


def _snapshots(chunk: Chunk) -> pa.Table:
    """A weekly look at each merchant: running mean of its ratings, running count of its sales."""
    days, merchants, rng = chunk.calendar.days, chunk.merchants, chunk.rng("snapshots")
    weeks = np.arange(6.4, days, 7.0)
    count = len(merchants.key)
    sold = _running(chunk.listings.merchant[chunk.orders.listing], chunk.orders.placed, None, weeks, count)
    rated = _running(chunk.listings.merchant[chunk.reviews.listing], chunk.reviews.created, None, weeks, count)
    stars = _running(chunk.listings.merchant[chunk.reviews.listing], chunk.reviews.created, chunk.reviews.rating, weeks, count)
    history = np.maximum(-merchants.registered_day, 0.0) * sold[:, -1:].ravel() / days * rng.uniform(0.3, 0.8, count)
    usual = 4.3 - 0.2 * rng.standard_normal(count) ** 2
    rating = np.clip((stars + 10 * usual[:, None]) / (rated + 10), 0, 5)
    merchant, week = np.nonzero(weeks[None, :] > merchants.registered_day[:, None])
    order = np.lexsort((week, merchants.key[merchant]))
    merchant, week = merchant[order], week[order]
    return pa.table({
        "merchant_id": chunk.merchant_ids(merchant),
        "observed_at": chunk.calendar.moments(weeks[week]),
        "rating": decimals(rating[merchant, week]),
        "sales_count": pa.array((sold[merchant, week] + np.floor(history)[merchant]).astype(np.int64)),
    })  # fmt: skip


def _running(group: Ints, moment: Floats, amount: Ints | None, edges: Floats, count: int) -> Floats:
    """Sums `amount` (or counts) by group up to each edge: (groups, edges)."""
    slot = np.searchsorted(edges, moment)
    is_in = slot < len(edges)
    flat = group[is_in] * len(edges) + slot[is_in]
    weights = None if amount is None else amount[is_in]
    return np.cumsum(np.bincount(flat, weights, count * len(edges)).reshape(count, -1), axis=1)


def _identifiers(chunk: Chunk) -> pa.Table:
    """Each merchant's identifiers; rings share most of theirs, some honest merchants share one too."""
    rng, merchants = chunk.rng("identifiers"), chunk.merchants
    count = len(merchants.key)
    names = ("phone", "email", "bank_account", "device", "address", "tax_id", "ip", "key")
    borne = np.array([0.95, 0.98, 0.95, 0.9, 0.9, 0.6, 0.9, 0.25])
    ring_share = np.array([0.25, 0.1, 0.35, 0.4, 0.25, 0.03, 0.4, 0.3])
    honest_share = np.array([0.05, 0.02, 0.04, 0.05, 0.07, 0.01, 0.08, 0.02])
    partner = _partners(rng, count)
    group = np.where(merchants.archetype == RING, merchants.ring, -1)
    parts: list[tuple[Ints, Ints, Keys]] = []
    for kind in range(len(names)):
        salted = salt(chunk.seed, "identifier", names[kind])
        own = keys(salted, (chunk.first + np.arange(count)) * 4)
        in_ring = (group >= 0) & (rng.random(count) < ring_share[kind] * (0.4 + 0.6 * merchants.effect))
        value = np.where(in_ring, keys(salted, (chunk.first + np.maximum(group, 0)) * 4 + 1), own)
        shares = (group < 0) & (rng.random(count) < honest_share[kind])
        value = np.where(shares, keys(salted, (chunk.first + partner) * 4), value)
        bearer = np.flatnonzero(rng.random(count) < borne[kind])
        parts.append((bearer, np.full(len(bearer), kind), value[bearer]))
    merchant, kind_index, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    start = merchants.registered_day[merchant]
    is_changed = rng.random(len(merchant)) < 0.1
    seen = np.where(is_changed, start + rng.random(len(merchant)) * (chunk.calendar.days - 1 - start), start + 0.01)
    verified = rng.random(len(merchant)) < np.array([0.6, 0.7, 0.9, 0.5, 0.4, 0.9, 0.3, 0.5])[kind_index]
    order = np.lexsort((value, kind_index, merchants.key[merchant]))
    table = pa.table({
        "merchant_id": chunk.merchant_ids(merchant),
        "kind": phrases(names, kind_index),
        "value_hash": id_text(value),
        "first_seen_at": chunk.calendar.moments(seen),
        "is_verified": pa.array(verified),
    })  # fmt: skip
    return table.take(pa.array(order))


def _partners(rng: np.random.Generator, count: int) -> Ints:
    """Gives each merchant another one to share with: its neighbour in a random order, in fours."""
    order = rng.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = order[(np.arange(count) // 4) * 4]
    return partner


def _listings(chunk: Chunk) -> pa.Table:
    rng, listings, catalogue = chunk.rng("listing table"), chunk.listings, chunk.catalogue
    product, count = listings.product, len(listings.product)
    brand = catalogue.brand[product]
    place = chunk.merchants.place[listings.merchant]
    noun = nouns(rng, catalogue, product)
    written = _brand_as_written(rng, catalogue, brand)
    end, days = chunk.labels.end_day, chunk.calendar.days
    now = np.minimum(end, days - 0.001)
    seen = np.where(end < days, end - 0.02 - 0.2 * rng.random(count), days - 0.001 - 1.5 * rng.random(count))
    abroad = rng.random(count) < 0.15
    return _by(listings.key, {
        "listing_id": id_text(listings.key, "l"),
        "merchant_id": chunk.merchant_ids(listings.merchant),
        "title": text.titles(rng, written, phrases(catalogue.series, product), noun, phrases(catalogue.refs, product)),
        "description": text.descriptions(rng, noun),
        "brand_claimed": written,
        "category": phrases([item.path for item in CATEGORIES], catalogue.category[product]),
        "condition": phrases(CONDITIONS, listings.condition),
        "price": decimals(listings.price_at(np.arange(count), now)),
        "currency": phrases([item[3] for item in COUNTRIES], place),
        "ships_from": phrases([item[0] for item in COUNTRIES], np.where(abroad, rng.integers(0, len(COUNTRIES), count), place)),
        "ships_to": picked(rng, ("US", "US,CA", "EU", "EU,GB", "worldwide", "worldwide", "US,EU,GB,CA"), count),
        "specs": specifications(rng, catalogue, chunk.fragments, listings),
        "stock": pa.array(np.floor(np.exp(rng.normal(2.6, 1.1, count))).astype(np.int64)),
        "url": joined([pa.repeat("https://market.example/item/", count), id_text(listings.key, "l")], ""),
        "listed_at": chunk.calendar.moments(listings.listed_day),
        "delisted_at": chunk.calendar.moments(np.where(end < days, end, np.nan)),
        "last_seen_at": chunk.calendar.moments(np.maximum(seen, np.maximum(listings.listed_day, 0.0) + 0.01)),
    })  # fmt: skip


def brand_aliases(name: str) -> list[str]:
    """Returns the other spellings that the platform knows of a brand."""
    return [name.upper(), f"{name} Official", f"{name[:3]} {name[3:]}"]


def _brand_as_written(rng: np.random.Generator, catalogue: Catalogue, brand: Ints) -> pa.Array:
    spellings = [spelling for name in catalogue.brand_names for spelling in (name, *brand_aliases(name))]
    return phrases(spellings, brand * 4 + weighted(rng, (0.82, 0.09, 0.05, 0.04), len(brand)))


def _prices(chunk: Chunk) -> pa.Table:
    """A sighting of each listing about every twelve days while it is on offer, with the price of that moment."""
    listings, days = chunk.listings, chunk.calendar.days
    rng = chunk.rng("sightings")
    begin = np.maximum(listings.listed_day, 0.0)
    stop = np.minimum(chunk.labels.end_day, days - 0.01)
    lead = np.minimum(rng.random(len(begin)) * np.where(listings.listed_day > 0, 0.25, SIGHTING_DAYS), (stop - begin) * 0.9)
    number = 1 + np.floor(np.maximum(stop - begin - lead, 0.0) / SIGHTING_DAYS).astype(np.int64)
    by_key = np.argsort(listings.key, kind="stable")
    listing = np.repeat(by_key, number[by_key])
    step = np.arange(len(listing)) - np.repeat(np.cumsum(number[by_key]) - number[by_key], number[by_key])
    day = (begin + lead)[listing] + step * SIGHTING_DAYS
    return pa.table({
        "listing_id": chunk.listing_ids(listing),
        "observed_at": chunk.calendar.moments(day),
        "price": decimals(listings.price_at(listing, day)),
        "currency": phrases([item[3] for item in COUNTRIES], chunk.merchants.place[listings.merchant[listing]]),
    })  # fmt: skip


def _images(chunk: Chunk) -> pa.Table:
    """One to three pictures a listing: the brand's own of the product, another merchant's, or the merchant's own."""
    rng, listings = chunk.rng("images"), chunk.listings
    number = 1 + weighted(rng, (0.55, 0.3, 0.15), len(listings.key))
    listing = np.repeat(np.arange(len(number)), number)
    role = np.arange(len(listing)) - np.repeat(np.cumsum(number) - number, number)
    count = len(listing)
    stock = listings.product[listing] * DOUBT_PRODUCT_IMAGES + rng.integers(0, DOUBT_PRODUCT_IMAGES, count)
    own = (1 << 40) + chunk.counters(count)
    picture = keys(salt(chunk.seed, "picture"), np.where(rng.random(count) < 0.55, stock, own))
    key = keys(salt(chunk.seed, "image"), chunk.counters(count))
    digest = sha256_text(picture)
    return _by(key, {
        "image_id": id_text(key, "i"),
        "listing_id": chunk.listing_ids(listing),
        "role": phrases(("main", "gallery", "detail"), role),
        "uri": joined([pa.repeat("pictures/", count), digest, pa.repeat(".png", count)], ""),
        "sha256": digest,
    })  # fmt: skip


def _ranks(chunk: Chunk) -> pa.Table:
    """Where a fifth of the listings stood in their category, every four weeks: by sales, brushed ones included."""
    listings, days = chunk.listings, chunk.calendar.days
    rng = chunk.rng("ranks")
    looks = np.arange(min(13.9, days - 0.5), days, 28.0)
    count = len(listings.key)
    sold = _running(chunk.orders.listing, chunk.orders.placed, None, looks, count)
    score = sold * np.exp(rng.normal(0, 0.3, sold.shape))
    rank = np.empty(score.shape, dtype=np.int64)
    rows = np.argsort(-score, axis=0, kind="stable")
    np.put_along_axis(rank, rows, np.arange(count)[:, None] + 1, axis=0)
    is_on = (listings.listed_day[:, None] <= looks) & (chunk.labels.end_day[:, None] > looks) & (rng.random(count) < 0.2)[:, None]
    by_key = np.argsort(listings.key, kind="stable")
    place, look = np.nonzero(is_on[by_key])
    listing = by_key[place]
    return pa.table({
        "listing_id": chunk.listing_ids(listing),
        "observed_at": chunk.calendar.moments(looks[look]),
        "query": phrases([item.path for item in CATEGORIES], chunk.catalogue.category[listings.product[listing]]),
        "rank": pa.array(rank[listing, look]),
    })  # fmt: skip


def _orders(chunk: Chunk) -> pa.Table:
    orders, listings = chunk.orders, chunk.listings
    merchant = listings.merchant[orders.listing]
    day = chunk.calendar.moments
    weight = np.where(np.isfinite(orders.shipped), orders.weight_g, 0.0)
    return _by(orders.key, {
        "order_id": id_text(orders.key, "o"),
        "listing_id": chunk.listing_ids(orders.listing),
        "merchant_id": chunk.merchant_ids(merchant),
        "buyer_id": buyer_ids(chunk.seed, orders.buyer),
        "quantity": pa.array(orders.quantity),
        "amount": decimals(orders.amount),
        "currency": phrases([item[3] for item in COUNTRIES], chunk.merchants.place[merchant]),
        "placed_at": day(orders.placed),
        "shipped_at": day(orders.shipped),
        "delivered_at": day(orders.delivered),
        "refunded_at": day(orders.refunded),
        "refund_reason": phrases(REFUND_REASONS, orders.refund_reason),
        "parcel_weight_g": nullable(pa.array(np.rint(weight).astype(np.int64)), np.isfinite(orders.shipped)),
        "payer_hash": id_text(orders.payer),
    })  # fmt: skip


def buyer_ids(seed: int, buyer: Ints) -> pa.Array:
    """Returns the ids of buyers, of the common population and of accounts that brush alike."""
    return id_text(keys(salt(seed, "buyer"), buyer), "u")


def _buyers(chunk: Chunk) -> pa.Table:
    """This chunk's slice of the common population, and the accounts that brush for its merchants."""
    rng, days = chunk.rng("buyers"), chunk.calendar.days
    common = np.arange(*chunk.buyer_slice)
    accounts = np.unique(chunk.orders.buyer[chunk.orders.buyer >= FAKE_BUYERS])
    merchant = (accounts - FAKE_BUYERS) // (1 << 12) - chunk.first
    begin = np.maximum(chunk.merchants.brushing_day[merchant], 0.0)
    made = np.concatenate([buyer_day(common, chunk.population, days), begin - 0.5 - rng.gamma(2.0, 90.0, len(accounts))])
    device = np.where(unit(salt(chunk.seed, "household"), common // 2) < 0.1, common // 2 * 2, common)
    shared = (chunk.first + merchant) * (1 << 12) + accounts % np.maximum(chunk.brushing.devices[merchant], 1)
    devices = np.concatenate([keys(salt(chunk.seed, "device"), device), keys(salt(chunk.seed, "fake device"), shared)])
    buyer = np.concatenate([common, accounts])
    return _by(keys(salt(chunk.seed, "buyer"), buyer), {
        "buyer_id": buyer_ids(chunk.seed, buyer),
        "registered_at": chunk.calendar.moments(made),
        "country": phrases([item[0] for item in COUNTRIES], weighted(rng, [item[4] for item in COUNTRIES], len(buyer))),
        "device_hash": id_text(devices),
    })  # fmt: skip


def _reviews(chunk: Chunk) -> pa.Table:
    rng, reviews, orders = chunk.rng("review table"), chunk.reviews, chunk.orders
    count = len(reviews.key)
    is_tied = reviews.order >= 0
    noun = nouns(rng, chunk.catalogue, chunk.listings.product[reviews.listing])
    is_chinese = pa.array(rng.random(count) < 0.08)
    return _by(reviews.key, {
        "review_id": id_text(reviews.key, "r"),
        "listing_id": chunk.listing_ids(reviews.listing),
        "buyer_id": buyer_ids(chunk.seed, reviews.buyer),
        "order_id": nullable(id_text(orders.key[np.maximum(reviews.order, 0)], "o"), is_tied),
        "rating": pa.array(reviews.rating),
        "text": text.reviews(rng, reviews.mood, noun, is_chinese),
        "language": pc.if_else(is_chinese, "zh", "en"),
        "created_at": chunk.calendar.moments(reviews.created),
        "has_photo": pa.array(reviews.has_photo),
        "is_verified": pa.array(is_tied),
    })  # fmt: skip


def _authorised(chunk: Chunk) -> pa.Table:
    merchants, days, rng = chunk.merchants, chunk.calendar.days, chunk.rng("authorised")
    is_used = np.arange(merchants.brand_slots.shape[1]) < merchants.slot_count[:, None]
    merchant, slot = np.nonzero(merchants.is_slot_authorised & is_used)
    brand = merchants.brand_slots[merchant, slot]
    _, unique = np.unique(merchant * 1_000 + brand, return_index=True)
    merchant, brand = merchant[unique], brand[unique]
    registered = merchants.registered_day[merchant]
    since = registered + 0.1 + rng.random(len(merchant)) * 0.3 * np.maximum(days - registered - 1, 0.1)
    until = np.where(rng.random(len(merchant)) < 0.03, since + 20 + rng.random(len(merchant)) * 200, np.nan)
    return _by(keys(salt(chunk.seed, "authorisation"), merchant * 1_000 + brand), {
        "brand_id": brand_ids(chunk.seed, brand),
        "merchant_id": chunk.merchant_ids(merchant),
        "valid_from": chunk.calendar.moments(since),
        "valid_to": chunk.calendar.moments(np.where(until < days, until, np.nan)),
    })  # fmt: skip


def _notices(chunk: Chunk) -> pa.Table:
    rng, notices = chunk.rng("notice table"), chunk.labels.notices
    count = len(notices.listing)
    key = keys(salt(chunk.seed, "notice"), chunk.counters(count))
    brand = chunk.catalogue.brand[chunk.listings.product[notices.listing]]
    reporter = np.where(rng.random(count) < 0.6, brand, 1_000 + rng.integers(0, 5_000, count))
    return _by(key, {
        "notice_id": id_text(key, "n"),
        "listing_id": chunk.listing_ids(notices.listing),
        "reporter_id": id_text(keys(salt(chunk.seed, "reporter"), reporter)),
        "brand_id": brand_ids(chunk.seed, brand),
        "kind": phrases(found.NOTICE_KINDS, notices.kind),
        "submitted_at": chunk.calendar.moments(notices.submitted),
        "outcome": phrases(found.OUTCOMES, notices.outcome),
        "reason": phrases(found.REASONS, notices.reason),
        "decided_at": chunk.calendar.moments(notices.decided),
    })  # fmt: skip


def _test_buys(chunk: Chunk) -> pa.Table:
    buys, listings = chunk.labels.test_buys, chunk.listings
    count = len(buys.listing)
    key = keys(salt(chunk.seed, "test buy"), chunk.counters(count))
    plan = np.floor(buys.ordered / 30).astype(np.int64)
    ids = id_text(key, "t")
    return _by(key, {
        "test_buy_id": ids,
        "listing_id": chunk.listing_ids(buys.listing),
        "plan_id": joined([pa.repeat("plan-", count), pa.array(plan + 1).cast(pa.string())], ""),
        "arm": pc.if_else(pa.array(buys.is_random_arm), "random", "risk"),
        "inclusion_probability": pa.array(np.round(buys.inclusion, 9)),
        "ordered_at": chunk.calendar.moments(buys.ordered),
        "verdict": phrases(found.VERDICTS, buys.verdict),
        "decided_at": chunk.calendar.moments(buys.decided),
        "cost": decimals(listings.price_at(buys.listing, buys.ordered) + 6.0),
        "currency": phrases([item[3] for item in COUNTRIES], chunk.merchants.place[listings.merchant[buys.listing]]),
        "evidence_uri": joined([pa.repeat("evidence/", count), ids, pa.repeat(".pdf", count)], ""),
    })  # fmt: skip


def _decision_rows(
    chunk: Chunk, kind: str, ids: pa.Array, matter: str, decided: Floats, is_fake: Bools, reason: str, inclusion: float | None
) -> pa.Table:
    """Rows of `moderation_decisions` about one kind of entity in one matter."""
    count = len(ids)
    rng = chunk.rng(f"moderators {kind} {matter} {reason}")
    return pa.table({
        "entity_kind": pa.repeat(kind, count),
        "entity_id": ids,
        "matter": pa.repeat(matter, count),
        "decided_at": chunk.calendar.moments(decided),
        "verdict": pc.if_else(pa.array(is_fake), "fake", "genuine"),
        "decided_by": id_text(keys(salt(chunk.seed, "moderator"), rng.integers(0, 40, count))),
        "reason": pa.repeat(reason, count),
        "inclusion_probability": pa.repeat(pa.scalar(inclusion, pa.float64()), count),
    })  # fmt: skip


def _decisions(chunk: Chunk) -> pa.Table:
    """Random audits of merchants, orders and reviews, and what moderators decided on their own."""
    labels = chunk.labels
    audits = labels.audits
    ids = chunk.merchant_ids(audits.merchant)
    audit = "random_audit"
    orders, reviews = chunk.orders, chunk.reviews
    return pa.concat_tables([
        _decision_rows(chunk, "merchant", ids, "counterfeit", audits.decided, audits.is_counterfeit, audit, audits.inclusion),
        _decision_rows(chunk, "merchant", ids, "brushing", audits.decided, audits.is_brushing, audit, audits.inclusion),
        _event_audit(chunk, "order", orders.key, "o", orders.placed, orders.is_brushed),
        _event_audit(chunk, "review", reviews.key, "r", reviews.created, reviews.is_brushed),
        _decision_rows(
            chunk, "listing", chunk.listing_ids(labels.spotted), "counterfeit", labels.spotted_day, labels.is_spotted_fake,
            "moderator_review", None,
        ),
    ])  # fmt: skip


EVENT_AUDIT_SHARES = {"order": 0.0015, "review": 0.003}


def _event_audit(chunk: Chunk, kind: str, key: Keys, prefix: str, began: Floats, is_fake: Bools) -> pa.Table:
    """Audits a random sample of orders or reviews, each at a random moment after it came about."""
    rng, days = chunk.rng(f"audit {kind}"), chunk.calendar.days
    count = len(key)
    per_merchant = count // len(chunk.merchants.key)
    number = found.quota(chunk.first * per_merchant, count, EVENT_AUDIT_SHARES[kind])
    chosen = np.sort(rng.permutation(count)[:number])
    decided = began[chosen] + rng.random(number) * (days - began[chosen])
    wrong = rng.random(number) < np.where(is_fake[chosen], 0.06, 0.003)
    return _decision_rows(
        chunk, kind, id_text(key[chosen], prefix), "brushing", decided, is_fake[chosen] ^ wrong, "random_audit", number / count
    )


def _actions(chunk: Chunk) -> pa.Table:
    labels, rng, days = chunk.labels, chunk.rng("actions"), chunk.calendar.days
    down = np.flatnonzero(np.isfinite(labels.taken_down_day))
    back = down[labels.is_reinstated[down]]
    back_day = labels.taken_down_day[back] + 0.2 + rng.exponential(2.0, len(back))
    is_timely = back_day < days
    banned, restricted = np.flatnonzero(np.isfinite(labels.banned_day)), np.flatnonzero(np.isfinite(labels.restricted_day))
    ids = [chunk.listing_ids(down), chunk.listing_ids(back[is_timely]), chunk.merchant_ids(banned), chunk.merchant_ids(restricted)]
    sizes = [len(part) for part in ids]
    moments = [labels.taken_down_day[down], back_day[is_timely], labels.banned_day[banned], labels.restricted_day[restricted]]
    which = np.repeat(np.arange(4), sizes)
    key = keys(salt(chunk.seed, "action"), chunk.counters(sum(sizes)))
    return _by(key, {
        "action_id": id_text(key, "a"),
        "entity_kind": phrases(("listing", "listing", "merchant", "merchant"), which),
        "entity_id": pa.concat_arrays(ids),
        "kind": phrases(("takedown", "reinstatement", "ban", "restriction"), which),
        "occurred_at": chunk.calendar.moments(np.concatenate(moments)),
        "reason": phrases(("policy_violation", "appeal_upheld", "repeat_infringement", "under_review"), which),
    })  # fmt: skip


def _enforcement(chunk: Chunk) -> pa.Table:
    """Raids and what followed, against a few of the counterfeiters."""
    rng, merchants, days = chunk.rng("enforcement"), chunk.merchants, chunk.calendar.days
    merchant = np.flatnonzero(merchants.is_counterfeit & (rng.random(len(merchants.key)) < 0.04))
    count = len(merchant)
    start = np.maximum(np.maximum(merchants.registered_day, merchants.turned_day), 0.0)[merchant]
    key = keys(salt(chunk.seed, "enforcement"), chunk.counters(count))
    return _by(key, {
        "action_id": id_text(key, "e"),
        "merchant_id": chunk.merchant_ids(merchant),
        "lead_id": pa.nulls(count, pa.string()),
        "authority": picked(rng, ("city police", "customs", "market supervision", "public prosecutor"), count),
        "kind": picked(rng, ("raid", "raid", "seizure", "arrest", "charge", "closure"), count),
        "occurred_at": chunk.calendar.moments(start + rng.random(count) * (days - 0.01 - start)),
        "seized_value": decimals(np.exp(rng.normal(9.5, 1.0, count))),
        "seized_items": pa.array(np.floor(np.exp(rng.normal(5.0, 1.0, count))).astype(np.int64)),
        "currency": pa.repeat("USD", count),
        "suspects": pa.array(rng.integers(1, 6, count)),
    })  # fmt: skip


def _suppressions(chunk: Chunk) -> pa.Table:
    """A few honest listings that an analyst has kept off the lists, some for a while, some for good."""
    rng, listings, days = chunk.rng("suppressions"), chunk.listings, chunk.calendar.days
    is_chosen = ~listings.is_counterfeit & (rng.random(len(listings.key)) < 0.0005)
    listing = np.flatnonzero(is_chosen)
    count = len(listing)
    start = np.maximum(listings.listed_day, 0.0)[listing]
    created = start + rng.random(count) * (np.minimum(chunk.labels.end_day[listing], days) - start)
    expires = np.where(rng.random(count) < 0.7, created + rng.choice(np.array([30.0, 90.0, 180.0]), count), np.nan)
    return _by(listings.key[listing], {
        "entity_kind": pa.repeat("listing", count),
        "entity_id": chunk.listing_ids(listing),
        "created_at": chunk.calendar.moments(created),
        "reason": picked(rng, ("invoice checked", "known reseller", "brand confirmed"), count),
        "author": id_text(keys(salt(chunk.seed, "moderator"), rng.integers(0, 40, count))),
        "expires_at": chunk.calendar.moments(expires),
    })  # fmt: skip


def fixed_tables(catalogue: Catalogue, calendar: Calendar, seed: int) -> dict[str, pa.Table]:
    """Returns the tables that do not grow: brands, their products and logos, exchange rates."""
    brand = np.arange(len(catalogue.brand_names))
    key = keys(salt(seed, "brand"), brand)
    logo = keys(salt(seed, "logo"), np.arange(2 * len(brand)))
    digest = sha256_text(logo)
    return {
        "brands": _by(key, {
            "brand_id": brand_ids(seed, brand),
            "name": pa.array(catalogue.brand_names),
            "aliases": pa.array([json.dumps(brand_aliases(name)) for name in catalogue.brand_names]),
            "rights_holder": pa.array([f"{name} Holdings" for name in catalogue.brand_names]),
            "categories": pa.array([json.dumps([CATEGORIES[pick].path]) for pick in catalogue.brand_categories.tolist()]),
        }),
        "brand_products": _brand_products(catalogue, calendar, seed),
        "brand_logos": _by(np.repeat(key, 2), {
            "brand_id": brand_ids(seed, np.repeat(brand, 2)),
            "sha256": digest,
            "uri": joined([pa.repeat("pictures/", len(digest)), digest, pa.repeat(".png", len(digest))], ""),
        }),
        "fx_rates": _fx_rates(calendar, seed),
    }  # fmt: skip


def _brand_products(catalogue: Catalogue, calendar: Calendar, seed: int) -> pa.Table:
    """Every product, some with an older row before a change of price."""
    rng = generator(seed, "brand products")
    count = len(catalogue.brand)
    specs = [
        json.dumps({field.name: field.values[pick] for field, pick in zip(CATEGORIES[category].fields, picks, strict=True)})
        for category, picks in zip(catalogue.category.tolist(), catalogue.truth.tolist(), strict=True)
    ]
    is_revised = rng.random(count) < 0.12
    product = np.concatenate([np.arange(count), np.flatnonzero(is_revised)])
    is_old = np.arange(len(product)) >= count
    changed = rng.uniform(-200, calendar.days * 0.6, count)
    made = -rng.uniform(500, 1500, count)
    price = catalogue.msrp_usd[product] * np.where(is_old, np.exp(rng.normal(-0.04, 0.03, len(product))), 1.0)
    order = np.lexsort((~is_old, product))
    table = pa.table({
        "brand_id": brand_ids(seed, catalogue.brand[product]),
        "model_ref": phrases(catalogue.refs, product),
        "category": phrases([item.path for item in CATEGORIES], catalogue.category[product]),
        "msrp": decimals(price),
        "floor_price": decimals(price * catalogue.floor_share[product]),
        "currency": pa.repeat("USD", len(product)),
        "specs": phrases(specs, product),
        "valid_from": calendar.moments(np.where(is_revised[product] & ~is_old, changed[product], made[product])),
        "valid_to": calendar.moments(np.where(is_old, changed[product], np.nan)),
    })  # fmt: skip
    return table.take(pa.array(order))


def _fx_rates(calendar: Calendar, seed: int) -> pa.Table:
    """Daily rates on weekdays; on the others none is published."""
    rng = generator(seed, "fx")
    day = np.arange(-10, calendar.days)
    weekday = (calendar.start.weekday() + day) % 7
    parts = []
    for code, level in CURRENCIES:
        rate = level * np.exp(np.cumsum(rng.normal(0, 0.003, len(day))))
        table = pa.table({
            "currency": pa.repeat(code, len(day)),
            "date": calendar.dates(day.astype(np.float64)),
            "rate": pa.array(np.round(rate, 6)),
        })  # fmt: skip
        parts.append(table.filter(pa.array(weekday < 5)))
    return pa.concat_tables(parts)


def truth_tables(chunk: Chunk) -> dict[str, pa.Table]:
    """Returns what each listing, merchant, order and review of the chunk really is."""
    merchants, listings, orders, reviews = chunk.merchants, chunk.listings, chunk.orders, chunk.reviews
    seller = listings.merchant
    last = np.full(len(merchants.key), chunk.calendar.days - 0.001)
    is_fake_merchant = found.live_counterfeit(merchants, listings, chunk.labels.end_day, last)
    begun = np.full(len(merchants.key), np.inf)
    np.minimum.at(begun, seller[listings.is_counterfeit], listings.since_day[listings.is_counterfeit])
    merchant_since = np.where(is_fake_merchant, begun, np.where(merchants.is_brushing, merchants.brushing_day, np.nan))
    brushed_since = np.maximum(merchants.brushing_day[seller], listings.listed_day)
    is_brushed = merchants.is_brushing[seller]
    since = np.where(listings.is_counterfeit, listings.since_day, np.where(is_brushed, brushed_since, np.nan))
    everyone = np.arange(len(merchants.key))
    return {
        "merchants": _truth(chunk, "merchant", merchants.key, "m", everyone, is_fake_merchant, merchants.is_brushing, merchant_since),
        "listings": _truth(chunk, "listing", listings.key, "l", seller, listings.is_counterfeit, is_brushed, since),
        "orders": _event_truth(chunk, "order", orders.key, "o", orders.listing, orders.placed, orders.is_brushed),
        "reviews": _event_truth(chunk, "review", reviews.key, "r", reviews.listing, reviews.created, reviews.is_brushed),
    }


def _event_truth(
    chunk: Chunk, entity: str, key: Keys, prefix: str, listing: Ints, moment: Floats, is_brushed: Bools
) -> pa.Table:
    is_fake = chunk.listings.is_counterfeit[listing] & (moment >= chunk.listings.since_day[listing])
    since = np.where(is_fake | is_brushed, moment, np.nan)
    return _truth(chunk, entity, key, prefix, chunk.listings.merchant[listing], is_fake, is_brushed, since)


def _truth(
    chunk: Chunk, entity: str, key: Keys, prefix: str, merchant: Ints, is_fake: Bools, is_brushing: Bools, since: Floats
) -> pa.Table:
    ring = chunk.merchants.ring[merchant]
    ring_id = id_text(keys(salt(chunk.seed, "ring"), chunk.first + np.maximum(ring, 0)), "g")
    return _by(key, {
        f"{entity}_id": id_text(key, prefix),
        "is_counterfeit": pa.array(is_fake),
        "is_brushing": pa.array(is_brushing),
        "archetype": phrases(ARCHETYPES, chunk.merchants.archetype[merchant]),
        "since": chunk.calendar.dates(since),
        "ring_id": nullable(ring_id, ring >= 0),
    })  # fmt: skip
