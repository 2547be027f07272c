"""Brushing, and honest behaviour that resembles it: circles of buyers, hired accounts, campaigns, texts from a stock.

Some of a brusher's orders are its own: placed by accounts that it created or hired, in campaigns before the platform computes
ranks, with parcels that are light and fast because they are empty, and followed by praise. Honest merchants share each of these
habits to some degree; only their combination is evidence. A merchant's behaviour is drawn once, from the ranges in `MANNERS`;
`transactions` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from touchstone.demo.arrays import Bools, Floats, Ints, Keys, keys, salt, unit
from touchstone.demo.listings import Listings
from touchstone.demo.merchants import (
    ARCHETYPES,
    BRUSHED_BY_RIVAL,
    CAREFUL_BRUSHER,
    COMPANY,
    DORMITORY,
    IDENTIFIERS,
    OLDEST_DAYS,
    REVIEW_BUYER,
    SALE_DAY,
    SELF_BRUSHER,
    SERVICE_CLIENT,
    VIRAL_PRODUCT,
    Identifiers,
    Merchants,
)
from touchstone.demo.world import Span, World, orders_placed

CIRCLE_BUYERS = 1 << 44
"""Numbers of buyers from here on belong to the circle of one merchant."""
HIRED_BUYERS = 1 << 48
"""Numbers of buyers from here on are the accounts of brushing services."""
ACCOUNTS_PER_MERCHANT = 1 << 12
MERCHANTS_PER_SERVICE = 3_900
"""About so many merchants, of whom some thirty are clients, lie in the reach of one service."""
ACCOUNTS_PER_SERVICE, ACCOUNTS_PER_CLIENT = 200, 50
DEVICES_PER_SERVICE, PAYERS_PER_SERVICE = 153, 147
HIRED_AGE_DAYS = 200.0
LEAST_BRUSHED, MOST_BRUSHED_SHARE = 45, 0.6
"""About how many orders whoever brushes places at least, and to how many of all its orders this may come."""
CAMPAIGNS, SESSIONS, SESSION_DAYS = 4, 3, 0.05
"""How many campaigns a merchant has, or bursts of honest demand; how many sittings one may have, and how long they are."""
FIRST_LOOK, LOOKS_APART = 13.9, 28.0
"""When the platform first looks at ranks, and how many days lie between its looks."""
STOCK_TEXTS = 12
"""How many texts for each category and language are sold to whoever wants praise."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Manner:
    """How merchants of one archetype, and those around them, go about it: the range that each draws its own share from.

    Attributes:
        brushed: Share of the orders that are brushed.
        circle: Share of the brushed orders that its own circle, or its service, places; the rest have names of arbitrary buyers.
        alone: Share of what a client's service would place that its own circle places: who hires a service also helps itself.
        regular: Share of the other orders that the circle places.
        accounts: Number of accounts in the circle.
        device: Devices an account.
        payer: Payers an account.
        own: Share of the circle's accounts that use the merchant's own device or bank account.
        age_days: Mean age of the accounts when the merchant or the history began.
        light: Share of its brushed parcels that are light.
        rush: Share of its brushed orders that arrive in half the time.
        hasty: Share of its brushed orders' reviews that are written within two days.
        campaign: Share of the brushed orders (of the honest ones, where none is brushed) that come in campaigns.
        campaign_days: How long a campaign lasts.
        session: Share of its orders in campaigns that are placed in a few sittings of an hour.
        before_look: Share of the campaigns that come just before the platform looks at ranks.
        stock: Share of the brushed reviews whose text comes from the stock.
        bought: Share of the reviews that are bought without an order.
        habit: How many have each of the `HABITS`, if `tricks` is 0: an honest merchant has staff who buy, or a
            campaign, now and then.
        tricks: How many of the `HABITS` each has: a brusher uses several, not all.
    """

    brushed: Range = (0.0, 0.0)
    circle: Range = (0.0, 0.0)
    alone: Range = (0.0, 0.0)
    regular: Range | None = None
    accounts: Range = (6, 40)
    device: Range = (0.35, 1.0)
    payer: Range = (0.35, 1.0)
    own: Range = (0.02, 0.15)
    age_days: float = 330.0
    light: Range = (0.0, 0.0)
    rush: Range = (0.0, 0.0)
    hasty: Range = (0.0, 0.0)
    campaign: Range = (0.1, 0.35)
    campaign_days: Range = (0.4, 2.5)
    session: Range = (0.0, 0.0)
    before_look: float = 0.7
    stock: Range = (0.0, 0.0)
    bought: Range = (0.0, 0.0)
    habit: float = 0.0
    tricks: int = 5


