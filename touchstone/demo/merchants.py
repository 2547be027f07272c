"""Who sells: archetypes, the traits by which they differ, sizes, brands, authorisations, shared identifiers.

A merchant's traits are standard normal for an ordinary honest one; an archetype shifts some of them. Every shift is
moderate, so that no trait gives an archetype away: only together do they. `hardness` divides the counterfeiters' shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from touchstone.demo.arrays import Bools, Floats, Ints, Keys, keys, salt, sigmoid, weighted
from touchstone.demo.catalogue import CURRENCIES, Catalogue, categories
from touchstone.demo.world import LISTINGS_PER_MERCHANT, Span

ARCHETYPES = (
    "honest", "discounter", "refurbisher", "new_merchant", "parallel_importer", "agency_client", "framed",
    "too_cheap", "complaint_drawing", "spec_liar", "picture_copier", "word_evader", "fly_by_night", "ring", "brusher",
    "self_brusher", "careful_brusher", "service_client", "review_buyer",
    "viral_product", "sale_day", "dormitory", "company", "brushed_by_rival", "newcomer", "compatible_seller",
)  # fmt: skip
(
    HONEST, DISCOUNTER, REFURBISHER, NEW_MERCHANT, PARALLEL_IMPORTER, AGENCY_CLIENT, FRAMED,
    TOO_CHEAP, COMPLAINT_DRAWING, SPEC_LIAR, PICTURE_COPIER, WORD_EVADER, FLY_BY_NIGHT, RING, BRUSHER,
    SELF_BRUSHER, CAREFUL_BRUSHER, SERVICE_CLIENT, REVIEW_BUYER,
    VIRAL_PRODUCT, SALE_DAY, DORMITORY, COMPANY, BRUSHED_BY_RIVAL, NEWCOMER, COMPATIBLE_SELLER,
) = range(len(ARCHETYPES))  # fmt: skip
BRUSHER_SHARES = {SELF_BRUSHER: 0.30, CAREFUL_BRUSHER: 0.20, SERVICE_CLIENT: 0.46, REVIEW_BUYER: 0.04}
"""What the brushers are, each by its share: none is left a mere `BRUSHER`."""
BRUSHERS = tuple(ARCHETYPES[kind] for kind in BRUSHER_SHARES)
LOOK_ALIKE_SHARES = {VIRAL_PRODUCT: 0.012, SALE_DAY: 0.014, DORMITORY: 0.012, COMPANY: 0.012, BRUSHED_BY_RIVAL: 0.008}
"""How many of the ordinary honest ones look like brushers, each for a reason of its own."""
BRUSHING_LOOK_ALIKES = tuple(ARCHETYPES[kind] for kind in LOOK_ALIKE_SHARES)
HONEST_SHARES = {
    DISCOUNTER: 0.08, REFURBISHER: 0.06, NEW_MERCHANT: 0.08, PARALLEL_IMPORTER: 0.02, AGENCY_CLIENT: 0.02, FRAMED: 0.008,
}  # fmt: skip
COUNTERFEIT_SHARES = {
    TOO_CHEAP: 0.007, COMPLAINT_DRAWING: 0.007, SPEC_LIAR: 0.007, PICTURE_COPIER: 0.007, WORD_EVADER: 0.007,
    FLY_BY_NIGHT: 0.0065, RING: 0.007, BRUSHER: 0.0085,
}  # fmt: skip
COUNTERFEITERS = tuple(ARCHETYPES[kind] for kind in COUNTERFEIT_SHARES)
NEWCOMER_SHARE = 0.0143
"""How many merchants are of a new kind of counterfeiter, in a marketplace where one appears: a hundredth of the listings."""
COMPATIBLE_SELLER_SHARE = 0.02
"""How many merchants, all of them otherwise ordinary and honest, sell what fits the brands' products (`compatible.py`)."""
GENUINE_BRUSHER_SHARE = 0.0085
CAREFUL_SHARE = 0.03
CAREFUL_EFFECT = 0.35
TURNED_SHARE = 0.03
BRAND_SLOTS = 6
OLDEST_DAYS = 20 * 365.0  # no platform is older, however long the tail of a log-normal age
SLOT_WEIGHTS = (1.0, 0.6, 0.45, 0.35, 0.3, 0.25)
"""How a merchant's listings spread over its brand slots, before slots that it does not use are dropped."""
SLOT_FAKE_SHARES = (1.0, 0.99, 0.99, 0.98, 0.98, 0.98)
"""How often a counterfeiter's listings of the brand in each slot are counterfeit."""
LISTING_TRAITS = {
    "price": 0.55, "drop": 0.5, "swing": 0.5, "unrest": 0.5, "spread": 0.4, "discount": 0.4,
    "doubt": 0.5, "rating": 0.4, "polarity": 0.4, "repetition": 0.4, "brevity": 0.4, "haste": 0.4, "refund": 0.4, "dispute": 0.4,
    "spec": 0.45, "omission": 0.45, "invention": 0.5, "absurdity": 0.5, "padding": 0.4,
    "copying": 0.6, "baring": 0.5, "borrowing": 0.5, "pooling": 0.5, "sparing": 0.4,
    "hiding": 0.5, "evasion": 0.5, "mixing": 0.5, "retitling": 0.5, "stuffing": 0.5, "terseness": 0.4,
}  # fmt: skip
"""Traits that differ between a merchant's listings, and the part (of a standard deviation) that differs."""
CONDUCT_TRAITS = (
    "age", "photo", "verified", "delivery", "storefront", "authorised", "breadth", "coyness", "churn", "dormancy",
)  # fmt: skip
TRAITS = (*LISTING_TRAITS, *CONDUCT_TRAITS)
SHARED_SHIFTS = {
    TOO_CHEAP: 0.45, COMPLAINT_DRAWING: 0.45, SPEC_LIAR: 0.43, PICTURE_COPIER: 0.47, WORD_EVADER: 0.49, FLY_BY_NIGHT: 0.59,
    RING: 0.51, BRUSHER: 0.66,
}  # fmt: skip
"""How far each is shifted in what is not its own archetype's: little, so that it takes its signal to find it, and less where
that signal is the weaker one."""
_TRICKS: dict[int, dict[str, float]] = {
    TOO_CHEAP: {"price": 1.14, "drop": 1.47, "swing": 1.48, "unrest": 1.35, "spread": 1.42, "discount": 1.51},
    COMPLAINT_DRAWING: {
        "doubt": 1.5, "rating": 0.95, "polarity": 1.4, "repetition": 1.55, "brevity": 1.55, "haste": 1.55, "verified": 1.55,
        "photo": 1.55,
    },
    SPEC_LIAR: {"spec": 1.6, "omission": 1.49, "invention": 1.1, "absurdity": 1.53, "padding": 1.45},
    PICTURE_COPIER: {"copying": 1.34, "baring": 1.46, "borrowing": 1.44, "pooling": 1.52, "sparing": 1.55},
    WORD_EVADER: {"hiding": 1.46, "evasion": 1.42, "mixing": 1.46, "retitling": 1.45, "stuffing": 1.39, "terseness": 1.45},
    FLY_BY_NIGHT: {
        "age": 1.38, "storefront": 1.42, "authorised": 1.42, "breadth": 1.42, "churn": 1.38, "dormancy": 1.46, "refund": 1.4,
        "dispute": 1.45,
    },
    RING: {},
    # A brusher has no signal of its own here: what gives it away is in its orders.
    BRUSHER: {
        "rating": 1.3, "price": 1.45, "age": 1.5, "delivery": 1.6, "authorised": 1.55, "photo": 1.5, "verified": 1.5,
    },
}  # fmt: skip
"""What each archetype does more than any counterfeiter: the tricks that its signal is there to find."""
NEWCOMER_SHIFTS = dict.fromkeys(TRAITS, 0.1) | {
    "price": -0.3, "doubt": -0.2, "sparing": 2.2, "padding": 2.0, "retitling": 1.8, "brevity": 1.8, "refund": 1.5,
    "storefront": 1.5,
}  # fmt: skip
"""A new kind asks what others ask and is not complained about; what gives it away, no other does in this way."""
SHIFTS: dict[int, dict[str, float]] = {
    DISCOUNTER: {"price": 1.5, "drop": 0.4, "unrest": 0.2, "discount": 0.5, "refund": 0.2, "authorised": 0.3},
    REFURBISHER: {
        "price": 1.3,
        "spec": 1.0,
        "padding": 0.4,
        "refund": 0.6,
        "rating": 0.4,
        "doubt": 0.3,
        "coyness": 0.4,
        "omission": 0.4,
    },
    NEW_MERCHANT: {"age": 2.0, "storefront": 0.8, "photo": 0.3, "delivery": 0.4, "authorised": 0.4, "doubt": 0.2},
    PARALLEL_IMPORTER: {"price": 1.2, "authorised": 1.2, "spec": 0.7, "delivery": 0.8, "doubt": 0.3, "omission": 0.3},
    AGENCY_CLIENT: {"retitling": 0.6, "borrowing": -0.3},
    FRAMED: {
        "doubt": 1.8,
        "rating": 1.6,
        "polarity": 1.5,
        "haste": 0.8,
        "repetition": 1.0,
        "brevity": 0.8,
        "dispute": 1.0,
    },
    NEWCOMER: NEWCOMER_SHIFTS,
    **{kind: dict.fromkeys(TRAITS, SHARED_SHIFTS[kind]) | own for kind, own in _TRICKS.items()},
}


