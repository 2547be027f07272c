"""Transactions: orders with their outcomes, buyers, reviews."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from touchstone.demo.arrays import Bools, Floats, Ints, Keys, keys, salt, weighted
from touchstone.demo.brushing import Circles, account_of, campaign_moments, payers_of
from touchstone.demo.listings import Listings
from touchstone.demo.merchants import VIRAL_PRODUCT, Merchants
from touchstone.demo.text import DOUBTFUL, FAIR, HAPPY, REASSURED, UNHAPPY
from touchstone.demo.world import (
    LISTINGS_PER_MERCHANT,
    ORDERS_PER_LISTING,
    REFERENCE_DAYS,
    Span,
    World,
    orders_placed,
)

REVIEWS_PER_LISTING = 5
EARLY_BUYERS_SHARE = 0.85
REFUND_REASONS = ("not_authentic", "not_as_described", "defective", "late", "changed_mind", "other")
TYPICAL_EARLY_SHARE, TYPICAL_REPEATED_SHARE, TYPICAL_POLAR_SHARE = 0.05, 0.05, 0.12
TYPICAL_COUPON_SHARE, TYPICAL_BRIEF_SHARE = 0.12, 0.07
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
class Orders:
    """One span's orders as arrays of n; days count from the start of the history, not-a-number where it never came."""

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
    """One span's reviews as arrays of n; `order` is -1 without one, and the text may come from the stock."""

    key: Keys
    listing: Ints
    order: Ints
    buyer: Ints
    is_brushed: Bools
    rating: Ints
    mood: Ints
    created: Floats
    is_repeated: Bools
    is_from_stock: Bools
    is_brief: Bools
    has_photo: Bools


def build_season(world: World) -> Season:
    """Lays out a weekly and daily rhythm over a rising trend with two sale days."""
    days = world.days
    day = np.arange(days)
    weight = _WEEK[(day + world.start.weekday()) % 7] * (1.0 + 0.2 * day / days)
    for sale in (0.35, 0.8):
        weight = weight * (1.0 + 0.9 * np.exp(-(((day - sale * days) / 1.2) ** 2)))
    hourly = (weight[:, None] * _HOURS[None, :] / _HOURS.sum()).ravel()
    return Season(np.arange(days * 24 + 1, dtype=np.float64), np.concatenate([[0.0], np.cumsum(hourly)]))


def buyer_day(buyer: Ints, world: World) -> Floats:
    """Returns when buyers of the common population registered: most before the history, by their number."""
    share = buyer / world.buyer_count
    before = -1500.0 * np.maximum(1.0 - share / EARLY_BUYERS_SHARE, 0.0) ** 1.5
    return np.where(
        share < EARLY_BUYERS_SHARE, before, (share - EARLY_BUYERS_SHARE) / (1 - EARLY_BUYERS_SHARE) * world.days
    )