TYPICAL_MANNER = Manner(campaign_days=(1.0, 4.0), before_look=0.3, habit=0.15, tricks=0)
MANNERS: dict[int, Manner] = {
    SELF_BRUSHER: Manner(
        brushed=(0.2, 0.5), circle=(0.7, 0.92), regular=(0, 0), accounts=(15, 55), device=(0.35, 0.8), payer=(0.25, 0.65),
        own=(0.15, 0.55), age_days=130, light=(0.5, 0.9), rush=(0.55, 0.95), hasty=(0.4, 0.8), campaign=(0.6, 1.0),
        session=(0.5, 1.0), stock=(0.35, 0.75),
    ),
    CAREFUL_BRUSHER: Manner(
        brushed=(0.2, 0.45), circle=(0.7, 0.92), regular=(0, 0), accounts=(25, 80), device=(0.3, 0.7), payer=(0.3, 0.7),
        own=(0.05, 0.25), age_days=450, light=(0.3, 0.6), rush=(0.4, 0.8), hasty=(0.35, 0.7), campaign=(0.5, 0.9),
        before_look=0.6, session=(0.5, 1.0), stock=(0.3, 0.6),
    ),
    SERVICE_CLIENT: Manner(
        brushed=(0.2, 0.5), circle=(0.7, 0.9), alone=(0.0, 0.25), accounts=(5, 15), own=(0.05, 0.4), light=(0.55, 0.95),
        rush=(0.6, 1.0), hasty=(0.4, 0.8), campaign=(0.6, 1.0), session=(0.5, 1.0), stock=(0.4, 0.8),
    ),
    REVIEW_BUYER: Manner(
        age_days=150, own=(0.05, 0.4), hasty=(0.2, 0.5), campaign=(0.5, 0.95), stock=(0.5, 0.95), bought=(0.15, 0.3),
    ),
    VIRAL_PRODUCT: Manner(own=(0, 0), campaign=(0.6, 0.9), campaign_days=(2.0, 6.0), before_look=0.3, habit=1.0, tricks=0),
    SALE_DAY: Manner(own=(0, 0), campaign=(0.2, 0.5), campaign_days=(0.5, 1.5), before_look=0.3, habit=1.0, tricks=0),
    DORMITORY: Manner(
        regular=(0.15, 0.45), accounts=(20, 80), device=(0.02, 0.2), own=(0, 0), age_days=150, habit=1.0, tricks=0
    ),
    COMPANY: Manner(
        regular=(0.15, 0.45), accounts=(10, 40), device=(0.1, 0.5), payer=(0.02, 0.1), own=(0, 0), campaign=(0.2, 0.4),
        campaign_days=(1.0, 4.0), session=(0.2, 0.6), before_look=0.3, habit=1.0, tricks=0,
    ),
    BRUSHED_BY_RIVAL: Manner(
        brushed=(0.15, 0.4), circle=(0.75, 0.95), regular=(0, 0), accounts=(15, 60), device=(0.1, 0.5), payer=(0.1, 0.5),
        own=(0, 0), age_days=130, hasty=(0.5, 0.95), campaign=(0.5, 0.95), session=(0.5, 1.0), stock=(0.3, 0.9),
    ),
}  # fmt: skip
"""Differences from `TYPICAL_MANNER`; a dormitory's students and a company's staff are circles of regulars, and nothing worse."""
HABITS = ("own", "light", "rush", "hasty", "campaign", "session", "stock")
"""Habits that only some merchants of an archetype have, chosen at random."""
SHARED_HABIT = 0.4
"""How many circles have devices, and how many have payers, in common; a brusher's own has the one or the other."""


