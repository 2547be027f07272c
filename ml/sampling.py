"""Test buys as a probability sample: which goods to buy, how likely each was to be bought, and what the verdicts say of all.

What belongs here is design and estimation over arrays; who plans, buys and records is elsewhere. A plan is drawn so:

1. Strata are category by cost band (each up to twice as dear as the one before). Where the budget gives a cell no two buys, it
   is pooled with the same band of the other categories, and where that gives none either, with the bands next to it. So are
   cells of few merchants, where these would have to sell more than their caps allow.
2. Each stratum gets a fixed number of buys, by its size over the root of its upper cost, so that the sum of number times
   upper cost stays within the budget.
3. A listing's size mixes its risk and an equal part. In a stratum the merchants come first: the sum of their listings' sizes,
   of which each gets at most one buy there. `_rounded` draws them: by randomised systematic sampling, sixteen hits or more for
   each buy, which are then halved until one is left, so that strata keep their number and no merchant passes its cap, at exactly
   the probabilities.
4. Of a merchant that was drawn one listing is bought, by size.

So every listing's inclusion probability is known: it is the number of the stratum times its size over that of the stratum, but
for what caps take and give. The halving is that of dependent rounding on bipartite graphs (Gandhi, Khuller, Parthasarathy and
Srinivasan 2006); estimates are Hájek's less the bias of a ratio (Beale 1962), intervals Korn and Graubard's (1998).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from touchstone.core.errors import BadInputError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LEAST_HALVINGS: Final = 4
LEAST_IN_STRATUM: Final = 2
CONFIDENCE: Final = 0.95
ROUNDS: Final = 100
CROWDED: Final = 0.05
"""So many buys of a stratum beyond its merchants' limits, in the mean of all draws, are too many for them."""


@dataclass(frozen=True)
class Frame:
    """What may be bought; arrays of shape (n,), n the number of listings.

    Attributes:
        merchant: Whose it is, as a number from 0.
        category: Its category, as a number from 0.
        cost: What a buy costs in the plan's currency; above 0.
        risk: Its probability to be counterfeit.
        certain: Whether it is bought for sure: probability 1, outside strata and caps.
    """

    merchant: Integers
    category: Integers
    cost: Floats
    risk: Floats
    certain: Flags


@dataclass(frozen=True)
class Design:
    """How a plan is drawn.

    Attributes:
        budget: What all buys may cost, at their strata's upper costs.
        merchant_cap: Most buys of one merchant.
        risk_part: Share of a listing's size that goes by risk (0 to 1); the rest is equal for all.
    """

    budget: float
    merchant_cap: int = 2
    risk_part: float = 0.5


@dataclass(frozen=True)
class Strata:
    """A design over a frame: all of a plan but chance. n listings, m stalls (a merchant in a stratum), h strata.

    Attributes:
        stratum: The stratum of each listing, from 0; -1 for what is certain. Shape (n,).
        category: Of each stratum its category; -1 where several are pooled. Shape (h,).
        number: Buys in each stratum. Shape (h,).
        lower_cost: The cheapest listing of each. Shape (h,).
        upper_cost: The dearest listing of each. Shape (h,).
        probability: Inclusion probability of each listing. Shape (n,).
        risk_share: Share of each listing's size that goes by its risk. Shape (n,).
        stall: The stall of each listing; -1 for what is certain. Shape (n,).
        stall_stratum: The stratum of each stall, ascending. Shape (m,).
        stall_merchant: The merchant of each stall. Shape (m,).
        stall_probability: Probability that a stall is bought from. Shape (m,).
        halvings: How often hits are halved until a buy is left.
    """

    stratum: Integers
    category: Integers
    number: Integers
    lower_cost: Floats
    upper_cost: Floats
    probability: Floats
    risk_share: Floats
    stall: Integers
    stall_stratum: Integers
    stall_merchant: Integers
    stall_probability: Floats
    halvings: int