def build_orders(
    span: Span, merchants: Merchants, listings: Listings, end: Floats, circles: Circles, season: Season
) -> Orders:
    """Places ten orders a listing, shared by popularity, and lets them take their course.

    Args:
        span: The span.
        merchants: Its merchants.
        listings: Their listings.
        end: When each listing was withdrawn or taken down.
        circles: The buyers around each merchant.
        season: How busy the marketplace is.
    """
    rng, days, seed = span.rng("orders"), span.world.days, span.world.seed
    start, stop = season.amount(np.maximum(listings.listed_day, 0.0)), season.amount(np.minimum(end, days - 0.01))
    share = circles.brushed_share[listings.merchant]
    weight = listings.popularity * np.maximum(stop - start, 1e-9) / (1.0 - share)
    total = orders_placed(len(weight), days)
    listing = np.repeat(np.arange(len(weight)), rng.multinomial(total, weight / weight.sum()))
    placed = season.day(start[listing] + rng.random(total) * (stop - start)[listing])
    merchant = listings.merchant[listing]
    is_brushed = (rng.random(total) < share[listing]) & (placed >= merchants.brushing_day[merchant])
    first = np.where(is_brushed, np.maximum(merchants.brushing_day[merchant], 0.0), 0.0)
    placed = campaign_moments(
        span.rng("campaigns"), circles, merchant, placed, is_brushed, _is_ordinary(merchants, listings)[listing],
        np.maximum(listings.listed_day[listing], first), np.minimum(end, days - 0.01)[listing],
    )  # fmt: skip
    shipped, delivered = _deliveries(rng, circles, listings, listing, placed, is_brushed)
    refunded, reason = _refunds(rng, listings, listing, placed, delivered, is_brushed)
    quantity = 1 + (rng.random(total) < 0.12) + (rng.random(total) < 0.03)
    couponed = rng.random(total) < _latent(listings, "coupon_share", listing, placed, TYPICAL_COUPON_SHARE)
    coupon = np.where(couponed, rng.uniform(0.8, 0.97, total), 1.0)
    buyer = _buyers(rng, span, circles, merchant, placed, is_brushed)
    return Orders(
        key=keys(
            salt(seed, "order"), span.first * LISTINGS_PER_MERCHANT * ORDERS_PER_LISTING * days + np.arange(total)
        ),
        listing=listing,
        is_brushed=is_brushed,
        buyer=buyer,
        payer=payers_of(span, circles, merchant, buyer, _payers(rng, span, buyer)),
        quantity=quantity.astype(np.int64),
        amount=np.maximum(listings.price_at(listing, placed) * quantity * coupon, 0.01),
        placed=placed,
        shipped=np.where(shipped < days, shipped, np.nan),
        delivered=np.where(delivered < days, delivered, np.nan),
        refunded=np.where(refunded < days, refunded, np.nan),
        refund_reason=np.where(refunded < days, reason, -1),
        weight_g=_weights(rng, span.world, circles, listings, listing, quantity, is_brushed),
    )


def _is_ordinary(merchants: Merchants, listings: Listings) -> Bools:
    """Returns for each listing whether it did not go viral: only a merchant's most popular listing does."""
    best = np.zeros(len(merchants.key))
    np.maximum.at(best, listings.merchant, listings.popularity)
    is_viral = merchants.archetype[listings.merchant] == VIRAL_PRODUCT
    return np.asarray(is_viral & (listings.popularity < best[listings.merchant]))


def _is_bad(listings: Listings, listing: Ints, moment: Floats) -> Bools:
    """Returns for each event whether the listing's latents apply: always, except before a listing turned counterfeit."""
    return np.asarray(~listings.is_counterfeit[listing] | (moment >= listings.since_day[listing]))


def _latent(listings: Listings, name: str, listing: Ints, moment: Floats, typical: float) -> Floats:
    """Returns a latent variable for each event: the typical value before the listing turned counterfeit."""
    return np.where(_is_bad(listings, listing, moment), listings.latents[name][listing], typical)


def _deliveries(
    rng: np.random.Generator, circles: Circles, listings: Listings, listing: Ints, placed: Floats, is_brushed: Bools
) -> tuple[Floats, Floats]:
    count = len(listing)
    merchant = listings.merchant[listing]
    share = np.where(is_brushed, circles.rush_share[merchant], circles.express_share[merchant])
    is_rushed = rng.random(count) < share
    hours = listings.latents["delivery_hours"][listing] * np.where(is_rushed, 0.5, 1.0)
    shipped = placed + hours / 24 * 0.3 * np.exp(rng.normal(0, 0.5, count))
    delivered = shipped + hours / 24 * 0.7 * np.exp(rng.normal(0, 0.35, count))
    is_lost = rng.random(count) < 0.012
    return np.where(is_lost, np.inf, shipped), np.where(is_lost, np.inf, delivered)