@dataclass(frozen=True)
class Place:
    """Where merchants are established.

    Attributes:
        country: ISO 3166 alpha-2.
        region: Province or state.
        city: City.
        currency: The currency in which its merchants ask prices.
        share: Share of the honest merchants.
        counterfeit_factor: How much more often counterfeiters are there.
    """

    country: str
    region: str
    city: str
    currency: str
    share: float
    counterfeit_factor: float


PLACES: tuple[Place, ...] = (
    Place("US", "California", "Fresno", "USD", 0.26, 0.8), Place("US", "Texas", "Austin", "USD", 0.14, 0.9),
    Place("DE", "Hessen", "Kassel", "EUR", 0.10, 0.7), Place("FR", "Bretagne", "Rennes", "EUR", 0.06, 0.8),
    Place("GB", "Yorkshire", "Leeds", "GBP", 0.09, 0.8), Place("CN", "Guangdong", "Shenzhen", "USD", 0.12, 1.7),
    Place("CN", "Fujian", "Putian", "CNY", 0.08, 1.8), Place("CA", "Ontario", "London", "CAD", 0.06, 0.9),
    Place("JP", "Kansai", "Osaka", "JPY", 0.05, 0.5), Place("US", "Ohio", "Dayton", "USD", 0.04, 0.9),
)  # fmt: skip
CURRENCY_CODES = ("USD", *(code for code, _ in CURRENCIES))


