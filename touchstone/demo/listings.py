"""Listings with their active periods, prices and specifications, and the latent variables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from touchstone.demo.arrays import (
    Bools,
    Floats,
    Ints,
    Keys,
    joined,
    keys,
    nullable,
    phrases,
    picked,
    salt,
    sigmoid,
)
from touchstone.demo.catalogue import CURRENCIES, FIELD_SLOTS, Catalogue
from touchstone.demo.compatible import draw_compatible_products
from touchstone.demo.merchants import (
    CURRENCY_CODES,
    LISTING_TRAITS,
    PLACES,
    REFURBISHER,
    SLOT_WEIGHTS,
    TRAITS,
    Merchants,
    changes_of_identity,
)
from touchstone.demo.world import LISTINGS_PER_MERCHANT, Span

CONDITIONS = ("new", "refurbished", "used")
SIGHTING_DAYS = 12.5
PRICE_CHANGES = 8
"""How often a price changes at most; how many of the changes are made differs."""
MOST_UNLIKE, LARGEST_SWING = 1.0, 0.35
"""How far, in logarithms, a price lies from the merchant's level at most, and how far one change moves it at most."""
PADDING = (
    '"certificate": "CE 2041"', '"quality": "premium"', '"grade": "first"', '"gift box": "yes"', '"market": "export"',
    '"batch": "2026-02"', '"inspection": "passed"', '"customs code": "8504"',
)  # fmt: skip
"""What is stated in a specification though no product of any category has it."""


@dataclass(frozen=True)
class Listings:
    """One span's listings, as arrays of n; days count from the start of the history.

    Attributes:
        key: Ids.
        merchant: Index of the merchant within the span.
        slot: The merchant's brand slot.
        product: Index of the product.
        is_counterfeit: Whether it is counterfeit (from `since_day` on).
        since_day: From when; equal to `listed_day` for most.
        listed_day: When it was listed.
        natural_end_day: When the merchant would withdraw it; beyond the history if never.
        latents: The latent variables by name.
        condition: Index into `CONDITIONS`.
        price: Price asked first, in the listing's currency.
        fake_price_factor: Factor on the price from `since_day` on.
        change_day: (n, PRICE_CHANGES) days on which the price changes.
        change_factor: (n, PRICE_CHANGES) by how much.
        field_state: (n, FIELD_SLOTS) 0 true, 1 wrong, 2 left out, 3 impossible for such products.
        popularity: Weight in orders.
        is_bare: Whether its title avoids the brand that its first picture shows.
        is_compatible: Whether it is a product that fits the brand's, not one of the brand's.
    """

    key: Keys
    merchant: Ints
    slot: Ints
    product: Ints
    is_counterfeit: Bools
    since_day: Floats
    listed_day: Floats
    natural_end_day: Floats
    latents: dict[str, Floats]
    condition: Ints
    price: Floats
    fake_price_factor: Floats
    change_day: Floats
    change_factor: Floats
    field_state: Ints
    popularity: Floats
    is_bare: Bools
    is_compatible: Bools

    def price_at(self, index: Ints, day: Floats) -> Floats:
        """Returns the price of the listings at `index` on each day, in cents precision."""
        price = self.price[index] * np.where(day >= self.since_day[index], self.fake_price_factor[index], 1.0)
        for change in range(PRICE_CHANGES):
            is_past = day >= self.change_day[index, change]
            price = price * np.where(is_past, self.change_factor[index, change], 1.0)
        return np.maximum(np.floor(price), 0.0) + np.where(price < 40, np.round(price % 1.0, 2), 0.99)


