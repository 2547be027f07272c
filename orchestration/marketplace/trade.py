"""What happens to listings: orders and what becomes of them, buyers, reviews."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.marketplace.arrays import Bools, Floats, Ints, Keys, generator, keys, salt, unit, weighted
from orchestration.marketplace.catalogue import Catalogue
from orchestration.marketplace.listings import Listings
from orchestration.marketplace.merchants import BRUSHER, LISTINGS_PER_MERCHANT, Merchants
from orchestration.marketplace.text import DOUBTFUL, FAIR, HAPPY, REASSURED, UNHAPPY

ORDERS_PER_LISTING = 10
REVIEWS_PER_LISTING = 5
BUYERS_PER_MERCHANT = 40
EARLY_BUYERS_SHARE = 0.85
FAKE_BUYERS = 1 << 44
ACCOUNTS_PER_MERCHANT = 1 << 12
REFUND_REASONS = ("not_authentic", "not_as_described", "defective", "late", "changed_mind", "other")
_WEEK = np.array([1.02, 0.98, 0.95, 0.96, 1.02, 1.14, 1.18])
_HOURS = np.array([3, 2, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 7, 6, 6, 6, 6, 7, 8, 9, 10, 9, 7, 5], dtype=np.float64)


@dataclass(frozen=True)
class Season:
    """How busy the marketplace is, hour by hour: cumulative weight at each hour of the history."""

    hours: Floats
    cumulative: Floats

    def amount(self, day: Floats) -> Floats:
        """Returns the cumulative weight at each day."""
        return np.interp(day * 24.0, self.hours, self.cumulative)

    def day(self, amount: Floats) -> Floats:
        """Returns the day at which the cumulative weight reaches each amount."""
        return np.interp(amount, self.cumulative, self.hours) / 24.0


@dataclass(frozen=True)
class Brushing:
    """How each merchant brushes: share of its orders that are fake, number of accounts, devices and payers."""

    share: Floats
    accounts: Ints
    devices: Ints
    payers: Ints
    light_share: Floats


@dataclass(frozen=True)
class Orders:
    """One chunk's orders as arrays of n; days count from the start of the history, not-a-number where it never came."""

    key: Keys
    listing: Ints
    is_brushed: Bools
    buyer: Ints
    payer: Keys
    quantity: Ints
    amount: Floats
    placed: Floats
    shipped: Floats
    delivered: Floats
    refunded: Floats
    refund_reason: Ints
    weight_g: Floats


@dataclass(frozen=True)
class Reviews:
    """One chunk's reviews as arrays of n; `order` is -1 without one."""

    key: Keys
    listing: Ints
    order: Ints
    buyer: Ints
    is_brushed: Bools
    rating: Ints
    mood: Ints
    created: Floats
    has_photo: Bools


def build_season(days: int, weekday: int) -> Season:
    """Lays out a weekly and daily rhythm over a rising trend with two sale days.

    Args:
        days: Length of the history.
        weekday: Weekday of its first day, Monday 0.
    """
    day = np.arange(days)
    weight = _WEEK[(day + weekday) % 7] * (1.0 + 0.2 * day / days)
    for sale in (0.35, 0.8):
        weight = weight * (1.0 + 0.9 * np.exp(-(((day - sale * days) / 1.2) ** 2)))
    hourly = (weight[:, None] * _HOURS[None, :] / _HOURS.sum()).ravel()
    return Season(np.arange(days * 24 + 1, dtype=np.float64), np.concatenate([[0.0], np.cumsum(hourly)]))