@dataclass(frozen=True)
class IdentifierKind:
    """A kind of identifier.

    Attributes:
        kind: The contract's name of it.
        borne_share: How many merchants bear one.
        shared_share: How many outside of rings bear another merchant's.
        verified_share: How many are verified.
    """

    kind: str
    borne_share: float
    shared_share: float
    verified_share: float


IDENTIFIERS: tuple[IdentifierKind, ...] = (
    IdentifierKind("phone", 0.95, 0.05, 0.6), IdentifierKind("email", 0.98, 0.01, 0.7),
    IdentifierKind("bank_account", 0.95, 0.02, 0.9), IdentifierKind("device", 0.90, 0.03, 0.5),
    IdentifierKind("address", 0.90, 0.07, 0.4), IdentifierKind("tax_id", 0.60, 0.01, 0.9),
    IdentifierKind("ip", 0.90, 0.08, 0.3), IdentifierKind("key", 0.25, 0.01, 0.5),
)  # fmt: skip
SPOOFABLE_KINDS = ("phone", "address", "ip")
"""What neighbours share: a building, a line, a connection. The other kinds are shared within a family."""
NEIGHBOURS, FAMILY = 6, 2
"""How many merchants at most share identifiers of spoofable kinds, and of the others."""
AGENCY_SHARE = 0.9
"""How many of a marketing agency's clients give its address for their own."""
RING_KINDS = ("phone", "email", "bank_account", "device", "address", "ip")
KINDS_PER_RING, MEMBER_SHARE = 4, 0.87
"""How many kinds a ring has in common, and how many of its members bear the ring's value of each."""
HOUSE_SHARE, HOUSE_SIZES = 0.22, (3, 6)
"""How many honest merchants are one of several shops of one owner, and how many shops such owners have: rings, too."""
RING_SIZES = (3, 7)
TAKEN_LATER = ("phone", "email", "bank_account")
"""Of which kinds merchants take new ones, verified."""