def build_listings(span: Span, merchants: Merchants) -> Listings:
    """Makes the listings of a span's merchants."""
    rng, world = span.rng("listings"), span.world
    merchant = np.repeat(np.arange(len(merchants.key)), merchants.listing_count)
    count = len(merchant)
    slot, product = _products(rng, world.catalogue, merchants, merchant)
    listed, end = _active_periods(rng, merchants, merchant, world.days)
    is_fake, since = _counterfeit(rng, merchants, merchant, slot, listed)
    traits = _listing_traits(rng, merchants, merchant, is_fake)
    condition = _conditions(rng, merchants, merchant)
    unlike = np.clip(0.09 * np.exp(traits["spread"]) * rng.standard_normal(count), -MOST_UNLIKE, MOST_UNLIKE)
    ratio = -0.07 - 0.15 * traits["price"] - np.array([0.0, 0.12, 0.25])[condition] + unlike
    rate = np.array([1.0, *(rate for _, rate in CURRENCIES)])
    currency = _currency_index()[merchants.place[merchant]]
    is_late = is_fake & (since > listed)
    fake_part = np.where(is_late, -0.15 * traits["price_shift"], 0.0)
    latents = _latents(merchants, merchant, slot, traits, ratio)
    compatible = draw_compatible_products(span, merchants, merchant)
    return Listings(
        key=keys(salt(world.seed, "listing"), span.first * LISTINGS_PER_MERCHANT + np.arange(count)),
        merchant=merchant,
        slot=slot,
        product=product,
        is_counterfeit=is_fake,
        since_day=since,
        listed_day=listed,
        natural_end_day=end,
        latents=latents,
        condition=condition,
        price=world.catalogue.msrp_usd[product] / rate[currency] * np.exp(ratio - fake_part) * compatible.price_factor,
        fake_price_factor=np.exp(fake_part),
        change_day=rng.uniform(-60, world.days, (count, PRICE_CHANGES)),
        change_factor=_changes(rng, traits),
        field_state=_field_states(rng, traits),
        popularity=_popularity(rng, merchants, merchant),
        is_bare=(rng.random(count) < latents["bare_logo_share"]) & ~compatible.is_compatible,
        is_compatible=compatible.is_compatible,
    )


def _currency_index() -> Ints:
    return np.array([CURRENCY_CODES.index(place.currency) for place in PLACES])


def _products(
    rng: np.random.Generator, catalogue: Catalogue, merchants: Merchants, merchant: Ints
) -> tuple[Ints, Ints]:
    is_used = np.arange(merchants.brand_slots.shape[1]) < merchants.slot_count[:, None]
    weights = np.array(SLOT_WEIGHTS) * is_used
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)[merchant]
    slot = (rng.random(len(merchant))[:, None] >= cumulative[:, :-1]).sum(axis=1)
    brand = merchants.brand_slots[merchant, slot]
    within = (rng.random(len(merchant)) ** 1.3 * catalogue.product_count[brand]).astype(np.int64)
    return slot, catalogue.first_product[brand] + within


def _active_periods(rng: np.random.Generator, merchants: Merchants, merchant: Ints, days: int) -> tuple[Floats, Floats]:
    count = len(merchant)
    registered = merchants.opened_day(days)[merchant]
    churn = 0.36 + 0.10 * merchants.is_counterfeit[merchant]
    is_new = rng.random(count) < churn
    listed = np.where(is_new, rng.uniform(0, days - 0.5, count), -rng.exponential(160, count))
    after = registered + 0.05 + rng.random(count) ** 1.5 * (days - 0.6 - registered)
    listed = np.where(listed < registered, after, listed)
    hazard = np.where(merchants.is_counterfeit[merchant], 0.0028, 0.0024)
    end = np.maximum(listed, 0.0) + 0.5 + rng.exponential(1.0, count) / hazard
    return listed, end


def _counterfeit(
    rng: np.random.Generator, merchants: Merchants, merchant: Ints, slot: Ints, listed: Floats
) -> tuple[Bools, Floats]:
    """Decides which listings are counterfeit, nearly all of a fake brand slot, and from when."""
    is_fake_slot = merchants.is_slot_fake[merchant, slot]
    is_fake = merchants.is_counterfeit[merchant] & (rng.random(len(merchant)) < np.where(is_fake_slot, 0.99, 0.01))
    turned = merchants.turned_day[merchant]
    is_before = listed < turned
    is_fake &= ~is_before | (rng.random(len(merchant)) < 0.6)
    return is_fake, np.where(is_before, turned, listed)


def _listing_traits(
    rng: np.random.Generator, merchants: Merchants, merchant: Ints, is_fake: Bools
) -> dict[str, Floats]:
    """Draws the traits of each listing: the merchant's own, a listing's part, and the shift of counterfeits."""
    traits: dict[str, Floats] = {}
    for name, own in LISTING_TRAITS.items():
        shift = np.where(is_fake, merchants.shifts[merchant, TRAITS.index(name)], 0.0) * rng.uniform(
            0.8, 1.2, len(merchant)
        )
        noise = own * rng.standard_normal(len(merchant))
        traits[name] = np.sqrt(1 - own**2) * merchants.trait(name)[merchant] + noise + shift
        traits[f"{name}_shift"] = shift
    return traits


