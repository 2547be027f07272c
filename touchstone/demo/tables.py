"""The generated marketplace as the contract's tables: arrays in, Arrow tables out, sorted by id, whole chunks at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from touchstone.demo import labels as label_rules
from touchstone.demo import text
from touchstone.demo.arrays import (
    Bools,
    Floats,
    Ints,
    Keys,
    decimals,
    generator,
    id_text,
    joined,
    keys,
    nullable,
    phrases,
    picked,
    salt,
    unit,
    weighted,
)
from touchstone.demo.brushing import (
    CIRCLE_BUYERS,
    FIRST_LOOK,
    HIRED_BUYERS,
    LOOKS_APART,
    STOCK_TEXTS,
    Circles,
    circle_accounts,
    hired_accounts,
    service_keys,
)
from touchstone.demo.catalogue import CURRENCIES, Catalogue, categories
from touchstone.demo.compatible import compatible_labels, compatible_nouns, compatible_titles, replaced
from touchstone.demo.gtins import gtins, stated_gtins
from touchstone.demo.images import Pictures
from touchstone.demo.labels import Labels
from touchstone.demo.listings import CONDITIONS, SIGHTING_DAYS, Listings, called, specifications
from touchstone.demo.merchants import ARCHETYPES, IDENTIFIERS, PLACES, Identifiers, Merchants
from touchstone.demo.transactions import (
    REFUND_REASONS,
    Orders,
    Reviews,
    buyer_day,
)
from touchstone.demo.world import BUYERS_PER_MERCHANT, Span, World

PICTURES_PER_PRODUCT = 6
MOST_PICTURES = 6
COPYING_SINCE = -120.0
"""From which day on pictures are copied: by then nearly every one of the brands' is shown by somebody, who was first."""
TITLE_TRICKS = ("hidden_brand", "evasive", "mixed_script", "stuffed", "copied_title")
REPEATED_TEXTS = 6
"""How many different texts the repeated reviews of one mood, language and category have."""
COPIES_PER_MERCHANT = 3
EVENT_AUDIT_SHARES = {"order": 0.0015, "review": 0.003}
SPOTTED_SHARE, SUSPECTED_SHARE = 0.15, 0.0006
"""How many of the brushed orders and reviews moderators come upon by themselves, and how many of the others they suspect."""
INVOLVED_SHARE = 0.7
"""How often they find that the merchant itself had a hand in what they came upon, where it had."""
WATCHED_SHARE = 0.5
"""How many of a merchant's orders, earlier and later ones, are looked at once it is known that it brushes."""


@dataclass(frozen=True)
class Chunk:
    """Everything drawn for one span of merchants, before it becomes tables."""

    span: Span
    merchants: Merchants
    identifiers: Identifiers
    listings: Listings
    labels: Labels
    circles: Circles
    orders: Orders
    reviews: Reviews

    @property
    def seed(self) -> int:
        """The marketplace's seed."""
        return self.span.world.seed

    @property
    def world(self) -> World:
        """The marketplace."""
        return self.span.world

    def rng(self, stream: str) -> np.random.Generator:
        """Returns the generator of one of the span's streams."""
        return self.span.rng(stream)

    def listing_ids(self, index: Ints) -> pa.Array:
        """Returns the ids of listings."""
        return id_text(self.listings.key[index], "l")

    def merchant_ids(self, index: Ints) -> pa.Array:
        """Returns the ids of merchants."""
        return id_text(self.merchants.key[index], "m")


def chunk_tables(chunk: Chunk, pictures: Pictures) -> dict[str, pa.Table]:
    """Returns the chunk's rows of every table that grows with the number of merchants."""
    return {
        "merchants": _merchants(chunk),
        "merchant_snapshots": _snapshots(chunk),
        "merchant_identifiers": _identifiers(chunk),
        "listings": _listings(chunk),
        "listing_prices": _prices(chunk),
        "listing_images": _images(chunk, pictures),
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
        "appeals": _appeals(chunk),
    }


