"""Labels as a platform would have them: notices, test buys, audits, and their consequences.

Reporters watch a third of the brands and come upon a part of the merchants: whom they find, they report for most of its
counterfeits, and most counterfeiters are never reported. Notices are biased towards listings that draw complaints; some are
wrong, some late. Test buys are sampled by a design (a random arm over all listings, a risk arm over the riskiest by a noisy
score of the platform), so that their inclusion probabilities are correct for all listings. A listing is active until its
merchant withdraws it or a takedown ends it. Notices and bans are applied first; test buys happen within the remaining period,
so that no pick is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from touchstone.demo.arrays import Bools, Floats, Ints, generator, weighted
from touchstone.demo.catalogue import BRANDS_PER_CATEGORY
from touchstone.demo.listings import Listings
from touchstone.demo.merchants import DISCOUNTER, FRAMED, PARALLEL_IMPORTER, REFURBISHER, Merchants
from touchstone.demo.world import LISTINGS_PER_MERCHANT, REFERENCE_DAYS, Span, World

RANDOM_BUY_SHARE = 0.01
RISK_BUY_SHARE = 0.005
RISKIEST_SHARE = 0.05
TEST_BUY_DAYS = 75.0
"""Within so many days of its listing, or of the history's start, what was picked is ordered: a programme that lagged
further behind would know little of what is new."""
MERCHANT_AUDIT_SHARE = 0.15
FALSE_ALARM_SHARE = 0.0003
"""Share of genuine items that an examination takes for fake: small compared with any prevalence, so that false alarms do not
outnumber rare positives."""
REPORTED = {DISCOUNTER: 2.5, REFURBISHER: 2.0, PARALLEL_IMPORTER: 2.5, FRAMED: 6.0}
"""How many times as often as other honest merchants these are reported."""
WATCHED_BRANDS = 3
"""Of the brands of a category (`BRANDS_PER_CATEGORY`), how many somebody watches."""
UNWATCHED_RATE = 0.06
"""How often a listing of a brand that nobody watches is reported, compared with one of a watched brand."""
NOTICED_SHARE = 0.4
"""Share of the merchants that reporters come upon at all; of the others nothing is reported."""
COUNTERFEIT_RATE = 3.0
"""Notices of a counterfeit of a watched brand at a noticed merchant, in the reference history."""
HONEST_RATE = 0.014
"""Notices of a genuine listing, on average over all; a framed merchant's are reported whether or not anybody watches."""
UPHELD, REJECTED, PENDING, COUNTERED = range(4)
OUTCOMES = ("upheld", "rejected", "pending", "countered")
REASONS = (
    "infringement_confirmed", "seller_objected",
    "genuine", "authorised_seller", "proof_of_purchase", "insufficient_evidence", "duplicate",
)  # fmt: skip
CONFIRMED, OBJECTED, FIRST_REJECTION = range(3)
NOTICE_KINDS = ("counterfeit", "trademark", "copyright", "design", "parallel_import", "other")
VERDICTS = ("genuine", "counterfeit", "inconclusive")


@dataclass(frozen=True)
class Notices:
    """Notices as arrays; `decided` is not-a-number while pending."""

    listing: Ints
    submitted: Floats
    decided: Floats
    outcome: Ints
    reason: Ints
    kind: Ints


@dataclass(frozen=True)
class Buys:
    """Test buys as arrays; `decided` is not-a-number and `verdict` -1 while none is known."""

    listing: Ints
    is_random_arm: Bools
    inclusion: Floats
    ordered: Floats
    decided: Floats
    verdict: Ints


@dataclass(frozen=True)
class Audits:
    """Random audits of merchants as arrays."""

    merchant: Ints
    inclusion: float
    decided: Floats
    is_counterfeit: Bools
    is_brushing: Bools