def _refunds(
    rng: np.random.Generator, listings: Listings, listing: Ints, placed: Floats, delivered: Floats, is_brushed: Bools
) -> tuple[Floats, Ints]:
    count = len(listing)
    share = _latent(listings, "refund_share", listing, placed, 0.045) * np.where(is_brushed, 0.1, 1.0)
    doubt = _latent(listings, "not_authentic_share", listing, placed, 0.05)
    other = 1 + weighted(rng, (0.30, 0.24, 0.14, 0.24, 0.08), count)
    reason = np.where(rng.random(count) < doubt, 0, other)
    moment = delivered + 0.3 + np.exp(rng.normal(1.2, 0.7, count))
    moment = np.where(np.isfinite(delivered), moment, placed + 20 + 10 * rng.random(count))
    reason = np.where(np.isfinite(delivered), reason, 3)
    is_refunded = (rng.random(count) < share) | (~np.isfinite(delivered) & (rng.random(count) < 0.8))
    return np.where(is_refunded, moment, np.inf), reason


def _weights(
    rng: np.random.Generator, world: World, circles: Circles, listings: Listings, listing: Ints,
    quantity: Ints, is_brushed: Bools,
) -> Floats:  # fmt: skip
    """Returns parcel weights: the product and the packing; some are light (some brushed parcels are empty)."""
    count = len(listing)
    merchant = listings.merchant[listing]
    packing = np.exp(rng.normal(0, 0.15, len(circles.accounts)))
    light = np.where(is_brushed, circles.light_share[merchant], circles.careless_share[merchant])
    factor = np.where(rng.random(count) < light, rng.uniform(0.08, 0.6, count), np.exp(rng.normal(0, 0.15, count)))
    return np.asarray(world.catalogue.weight_g[listings.product[listing]] * quantity * packing[merchant] * factor + 8.0)


def _buyers(
    rng: np.random.Generator, span: Span, circles: Circles, merchant: Ints, placed: Floats, is_brushed: Bools
) -> Ints:
    """Finds a buyer for each order: anyone, or an account of the circle around the merchant."""
    count = len(merchant)
    known = EARLY_BUYERS_SHARE + (1 - EARLY_BUYERS_SHARE) * np.clip(placed / span.world.days, 0, 1)
    anyone = (rng.random(count) ** 1.3 * span.world.buyer_count * known * 0.999).astype(np.int64)
    account = account_of(rng, span, circles, merchant, is_brushed)
    share = np.where(is_brushed, circles.circle_share[merchant], circles.regular_share[merchant])
    return np.where(rng.random(count) < share, account, anyone)


def _payers(rng: np.random.Generator, span: Span, buyer: Ints) -> Keys:
    """Says who pays for common buyers: the buyer, now and then someone else."""
    return keys(salt(span.world.seed, "payer"), np.where(rng.random(len(buyer)) < 0.05, buyer ^ 3, buyer))