@dataclass(frozen=True)
class Identifiers:
    """Who bears which identifier, as arrays of n rows.

    Attributes:
        merchant: Index of the merchant.
        kind: Index into `IDENTIFIERS`.
        value: The identifier.
        bearers: How many merchants bear it.
        is_taken_later: Whether the merchant added it after registration, next to its first one.
    """

    merchant: Ints
    kind: Ints
    value: Keys
    bearers: Ints
    is_taken_later: Bools


@dataclass(frozen=True)
class Merchants:
    """One span's merchants, as arrays of n.

    Attributes:
        key: Ids.
        archetype: Index into `ARCHETYPES`.
        is_counterfeit: Whether it sells counterfeits.
        is_brushing: Whether it brushes.
        ring: Number of its ring within the span, -1 without: of counterfeiters, or of one owner's honest shops.
        effect: How much of its archetype's shifts it shows (careful ones little).
        traits: (n, TRAITS) standard normal for the ordinary honest; a counterfeiter's include the shifts of its conduct.
        shifts: (n, TRAITS) what its archetype adds; for listing traits, only to its counterfeits.
        listing_count: Number of its listings.
        registered_day: Days from the start of the history.
        silent_share: Share of its time until the end of the history that passed before it offered anything.
        turned_day: Day on which it turned to counterfeits; far in the past where it always did.
        brushing_day: Day from which it brushes.
        place: Index into `COUNTRIES`.
        brand_slots: (n, BRAND_SLOTS) brands it sells, most sold first.
        slot_count: How many of the slots it uses.
        is_slot_fake: (n, BRAND_SLOTS) whether its listings of that brand are counterfeit.
        is_slot_authorised: (n, BRAND_SLOTS) whether the brand lets it sell.
    """

    key: Keys
    archetype: Ints
    is_counterfeit: Bools
    is_brushing: Bools
    ring: Ints
    effect: Floats
    traits: Floats
    shifts: Floats
    listing_count: Ints
    registered_day: Floats
    silent_share: Floats
    turned_day: Floats
    brushing_day: Floats
    place: Ints
    brand_slots: Ints
    slot_count: Ints
    is_slot_fake: Bools
    is_slot_authorised: Bools

    def trait(self, name: str) -> Floats:
        """Returns one trait's column."""
        return np.asarray(self.traits[:, TRAITS.index(name)])

    def opened_day(self, days: int) -> Floats:
        """Returns the day from which each has something on offer."""
        return np.asarray(self.registered_day + self.silent_share * 0.9 * (days - 1.0 - self.registered_day))


def shift_table(hardness: float) -> Floats:
    """Returns the (ARCHETYPES, TRAITS) shifts; the counterfeiters' are divided by `hardness`."""
    table = np.zeros((len(ARCHETYPES), len(TRAITS)))
    for archetype, shifts in SHIFTS.items():
        for name, shift in shifts.items():
            table[archetype, TRAITS.index(name)] = shift / (hardness if archetype in COUNTERFEIT_SHARES else 1.0)
    return table