def _changes(rng: np.random.Generator, traits: dict[str, Floats]) -> Floats:
    """Draws by which factors a price changes: how many times, how far and which way differs; 1 where it does not."""
    shape = (len(traits["drop"]), PRICE_CHANGES)
    is_made = rng.random(shape) < sigmoid(-0.8 + 2.6 * traits["unrest"])[:, None]
    size = np.clip(
        0.045 * np.exp(0.72 * traits["swing"])[:, None] * rng.standard_normal(shape), -LARGEST_SWING, LARGEST_SWING
    )
    return np.where(is_made, np.exp(size - 0.01 - 0.03 * traits["drop"][:, None]), 1.0)


def _conditions(rng: np.random.Generator, merchants: Merchants, merchant: Ints) -> Ints:
    is_refurbisher = (merchants.archetype == REFURBISHER)[merchant]
    draw = rng.random(len(merchant))
    typical = np.where(draw < 0.93, 0, np.where(draw < 0.96, 1, 2))
    return np.where(is_refurbisher, np.where(draw < 0.65, 1, np.where(draw < 0.8, 2, 0)), typical)


def _field_states(rng: np.random.Generator, traits: dict[str, Floats]) -> Ints:
    wrong, omitted = (
        rng.random((len(traits["spec"]), FIELD_SLOTS)) < share(traits)[:, None]
        for share in (_wrong_share, _omitted_share)
    )
    states = np.where(omitted, 2, np.where(wrong, 1, 0))
    is_absurd = rng.random(len(states)) < _absurd_share(traits)
    states[is_absurd, rng.integers(0, FIELD_SLOTS, len(states))[is_absurd]] = 3
    return states


def _wrong_share(traits: dict[str, Floats]) -> Floats:
    return sigmoid(-3.6 + 1.8 * traits["spec"])


def _omitted_share(traits: dict[str, Floats]) -> Floats:
    return sigmoid(-3.0 + 2.6 * traits["omission"])


def _absurd_share(traits: dict[str, Floats]) -> Floats:
    return sigmoid(-3.2 + 2.7 * traits["absurdity"])


def _popularity(rng: np.random.Generator, merchants: Merchants, merchant: Ints) -> Floats:
    by_merchant = np.exp(rng.normal(0, 0.5, len(merchants.key)))
    return np.asarray(np.minimum(by_merchant[merchant] * np.exp(rng.normal(0, 1.0, len(merchant))), 25.0))