def build_reviews(
    span: Span, merchants: Merchants, listings: Listings, end: Floats, circles: Circles, orders: Orders
) -> Reviews:
    """Writes five reviews a listing: after delivered orders, a part of them without an order, some of those bought.

    Args:
        span: The span.
        merchants: Its merchants.
        listings: Their listings.
        end: When each listing was withdrawn or taken down.
        circles: The buyers around each merchant.
        orders: The orders of the listings.
    """
    rng, days = span.rng("reviews"), span.world.days
    lag = np.exp(rng.normal(1.3, 0.8, len(orders.key)))
    is_hasty = rng.random(len(lag)) < np.where(
        orders.is_brushed,
        circles.rave_share[listings.merchant[orders.listing]],
        circles.hasty_share[listings.merchant[orders.listing]],
    )
    lag = np.where(is_hasty, 0.1 + rng.random(len(lag)) * 1.5, lag)
    early = _latent(listings, "early_share", orders.listing, orders.placed, TYPICAL_EARLY_SHARE)
    is_early = ~orders.is_brushed & (rng.random(len(lag)) < early)
    waited = rng.random(len(lag)) * (orders.delivered - orders.placed)
    created = np.where(is_early, orders.placed + waited, orders.delivered + lag)
    priority = np.where(created < days, rng.random(len(lag)) * np.where(orders.is_brushed, 0.55, 1.0), np.inf)
    number = min(len(listings.key) * REVIEWS_PER_LISTING * days // REFERENCE_DAYS, int(np.isfinite(priority).sum()))
    order = np.sort(np.argsort(priority, kind="stable")[:number])
    listing = orders.listing[order]
    merchant = listings.merchant[listing]
    hired = span.rng("bought reviews")
    is_bought = ~orders.is_brushed[order] & (hired.random(number) < circles.bought_share[merchant])
    is_tied = ~is_bought & (
        orders.is_brushed[order] | (rng.random(number) < listings.latents["verified_share"][listing])
    )
    start = np.maximum(listings.listed_day, 0.0)[listing]
    untied = start + rng.random(number) * (np.minimum(end[listing], days) - start)
    stranger = (rng.random(number) * span.world.buyer_count * EARLY_BUYERS_SHARE).astype(np.int64)
    created = np.where(is_tied, created[order], untied)
    is_bought &= created >= merchants.brushing_day[merchant]
    is_brushed = orders.is_brushed[order] | is_bought
    created = campaign_moments(
        hired, circles, merchant, created, is_bought, np.ones(number, dtype=np.bool_),
        np.maximum(start, merchants.brushing_day[merchant]), np.minimum(end[listing], days - 0.01),
    )  # fmt: skip
    writer = np.where(is_bought, account_of(hired, span, circles, merchant, is_bought), stranger)
    mood, rating = _opinions(rng, listings, listing, created, is_brushed)
    photo = np.where(is_brushed, 0.25, listings.latents["photo_share"][listing])
    repeated = _latent(listings, "repeated_share", listing, created, TYPICAL_REPEATED_SHARE)
    brief = _latent(listings, "brief_share", listing, created, TYPICAL_BRIEF_SHARE)
    return Reviews(
        key=keys(
            salt(span.world.seed, "review"),
            span.first * LISTINGS_PER_MERCHANT * REVIEWS_PER_LISTING * days + np.arange(number),
        ),
        listing=listing,
        order=np.where(is_tied, order, -1),
        buyer=np.where(is_tied, orders.buyer[order], writer),
        is_brushed=is_brushed,
        rating=rating,
        mood=mood,
        created=created,
        is_repeated=rng.random(number) < repeated,
        is_from_stock=is_brushed & (hired.random(number) < circles.stock_share[merchant]),
        is_brief=rng.random(number) < brief,
        has_photo=rng.random(number) < photo,
    )


def _opinions(
    rng: np.random.Generator, listings: Listings, listing: Ints, created: Floats, is_brushed: Bools
) -> tuple[Ints, Ints]:
    count = len(listing)
    doubt = _latent(listings, "complaint_share", listing, created, 0.008)
    level = _latent(listings, "rating_mean", listing, created, 4.45)
    is_doubtful = ~is_brushed & (rng.random(count) < doubt)
    stars = np.clip(np.rint(level + 0.8 * rng.standard_normal(count) + 0.1), 1, 5).astype(np.int64)
    is_polar = rng.random(count) < _latent(listings, "polar_share", listing, created, TYPICAL_POLAR_SHARE)
    stars = np.where(is_polar, np.where(rng.random(count) < 0.85, 5, 1), stars)
    stars = np.where(is_doubtful, 1 + weighted(rng, (0.45, 0.33, 0.22), count), stars)
    stars = np.where(is_brushed, np.where(rng.random(count) < 0.85, 5, 4), stars)
    mood = np.select([is_doubtful, stars <= 2, stars == 3], [DOUBTFUL, UNHAPPY, FAIR], HAPPY)
    is_reassured = (mood == HAPPY) & (rng.random(count) < np.where(is_brushed, 0.03, 0.012))
    return np.where(is_reassured, REASSURED, mood), stars