@dataclass(frozen=True)
class Plan:
    """What was drawn; arrays of shape (k,), in the order of the frame.

    Attributes:
        listing: Positions in the frame.
        is_risk: Whether the draw fell on the part of the listing's size that goes by risk: its arm.
    """

    listing: Integers
    is_risk: Flags


@dataclass(frozen=True)
class Estimate:
    """A share with its interval.

    Attributes:
        share: Hajek's estimate, less the bias of a ratio.
        low: Lower end of the 95 % interval.
        high: Upper end.
        effective: How many buys of a simple random sample would tell as much.
    """

    share: float
    low: float
    high: float
    effective: float


def design_strata(frame: Frame, design: Design) -> Strata:
    """Forms strata, shares the budget out among them and computes every listing's inclusion probability.

    Where caps forbid what the smallest strata need, strata of twice as many merchants are tried, and so on: two that the same
    few merchants share may need more of one of them than a plan may buy.

    Raises:
        BadInputError: The budget or the caps leave too few buys, or a cost is not above 0.
    """
    if design.merchant_cap < 1:
        raise BadInputError(f"a cap of {design.merchant_cap} buys a merchant: give 1 or more.")
    if not (frame.cost > 0).all() or not np.isfinite(frame.cost).all():
        raise BadInputError("a listing of the frame costs nothing, or no number. Leave it out, or give its cost.")
    merchants_wanted = LEAST_IN_STRATUM
    while (strata := _strata(frame, design, merchants_wanted)) is None:
        merchants_wanted *= 2
    return strata


def _strata(frame: Frame, design: Design, merchants_wanted: int) -> Strata | None:
    """Returns the design whose strata have so many merchants each, or None where caps forbid it and larger strata may do."""
    drawn = np.flatnonzero(~frame.certain)
    budget = design.budget - float(frame.cost[frame.certain].sum())
    size, risk_share = _sizes(frame.risk, design.risk_part)
    stratum = np.full(len(frame.cost), -1, dtype=np.int64)
    stratum[drawn] = _form(
        frame.category[drawn], frame.merchant[drawn], frame.cost[drawn], size[drawn], budget, merchants_wanted
    )
    of = stratum[drawn]
    count = int(of.max()) + 1 if len(drawn) else 0
    upper, lower = np.zeros(count), np.full(count, np.inf)
    np.maximum.at(upper, of, frame.cost[drawn])
    np.minimum.at(lower, of, frame.cost[drawn])
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, of, frame.category[drawn])
    np.maximum.at(last, of, frame.category[drawn])
    category = np.where(first == last, first, -1)
    merchants = int(frame.merchant.max(initial=-1)) + 1
    pairs, stall = np.unique(of * merchants + frame.merchant[drawn], return_inverse=True)
    stall_stratum, stall_merchant = pairs // max(merchants, 1), pairs % max(merchants, 1)
    stall_size = np.bincount(stall, weights=size[drawn], minlength=len(pairs))
    total = np.bincount(of, weights=size[drawn], minlength=count)
    stalls_of = np.bincount(stall_merchant)
    halvings = max(LEAST_HALVINGS, int(np.ceil(np.log2(4 * stalls_of.max(initial=1)))))
    # A stall gets less than one hit more than it should, and a sum of hits is rounded up at most: so the cap is never passed.
    limit = design.merchant_cap - stalls_of / 2**halvings
    bearable = _bearable(stall_size, stall_stratum, stall_merchant, limit, total, upper, budget)
    if bearable is None:
        return None
    number, stall_probability = bearable
    probability = np.ones(len(frame.cost))
    probability[drawn] = stall_probability[stall] * size[drawn] / stall_size[stall]
    stalls = np.full(len(frame.cost), -1, dtype=np.int64)
    stalls[drawn] = stall
    return Strata(
        stratum,
        category,
        number,
        lower,
        upper,
        probability,
        risk_share,
        stalls,
        stall_stratum,
        stall_merchant,
        stall_probability,
        halvings,
    )