def _by(order: Keys | Ints, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Makes a table sorted by the key, whose order the ids share."""
    return pa.table(dict(columns)).take(pa.array(np.argsort(order, kind="stable")))


def _currencies(place: Ints) -> pa.Array:
    """Returns the currencies in which merchants at the places ask prices."""
    return phrases([item.currency for item in PLACES], place)


def brand_ids(seed: int, brand: Ints) -> pa.Array:
    """Returns the ids of brands."""
    return id_text(keys(salt(seed, "brand"), brand), "b")


def _merchants(chunk: Chunk) -> pa.Table:
    rng, merchants = chunk.rng("merchant table"), chunk.merchants
    place = merchants.place
    return _by(merchants.key, {
        "merchant_id": id_text(merchants.key, "m"),
        "name": text.merchant_names(rng, len(place)),
        "registered_at": chunk.world.moments(merchants.registered_day),
        "country": phrases([item.country for item in PLACES], place),
        "region": phrases([item.region for item in PLACES], place),
        "city": phrases([item.city for item in PLACES], place),
        "is_default_storefront": pa.array(merchants.trait("storefront") > 1.0),
    })  # fmt: skip


def _snapshots(chunk: Chunk) -> pa.Table:
    """A weekly look at each merchant: running mean of its ratings, running count of its sales."""
    days, merchants, rng = chunk.world.days, chunk.merchants, chunk.rng("snapshots")
    weeks = np.arange(6.4, days, 7.0)
    count = len(merchants.key)
    sold = _running(chunk.listings.merchant[chunk.orders.listing], chunk.orders.placed, None, weeks, count)
    rated = _running(chunk.listings.merchant[chunk.reviews.listing], chunk.reviews.created, None, weeks, count)
    stars = _running(
        chunk.listings.merchant[chunk.reviews.listing], chunk.reviews.created, chunk.reviews.rating, weeks, count
    )
    history = np.maximum(-merchants.registered_day, 0.0) * sold[:, -1:].ravel() / days * rng.uniform(0.3, 0.8, count)
    typical = 4.3 - 0.2 * rng.standard_normal(count) ** 2
    rating = np.clip((stars + 10 * typical[:, None]) / (rated + 10), 0, 5)
    merchant, week = np.nonzero(weeks[None, :] > merchants.registered_day[:, None])
    order = np.lexsort((week, merchants.key[merchant]))
    merchant, week = merchant[order], week[order]
    return pa.table({
        "merchant_id": chunk.merchant_ids(merchant),
        "observed_at": chunk.world.moments(weeks[week]),
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
    rng, borne = chunk.rng("identifier table"), chunk.identifiers
    count = len(borne.merchant)
    start = chunk.merchants.registered_day[borne.merchant]
    seen = np.where(borne.is_taken_later, start + rng.random(count) * (chunk.world.days - 1 - start), start + 0.01)
    is_verified = borne.is_taken_later | (
        rng.random(count) < np.array([item.verified_share for item in IDENTIFIERS])[borne.kind]
    )
    table = pa.table({
        "merchant_id": chunk.merchant_ids(borne.merchant),
        "kind": phrases([item.kind for item in IDENTIFIERS], borne.kind),
        "value_hash": id_text(borne.value),
        "first_seen_at": chunk.world.moments(seen),
        "is_verified": pa.array(is_verified),
    })  # fmt: skip
    return table.take(pa.array(np.lexsort((borne.value, borne.kind, chunk.merchants.key[borne.merchant]))))


def _listings(chunk: Chunk) -> pa.Table:
    rng, listings, catalogue = chunk.rng("listing table"), chunk.listings, chunk.world.catalogue
    product, count = listings.product, len(listings.product)
    brand = catalogue.brand[product]
    place = chunk.merchants.place[listings.merchant]
    written = _brand_as_written(rng, catalogue, brand)
    noun = called(rng, catalogue, product, [item.nouns for item in categories()])
    fitting = chunk.rng("nouns of compatible products"), catalogue, product[listings.is_compatible], compatible_nouns()
    noun = replaced(noun, listings.is_compatible, called(*fitting))
    end, days = chunk.labels.end_day, chunk.world.days
    now = np.minimum(end, days - 0.001)
    seen = np.where(end < days, end - 0.02 - 0.2 * rng.random(count), days - 0.001 - 1.5 * rng.random(count))
    abroad = rng.random(count) < 0.15
    return _by(listings.key, {
        "listing_id": id_text(listings.key, "l"),
        "merchant_id": chunk.merchant_ids(listings.merchant),
        "title": _titles(chunk, written, noun),
        "description": text.descriptions(rng, noun, rng.random(count) < listings.latents["terse_share"]),
        "brand_claimed": _brands_claimed(chunk, written),
        "category": phrases([item.path for item in categories()], catalogue.category[product]),
        "condition": phrases(CONDITIONS, listings.condition),
        "price": decimals(listings.price_at(np.arange(count), now)),
        "currency": _currencies(place),
        "ships_from": phrases([item.country for item in PLACES], np.where(abroad, rng.integers(0, len(PLACES), count), place)),
        "ships_to": picked(rng, ("US", "US,CA", "EU", "EU,GB", "worldwide", "worldwide", "US,EU,GB,CA"), count),
        "specs": specifications(chunk.span, listings),
        "gtin": stated_gtins(chunk.rng("gtins"), catalogue, product, listings.is_compatible),
        "stock": pa.array(np.floor(np.exp(rng.normal(2.6, 1.1, count))).astype(np.int64)),
        "url": joined([pa.repeat("https://market.example/item/", count), id_text(listings.key, "l")], ""),
        "listed_at": chunk.world.moments(listings.listed_day),
        "delisted_at": chunk.world.moments(np.where(end < days, end, np.nan)),
        "last_seen_at": chunk.world.moments(np.maximum(seen, np.maximum(listings.listed_day, 0.0) + 0.01)),
    })  # fmt: skip


def brand_aliases(name: str) -> list[str]:
    """Returns the other spellings that the platform knows of a brand."""
    return [name.upper(), f"{name} Official", f"{name[:3]} {name[3:]}"]


def _brand_as_written(rng: np.random.Generator, catalogue: Catalogue, brand: Ints) -> pa.Array:
    spellings = [spelling for name in catalogue.brand_names for spelling in (name, *brand_aliases(name))]
    return phrases(spellings, brand * 4 + weighted(rng, (0.82, 0.09, 0.05, 0.04), len(brand)))


def _brands_claimed(chunk: Chunk, written: pa.Array) -> pa.Array:
    """Writes the brands that listings claim: a compatible product claims none that anybody protects."""
    is_compatible = chunk.listings.is_compatible
    labels = compatible_labels(chunk.rng("labels of compatible products"), int(is_compatible.sum()))
    return replaced(written, is_compatible, labels)


def _titles(chunk: Chunk, written: pa.Array, noun: pa.Array) -> pa.Array:
    """Writes titles; some hide or avoid the brand's name, some are another merchant's, word for word."""
    rng, listings, catalogue = chunk.rng("titles"), chunk.listings, chunk.world.catalogue
    product, count, latents = listings.product, len(listings.product), listings.latents
    does = {name: rng.random(count) < latents[f"{name}_share"] for name in TITLE_TRICKS}
    spellings = [text.hidden(name) for name in catalogue.brand_names]
    spelling = catalogue.brand[product] * len(spellings[0]) + rng.integers(0, len(spellings[0]), count)
    brand = pc.if_else(
        pa.array(does["hidden_brand"]), phrases([one for each in spellings for one in each], spelling), written
    )
    nouns = [item.nouns for item in categories()]
    plain, mixed = (
        called(rng, catalogue, product, nouns),
        called(rng, catalogue, product, [[*map(text.mixed, pool)] for pool in nouns]),
    )
    own = text.titles(
        rng, nullable(brand, ~listings.is_bare), phrases(catalogue.series, product),
        pc.if_else(pa.array(does["mixed_script"]), mixed, plain), phrases(catalogue.refs, product),
        does["stuffed"], does["evasive"],
    )  # fmt: skip
    by_product = np.lexsort((listings.listed_day, product))
    earlier = np.arange(count)
    earlier[by_product[1:]] = np.where(np.diff(product[by_product]) == 0, by_product[:-1], by_product[1:])
    is_own = listings.is_bare | does["hidden_brand"] | does["evasive"] | does["mixed_script"]
    is_copied = does["copied_title"] & (listings.merchant[earlier] != listings.merchant) & ~is_own
    is_copied &= ~listings.is_compatible[earlier]
    rows = np.flatnonzero(listings.is_compatible)
    fitting = compatible_titles(
        chunk.rng("titles of compatible products"), noun.take(pa.array(rows)),
        phrases(catalogue.brand_names, catalogue.brand[product[rows]]), phrases(catalogue.refs, product[rows]),
    )  # fmt: skip
    return replaced(own.take(pa.array(np.where(is_copied, earlier, np.arange(count)))), listings.is_compatible, fitting)


def _prices(chunk: Chunk) -> pa.Table:
    """A sighting of each listing about every twelve days while it is on offer, with the price of that moment."""
    listings, days = chunk.listings, chunk.world.days
    rng = chunk.rng("sightings")
    begin = np.maximum(listings.listed_day, 0.0)
    stop = np.minimum(chunk.labels.end_day, days - 0.01)
    lead = np.minimum(
        rng.random(len(begin)) * np.where(listings.listed_day > 0, 0.25, SIGHTING_DAYS), (stop - begin) * 0.9
    )
    number = 1 + np.floor(np.maximum(stop - begin - lead, 0.0) / SIGHTING_DAYS).astype(np.int64)
    by_key = np.argsort(listings.key, kind="stable")
    listing = np.repeat(by_key, number[by_key])
    step = np.arange(len(listing)) - np.repeat(np.cumsum(number[by_key]) - number[by_key], number[by_key])
    day = (begin + lead)[listing] + step * SIGHTING_DAYS
    return pa.table({
        "listing_id": chunk.listing_ids(listing),
        "observed_at": chunk.world.moments(day),
        "price": decimals(listings.price_at(listing, day)),
        "currency": _currencies(chunk.merchants.place[listings.merchant[listing]]),
    })  # fmt: skip


def _images(chunk: Chunk, pictures: Pictures) -> pa.Table:
    """Pictures of each listing: the brand's of the product, the merchant's own, a factory's, an altered copy, a bare logo."""
    rng, listings = chunk.rng("images"), chunk.listings
    latents, seller = listings.latents, chunk.span.first + listings.merchant
    number = 1 + np.minimum(rng.poisson(latents["picture_count"] - 1.0), MOST_PICTURES - 1)
    listing = np.repeat(np.arange(len(number)), number)
    place = np.arange(len(listing)) - np.repeat(np.cumsum(number) - number, number)
    count, merchant = len(listing), seller[listing]
    is_own, is_altered, is_pooled = (
        rng.random(count) < latents[f"{what}_picture_share"][listing] for what in ("own", "altered", "pooled")
    )
    is_altered &= (listings.listed_day[listing] > COPYING_SINCE) & ~listings.is_compatible[listing]
    is_own |= listings.is_compatible[listing]
    is_logo = listings.is_bare[listing] & (place == 0)
    kinds = (
        (
            pictures.press,
            listings.product[listing] * PICTURES_PER_PRODUCT + rng.integers(0, PICTURES_PER_PRODUCT, count),
        ),
        # There are fewer pictures than merchants, so a few merchants have one in common.
        (pictures.own, merchant // -(-chunk.world.merchant_count // len(pictures.own))),
        (
            pictures.altered,
            _copies(chunk, merchant * COPIES_PER_MERCHANT + rng.integers(0, COPIES_PER_MERCHANT, count)),
        ),
        (pictures.factory, rng.integers(0, len(pictures.factory), count)),
        (pictures.logos, chunk.world.catalogue.brand[listings.product[listing]]),
    )
    digest = pc.choose(
        pa.array(np.select([is_logo, is_altered, is_pooled, is_own], [4, 2, 3, 1], 0)),
        *(pool.take(pa.array(index % len(pool))) for pool, index in kinds),
    )
    key = keys(salt(chunk.seed, "image"), chunk.span.counters(count))
    return _by(key, {
        "image_id": id_text(key, "i"),
        "listing_id": chunk.listing_ids(listing),
        "role": phrases(("main", "gallery", "detail"), np.minimum(place, 2)),
        "uri": _addresses(digest),
        "sha256": digest,
    })  # fmt: skip


def _copies(chunk: Chunk, number: Ints) -> Ints:
    """Spreads numbers, so that merchants who have one copy in common have no others."""
    return (keys(salt(chunk.seed, "copy"), number) >> np.uint64(1)).astype(np.int64)


def _addresses(digest: pa.Array) -> pa.Array:
    """Returns where the pictures of the digests are, seen from the sources file."""
    return joined([pa.repeat("pictures/", len(digest)), digest, pa.repeat(".jpg", len(digest))], "")


def _ranks(chunk: Chunk) -> pa.Table:
    """Where a fifth of the listings stood in their category, every four weeks: by sales, brushed ones included."""
    listings, days = chunk.listings, chunk.world.days
    rng = chunk.rng("ranks")
    looks = np.arange(FIRST_LOOK, days, LOOKS_APART)
    count = len(listings.key)
    sold = _running(chunk.orders.listing, chunk.orders.placed, None, looks, count)
    score = sold * np.exp(rng.normal(0, 0.3, sold.shape))
    rank = np.empty(score.shape, dtype=np.int64)
    rows = np.argsort(-score, axis=0, kind="stable")
    np.put_along_axis(rank, rows, np.arange(count)[:, None] + 1, axis=0)
    is_on = (
        (listings.listed_day[:, None] <= looks)
        & (chunk.labels.end_day[:, None] > looks)
        & (rng.random(count) < 0.2)[:, None]
    )
    by_key = np.argsort(listings.key, kind="stable")
    place, look = np.nonzero(is_on[by_key])
    listing = by_key[place]
    return pa.table({
        "listing_id": chunk.listing_ids(listing),
        "observed_at": chunk.world.moments(looks[look]),
        "query": phrases([item.path for item in categories()], chunk.world.catalogue.category[listings.product[listing]]),
        "rank": pa.array(rank[listing, look]),
    })  # fmt: skip


def _orders(chunk: Chunk) -> pa.Table:
    orders, listings = chunk.orders, chunk.listings
    merchant = listings.merchant[orders.listing]
    day = chunk.world.moments
    weight = np.where(np.isfinite(orders.shipped), orders.weight_g, 0.0)
    return _by(orders.key, {
        "order_id": id_text(orders.key, "o"),
        "listing_id": chunk.listing_ids(orders.listing),
        "merchant_id": chunk.merchant_ids(merchant),
        "buyer_id": buyer_ids(chunk.seed, orders.buyer),
        "quantity": pa.array(orders.quantity),
        "amount": decimals(orders.amount),
        "currency": _currencies(chunk.merchants.place[merchant]),
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
    """This chunk's slice of the common population, the circles around its merchants, and the services that begin here."""
    rng = chunk.rng("buyers")
    common = BUYERS_PER_MERCHANT * chunk.span.first + np.arange(BUYERS_PER_MERCHANT * chunk.span.count)
    buyers = np.concatenate([chunk.orders.buyer, chunk.reviews.buyer])
    accounts = np.unique(buyers[(buyers >= CIRCLE_BUYERS) & (buyers < HIRED_BUYERS)])
    around = [circle_accounts(chunk.span, chunk.merchants, chunk.circles, accounts), hired_accounts(chunk.span)]
    made = np.concatenate([buyer_day(common, chunk.world), *(each.registered for each in around)])
    device = np.where(unit(salt(chunk.seed, "household"), common // 2) < 0.1, common // 2 * 2, common)
    devices = np.concatenate([keys(salt(chunk.seed, "device"), device), *(each.device for each in around)])
    buyer = np.concatenate([common, *(each.buyer for each in around)])
    return _by(keys(salt(chunk.seed, "buyer"), buyer), {
        "buyer_id": buyer_ids(chunk.seed, buyer),
        "registered_at": chunk.world.moments(made),
        "country": phrases([item.country for item in PLACES], weighted(rng, [item.share for item in PLACES], len(buyer))),
        "device_hash": id_text(devices),
    })  # fmt: skip


def _reviews(chunk: Chunk) -> pa.Table:
    rng, reviews, orders = chunk.rng("review table"), chunk.reviews, chunk.orders
    count = len(reviews.key)
    is_tied = reviews.order >= 0
    product = chunk.listings.product[reviews.listing]
    words = [[item.things[name] for item in categories()] for name in text.LANGUAGES]
    things = [called(rng, chunk.world.catalogue, product, pools) for pools in words]
    language = (rng.random(count) < 0.08).astype(np.int64)
    category = chunk.world.catalogue.category[product]
    alike = ((category * len(text.MOODS) + reviews.mood) * len(text.LANGUAGES) + language) * 2 + reviews.is_brief
    source = np.where(
        reviews.is_repeated & ~reviews.is_brief, _one_of_the_first(rng, alike, REPEATED_TEXTS), np.arange(count)
    )
    texts = text.reviews(rng, reviews.mood, things, language, reviews.is_brief).take(pa.array(source))
    stock = (category * len(text.LANGUAGES) + language) * STOCK_TEXTS + chunk.rng("stock").integers(
        0, STOCK_TEXTS, count
    )
    texts = pc.if_else(pa.array(reviews.is_from_stock), _stock(chunk.world).take(pa.array(stock)), texts)
    return _by(reviews.key, {
        "review_id": id_text(reviews.key, "r"),
        "listing_id": chunk.listing_ids(reviews.listing),
        "buyer_id": buyer_ids(chunk.seed, reviews.buyer),
        "order_id": nullable(id_text(orders.key[np.maximum(reviews.order, 0)], "o"), is_tied),
        "rating": pa.array(reviews.rating),
        "text": texts,
        "language": phrases(text.LANGUAGES, language),
        "created_at": chunk.world.moments(reviews.created),
        "has_photo": pa.array(reviews.has_photo),
        "is_verified": pa.array(is_tied),
    })  # fmt: skip


def _stock(world: World) -> pa.Array:
    """Writes the praise that is sold to brushers: the same few texts for a category and language, whoever buys them."""
    rng = generator(world.seed, "stock")
    count = len(categories()) * len(text.LANGUAGES) * STOCK_TEXTS
    category = np.arange(count) // (len(text.LANGUAGES) * STOCK_TEXTS)
    language = np.arange(count) // STOCK_TEXTS % len(text.LANGUAGES)
    pools = [[item.things[name] for item in categories()] for name in text.LANGUAGES]
    things = [phrases([pool[0] for pool in each], category) for each in pools]
    return text.reviews(rng, np.full(count, text.HAPPY), things, language, np.zeros(count, dtype=np.bool_))


def _one_of_the_first(rng: np.random.Generator, group: Ints, most: int) -> Ints:
    """Returns for each row one of the first `most` rows of its group."""
    order = np.argsort(group, kind="stable")
    _, begin, number, size = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    pick = (rng.random(len(group)) * np.minimum(size, most)[number]).astype(np.int64)
    chosen = np.empty(len(group), dtype=np.int64)
    chosen[order] = order[begin[number] + pick]
    return chosen


def _authorised(chunk: Chunk) -> pa.Table:
    merchants, days, rng = chunk.merchants, chunk.world.days, chunk.rng("authorised")
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
        "valid_from": chunk.world.moments(since),
        "valid_to": chunk.world.moments(np.where(until < days, until, np.nan)),
    })  # fmt: skip


def _notices(chunk: Chunk) -> pa.Table:
    rng, notices = chunk.rng("notice table"), chunk.labels.notices
    count = len(notices.listing)
    key = keys(salt(chunk.seed, "notice"), chunk.span.counters(count))
    brand = chunk.world.catalogue.brand[chunk.listings.product[notices.listing]]
    reporter = np.where(rng.random(count) < 0.6, brand, 1_000 + rng.integers(0, 5_000, count))
    return _by(key, {
        "notice_id": id_text(key, "n"),
        "listing_id": chunk.listing_ids(notices.listing),
        "reporter_id": id_text(keys(salt(chunk.seed, "reporter"), reporter)),
        "brand_id": brand_ids(chunk.seed, brand),
        "kind": phrases(label_rules.NOTICE_KINDS, notices.kind),
        "submitted_at": chunk.world.moments(notices.submitted),
        "outcome": phrases(label_rules.OUTCOMES, notices.outcome),
        "reason": phrases(label_rules.REASONS, notices.reason),
        "decided_at": chunk.world.moments(notices.decided),
    })  # fmt: skip


def _test_buys(chunk: Chunk) -> pa.Table:
    buys, listings = chunk.labels.test_buys, chunk.listings
    count = len(buys.listing)
    key = keys(salt(chunk.seed, "test buy"), chunk.span.counters(count))
    plan = np.floor(buys.ordered / 30).astype(np.int64)
    ids = id_text(key, "t")
    return _by(key, {
        "test_buy_id": ids,
        "listing_id": chunk.listing_ids(buys.listing),
        "plan_id": joined([pa.repeat("plan-", count), pa.array(plan + 1).cast(pa.string())], ""),
        "arm": pc.if_else(pa.array(buys.is_random_arm), "random", "risk"),
        "inclusion_probability": pa.array(np.round(buys.inclusion, 9)),
        "ordered_at": chunk.world.moments(buys.ordered),
        "verdict": phrases(label_rules.VERDICTS, buys.verdict),
        "decided_at": chunk.world.moments(buys.decided),
        "cost": decimals(listings.price_at(buys.listing, buys.ordered) + 6.0),
        "currency": _currencies(chunk.merchants.place[listings.merchant[buys.listing]]),
        "evidence_uri": joined([pa.repeat("evidence/", count), ids, pa.repeat(".pdf", count)], ""),
    })  # fmt: skip


def _decision_rows(
    chunk: Chunk,
    kind: str,
    ids: pa.Array,
    violation_type: str,
    decided: Floats,
    is_fake: Bools,
    reason: str,
    inclusion: float | None,
) -> pa.Table:
    """Rows of `moderation_decisions` about one kind of entity and one type of violation."""
    count = len(ids)
    rng = chunk.rng(f"moderators {kind} {violation_type} {reason}")
    return pa.table({
        "entity_kind": pa.repeat(kind, count),
        "entity_id": ids,
        "violation_type": pa.repeat(violation_type, count),
        "decided_at": chunk.world.moments(decided),
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
        *_spotted(chunk),
        _decision_rows(
            chunk, "listing", chunk.listing_ids(labels.spotted), "counterfeit", labels.spotted_day, labels.is_spotted_fake,
            "moderator_review", None,
        ),
    ]).sort_by([
        ("entity_kind", "ascending"), ("entity_id", "ascending"), ("violation_type", "ascending"), ("decided_at", "ascending"),
        ("reason", "ascending"),
    ])  # fmt: skip


def _event_audit(chunk: Chunk, kind: str, key: Keys, prefix: str, began: Floats, is_fake: Bools) -> pa.Table:
    """Audits a random sample of orders or reviews, each at a random moment after it came about."""
    rng, days = chunk.rng(f"audit {kind}"), chunk.world.days
    count = len(key)
    per_merchant = count // len(chunk.merchants.key)
    number = label_rules.quota(chunk.span.first * per_merchant, count, EVENT_AUDIT_SHARES[kind])
    chosen = np.sort(rng.permutation(count)[:number])
    decided = began[chosen] + rng.random(number) * (days - began[chosen])
    is_found = _judge(rng, is_fake[chosen])
    return _decision_rows(
        chunk,
        kind,
        id_text(key[chosen], prefix),
        "brushing",
        decided,
        is_found,
        "random_audit",
        number / count,
    )


def _spotted(chunk: Chunk) -> list[pa.Table]:
    """Decides on orders and reviews that moderators came upon, and on more of the merchants' that had a hand in them."""
    orders, reviews, audits = chunk.orders, chunk.reviews, chunk.labels.audits
    known = np.full(len(chunk.merchants.key), np.inf)
    known[audits.merchant[audits.is_brushing]] = audits.decided[audits.is_brushing]
    tables = []
    for kind, key, listing, began, is_fake in (
        ("order", orders.key, orders.listing, orders.placed, orders.is_brushed),
        ("review", reviews.key, reviews.listing, reviews.created, reviews.is_brushed),
    ):
        rng, merchant = chunk.rng(f"spotted {kind}"), chunk.listings.merchant[listing]
        count = len(key)
        is_chosen = rng.random(count) < np.where(is_fake, SPOTTED_SHARE, SUSPECTED_SHARE)
        decided = began + 1.0 + rng.random(count) * 29.0
        chosen = np.flatnonzero(is_chosen & (decided < chunk.world.days))
        is_found = _judge(rng, is_fake[chosen])
        is_involved = (
            is_found & chunk.merchants.is_brushing[merchant[chosen]] & (rng.random(len(chosen)) < INVOLVED_SHARE)
        )
        np.minimum.at(known, merchant[chosen[is_involved]], decided[chosen[is_involved]])
        for rows, reason in ((~is_involved, "moderator_review"), (is_involved, "merchant_involved")):
            ids, when = id_text(key[chosen[rows]], kind[0]), decided[chosen[rows]]
            tables.append(_decision_rows(chunk, kind, ids, "brushing", when, is_found[rows], reason, None))
    return [*tables, _investigated(chunk, known)]


def _judge(rng: np.random.Generator, is_fake: Bools) -> Bools:
    """Returns what an examination makes of orders or reviews."""
    return np.asarray(is_fake ^ (rng.random(len(is_fake)) < np.where(is_fake, 0.06, label_rules.FALSE_ALARM_SHARE)))


def _investigated(chunk: Chunk, known: Floats) -> pa.Table:
    """Decides on a share of the orders of each merchant that is known to brush, within two weeks after both are there."""
    rng, orders = chunk.rng("investigations"), chunk.orders
    at_issue = known[chunk.listings.merchant[orders.listing]]
    is_looked_at = np.isfinite(at_issue) & (rng.random(len(at_issue)) < WATCHED_SHARE)
    decided = np.maximum(at_issue, orders.placed) + 0.1 + rng.random(len(at_issue)) * 13.0
    chosen = np.flatnonzero(is_looked_at & (decided < chunk.world.days))
    is_found = _judge(rng, orders.is_brushed[chosen])
    return _decision_rows(
        chunk, "order", id_text(orders.key[chosen], "o"), "brushing", decided[chosen], is_found, "investigation", None
    )


def _actions(chunk: Chunk) -> pa.Table:
    labels, days = chunk.labels, chunk.world.days
    down = np.flatnonzero(np.isfinite(labels.taken_down_day))
    back, back_day = _reinstated(chunk)
    is_timely = back_day < days
    banned, restricted = (
        np.flatnonzero(np.isfinite(labels.banned_day)),
        np.flatnonzero(np.isfinite(labels.restricted_day)),
    )
    ids = [
        chunk.listing_ids(down),
        chunk.listing_ids(back[is_timely]),
        chunk.merchant_ids(banned),
        chunk.merchant_ids(restricted),
    ]
    sizes = [len(part) for part in ids]
    moments = [
        labels.taken_down_day[down],
        back_day[is_timely],
        labels.banned_day[banned],
        labels.restricted_day[restricted],
    ]
    which = np.repeat(np.arange(4), sizes)
    key = keys(salt(chunk.seed, "action"), chunk.span.counters(sum(sizes)))
    return _by(key, {
        "action_id": id_text(key, "a"),
        "entity_kind": phrases(("listing", "listing", "merchant", "merchant"), which),
        "entity_id": pa.concat_arrays(ids),
        "kind": phrases(("takedown", "reinstatement", "ban", "restriction"), which),
        "occurred_at": chunk.world.moments(np.concatenate(moments)),
        "reason": phrases(("policy_violation", "appeal_upheld", "repeat_infringement", "under_review"), which),
    })  # fmt: skip


def _reinstated(chunk: Chunk) -> tuple[Ints, Floats]:
    """Returns the listings whose takedown is undone after an appeal, and when."""
    back = np.flatnonzero(np.isfinite(chunk.labels.taken_down_day) & chunk.labels.is_reinstated)
    return back, chunk.labels.taken_down_day[back] + 0.2 + chunk.rng("actions").exponential(2.0, len(back))


def _appeals(chunk: Chunk) -> pa.Table:
    """Returns appeals of those who were taken down, banned or restricted: the honest appeal more often, mostly successfully."""
    rng, labels, days = chunk.rng("appeals"), chunk.labels, chunk.world.days
    merchants, listings = chunk.merchants, chunk.listings
    back, back_day = _reinstated(chunk)
    sanctioned = np.fmin(labels.banned_day, labels.restricted_day)
    is_of_brushing = np.zeros(len(merchants.key), dtype=np.bool_)
    is_of_brushing[labels.audits.merchant] = labels.audits.is_brushing & ~labels.audits.is_counterfeit
    parts = []
    for kind, acted, is_fake, fakes_appeal, ids in (
        ("listing", labels.taken_down_day, listings.is_counterfeit, 0.08, chunk.listing_ids),
        ("merchant", sanctioned, merchants.is_counterfeit | merchants.is_brushing, 0.3, chunk.merchant_ids),
    ):
        count = len(acted)
        lodges = rng.random(count) < np.where(is_fake, fakes_appeal, 0.5)
        submitted = acted + 0.1 + rng.exponential(4.0, count)
        decided = submitted + 0.5 + rng.exponential(6.0, count)
        is_upheld = rng.random(count) < np.where(is_fake, 0.03, 0.85)
        if kind == "listing":  # what came back did so because an appeal was upheld
            lodges[back], is_upheld[back], decided[back] = True, True, back_day
            submitted[back] = (acted[back] + back_day) / 2
        which = np.flatnonzero(lodges & np.isfinite(acted) & (submitted < days))
        of_brushing = (kind == "merchant") & is_of_brushing[which if kind == "merchant" else which * 0]
        parts.append((kind, ids(which), of_brushing, submitted[which], decided[which], is_upheld[which]))
    sizes = [len(part[1]) for part in parts]
    of_brushing, submitted, decided, is_upheld = (np.concatenate([part[at] for part in parts]) for at in range(2, 6))
    is_known = decided < days
    why = np.where(is_upheld, rng.integers(0, 2, sum(sizes)), rng.integers(2, 4, sum(sizes)))
    moderators = id_text(keys(salt(chunk.seed, "moderator"), rng.integers(0, 40, sum(sizes))))
    key = keys(salt(chunk.seed, "appeal"), chunk.span.counters(sum(sizes)))
    return _by(key, {
        "appeal_id": id_text(key, "p"),
        "entity_kind": phrases([part[0] for part in parts], np.repeat(np.arange(len(parts)), sizes)),
        "entity_id": pa.concat_arrays([part[1] for part in parts]),
        "violation_type": phrases(("counterfeit", "brushing"), of_brushing.astype(np.int64)),
        "submitted_at": chunk.world.moments(submitted),
        "outcome": phrases(("upheld", "rejected", "pending"), np.select([~is_known, is_upheld], [2, 0], 1)),
        "reason": phrases(
            ("invoice_checked", "brand_confirmed", "no_proof", "proof_not_genuine"), np.where(is_known, why, -1)
        ),
        "decided_by": nullable(moderators, is_known),
        "decided_at": chunk.world.moments(np.where(is_known, decided, np.nan)),
    })  # fmt: skip


def _enforcement(chunk: Chunk) -> pa.Table:
    """Raids and what followed, against a few of the counterfeiters."""
    rng, merchants, days = chunk.rng("enforcement"), chunk.merchants, chunk.world.days
    merchant = np.flatnonzero(merchants.is_counterfeit & (rng.random(len(merchants.key)) < 0.04))
    count = len(merchant)
    start = np.maximum(np.maximum(merchants.registered_day, merchants.turned_day), 0.0)[merchant]
    key = keys(salt(chunk.seed, "enforcement"), chunk.span.counters(count))
    return _by(key, {
        "action_id": id_text(key, "e"),
        "merchant_id": chunk.merchant_ids(merchant),
        "lead_id": pa.nulls(count, pa.string()),
        "authority": picked(rng, ("city police", "customs", "market supervision", "public prosecutor"), count),
        "kind": picked(rng, ("raid", "raid", "seizure", "arrest", "charge", "closure"), count),
        "violation_type": pa.repeat("counterfeit", count),
        "occurred_at": chunk.world.moments(start + rng.random(count) * (days - 0.01 - start)),
        "seized_value": decimals(np.exp(rng.normal(9.5, 1.0, count))),
        "seized_items": pa.array(np.floor(np.exp(rng.normal(5.0, 1.0, count))).astype(np.int64)),
        "currency": pa.repeat("USD", count),
        "suspects": pa.array(rng.integers(1, 6, count)),
    })  # fmt: skip


def _suppressions(chunk: Chunk) -> pa.Table:
    """A few honest listings that an analyst has kept off the lists, some for a while, some for good."""
    rng, listings, days = chunk.rng("suppressions"), chunk.listings, chunk.world.days
    is_chosen = ~listings.is_counterfeit & (rng.random(len(listings.key)) < 0.0005)
    listing = np.flatnonzero(is_chosen)
    count = len(listing)
    start = np.maximum(listings.listed_day, 0.0)[listing]
    created = start + rng.random(count) * (np.minimum(chunk.labels.end_day[listing], days) - start)
    expires = np.where(rng.random(count) < 0.7, created + rng.choice(np.array([30.0, 90.0, 180.0]), count), np.nan)
    return _by(listings.key[listing], {
        "entity_kind": pa.repeat("listing", count),
        "entity_id": chunk.listing_ids(listing),
        "created_at": chunk.world.moments(created),
        "reason": picked(rng, ("invoice checked", "known reseller", "brand confirmed"), count),
        "author": id_text(keys(salt(chunk.seed, "moderator"), rng.integers(0, 40, count))),
        "expires_at": chunk.world.moments(expires),
    })  # fmt: skip


def fixed_tables(world: World, pictures: Pictures) -> dict[str, pa.Table]:
    """Returns the tables that do not grow: brands, their products and logos, exchange rates."""
    catalogue, seed = world.catalogue, world.seed
    brand = np.arange(len(catalogue.brand_names))
    key = keys(salt(seed, "brand"), brand)
    return {
        "brands": _by(key, {
            "brand_id": brand_ids(seed, brand),
            "name": pa.array(catalogue.brand_names),
            "aliases": pa.array([json.dumps(brand_aliases(name)) for name in catalogue.brand_names]),
            "rights_holder": pa.array([f"{name} Holdings" for name in catalogue.brand_names]),
            "categories": pa.array([json.dumps([categories()[pick].path]) for pick in catalogue.brand_categories.tolist()]),
        }),
        "brand_products": _brand_products(world),
        "brand_logos": _by(key, {
            "brand_id": brand_ids(seed, brand),
            "sha256": pictures.logos,
            "uri": _addresses(pictures.logos),
        }),
        "fx_rates": _fx_rates(world),
    }  # fmt: skip


def _brand_products(world: World) -> pa.Table:
    """Every product, some with an older row before a change of price."""
    catalogue, seed = world.catalogue, world.seed
    rng = generator(seed, "brand products")
    count = len(catalogue.brand)
    specs = [
        json.dumps(
            {field.name: field.values[pick] for field, pick in zip(categories()[category].fields, picks, strict=True)}
        )
        for category, picks in zip(catalogue.category.tolist(), catalogue.truth.tolist(), strict=True)
    ]
    is_revised = rng.random(count) < 0.12
    product = np.concatenate([np.arange(count), np.flatnonzero(is_revised)])
    is_old = np.arange(len(product)) >= count
    changed = rng.uniform(-200, world.days * 0.6, count)
    made = -rng.uniform(500, 1500, count)
    price = catalogue.msrp_usd[product] * np.where(is_old, np.exp(rng.normal(-0.04, 0.03, len(product))), 1.0)
    order = np.lexsort((~is_old, product))
    table = pa.table({
        "brand_id": brand_ids(seed, catalogue.brand[product]),
        "model_ref": phrases(catalogue.refs, product),
        "category": phrases([item.path for item in categories()], catalogue.category[product]),
        "msrp": decimals(price),
        "floor_price": decimals(price * catalogue.floor_share[product]),
        "currency": pa.repeat("USD", len(product)),
        "specs": phrases(specs, product),
        "gtin": gtins(product),
        "valid_from": world.moments(np.where(is_revised[product] & ~is_old, changed[product], made[product])),
        "valid_to": world.moments(np.where(is_old, changed[product], np.nan)),
    })  # fmt: skip
    return table.take(pa.array(order))


def _fx_rates(world: World) -> pa.Table:
    """Daily rates on weekdays; on the others none is published."""
    rng = generator(world.seed, "fx")
    day = np.arange(-10, world.days)
    weekday = (world.start.weekday() + day) % 7
    parts = []
    for code, level in CURRENCIES:
        rate = level * np.exp(np.cumsum(rng.normal(0, 0.003, len(day))))
        table = pa.table({
            "currency": pa.repeat(code, len(day)),
            "date": world.dates(day.astype(np.float64)),
            "rate": pa.array(np.round(rate, 6)),
        })  # fmt: skip
        parts.append(table.filter(pa.array(weekday < 5)))
    return pa.concat_tables(parts)


def truth_tables(chunk: Chunk) -> dict[str, pa.Table]:
    """Returns what each listing, merchant, order and review of the chunk really is."""
    merchants, listings, orders, reviews = chunk.merchants, chunk.listings, chunk.orders, chunk.reviews
    seller = listings.merchant
    last = np.full(len(merchants.key), chunk.world.days - 0.001)
    is_fake_merchant = label_rules.has_active_counterfeit(merchants, listings, chunk.labels.end_day, last)
    begun = np.full(len(merchants.key), np.inf)
    np.minimum.at(begun, seller[listings.is_counterfeit], listings.since_day[listings.is_counterfeit])
    merchant_since = np.where(is_fake_merchant, begun, np.where(merchants.is_brushing, merchants.brushing_day, np.nan))
    brushed_since = np.maximum(merchants.brushing_day[seller], listings.listed_day)
    is_brushed = merchants.is_brushing[seller]
    since = np.where(listings.is_counterfeit, listings.since_day, np.where(is_brushed, brushed_since, np.nan))
    everyone = np.arange(len(merchants.key))
    is_hired = orders.is_brushed & (orders.buyer >= HIRED_BUYERS)
    served = np.where(is_hired, chunk.circles.service[seller[orders.listing]], -1)
    return {
        "services": _service_truth(chunk, np.flatnonzero(is_hired)),
        "merchants": _truth(
            chunk,
            "merchant",
            merchants.key,
            everyone,
            is_fake_merchant,
            merchants.is_brushing,
            merchant_since,
            chunk.circles.service,
        ),
        "listings": _truth(
            chunk,
            "listing",
            listings.key,
            seller,
            listings.is_counterfeit,
            is_brushed,
            since,
            is_compatible=listings.is_compatible,
        ),
        "orders": _event_truth(chunk, "order", orders.key, orders.listing, orders.placed, orders.is_brushed, served),
        "reviews": _event_truth(
            chunk,
            "review",
            reviews.key,
            reviews.listing,
            reviews.created,
            reviews.is_brushed,
            np.where(reviews.order >= 0, served[reviews.order], -1),
        ),
    }


def _event_truth(
    chunk: Chunk, entity: str, key: Keys, listing: Ints, moment: Floats, is_brushed: Bools,
    service: Ints,
) -> pa.Table:  # fmt: skip
    is_fake = chunk.listings.is_counterfeit[listing] & (moment >= chunk.listings.since_day[listing])
    since = np.where(is_fake | is_brushed, moment, np.nan)
    return _truth(chunk, entity, key, chunk.listings.merchant[listing], is_fake, is_brushed, since, service)


def _service_truth(chunk: Chunk, order: Ints) -> pa.Table:
    """Returns which hired buyer placed how many orders with which merchant, by service."""
    merchant = chunk.listings.merchant[chunk.orders.listing[order]]
    pair = np.stack([merchant, chunk.orders.buyer[order]])
    (merchant, buyer), number = np.unique(pair, axis=1, return_counts=True)
    service = service_keys(chunk.world, chunk.circles.service[merchant])
    return _by(np.arange(len(merchant)), {
        "service_id": id_text(service, "s"),
        "buyer_id": buyer_ids(chunk.seed, buyer),
        "merchant_id": chunk.merchant_ids(merchant),
        "order_count": pa.array(number),
    })  # fmt: skip


def _truth(
    chunk: Chunk, entity: str, key: Keys, merchant: Ints, is_fake: Bools, is_brushing: Bools, since: Floats,
    service: Ints | None = None, *, is_compatible: Bools | None = None,
) -> pa.Table:  # fmt: skip
    """Says of each what it is; `service` is the brushing service behind it, -1 without; `is_compatible` is said of listings."""
    ring = chunk.merchants.ring[merchant]
    ring_id = id_text(keys(salt(chunk.seed, "ring"), chunk.span.first + np.maximum(ring, 0)), "g")
    service = np.full(len(key), -1) if service is None else service
    return _by(key, {
        f"{entity}_id": id_text(key, entity[0]),
        "is_counterfeit": pa.array(is_fake),
        "is_brushing": pa.array(is_brushing),
        "archetype": phrases(ARCHETYPES, chunk.merchants.archetype[merchant]),
        "since": chunk.world.dates(since),
        "ring_id": nullable(ring_id, ring >= 0),
        "service_id": nullable(id_text(service_keys(chunk.world, np.maximum(service, 0)), "s"), service >= 0),
    } | ({} if is_compatible is None else {"is_compatible": pa.array(is_compatible)}))  # fmt: skip