@dataclass(frozen=True)
class Circles:
    """What each merchant and the buyers around it do, one value a merchant; shares are of 1.

    `brushed_share` to `bought_share` are drawn from its `Manner`, where they are explained.

    Attributes:
        careless_share: Share of its honest parcels that are light.
        express_share: Share of its honest orders that arrive in half the time.
        hasty_share: Share of its honest orders' reviews that are written within two days.
        service: Number of the service that it is a client of, -1 without.
        own_device: Its own device.
        own_payer: Its own bank account.
        campaign_day: (n, CAMPAIGNS) when each of its campaigns begins.
        campaign_length: Days that one lasts.
    """

    brushed_share: Floats
    circle_share: Floats
    alone_share: Floats
    regular_share: Floats
    accounts: Ints
    devices: Ints
    payers: Ints
    own_share: Floats
    age_days: Floats
    light_share: Floats
    rush_share: Floats
    rave_share: Floats
    campaign_share: Floats
    session_share: Floats
    stock_share: Floats
    bought_share: Floats
    careless_share: Floats
    express_share: Floats
    hasty_share: Floats
    service: Ints
    own_device: Keys
    own_payer: Keys
    campaign_day: Floats
    campaign_length: Floats

    def latents(self) -> dict[str, Floats]:
        """Returns what an order's circle, parcel and speed are drawn from, brushed or not, by name."""
        brushed = self.brushed_share
        return {
            "circle_share": self.circle_share * brushed + (1 - brushed) * self.regular_share,
            "circle_accounts": self.accounts.astype(np.float64),
            "circle_device_share": self.devices / self.accounts,
            "circle_payer_share": self.payers / self.accounts,
            "circle_age_days": self.age_days,
            "light_share": brushed * self.light_share + (1 - brushed) * self.careless_share,
            "express_share": brushed * self.rush_share + (1 - brushed) * self.express_share,
        }