def draw(strata: Strata, seed: int) -> Plan:
    """Draws a plan; the same design and seed give the same one."""
    chance = np.random.default_rng(seed)
    bought = _rounded(strata, chance)
    drawn = np.flatnonzero(strata.stall >= 0)
    # One listing of each stall: a point on the line of its listings' probabilities.
    drawn = drawn[np.argsort(strata.stall[drawn], kind="stable")]
    line = np.cumsum(strata.probability[drawn])
    last = np.searchsorted(strata.stall[drawn], bought, side="right") - 1
    point = line[last] - chance.random(len(bought)) * strata.stall_probability[bought]
    first = np.searchsorted(strata.stall[drawn], bought, side="left")
    picked = drawn[np.clip(np.searchsorted(line, point, side="left"), first, last)]
    listing = np.sort(np.concatenate([picked, np.flatnonzero(strata.stall < 0)]))
    return Plan(listing, chance.random(len(listing)) < strata.risk_share[listing])


def _sizes(risk: Floats, risk_part: float) -> tuple[Floats, Floats]:
    """Returns each listing's size, of sum 1, and the share of it that goes by risk."""
    total = float(risk.sum())
    by_risk = risk_part * risk / total if total else np.zeros(len(risk))
    size = by_risk + (1 - by_risk.sum()) / max(len(risk), 1)
    return size, by_risk / size


def _form(
    category: Integers, merchant: Integers, cost: Floats, size: Floats, budget: float, merchants_wanted: int
) -> Integers:
    """Returns the stratum of each listing: category by cost band, pooled where buys or merchants are too few."""
    band = np.floor(np.log2(cost / cost.min()) + 1e-9).astype(np.int64) if len(cost) else np.zeros(0, dtype=np.int64)
    buys_wanted = float(LEAST_IN_STRATUM)
    while True:
        of = _pooled(category, merchant, band, cost, size, budget, buys_wanted, merchants_wanted)
        count = int(of.max()) + 1 if len(of) else 0
        upper = np.zeros(count)
        np.maximum.at(upper, of, cost)
        if LEAST_IN_STRATUM * float(upper.sum()) <= budget:
            return of
        if count == 1:
            raise BadInputError(
                f"a budget of {budget:,.2f} does not buy {LEAST_IN_STRATUM} of the dearest listing, which costs "
                f"{upper[0]:,.2f}. Give more, or leave the dearest out."
            )
        buys_wanted *= 2


def _pooled(
    category: Integers,
    merchant: Integers,
    band: Integers,
    cost: Floats,
    size: Floats,
    budget: float,
    buys_wanted: float,
    merchants_wanted: int,
) -> Integers:
    """Pools cells of which the budget would give less than `buys_wanted` buys, or that have too few merchants."""
    bands = int(band.max()) + 1
    cell = category * bands + band
    total, upper = _totals(cell, cost, size)
    rate = budget / float((total * np.sqrt(upper)).sum())  # buys for size over root of cost, where nothing limits them
    keeps = _enough(cell, merchant, cost, size, rate, buys_wanted, merchants_wanted)
    dear = np.where(keeps[cell], -1, band)
    group, kept = np.zeros(bands, dtype=np.int64), 0
    is_pooled = dear >= 0
    for level in range(bands - 1, -1, -1):  # from the dearest on, until a group gets enough
        group[level] = kept
        trial = np.where(is_pooled & (group[np.maximum(dear, 0)] == kept) & (dear >= level), 0, 1)
        if _enough(trial, merchant, cost, size, rate, buys_wanted, merchants_wanted)[0]:
            kept += 1
    group = np.minimum(group, max(kept - 1, 0))  # what is left over at the cheap end joins the group before
    cells = int(cell.max()) + 1
    return np.unique(np.where(is_pooled, cells + group[np.maximum(dear, 0)], cell), return_inverse=True)[1].astype(
        np.int64
    )