def _latents(
    merchants: Merchants, merchant: Ints, slot: Ints, traits: dict[str, Floats], ratio: Floats
) -> dict[str, Floats]:
    """Names the parameters that everything seen of a listing is drawn from."""
    conduct = {
        name: merchants.trait(name)[merchant]
        for name in ("photo", "verified", "delivery", "storefront", "breadth", "coyness")
    }
    return {
        "price_ratio_log": ratio,
        "price_drop": traits["drop"],
        "price_swing": traits["swing"],
        "price_unrest": traits["unrest"],
        "price_spread": traits["spread"],
        "coupon_share": sigmoid(-2.0 + 1.9 * traits["discount"]),
        "complaint_share": np.minimum(0.014 * np.exp(1.25 * traits["doubt"]), 0.45),
        "refund_share": np.minimum(0.045 * np.exp(0.85 * traits["refund"]), 0.6),
        "not_authentic_share": np.minimum(0.06 * np.exp(1.3 * traits["dispute"]), 0.7),
        "rating_mean": 4.45 - 0.32 * traits["rating"],
        "polar_share": sigmoid(-2.1 + 1.5 * traits["polarity"]),
        "repeated_share": sigmoid(-3.5 + 2.2 * traits["repetition"]),
        "brief_share": sigmoid(-2.6 + 1.9 * traits["brevity"]),
        "early_share": sigmoid(-3.2 + 2.2 * traits["haste"]),
        "spec_wrong_share": _wrong_share(traits),
        "omitted_share": _omitted_share(traits),
        "absurd_share": _absurd_share(traits),
        "padded_share": sigmoid(-2.8 + 2.5 * traits["padding"]),
        "invented_reference_share": sigmoid(-3.3 + 2.35 * traits["invention"]),
        "no_reference_share": sigmoid(-3.0 + 2.2 * conduct["coyness"]),
        "altered_picture_share": sigmoid(-3.0 + 2.45 * traits["copying"]),
        "bare_logo_share": sigmoid(-3.1 + 2.35 * traits["baring"]),
        "own_picture_share": sigmoid(0.4 - 1.25 * traits["borrowing"]),
        "picture_count": 1.0 + np.exp(-0.1 - 1.15 * traits["sparing"]),
        "pooled_picture_share": sigmoid(-3.1 + 2.1 * traits["pooling"]),
        "hidden_brand_share": sigmoid(-3.2 + 2.7 * traits["hiding"]),
        "evasive_share": sigmoid(-3.2 + 2.6 * traits["evasion"]),
        "mixed_script_share": sigmoid(-3.2 + 2.5 * traits["mixing"]),
        "stuffed_share": sigmoid(-2.6 + 2.3 * traits["stuffing"]),
        "terse_share": sigmoid(-2.0 + 2.3 * traits["terseness"]),
        "copied_title_share": sigmoid(-3.8 + 2.4 * traits["retitling"]),
        "photo_share": sigmoid(-1.2 - 1.2 * conduct["photo"]),
        "verified_share": sigmoid(2.0 - 1.3 * conduct["verified"]),
        "delivery_hours": np.exp(4.4 + 0.30 * conduct["delivery"]),
        "merchant_age_days": merchants.registered_day[merchant],
        "is_default_storefront": (conduct["storefront"] > 1.0).astype(np.float64),
        "storefront": conduct["storefront"],
        "identity_changes": changes_of_identity(merchants)[merchant],
        "silent_share": merchants.silent_share[merchant],
        "is_authorised": merchants.is_slot_authorised[merchant, slot].astype(np.float64),
        "brand_count": merchants.slot_count[merchant].astype(np.float64),
        "listing_count": merchants.listing_count[merchant].astype(np.float64),
    }


def specifications(span: Span, listings: Listings) -> pa.Array:
    """Returns the specs JSON: the model reference and each field that is not left out."""
    rng, catalogue, fragments = span.rng("specifications"), span.world.catalogue, span.world.fragments
    product = listings.product
    category = catalogue.category[product]
    count = len(product)
    has_ref = (rng.random(count) > listings.latents["no_reference_share"]) & ~listings.is_compatible
    is_invented = rng.random(count) < listings.latents["invented_reference_share"]
    tail = phrases(("-II", "X", "-S", " Pro", "B"), np.where(is_invented, rng.integers(0, 5, count), -1))
    known = phrases(catalogue.refs, product)
    called = joined([known, pc.fill_null(tail, "")], "")
    reference = joined([pa.repeat('"model_ref": "', count), called, pa.repeat('"', count)], "")
    parts = [nullable(reference, has_ref)]
    for field in range(FIELD_SLOTS):
        size = fragments.size[category, field]
        true = catalogue.truth[product, field]
        step = 1 + (rng.random(count) * (size - 1)).astype(np.int64)
        state = listings.field_state[:, field]
        value = np.where(state == 1, (true + step) % size, true)
        text = np.where(state == 3, fragments.absurd[category, field], fragments.first[category, field] + value)
        parts.append(phrases(fragments.texts, np.where(state == 2, -1, text)))
    parts.append(nullable(picked(rng, PADDING, count), rng.random(count) < listings.latents["padded_share"]))
    return joined([pa.repeat("{", count), joined(parts, ", "), pa.repeat("}", count)], "")


def called(rng: np.random.Generator, catalogue: Catalogue, product: Ints, pools: Sequence[Sequence[str]]) -> pa.Array:
    """Returns for each product one of the words that its category's pool holds."""
    sizes = np.array([len(pool) for pool in pools])
    category = catalogue.category[product]
    pick = (rng.random(len(product)) * sizes[category]).astype(np.int64)
    return phrases([word for pool in pools for word in pool], (np.cumsum(sizes) - sizes)[category] + pick)