def build_merchants(span: Span) -> Merchants:
    """Makes the merchants of a span."""
    rng, days, count = span.rng("merchants"), span.world.days, span.count
    archetype, is_counterfeit, ring = _archetypes(rng, count)
    is_new = _newcomers(span, archetype, ring)
    archetype, is_counterfeit = np.where(is_new, NEWCOMER, archetype), is_counterfeit | is_new
    effect = np.where(rng.random(count) < CAREFUL_SHARE, CAREFUL_EFFECT, rng.uniform(0.9, 1.2, count))
    effect = np.where(archetype >= TOO_CHEAP, effect, rng.uniform(0.7, 1.3, count))
    is_turned = is_counterfeit & (archetype != NEW_MERCHANT) & ~is_new & (rng.random(count) < TURNED_SHARE)
    shifts = shift_table(span.world.hardness)[archetype] * effect[:, None]
    traits = _traits(rng, shifts, archetype, is_counterfeit, is_turned)
    age = np.minimum(np.exp(6.6 - 0.9 * traits[:, TRAITS.index("age")]), OLDEST_DAYS)
    registered = days - np.maximum(age, 12.0 + 20 * rng.random(count))
    registered = np.where(is_turned, np.minimum(registered, -30.0), registered)
    registered = np.where(
        is_new, (span.world.newcomers_day or 0.0) + 20 * span.rng("newcomers").random(count), registered
    )
    slots, slot_count, is_fake, is_authorised = _brands(rng, span.world.catalogue, traits, is_counterfeit)
    return Merchants(
        key=keys(salt(span.world.seed, "merchant"), span.first + np.arange(count)),
        archetype=_assign_compatible_sellers(
            span.rng("compatible sellers"), _assign_brushing_archetypes(span.rng("brushing"), archetype, ring), ring
        ),
        is_counterfeit=is_counterfeit,
        is_brushing=archetype == BRUSHER,
        ring=ring,
        effect=effect,
        traits=traits,
        shifts=shifts,
        listing_count=_sizes(rng, is_counterfeit, count * LISTINGS_PER_MERCHANT),
        registered_day=registered,
        silent_share=np.where(is_new, 0.0, sigmoid(-2.2 + 2.0 * traits[:, TRAITS.index("dormancy")])),
        turned_day=np.where(is_turned, rng.uniform(0.1, 0.7, count) * days, -1e6),
        brushing_day=np.where(
            rng.random(count) < 0.7, registered, np.maximum(registered, rng.uniform(0, 0.5, count) * days)
        ),
        place=_places(rng, is_counterfeit),
        brand_slots=slots,
        slot_count=slot_count,
        is_slot_fake=is_fake,
        is_slot_authorised=is_authorised,
    )


def _rounded(rng: np.random.Generator, expected: float) -> int:
    """Rounds up or down at random, so that the mean over spans is right."""
    return int(expected + rng.random())


def _archetypes(rng: np.random.Generator, count: int) -> tuple[Ints, Bools, Ints]:
    """Deals archetypes to random places; ring members come in rings of three to seven."""
    labels: list[int] = []
    rings: list[int] = []
    fakes: list[bool] = []
    quota = {kind: _rounded(rng, share * count) for kind, share in {**HONEST_SHARES, **COUNTERFEIT_SHARES}.items()}
    if not any(quota[kind] for kind in COUNTERFEIT_SHARES):
        quota[TOO_CHEAP] = 1
    if 0 < quota[RING] < 3:
        quota[RING] = 3 if rng.random() < quota[RING] / 3 else 0
    for kind, number in quota.items():
        labels += [kind] * number
        fakes += [kind in COUNTERFEIT_SHARES] * number
        rings += _ring_numbers(rng, number, *RING_SIZES) if kind == RING else [-1] * number
    genuine_brushers = _rounded(rng, GENUINE_BRUSHER_SHARE * count)
    rest = count - len(labels) - genuine_brushers
    labels += [BRUSHER] * genuine_brushers + [HONEST] * rest
    fakes += [False] * (genuine_brushers + rest)
    houses = min(_rounded(rng, HOUSE_SHARE * count), rest)
    first = max(rings, default=-1) + 1
    rings += [-1] * (genuine_brushers + rest - houses)
    rings += [first + number for number in _ring_numbers(rng, houses, *HOUSE_SIZES)]
    order = rng.permutation(count)
    return np.array(labels)[order], np.array(fakes)[order], np.array(rings)[order]


def _newcomers(span: Span, archetype: Ints, ring: Ints) -> Bools:
    """Says which of the ordinary honest are counterfeiters of a new kind instead, where one appears in this marketplace."""
    is_new = np.zeros(span.count, dtype=np.bool_)
    if span.world.newcomers_day is not None:
        rng = span.rng("who is new")
        ordinary = rng.permutation(np.flatnonzero((archetype == HONEST) & (ring < 0)))
        is_new[ordinary[: _rounded(rng, NEWCOMER_SHARE * span.count)]] = True
    return is_new