@dataclass(frozen=True)
class Labels:
    """All labels, and how long each listing was active.

    Attributes:
        notices: Notices.
        test_buys: Test buys.
        audits: Audits of merchants.
        end_day: When each listing was withdrawn or taken down; beyond the history if never.
        taken_down_day: When each listing was taken down; not-a-number if never.
        is_reinstated: Whether a takedown was undone at once (the listing lived on).
        banned_day: When each merchant was banned; not-a-number if never.
        restricted_day: When each merchant was restricted; not-a-number if never.
        spotted: Listings on which a moderator decided without being asked.
        spotted_day: When.
        is_spotted_fake: What was decided.
    """

    notices: Notices
    test_buys: Buys
    audits: Audits
    end_day: Floats
    taken_down_day: Floats
    is_reinstated: Bools
    banned_day: Floats
    restricted_day: Floats
    spotted: Ints
    spotted_day: Floats
    is_spotted_fake: Bools


def quota(first: int, count: int, share: float) -> int:
    """Returns how many of the things number `first` to `first + count` fall to a sample of `share` of all."""
    return round((first + count) * share) - round(first * share)


def build_labels(span: Span, merchants: Merchants, listings: Listings) -> Labels:
    """Finds out what the platform finds out about one span's merchants and listings."""
    rng, days = span.rng("labels"), span.world.days
    notices = _notices(rng, merchants, listings, reporting(span, merchants, listings), days)
    taken_down, is_reinstated = _takedowns(rng, listings, notices)
    end = np.fmin(listings.natural_end_day, np.where(is_reinstated, np.nan, taken_down))
    audits = _audits(rng, merchants, listings, end, quota(span.first, span.count, MERCHANT_AUDIT_SHARE), days)
    banned, restricted = _sanctions(rng, merchants, audits, days)
    end = np.fmin(end, banned[listings.merchant])
    end = np.maximum(end, np.maximum(listings.listed_day, 0.0) + 0.3)
    buys = _test_buys(rng, listings, end, span.first * LISTINGS_PER_MERCHANT, days)
    after_buy = _after_test_buys(rng, buys, len(end))
    is_ended_by_buy = after_buy < np.minimum(end, days)
    end = np.fmin(end, after_buy)
    taken_down = np.where(is_ended_by_buy, after_buy, taken_down)
    is_reinstated &= ~is_ended_by_buy
    taken_down = np.where((taken_down <= end) & (taken_down < days), taken_down, np.nan)
    spotted, spotted_day, is_spotted_fake = _spotted(rng, listings, end, days)
    is_kept = notices.submitted < np.minimum(end[notices.listing], days)
    kept = Notices(*(getattr(notices, name)[is_kept] for name in Notices.__dataclass_fields__))
    return Labels(
        kept, buys, audits, end, taken_down, is_reinstated & np.isfinite(taken_down), banned, restricted,
        spotted, spotted_day, is_spotted_fake,
    )  # fmt: skip