def _totals(of: Integers, cost: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Returns the sum of sizes and the upper cost of each part; of an empty one 0 and 1."""
    total = np.bincount(of, weights=size)
    upper = np.zeros(len(total))
    np.maximum.at(upper, of, cost)
    return total, np.where(upper > 0, upper, 1.0)


def _enough(
    of: Integers,
    merchant: Integers,
    cost: Floats,
    size: Floats,
    rate: float,
    buys_wanted: float,
    merchants_wanted: int,
) -> Flags:
    """Returns for each part whether the best use of the budget, without limits, would buy enough in it, of enough merchants."""
    total, upper = _totals(of, cost, size)
    beyond = int(merchant.max()) + 1
    merchants = np.bincount(np.unique(of * beyond + merchant) // beyond, minlength=len(total))
    return (rate * total / np.sqrt(upper) >= buys_wanted) & (merchants >= merchants_wanted)


def _numbers(size: Floats, upper: Floats, most: Integers, budget: float) -> Integers:
    """Shares a budget out: each next buy goes where size over the root of the cost is most for the buys that are there."""
    number = np.minimum(LEAST_IN_STRATUM, most)
    left = budget - float((number * upper).sum())
    while (can := np.flatnonzero((upper <= left) & (number < most))).size:
        best = can[np.argmax(size[can] / np.sqrt(upper[can]) / (number[can] + 0.5))]
        number[best] += 1
        left -= float(upper[best])
    return number


def _bearable(
    size: Floats, stratum: Integers, merchant: Integers, limit: Floats, total: Floats, upper: Floats, budget: float
) -> tuple[Integers, Floats] | None:
    """Returns each stratum's number and each stall's probability: what the budget buys, less where caps leave nobody.

    A stratum that has not the merchants for its number gets a fifth fewer, again and again, and the others what that leaves.
    None where even the least of each stratum is more than caps allow.

    Raises:
        BadInputError: The same of one stratum of all that is on offer.
    """
    most = np.bincount(stratum, minlength=len(total))
    while True:
        number = _numbers(total, upper, most, budget)
        probability, beyond = _probabilities(size, stratum, merchant, number, limit)
        if not beyond.any():
            return number, probability
        beyond[number <= LEAST_IN_STRATUM] = 0.0
        if not beyond.any():
            if len(number) > 1:
                return None
            raise BadInputError(
                f"all that is on offer has too few merchants for {LEAST_IN_STRATUM} buys: raise the cap of buys from a merchant."
            )
        crowded = beyond >= min(CROWDED, float(beyond.max()))
        most = np.where(crowded, np.maximum(number * 4 // 5, LEAST_IN_STRATUM), most)


def _probabilities(
    size: Floats, stratum: Integers, merchant: Integers, number: Integers, limit: Floats
) -> tuple[Floats, Floats]:
    """Returns each stall's inclusion probability: proportional to size, 1 at most, of sum `number` in each stratum.

    Of a merchant whose stalls would sum to more than its `limit`, all shrink alike and others of the strata grow for it. Where
    that comes to no end, the second array says how many buys of each stratum lie beyond merchants' limits; else it is 0.
    """
    weight = size.copy()
    for _ in range(ROUNDS):
        probability = _proportional(weight, stratum, number)
        over = np.bincount(merchant, weights=probability) / limit
        if over.max(initial=0.0) <= 1:
            return probability, np.zeros(len(number))
        weight = weight / np.maximum(over * (1 + 1e-4), 1)[merchant]
        weight /= np.bincount(stratum, weights=weight)[stratum]
    beyond = probability * (1 - 1 / np.maximum(over, 1)[merchant])
    return probability, np.bincount(stratum, weights=beyond, minlength=len(number))


def _proportional(weight: Floats, stratum: Integers, number: Integers) -> Floats:
    """Returns probabilities proportional to weight in each stratum, 1 at most, of sum `number`."""
    probability, is_open = np.zeros(len(weight)), np.ones(len(weight), dtype=bool)
    while True:
        left = number - np.bincount(stratum[~is_open], minlength=len(number))
        total = np.bincount(stratum[is_open], weights=weight[is_open], minlength=len(number))
        probability[is_open] = (left / np.maximum(total, 1e-300))[stratum[is_open]] * weight[is_open]
        full = is_open & (probability >= 1)
        if not full.any():
            return probability
        probability[full] = 1.0
        is_open &= ~full


def _rounded(strata: Strata, chance: np.random.Generator) -> Integers:
    """Draws stalls at exactly their probabilities: as many as each stratum's number, of no merchant more than the cap.

    First sixteen hits or more for each buy, on lines of the stalls in random order. Then again and again: of the stalls with an
    odd number of hits, alternately one gains and one loses a hit along trails from stratum to merchant and back, begun by a coin;
    all are even then, and halved.
    """
    hits_each = 2**strata.halvings
    order = np.lexsort((chance.random(len(strata.stall_stratum)), strata.stall_stratum))
    line = np.cumsum(strata.stall_probability[order]) * hits_each
    starts = np.concatenate([[0], np.cumsum(strata.number * hits_each)])
    # A line ends where the next begins, but for rounding; the start of each is drawn separately.
    ends = np.searchsorted(strata.stall_stratum[order], np.arange(len(strata.number)), side="right")
    line[ends - 1] = starts[1:]
    ticks = np.arange(starts[-1]) + np.repeat(chance.random(len(strata.number)), strata.number * hits_each)
    hits = np.bincount(order[np.searchsorted(line, ticks, side="right")], minlength=len(order))
    for _ in range(strata.halvings):
        odd = np.flatnonzero(hits % 2)
        hits[odd] += _alternating(strata.stall_stratum[odd], strata.stall_merchant[odd], chance)
        hits //= 2
    return np.flatnonzero(hits)


def _alternating(left: Integers, right: Integers, chance: np.random.Generator) -> Integers:
    """Gives each edge of a bipartite graph +1 or -1 so that they alternate along trails, each trail begun by a coin.

    Every left vertex has an even degree. Trails begin at right vertices of odd degree first, so those end at such, too; what is
    left are circuits.
    """
    edges_at: dict[tuple[bool, int], list[int]] = defaultdict(list)
    for edge, (one, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        edges_at[False, one].append(edge)
        edges_at[True, other].append(edge)
    ends = (left.tolist(), right.tolist())
    signs = [0] * len(left)
    starts = [vertex for vertex, edges in edges_at.items() if vertex[0] and len(edges) % 2]
    coins = iter(chance.integers(0, 2, size=len(left)).tolist())  # each trail has an edge, so there are no more trails
    for start in [*starts, *edges_at]:
        here, sign = start, 0
        while edges := edges_at[here]:
            edge = edges.pop()
            if signs[edge]:
                continue
            sign = -sign or 2 * next(coins) - 1
            signs[edge] = sign
            here = (not here[0], ends[not here[0]][edge])
    return np.array(signs, dtype=np.int64)


def prevalence(
    stratum: Integers,
    probability: Floats,
    risk: Floats,
    is_positive: Flags,
    answered: Flags,
    domain: Flags | None = None,
) -> Estimate:
    """Estimates a share among all of a frame from what was bought.

    Args:
        stratum: The stratum of each buy; -1 for what was certain. Shape (k,).
        probability: The plan's inclusion probability of each. Shape (k,).
        risk: Its probability to be counterfeit when it was drawn. Shape (k,).
        is_positive: The verdict of each. Shape (k,).
        answered: Whether there is a verdict. Who did not answer is stood for by who did, in its stratum. Shape (k,).
        domain: Which buys the share is of; all by default. Shape (k,).

    Returns:
        Hajek's estimate, less the bias of a ratio as Beale corrects it, with Korn and Graubard's interval: Clopper and Pearson's
        at the number of buys that as a simple random sample would have the estimate's variance, less what few degrees of freedom
        cost.
    """
    inside = answered if domain is None else answered & domain
    if not inside.any():
        return Estimate(float("nan"), 0.0, 1.0, 0.0)
    _, of = np.unique(stratum, return_inverse=True)
    bought, decided = np.bincount(of), np.bincount(of, weights=answered)
    weight = np.where(answered, bought[of] / np.maximum(decided, 1)[of], 0.0) / probability
    total = float(weight[inside].sum())
    share = float((weight * is_positive)[inside].sum() / total)
    part = np.where(inside, weight, 0.0)[answered] / total
    residual = part * (is_positive[answered] - share)
    variance, freedom = _covariance(of[answered], residual, residual, probability[answered])
    # Where positives are likelier to be bought, they weigh less: a draw that holds many holds fewer in all, and the ratio rises
    # by more than it falls. That is small compared with the interval; where few were bought it removes at most half of either.
    upward = -_covariance(of[answered], residual, part, probability[answered])[0]
    upward /= 1 + _covariance(of[answered], part, part, probability[answered])[0]
    share -= float(np.clip(upward, (share - 1) / 2, share / 2))
    # Few positives of large weight hold most of the variance, and where none was met it looks small just when the share does.
    # What the risks make one expect does not depend on whom the draw met: half the way to it, where that is more.
    foreseen = part * (risk[answered] - share)
    chance = np.where(inside, (1 - probability) * (weight / total) ** 2 * risk * (1 - risk), 0.0)
    expected = _covariance(of[answered], foreseen, foreseen, probability[answered])[0] + float(chance.sum())
    variance = max(variance, (variance + expected) / 2)
    kish = total**2 / float((weight[inside] ** 2).sum())
    effective = share * (1 - share) / variance if variance > 0 and 0 < share < 1 else kish
    return _interval(share, effective, freedom)


def times_for_half(estimate: Estimate) -> float:
    """Returns how many times as many buys would halve the interval; nan where there is none, or it leaves nothing open."""
    width = estimate.high - estimate.low
    if not width or np.isnan(estimate.share) or not estimate.effective:
        return float("nan")
    low, high = 1.0, 2.0
    while _width(estimate, high) > width / 2:
        high *= 2
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if _width(estimate, middle) > width / 2 else (low, middle)
    return high


def _width(estimate: Estimate, times: float) -> float:
    wide = _interval(estimate.share, estimate.effective * times, 0.0)
    return wide.high - wide.low


def _covariance(of: Integers, left: Floats, right: Floats, probability: Floats) -> tuple[float, float]:
    """Returns the covariance of two sums over a stratified sample of unequal probabilities, and its degrees of freedom.

    Each stratum's buys are held against their own mean. Strata of one buy are taken together, two and two.
    """
    count = np.bincount(of)
    alone = np.flatnonzero(count == 1)
    joined = np.arange(len(count))
    joined[alone] = alone[np.minimum(np.arange(len(alone)) // 2 * 2, max(len(alone) - 2, 0))] if len(alone) > 1 else 0
    _, of = np.unique(joined[of], return_inverse=True)
    count = np.bincount(of)
    unsampled = 1 - probability  # what is bought for sure adds nothing
    whole = np.maximum(np.bincount(of, weights=unsampled), 1e-300)
    apart = [values - (np.bincount(of, weights=unsampled * values) / whole)[of] for values in (left, right)]
    spread = np.bincount(of, weights=unsampled * apart[0] * apart[1])
    return float((spread * count / np.maximum(count - 1, 1)).sum()), float(len(of) - len(count))


def _interval(share: float, effective: float, freedom: float) -> Estimate:
    from scipy.stats import beta, norm, t

    tail = (1 - CONFIDENCE) / 2
    if freedom > 0:
        effective *= float((norm.ppf(tail) / t.ppf(tail, freedom)) ** 2)
    positives = effective * share
    low = float(beta.ppf(tail, positives, effective - positives + 1)) if positives > 0 else 0.0
    high = float(beta.ppf(1 - tail, positives + 1, effective - positives)) if positives < effective else 1.0
    return Estimate(share, low, high, effective)