def _assign_brushing_archetypes(rng: np.random.Generator, archetype: Ints, ring: Ints) -> Ints:
    """Says how each brusher goes about it, and which of the ordinary honest ones look like it."""
    assigned = archetype.copy()
    kinds = list(BRUSHER_SHARES)
    is_brusher = archetype == BRUSHER
    assigned[is_brusher] = np.array(kinds)[weighted(rng, list(BRUSHER_SHARES.values()), int(is_brusher.sum()))]
    ordinary = rng.permutation(np.flatnonzero((archetype == HONEST) & (ring < 0)))
    for kind, share in LOOK_ALIKE_SHARES.items():
        number = _rounded(rng, share * len(ordinary))
        assigned[ordinary[:number]] = kind
        ordinary = ordinary[number:]
    return assigned


def _assign_compatible_sellers(rng: np.random.Generator, archetype: Ints, ring: Ints) -> Ints:
    """Says which of the ordinary honest ones sell compatible products and refills."""
    assigned = archetype.copy()
    ordinary = rng.permutation(np.flatnonzero((archetype == HONEST) & (ring < 0)))
    assigned[ordinary[: _rounded(rng, COMPATIBLE_SELLER_SHARE * len(archetype))]] = COMPATIBLE_SELLER
    return assigned


def _ring_numbers(rng: np.random.Generator, members: int, least: int, most: int) -> list[int]:
    """Deals members into rings of `least` to `most`."""
    numbers: list[int] = []
    ring = 0
    while len(numbers) < members:
        left = members - len(numbers)
        size = min(int(rng.integers(least, most + 1)), left)
        size = left if left - size < least else size
        numbers += [ring] * size
        ring += 1
    return numbers


def _traits(
    rng: np.random.Generator, shifts: Floats, archetype: Ints, is_counterfeit: Bools, is_turned: Bools
) -> Floats:
    """Draws traits; a counterfeiter's shifts of listing traits apply only to its counterfeit listings."""
    shifts = shifts.copy()
    is_listing_trait = np.array([name in LISTING_TRAITS for name in TRAITS])
    shifts[is_counterfeit[:, None] & is_listing_trait[None, :]] = 0.0
    shifts[(archetype == BRUSHER) & ~is_counterfeit] *= 0.25
    shifts[is_turned] *= 0.5
    return np.asarray(rng.standard_normal(shifts.shape) + shifts)


def _sizes(rng: np.random.Generator, is_counterfeit: Bools, total: int) -> Ints:
    """Shares `total` listings among merchants by a power law, each at least two, none above a twentieth.

    Counterfeiters differ less: with hardly any listings they sell few counterfeits, and with many they are noticed.
    """
    count = len(is_counterfeit)
    weight: Floats = np.minimum((1.0 - rng.random(count)) ** (-1.0 / 1.25), 30.0)
    weight = np.where(is_counterfeit, np.sqrt(np.minimum(weight, 10.0)), weight)
    for group, mean in ((is_counterfeit, 0.70), (~is_counterfeit, 1.0)):
        weight[group] *= mean * group.sum() / max(weight[group].sum(), 1e-9)
    exact = np.minimum(2 + weight / weight.sum() * (total - 2 * count), max(total / 20, 4))
    sizes: Ints = np.floor(exact).astype(np.int64)
    spare = total - int(sizes.sum())
    sizes += spare // count
    sizes[np.argsort(-(exact - sizes), kind="stable")[: spare % count]] += 1
    return sizes


def _places(rng: np.random.Generator, is_counterfeit: Bools) -> Ints:
    typical = weighted(rng, [place.share for place in PLACES], len(is_counterfeit))
    shifted = weighted(rng, [place.share * place.counterfeit_factor for place in PLACES], len(is_counterfeit))
    return np.where(is_counterfeit, shifted, typical)