def build_circles(span: Span, merchants: Merchants, listings: Listings, identifiers: Identifiers) -> Circles:
    """Decides who brushes how hard, who the regulars of the others are, and when each has its campaigns or its rush."""
    rng, count, days = span.rng("circles"), span.count, span.world.days
    drawn = _drawn(rng, merchants.archetype)
    accounts = drawn["accounts"].astype(np.int64)
    is_served = merchants.archetype == SERVICE_CLIENT
    length = drawn["campaign_days"]
    return Circles(
        brushed_share=_worth_it(span, merchants, listings, drawn["brushed"] * np.minimum(merchants.effect, 1.1)),
        circle_share=drawn["circle"],
        alone_share=drawn["alone"],
        regular_share=drawn["regular"],
        accounts=accounts,
        devices=np.maximum((accounts * drawn["device"]).astype(np.int64), 1),
        payers=np.maximum((accounts * drawn["payer"]).astype(np.int64), 1),
        own_share=drawn["own"],
        age_days=drawn["age_days"],
        light_share=drawn["light"],
        rush_share=drawn["rush"],
        rave_share=drawn["hasty"],
        campaign_share=drawn["campaign"],
        session_share=drawn["session"],
        stock_share=drawn["stock"],
        bought_share=drawn["bought"],
        careless_share=_now_and_then(rng, count, 0.02, 0.12, (0.05, 0.3)),
        express_share=_now_and_then(rng, count, 0.02, 0.12, (0.05, 0.3)),
        hasty_share=_now_and_then(rng, count, 0.03, 0.15, (0.1, 0.35)),
        service=np.where(is_served, (span.first + np.arange(count)) // _reach(span.world), -1),
        own_device=_own(span, identifiers, "device"),
        own_payer=_own(span, identifiers, "bank_account"),
        campaign_day=_campaign_days(rng, _manner_values(merchants.archetype, "before_look"), length, days),
        campaign_length=length,
    )


def _reach(world: World) -> int:
    """Returns how many merchants lie in the reach of one service: all services reach as many."""
    services = max(round(world.merchant_count / MERCHANTS_PER_SERVICE), 1)
    return -(-world.merchant_count // services)


def _drawn(rng: np.random.Generator, archetype: Ints) -> dict[str, Floats]:
    """Draws each merchant's own value of everything in its manner."""
    count = len(archetype)
    habit, age_days = (_manner_values(archetype, name) for name in ("habit", "age_days"))
    drawn = {}
    for name in ("brushed", "circle", "alone", "regular", "accounts", "device", "payer", "own", "light", "rush", "hasty",
                 "campaign", "campaign_days", "session", "stock", "bought"):  # fmt: skip
        low, high = _manner_values(archetype, name).T
        drawn[name] = low + rng.random(count) * (high - low)
    tricks = _manner_values(archetype, "tricks")
    lot = rng.random((count, len(HABITS))).argsort(axis=1).argsort(axis=1)
    for place, name in enumerate(HABITS):
        has_it = (lot[:, place] < tricks) | ((tricks == 0) & (rng.random(count) < habit))
        drawn[name] = np.where(has_it, drawn[name], 0.0)
    means = rng.integers(0, 2, count)
    for place, name in enumerate(("device", "payer")):
        is_shared = np.where(tricks > 0, means == place, rng.random(count) < np.maximum(habit, SHARED_HABIT))
        drawn[name] = np.where(is_shared, drawn[name], rng.uniform(0.7, 1.0, count))
    has_regulars = rng.random(count) < 0.35
    typical = np.where(has_regulars, rng.uniform(0.05, 0.5, count), rng.uniform(0, 0.06, count))
    drawn["regular"] = np.where(np.isnan(drawn["regular"]), typical, drawn["regular"])
    drawn["age_days"] = age_days * np.exp(rng.normal(0.0, 0.7, count))
    return drawn


def _manner_values(archetype: Ints, name: str) -> Floats:
    """Returns a field of each archetype's manner."""
    values = [getattr(MANNERS.get(kind, TYPICAL_MANNER), name) for kind in range(len(ARCHETYPES))]
    return np.array([(np.nan, np.nan) if value is None else value for value in values])[archetype]


def _worth_it(span: Span, merchants: Merchants, listings: Listings, share: Floats) -> Floats:
    """Raises the share of those who brush to what some `LEAST_BRUSHED` orders are: fewer would not lift a shop."""
    days, merchant = span.world.days, listings.merchant
    on_offer = days - np.maximum(listings.listed_day, 0.0)
    while_brushing = np.minimum(on_offer, np.maximum(days - merchants.brushing_day[merchant], 0.0))
    sold = np.bincount(merchant, listings.popularity * while_brushing, span.count)
    sold *= orders_placed(len(merchant), days) / (listings.popularity * on_offer).sum()
    least = np.minimum(LEAST_BRUSHED / (LEAST_BRUSHED + sold), MOST_BRUSHED_SHARE)
    return np.where(share > 0, np.maximum(share, least), 0.0)


def _now_and_then(rng: np.random.Generator, count: int, mean: float, share: float, more: Range) -> Floats:
    """Draws a habit that most have a little of and some, a `share` of them, have more of."""
    little = np.minimum(rng.exponential(mean, count), 0.5)
    return np.where(rng.random(count) < share, rng.uniform(*more, count), little)


def _own(span: Span, identifiers: Identifiers, kind: str) -> Keys:
    """Returns the merchant's identifier of a kind, or one that nobody knows of where none is on record."""
    own = keys(salt(span.world.seed, "unknown", kind), span.first + np.arange(span.count))
    rows = np.flatnonzero(identifiers.kind == [item.kind for item in IDENTIFIERS].index(kind))[::-1]
    own[identifiers.merchant[rows]] = identifiers.value[rows]
    return own


def _campaign_days(rng: np.random.Generator, before_look: Floats, length: Floats, days: int) -> Floats:
    """Places campaigns: some so that they end within a day of a look at ranks, the others anywhere."""
    shape = (len(length), CAMPAIGNS)
    looks = max(int((days - FIRST_LOOK) // LOOKS_APART) + 1, 1)
    look = FIRST_LOOK + LOOKS_APART * rng.integers(0, looks, shape)
    ends = look - rng.random(shape)
    anywhere = rng.random(shape) * days
    ends = np.where(rng.random(shape) < before_look[:, None], ends, anywhere)
    return np.maximum(ends - length[:, None], 0.0)


def campaign_moments(
    rng: np.random.Generator, circles: Circles, merchant: Ints, placed: Floats, is_brushed: Bools, is_ordinary: Bools,
    start: Floats, stop: Floats,
) -> Floats:  # fmt: skip
    """Moves what belongs to a campaign into one, where the listing was on offer then.

    Args:
        rng: The stream.
        circles: What each merchant does.
        merchant: The merchant of each order or review.
        placed: When it would have come about.
        is_brushed: Whether it is brushed.
        is_ordinary: Whether nothing draws a crowd to it: it is no campaign's business unless it is brushed.
        start: From when on it could.
        stop: Until when it could.

    Returns:
        When each comes about.
    """
    count = len(merchant)
    brushes = (circles.brushed_share > 0) | (circles.bought_share > 0)
    takes_part = (rng.random(count) < circles.campaign_share[merchant]) & (
        is_brushed | ~(brushes[merchant] | is_ordinary)
    )
    chosen = rng.integers(0, CAMPAIGNS, count)
    # A viral product and a sale have one great rush, not four.
    chosen = np.where(brushes[merchant], chosen, 0)
    part = rng.random(count)
    sits = rng.random(count) < circles.session_share[merchant]
    part = np.where(sits, (np.floor(part * SESSIONS) + 0.5) / SESSIONS, part)
    moment = circles.campaign_day[merchant, chosen] + part * circles.campaign_length[merchant]
    moment += np.where(sits, rng.random(count) * SESSION_DAYS, 0.0)
    return np.where(takes_part & (moment >= start) & (moment < stop), moment, placed)


def account_of(rng: np.random.Generator, span: Span, circles: Circles, merchant: Ints, is_brushed: Bools) -> Ints:
    """Returns for each order the number of an account around the merchant: of its circle, or of its service's."""
    count = len(merchant)
    account = (rng.random(count) * circles.accounts[merchant]).astype(np.int64)
    own = CIRCLE_BUYERS + (span.first + merchant) * ACCOUNTS_PER_MERCHANT + account
    service = circles.service[merchant]
    # A service sends a team of its accounts to each client: consecutive ones, from a place that the client decides.
    place = unit(salt(span.world.seed, "team"), span.first + merchant) * ACCOUNTS_PER_SERVICE
    member = place.astype(np.int64) + (rng.random(count) * ACCOUNTS_PER_CLIENT).astype(np.int64)
    member %= ACCOUNTS_PER_SERVICE
    hired = HIRED_BUYERS + np.maximum(service, 0) * ACCOUNTS_PER_SERVICE + member
    is_hired = is_brushed & (service >= 0) & (rng.random(count) >= circles.alone_share[merchant])
    return np.where(is_hired, hired, own)


def payers_of(span: Span, circles: Circles, merchant: Ints, buyer: Ints, typical: Keys) -> Keys:
    """Returns the payers of orders; `typical` are the payers of orders that no circle or service places."""
    seed = span.world.seed
    member = buyer % ACCOUNTS_PER_MERCHANT
    shared = (span.first + merchant) * ACCOUNTS_PER_MERCHANT + member % circles.payers[merchant]
    is_own = unit(salt(seed, "own payer"), buyer) < circles.own_share[merchant]
    circle = np.where(is_own, circles.own_payer[merchant], keys(salt(seed, "circle payer"), shared))
    hired = keys(salt(seed, "hired payer"), _pooled(buyer, PAYERS_PER_SERVICE))
    return np.select([buyer >= HIRED_BUYERS, buyer >= CIRCLE_BUYERS], [hired, circle], typical)


def _pooled(buyer: Ints, pool: int) -> Ints:
    """Gives accounts of a service one of its `pool` devices or payers."""
    service, member = np.divmod(buyer - HIRED_BUYERS, ACCOUNTS_PER_SERVICE)
    return np.asarray(service * ACCOUNTS_PER_SERVICE + member % pool)


@dataclass(frozen=True)
class Accounts:
    """Accounts as arrays of n: their number, when they registered and which device they use."""

    buyer: Ints
    registered: Floats
    device: Keys


def circle_accounts(span: Span, merchants: Merchants, circles: Circles, accounts: Ints) -> Accounts:
    """Makes the accounts of circles, by number."""
    seed = span.world.seed
    merchant = (accounts - CIRCLE_BUYERS) // ACCOUNTS_PER_MERCHANT - span.first
    member = accounts % ACCOUNTS_PER_MERCHANT
    begin = np.maximum(merchants.registered_day, 0.0)[merchant]
    age = np.minimum(span.rng("circle accounts").gamma(2.0, circles.age_days[merchant] / 2.0), OLDEST_DAYS)
    shared = (span.first + merchant) * ACCOUNTS_PER_MERCHANT + member % circles.devices[merchant]
    is_own = unit(salt(seed, "own device"), accounts) < circles.own_share[merchant]
    device = np.where(is_own, circles.own_device[merchant], keys(salt(seed, "circle device"), shared))
    return Accounts(accounts, begin - 0.2 - age, device)


def hired_accounts(span: Span) -> Accounts:
    """Makes the accounts of the services whose reach begins within the span, whoever hires them."""
    seed = span.world.seed
    reach = _reach(span.world)
    services = np.arange(-(-span.first // reach), -(-(span.first + span.count) // reach))
    number = (services[:, None] * ACCOUNTS_PER_SERVICE + np.arange(ACCOUNTS_PER_SERVICE)).ravel()
    age = -HIRED_AGE_DAYS * np.log1p(-unit(salt(seed, "hired account"), number))
    buyer = HIRED_BUYERS + number
    return Accounts(
        buyer,
        -0.2 - np.minimum(age, OLDEST_DAYS),
        keys(salt(seed, "hired device"), _pooled(buyer, DEVICES_PER_SERVICE)),
    )


def service_keys(world: World, service: Ints) -> Keys:
    """Returns the ids of services."""
    return keys(salt(world.seed, "service"), service)