def build_brushing(merchants: Merchants, seed: int, chunk: int) -> Brushing:
    """Decides how hard each brusher brushes."""
    rng = generator(seed, "brushing", chunk)
    count = len(merchants.key)
    is_brusher = merchants.archetype == BRUSHER
    share = np.where(is_brusher, np.clip(0.34 * merchants.effect + rng.normal(0, 0.08, count), 0.05, 0.6), 0.0)
    accounts = np.where(is_brusher, rng.integers(8, 40, count), 0)
    light = np.where(is_brusher, rng.uniform(0.3, 0.8, count), 0.0)
    return Brushing(share, accounts, np.maximum(accounts // 4, 1), np.maximum(accounts // 6, 1), light)


def buyer_day(buyer: Ints, population: int, days: int) -> Floats:
    """Returns when buyers of the common population registered: most before the history, by their number."""
    share = buyer / population
    before = -1500.0 * np.maximum(1.0 - share / EARLY_BUYERS_SHARE, 0.0) ** 1.5
    return np.where(share < EARLY_BUYERS_SHARE, before, (share - EARLY_BUYERS_SHARE) / (1 - EARLY_BUYERS_SHARE) * days)


def build_orders(
    catalogue: Catalogue, merchants: Merchants, listings: Listings, end: Floats, brushing: Brushing, season: Season,
    seed: int, chunk: int, first: int, population: int, days: int,
) -> Orders:  # fmt: skip
    """Places ten orders a listing, shared by popularity, and lets them take their course."""
    rng = generator(seed, "orders", chunk)
    start, stop = season.amount(np.maximum(listings.listed_day, 0.0)), season.amount(np.minimum(end, days - 0.01))
    share = brushing.share[listings.merchant]
    weight = listings.popularity * np.maximum(stop - start, 1e-9) / (1.0 - share)
    total = len(weight) * ORDERS_PER_LISTING
    listing = np.repeat(np.arange(len(weight)), rng.multinomial(total, weight / weight.sum()))
    placed = season.day(start[listing] + rng.random(total) * (stop - start)[listing])
    merchant = listings.merchant[listing]
    is_brushed = (rng.random(total) < share[listing]) & (placed >= merchants.brushing_day[merchant])
    shipped, delivered = _deliveries(rng, listings, listing, placed, is_brushed)
    refunded, reason = _refunds(rng, listings, listing, placed, delivered, is_brushed)
    quantity = 1 + (rng.random(total) < 0.12) + (rng.random(total) < 0.03)
    coupon = np.where(rng.random(total) < 0.12, rng.uniform(0.85, 0.97, total), 1.0)
    buyer = _buyers(rng, merchants, brushing, merchant, placed, is_brushed, seed, first, population, days)
    return Orders(
        key=keys(salt(seed, "order"), first * LISTINGS_PER_MERCHANT * ORDERS_PER_LISTING + np.arange(total)),
        listing=listing,
        is_brushed=is_brushed,
        buyer=buyer,
        payer=_payers(rng, brushing, merchant, buyer, seed, first),
        quantity=quantity.astype(np.int64),
        amount=np.maximum(listings.price_at(listing, placed) * quantity * coupon, 0.01),
        placed=placed,
        shipped=np.where(shipped < days, shipped, np.nan),
        delivered=np.where(delivered < days, delivered, np.nan),
        refunded=np.where(refunded < days, refunded, np.nan),
        refund_reason=np.where(refunded < days, reason, -1),
        weight_g=_weights(rng, catalogue, merchants, brushing, listings, listing, quantity, is_brushed),
    )


def _is_bad(listings: Listings, listing: Ints, moment: Floats) -> Bools:
    """Says of each event whether the goods' latents hold: always, but for goods that turned counterfeit later."""
    return np.asarray(~listings.is_counterfeit[listing] | (moment >= listings.since_day[listing]))


def _deliveries(
    rng: np.random.Generator, listings: Listings, listing: Ints, placed: Floats, is_brushed: Bools
) -> tuple[Floats, Floats]:
    count = len(listing)
    hours = listings.latents["delivery_hours"][listing] * np.where(is_brushed & (rng.random(count) < 0.6), 0.5, 1.0)
    shipped = placed + hours / 24 * 0.3 * np.exp(rng.normal(0, 0.5, count))
    delivered = shipped + hours / 24 * 0.7 * np.exp(rng.normal(0, 0.35, count))
    is_lost = rng.random(count) < 0.012
    return np.where(is_lost, np.inf, shipped), np.where(is_lost, np.inf, delivered)


def _refunds(
    rng: np.random.Generator, listings: Listings, listing: Ints, placed: Floats, delivered: Floats, is_brushed: Bools
) -> tuple[Floats, Ints]:
    count = len(listing)
    is_bad = _is_bad(listings, listing, placed)
    share = np.where(is_bad, listings.latents["refund_share"][listing], 0.045) * np.where(is_brushed, 0.1, 1.0)
    doubt = np.where(is_bad, listings.latents["not_authentic_share"][listing], 0.05)
    other = 1 + weighted(rng, (0.30, 0.24, 0.14, 0.24, 0.08), count)
    reason = np.where(rng.random(count) < doubt, 0, other)
    moment = delivered + 0.3 + np.exp(rng.normal(1.2, 0.7, count))
    moment = np.where(np.isfinite(delivered), moment, placed + 20 + 10 * rng.random(count))
    reason = np.where(np.isfinite(delivered), reason, 3)
    is_refunded = (rng.random(count) < share) | (~np.isfinite(delivered) & (rng.random(count) < 0.8))
    return np.where(is_refunded, moment, np.inf), reason


def _weights(
    rng: np.random.Generator, catalogue: Catalogue, merchants: Merchants, brushing: Brushing, listings: Listings, listing: Ints,
    quantity: Ints, is_brushed: Bools,
) -> Floats:  # fmt: skip
    """Weighs parcels: the goods, the merchant's packing, and some that are light (empty, for a part of the brushed)."""
    count = len(listing)
    merchant = listings.merchant[listing]
    packing = np.exp(rng.normal(0, 0.15, len(merchants.key)))
    careless = np.minimum(rng.exponential(0.05, len(merchants.key)), 0.4)
    light = np.where(is_brushed, brushing.light_share[merchant], careless[merchant])
    factor = np.where(rng.random(count) < light, rng.uniform(0.08, 0.6, count), np.exp(rng.normal(0, 0.15, count)))
    return np.asarray(catalogue.weight_g[listings.product[listing]] * quantity * packing[merchant] * factor + 8.0)


def _buyers(
    rng: np.random.Generator, merchants: Merchants, brushing: Brushing, merchant: Ints, placed: Floats, is_brushed: Bools,
    seed: int, first: int, population: int, days: int,
) -> Ints:  # fmt: skip
    """Finds a buyer for each order: anyone, one of the merchant's regulars, or an account that brushes for it."""
    count = len(merchant)
    known = EARLY_BUYERS_SHARE + (1 - EARLY_BUYERS_SHARE) * np.clip(placed / days, 0, 1)
    anyone = (rng.random(count) ** 1.3 * population * known * 0.999).astype(np.int64)
    many = rng.random(len(merchants.key)) < 0.2
    loyalty = np.where(many, rng.uniform(0.05, 0.4, len(many)), rng.uniform(0, 0.04, len(many)))
    circle = (first + merchant) * ACCOUNTS_PER_MERCHANT + (rng.random(count) * 15).astype(np.int64)
    regular = (unit(salt(seed, "regular"), circle) * population * EARLY_BUYERS_SHARE).astype(np.int64)
    account = FAKE_BUYERS + (first + merchant) * ACCOUNTS_PER_MERCHANT
    account += (rng.random(count) * brushing.accounts[merchant]).astype(np.int64)
    honest = np.where(rng.random(count) < loyalty[merchant], regular, anyone)
    return np.where(is_brushed & (rng.random(count) < 0.65), account, honest)


def _payers(rng: np.random.Generator, brushing: Brushing, merchant: Ints, buyer: Ints, seed: int, first: int) -> Keys:
    """Says who pays: the buyer, now and then someone else; accounts that brush share a few payers."""
    is_fake = buyer >= FAKE_BUYERS
    shared = (first + merchant) * ACCOUNTS_PER_MERCHANT + buyer % np.maximum(brushing.payers[merchant], 1)
    other = rng.random(len(buyer)) < 0.05
    own = np.where(other, buyer ^ 3, buyer)
    return np.where(is_fake, keys(salt(seed, "fake payer"), shared), keys(salt(seed, "payer"), own))


def build_reviews(
    merchants: Merchants, listings: Listings, end: Floats, orders: Orders, seed: int, chunk: int, first: int, population: int, days: int
) -> Reviews:
    """Writes five reviews a listing: after delivered orders, a part of them without an order."""
    rng = generator(seed, "reviews", chunk)
    lag = np.exp(rng.normal(1.3, 0.8, len(orders.key)))
    lag = np.where(orders.is_brushed & (rng.random(len(lag)) < 0.6), 0.1 + rng.random(len(lag)) * 1.5, lag)
    created = orders.delivered + lag
    priority = np.where(created < days, rng.random(len(lag)) * np.where(orders.is_brushed, 0.55, 1.0), np.inf)
    number = min(len(listings.key) * REVIEWS_PER_LISTING, int(np.isfinite(priority).sum()))
    order = np.sort(np.argsort(priority, kind="stable")[:number])
    listing = orders.listing[order]
    is_brushed = orders.is_brushed[order]
    is_tied = is_brushed | (rng.random(number) < listings.latents["verified_share"][listing])
    start = np.maximum(listings.listed_day, 0.0)[listing]
    loose = start + rng.random(number) * (np.minimum(end[listing], days) - start)
    stranger = (rng.random(number) * population * EARLY_BUYERS_SHARE).astype(np.int64)
    created = np.where(is_tied, created[order], loose)
    mood, rating = _opinions(rng, listings, listing, created, is_brushed)
    photo = np.where(is_brushed, 0.25, listings.latents["photo_share"][listing])
    return Reviews(
        key=keys(salt(seed, "review"), first * LISTINGS_PER_MERCHANT * REVIEWS_PER_LISTING + np.arange(number)),
        listing=listing,
        order=np.where(is_tied, order, -1),
        buyer=np.where(is_tied, orders.buyer[order], stranger),
        is_brushed=is_brushed,
        rating=rating,
        mood=mood,
        created=created,
        has_photo=rng.random(number) < photo,
    )


def _opinions(
    rng: np.random.Generator, listings: Listings, listing: Ints, created: Floats, is_brushed: Bools
) -> tuple[Ints, Ints]:
    count = len(listing)
    is_bad = _is_bad(listings, listing, created)
    doubt = np.where(is_bad, listings.latents["complaint_share"][listing], 0.008)
    level = np.where(is_bad, listings.latents["rating_mean"][listing], 4.45)
    is_doubtful = ~is_brushed & (rng.random(count) < doubt)
    spread = np.where(rng.random(count) < 0.12, 1.9, 0.65)
    stars = np.clip(np.rint(level + spread * rng.standard_normal(count) + 0.1), 1, 5).astype(np.int64)
    stars = np.where(is_doubtful, 1 + weighted(rng, (0.7, 0.22, 0.08), count), stars)
    stars = np.where(is_brushed, np.where(rng.random(count) < 0.93, 5, 4), stars)
    mood = np.select([is_doubtful, stars <= 2, stars == 3], [DOUBTFUL, UNHAPPY, FAIR], HAPPY)
    is_reassured = (mood == HAPPY) & (rng.random(count) < np.where(is_brushed, 0.03, 0.012))
    return np.where(is_reassured, REASSURED, mood), stars