def _brands(
    rng: np.random.Generator, catalogue: Catalogue, traits: Floats, is_counterfeit: Bools
) -> tuple[Ints, Ints, Bools, Bools]:
    """Chooses each merchant's brands (most from its home category), which are fake, and which authorise it."""
    count = len(is_counterfeit)
    appeal = np.array([category.appeal for category in categories()])
    home = np.where(is_counterfeit, weighted(rng, appeal.tolist(), count), rng.integers(0, len(categories()), count))
    other = rng.integers(0, len(categories()), count)
    is_home = rng.random((count, BRAND_SLOTS)) < 0.75
    category = np.where(is_home, home[:, None], other[:, None])
    brands_per_category = catalogue.brand_popularity.reshape(len(categories()), -1)
    cumulative = np.cumsum(brands_per_category[0]) / brands_per_category[0].sum()
    within = np.searchsorted(cumulative, rng.random((count, BRAND_SLOTS)), side="right")
    slots = category * brands_per_category.shape[1] + within
    breadth = traits[:, TRAITS.index("breadth")]
    slot_count = np.clip(np.rint(2.4 + 1.1 * breadth), 1, BRAND_SLOTS).astype(np.int64)
    is_fake = is_counterfeit[:, None] & (rng.random((count, BRAND_SLOTS)) < np.array(SLOT_FAKE_SHARES))
    propensity = (
        traits[:, TRAITS.index("authorised"), None] + 0.5 * rng.standard_normal((count, BRAND_SLOTS)) + 0.3 * is_fake
    )
    is_authorised = np.asarray(propensity < -0.3, dtype=np.bool_)
    for slot in range(1, BRAND_SLOTS):
        for earlier in range(slot):
            is_same = slots[:, slot] == slots[:, earlier]
            is_fake[is_same, slot] = is_fake[is_same, earlier]
            is_authorised[is_same, slot] = is_authorised[is_same, earlier]
    return slots, slot_count, is_fake, is_authorised


def build_identifiers(span: Span, merchants: Merchants) -> Identifiers:
    """Gives each merchant its identifiers: own ones, its ring's, its neighbours' or its family's, and new ones later on."""
    rng, count, first = span.rng("identifiers"), span.count, span.first
    neighbour, relative = _partners(rng, count, NEIGHBOURS), _partners(rng, count, FAMILY)
    is_client = merchants.archetype == AGENCY_CLIENT
    ring = np.maximum(merchants.ring, 0)
    rank = rng.random((int(ring.max()) + 1, len(RING_KINDS))).argsort(axis=1).argsort(axis=1)
    parts: list[tuple[Ints, Ints, Keys]] = []
    for place, item in enumerate(IDENTIFIERS):
        salted = salt(span.world.seed, "identifier", item.kind)
        value = keys(salted, (first + np.arange(count)) * 4)
        partner = neighbour if item.kind in SPOOFABLE_KINDS else relative
        shares = (merchants.ring < 0) & (rng.random(count) < item.shared_share)
        value = np.where(shares, keys(salted, (first + partner) * 4), value)
        gives = is_client & (item.kind == "address") & (rng.random(count) < AGENCY_SHARE)
        value = np.where(gives, keys(salted, np.full(count, first) * 4 + 2), value)
        if item.kind in RING_KINDS:
            is_common = rank[ring, RING_KINDS.index(item.kind)] < KINDS_PER_RING
            bears = (merchants.ring >= 0) & is_common & (rng.random(count) < MEMBER_SHARE)
            value = np.where(bears, keys(salted, (first + ring) * 4 + 1), value)
        bearer = np.flatnonzero(rng.random(count) < item.borne_share)
        parts.append((bearer, np.full(len(bearer), place), value[bearer]))
    before = sum(len(part[0]) for part in parts)
    changed = np.repeat(np.arange(count), rng.poisson(changes_of_identity(merchants)))
    kinds = [item.kind for item in IDENTIFIERS]
    taken = np.array([kinds.index(name) for name in TAKEN_LATER])[rng.integers(0, len(TAKEN_LATER), len(changed))]
    parts.append(
        (changed, taken, keys(salt(span.world.seed, "identifier", "taken later"), span.counters(len(changed))))
    )
    merchant, kind, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    _, group, sizes = np.unique(value, return_inverse=True, return_counts=True)
    return Identifiers(merchant, kind, value, sizes[group], np.arange(len(merchant)) >= before)


def changes_of_identity(merchants: Merchants) -> Floats:
    """Returns how many identifiers each merchant takes later, on average."""
    return np.asarray(np.exp(-1.0 + 1.4 * merchants.trait("churn")))


def _partners(rng: np.random.Generator, count: int, most: int) -> Ints:
    """Gives each merchant another one to share with: the first of its `most` in a random order."""
    order = rng.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = order[(np.arange(count) // most) * most]
    return partner