def watched_brands(world: World) -> Bools:
    """Returns for each brand whether somebody watches it: as many in every category."""
    place = generator(world.seed, "watched brands").random(
        (len(world.catalogue.brand_names) // BRANDS_PER_CATEGORY, BRANDS_PER_CATEGORY)
    )
    return np.asarray(place.argsort(axis=1).argsort(axis=1) < WATCHED_BRANDS).ravel()


def reporting(span: Span, merchants: Merchants, listings: Listings) -> Floats:
    """Returns how much each listing is looked at by reporters: 1 if its brand is watched and its merchant noticed, down to 0."""
    is_noticed = span.rng("reporters").random(len(merchants.key)) < NOTICED_SHARE
    is_watched = watched_brands(span.world)[span.world.catalogue.brand[listings.product]]
    return np.where(is_noticed[listings.merchant], np.where(is_watched, 1.0, UNWATCHED_RATE), 0.0)


def _notices(
    rng: np.random.Generator, merchants: Merchants, listings: Listings, looked_at: Floats, days: int
) -> Notices:
    archetype = merchants.archetype[listings.merchant]
    is_fake = listings.is_counterfeit
    looks = np.select([archetype == kind for kind in REPORTED], list(REPORTED.values()), 1.0)
    seen = np.minimum(listings.popularity, 4.0) ** 0.4
    start = np.where(is_fake, np.maximum(listings.since_day, 0.0), np.maximum(listings.listed_day, 0.0))
    exposure = np.clip((np.minimum(listings.natural_end_day, days) - start) / days, 0.0, 1.0)
    usual = NOTICED_SHARE * (UNWATCHED_RATE + (1 - UNWATCHED_RATE) * WATCHED_BRANDS / BRANDS_PER_CATEGORY)
    of_honest = HONEST_RATE * looks * np.where(archetype == FRAMED, 1.0, looked_at / usual)
    rate = np.where(is_fake, COUNTERFEIT_RATE * looked_at, of_honest) * seen * exposure * days / REFERENCE_DAYS
    listing = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    count = len(listing)
    submitted = start[listing] + rng.random(count) * exposure[listing] * days
    decided = submitted + np.minimum(0.2 + np.exp(rng.normal(1.4, 0.9, count)), 60.0)
    fake_outcome = weighted(rng, (0.74, 0.17, 0.05, 0.04), count)
    honest_outcome = weighted(rng, (0.06, 0.80, 0.07, 0.07), count)
    outcome = np.where(is_fake[listing], fake_outcome, honest_outcome)
    outcome = np.where(decided < days, outcome, PENDING)
    fake_reason = FIRST_REJECTION + weighted(rng, (0.05, 0.02, 0.08, 0.60, 0.25), count)
    honest_reason = FIRST_REJECTION + weighted(rng, (0.42, 0.16, 0.16, 0.19, 0.07), count)
    rejected = np.where(is_fake[listing], fake_reason, honest_reason)
    reason = np.select(
        [outcome == UPHELD, outcome == REJECTED, outcome == COUNTERED], [CONFIRMED, rejected, OBJECTED], -1
    )
    kind = weighted(rng, (0.72, 0.14, 0.05, 0.03, 0.04, 0.02), count)
    return Notices(listing, submitted, np.where(outcome == PENDING, np.nan, decided), outcome, reason, kind)


def _takedowns(rng: np.random.Generator, listings: Listings, notices: Notices) -> tuple[Floats, Bools]:
    """Takes down most of what upheld notices name, days later; some of the wrongly named come back."""
    count = len(notices.listing)
    is_acted = (notices.outcome == UPHELD) & (rng.random(count) < 0.62)
    moment = np.where(is_acted, notices.decided + 0.1 + rng.exponential(3.0, count), np.inf)
    taken_down = np.full(len(listings.key), np.inf)
    np.minimum.at(taken_down, notices.listing, moment)
    is_reinstated = ~listings.is_counterfeit & np.isfinite(taken_down) & (rng.random(len(taken_down)) < 0.4)
    return np.where(np.isfinite(taken_down), taken_down, np.nan), is_reinstated


def has_active_counterfeit(merchants: Merchants, listings: Listings, end: Floats, moment: Floats) -> Bools:
    """Returns for each merchant whether it has an active counterfeit listing at its moment."""
    when = moment[listings.merchant]
    is_active = listings.is_counterfeit & (listings.since_day <= when) & (listings.listed_day <= when) & (end > when)
    return np.asarray(np.bincount(listings.merchant, is_active, len(merchants.key)) > 0)


def _audits(
    rng: np.random.Generator, merchants: Merchants, listings: Listings, end: Floats, number: int, days: int
) -> Audits:
    count = len(merchants.key)
    chosen = np.sort(rng.permutation(count)[:number])
    start = np.maximum(merchants.registered_day, 0.0)
    moment = start + rng.random(count) * (days - start)
    is_fake = has_active_counterfeit(merchants, listings, end, moment)
    is_brushing = merchants.is_brushing & (merchants.brushing_day <= moment)
    wrong = rng.random((2, count)) < np.where([is_fake, is_brushing], 0.04, FALSE_ALARM_SHARE)
    return Audits(
        chosen, number / count, moment[chosen], (is_fake ^ wrong[0])[chosen], (is_brushing ^ wrong[1])[chosen]
    )


def _sanctions(rng: np.random.Generator, merchants: Merchants, audits: Audits, days: int) -> tuple[Floats, Floats]:
    banned = np.full(len(merchants.key), np.nan)
    restricted = banned.copy()
    draw = rng.random(len(audits.merchant))
    moment = audits.decided + 0.5 + rng.exponential(4.0, len(draw))
    is_timely = moment < days - 1
    is_banned = audits.is_counterfeit & (draw < 0.2) & is_timely
    is_restricted = (audits.is_counterfeit | audits.is_brushing) & (draw > 0.5) & is_timely
    banned[audits.merchant[is_banned]] = moment[is_banned]
    restricted[audits.merchant[is_restricted]] = moment[is_restricted]
    return banned, restricted


def _test_buys(rng: np.random.Generator, listings: Listings, end: Floats, first: int, days: int) -> Buys:
    """Draws both arms; a listing of the riskiest is picked with the sum of the two arms' shares.

    The risk arm draws among the riskiest that the random arm left over, so no listing is bought twice and the number
    of each arm is fixed; by symmetry each of the riskiest is then picked with probability n1 / N + n2 / M.
    """
    count = len(listings.key)
    random_count = quota(first, count, RANDOM_BUY_SHARE)
    risk_count = quota(first, count, RISK_BUY_SHARE)
    risk = 2.4 * listings.is_counterfeit + 0.35 * _suspicion(listings) + rng.standard_normal(count)
    riskiest = np.argsort(-risk, kind="stable")[: max(round(count * RISKIEST_SHARE), risk_count + random_count)]
    at_random = rng.permutation(count)[:random_count]
    rest = rng.permutation(np.setdiff1d(riskiest, at_random))[:risk_count]
    inclusion = np.full(count, random_count / count)
    inclusion[riskiest] += risk_count / len(riskiest)
    listing = np.concatenate([at_random, rest])
    start = np.maximum(listings.listed_day, 0.0)[listing]
    latest = np.minimum(np.minimum(end[listing], days), start + TEST_BUY_DAYS)
    ordered = start + rng.random(len(listing)) * (latest - start)
    decided = ordered + 2.0 + np.minimum(np.exp(rng.normal(1.8, 0.5, len(listing))), 40.0)
    is_fake = listings.is_counterfeit[listing] & (listings.since_day[listing] <= ordered)
    draw = rng.random(len(listing))
    is_found = np.where(is_fake, draw < 0.98, draw < FALSE_ALARM_SHARE)
    verdict = np.where(rng.random(len(listing)) < 0.04, 2, is_found.astype(np.int64))
    is_known = decided < days
    return Buys(
        listing, np.arange(len(listing)) < random_count, inclusion[listing], ordered,
        np.where(is_known, decided, np.nan), np.where(is_known, verdict, -1),
    )  # fmt: skip


def _suspicion(listings: Listings) -> Floats:
    """Returns what the platform's own rule of thumb makes of a listing."""
    latents = listings.latents
    parts = (-latents["price_ratio_log"] / 0.2, np.log(latents["complaint_share"]) / 0.9, latents["storefront"] / 1.2)
    return np.asarray(sum(part - part.mean() for part in parts), dtype=np.float64)


def _after_test_buys(rng: np.random.Generator, buys: Buys, count: int) -> Floats:
    is_acted = (buys.verdict == 1) & (rng.random(len(buys.listing)) < 0.65)
    after = np.full(count, np.inf)
    np.minimum.at(
        after, buys.listing[is_acted], (buys.decided + 0.1 + rng.exponential(4.0, len(buys.listing)))[is_acted]
    )
    return after


def _spotted(rng: np.random.Generator, listings: Listings, end: Floats, days: int) -> tuple[Ints, Floats, Bools]:
    start = np.maximum(np.where(listings.is_counterfeit, listings.since_day, listings.listed_day), 0.0)
    stop = np.minimum(end, days)
    draw = rng.random(len(start))
    is_chosen = (draw < np.where(listings.is_counterfeit, 0.02, 0.0012)) & (stop > start)
    spotted = np.flatnonzero(is_chosen)
    moment = (start + rng.random(len(start)) * (stop - start))[spotted]
    is_wrong = rng.random(len(spotted)) < 0.05
    return spotted, moment, listings.is_counterfeit[spotted] ^ is_wrong
