"""Test buy plans: numbers, caps and budgets, inclusion probabilities, and estimates for the whole population."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.sampling import Design, Frame, Plan, Strata, design_strata, draw, prevalence
from touchstone.core.errors import BadInputError


def frame(number: int, merchants: int, categories: int, seed: int) -> Frame:
    chance = np.random.default_rng(seed)
    return Frame(
        merchant=chance.integers(0, merchants, number),
        category=chance.integers(0, categories, number),
        cost=np.round(np.exp(chance.normal(3.5, 0.8, number)), 2),
        risk=chance.beta(0.3, 4, number),
        certain=np.zeros(number, dtype=bool),
    )


def check_plan(goods: Frame, design: Design, strata: Strata, plan: Plan) -> None:
    drawn = plan.listing[~goods.certain[plan.listing]]
    assert len(np.unique(plan.listing)) == len(plan.listing) == len(plan.is_risk)
    assert set(np.flatnonzero(goods.certain)) <= set(plan.listing)
    assert np.bincount(strata.stratum[drawn], minlength=len(strata.number)).tolist() == strata.number.tolist()
    assert np.bincount(goods.merchant[drawn]).max(initial=0) <= design.merchant_cap
    assert goods.cost[plan.listing].sum() <= design.budget


@settings(max_examples=60)
@given(
    number=st.integers(20, 200),
    merchants=st.integers(10, 60),
    categories=st.integers(1, 5),
    cap=st.integers(1, 4),
    budget=st.floats(500, 5000),
    seed=st.integers(0, 2**32),
)
def test_a_plan_respects_its_numbers_caps_and_budget(
    number: int, merchants: int, categories: int, cap: int, budget: float, seed: int
) -> None:
    goods, design = frame(number, merchants, categories, seed), Design(budget, cap)
    try:
        strata = design_strata(goods, design)
    except BadInputError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "Give more" in refusal
        return
    assert (strata.number * strata.upper_cost).sum() <= budget
    assert np.bincount(goods.merchant, weights=strata.probability).max() <= cap
    assert (strata.number >= 1).all()
    assert ((strata.probability > 0) & (strata.probability <= 1 + 1e-9)).all()
    assert strata.probability.sum() == pytest.approx(strata.number.sum())
    for stratum in range(len(strata.number)):
        costs = goods.cost[strata.stratum == stratum]
        assert (costs.min(), costs.max()) == (strata.lower_cost[stratum], strata.upper_cost[stratum])
    for again in range(3):
        check_plan(goods, design, strata, draw(strata, seed + again))


@pytest.mark.parametrize(("cap", "budget"), [(1, 500.0), (2, 900.0), (3, 1500.0)])
def test_listings_are_drawn_with_their_inclusion_probabilities(cap: int, budget: float) -> None:
    """A small version; ten thousand draws stay within four standard errors too."""
    goods, draws = frame(60, 14, 3, seed=5), 1500
    strata = design_strata(goods, Design(budget, cap))
    drawn = np.bincount(np.concatenate([draw(strata, seed).listing for seed in range(draws)]), minlength=60)
    error = np.sqrt(strata.probability * (1 - strata.probability) / draws)
    assert (np.abs(drawn / draws - strata.probability) <= 4 * error + 1e-9).all()


def test_a_stratum_of_few_merchants_does_not_reduce_the_others() -> None:
    """Three merchants are alone in a category, with cheap and expensive listings: six buys would exceed their caps."""
    many = frame(4000, 2000, 1, seed=6)
    few = Frame(
        merchant=2000 + np.arange(120) % 3,
        category=np.ones(120, dtype=np.int64),
        cost=np.repeat([10.0, 25.0], 60),
        risk=np.full(120, 0.9),
        certain=np.zeros(120, dtype=bool),
    )
    goods = Frame(*(np.concatenate([getattr(many, name), getattr(few, name)]) for name in Frame.__dataclass_fields__))
    for budget in (10_000, 20_000, 40_000):
        strata = design_strata(goods, Design(budget))
        assert 4 <= strata.number[np.unique(strata.stratum[goods.category == 1])].sum() < 6
        assert (strata.number * strata.upper_cost).sum() > 0.99 * budget
        check_plan(goods, Design(budget), strata, draw(strata, 1))


def test_strata_of_the_same_few_merchants_are_pooled_and_others_are_kept() -> None:
    """Each stratum needs both its merchants, so the shared one would reach its cap with certainty."""
    many, design = frame(400, 80, 2, seed=3), Design(6000.0, merchant_cap=2)
    goods = Frame(
        merchant=np.concatenate([many.merchant, np.tile([80, 81], 20), np.tile([80, 82], 20)]),
        category=np.concatenate([many.category, np.full(40, 2), np.full(40, 3)]),
        cost=np.concatenate([many.cost, np.full(80, 30.0)]),
        risk=np.concatenate([many.risk, np.full(80, 0.1)]),
        certain=np.zeros(480, dtype=bool),
    )
    strata = design_strata(goods, design)
    few = strata.stratum[400:]
    assert len(np.unique(few)) == 1
    assert strata.category[few[0]] == -1
    assert {0, 1} <= set(strata.category.tolist())
    for seed in range(20):
        check_plan(goods, design, strata, draw(strata, seed))


def test_a_draw_is_deterministic_by_seed() -> None:
    strata = design_strata(frame(300, 80, 3, seed=1), Design(2000))
    assert np.array_equal(draw(strata, 7).listing, draw(strata, 7).listing)
    assert not np.array_equal(draw(strata, 7).listing, draw(strata, 8).listing)


def test_certain_listings_are_always_bought_and_reduce_the_remaining_budget() -> None:
    goods, design = frame(300, 80, 3, seed=1), Design(2000)
    without = design_strata(goods, design)
    named = replace(goods, certain=np.arange(300) < 5)
    strata = design_strata(named, design)
    assert (strata.probability[:5] == 1).all()
    assert (strata.stratum[:5] == -1).all()
    assert strata.number.sum() < without.number.sum()
    for seed in range(20):
        check_plan(named, design, strata, draw(strata, seed))


def test_risky_listings_are_oversampled_and_marked_by_their_arm() -> None:
    goods = frame(2000, 500, 3, seed=2)
    strata = design_strata(goods, Design(4000))
    plans = [draw(strata, seed) for seed in range(40)]
    by_risk = np.mean([goods.risk[plan.listing[plan.is_risk]].mean() for plan in plans])
    by_chance = np.mean([goods.risk[plan.listing[~plan.is_risk]].mean() for plan in plans])
    assert by_risk > 2 * by_chance
    assert by_chance == pytest.approx(goods.risk.mean(), rel=0.25)


@pytest.mark.parametrize("non_response", [0.0, 0.2])
def test_the_population_share_is_unbiased_and_covered_by_its_interval(non_response: float) -> None:
    """A small version; coverage on the demo is tested by the simulation."""
    goods = frame(3000, 700, 4, seed=3)
    chance = np.random.default_rng(4)
    is_positive = chance.random(3000) < goods.risk
    strata, estimates = design_strata(goods, Design(12_000)), []
    for seed in range(200):
        at = draw(strata, seed).listing
        answered = chance.random(len(at)) >= non_response
        result = (strata.stratum[at], strata.probability[at], goods.risk[at], is_positive[at], answered)
        estimates.append(prevalence(*result))
    shares, truth = np.array([estimate.share for estimate in estimates]), is_positive.mean()
    assert abs(shares.mean() - truth) <= 3.5 * shares.std() / np.sqrt(len(shares))
    assert np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]) >= 0.92
    assert all(estimate.effective > 0 for estimate in estimates)


def test_the_bias_of_the_ratio_estimator_for_few_buys_is_corrected() -> None:
    """Positives are bought more often, so they have lower weights: the ratio of eight buys is biased upwards."""
    goods = frame(2000, 900, 1, seed=6)
    is_positive = np.random.default_rng(6).random(2000) < goods.risk
    strata, ratios, shares = design_strata(goods, Design(1500)), [], []
    for seed in range(2000):
        at = draw(strata, seed).listing
        weight, verdict = 1 / strata.probability[at], is_positive[at]
        ratios.append((weight * verdict).sum() / weight.sum())
        result = (strata.stratum[at], strata.probability[at], goods.risk[at], verdict, np.ones(len(at), dtype=bool))
        shares.append(prevalence(*result).share)

    def bias(estimates: list[float]) -> float:
        return float((np.mean(estimates) - is_positive.mean()) / (np.std(estimates) / np.sqrt(len(estimates))))

    assert bias(ratios) > 3.5
    assert abs(bias(shares)) < 2
    assert min(shares) == 0
    assert max(shares) <= 1


def test_a_share_of_a_part_depends_only_on_that_part() -> None:
    stratum, probability, risk = np.zeros(6, dtype=np.int64), np.full(6, 0.1), np.full(6, 0.2)
    verdict, result = np.array([1, 0, 0, 1, 1, 1], dtype=bool), np.ones(6, dtype=bool)
    part = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    assert prevalence(stratum, probability, risk, verdict, result, part).share == pytest.approx(1 / 3)
    empty_part = prevalence(stratum, probability, risk, verdict, result, np.zeros(6, dtype=bool))
    assert (empty_part.low, empty_part.high, empty_part.effective) == (0.0, 1.0, 0.0)


def test_an_estimate_without_positives_has_an_upper_bound() -> None:
    estimate = prevalence(
        np.zeros(100, dtype=np.int64),
        np.full(100, 0.01),
        np.zeros(100),
        np.zeros(100, dtype=bool),
        np.ones(100, dtype=bool),
    )
    assert (estimate.share, estimate.low) == (0.0, 0.0)
    assert 0.03 < estimate.high < 0.04  # Clopper-Pearson for none of a hundred


@pytest.mark.parametrize(
    ("design", "change", "message"),
    [
        (Design(10), {}, "does not buy 2 of the dearest listing"),
        (Design(2000, merchant_cap=0), {}, "a cap of 0 buys a merchant"),
        (Design(2000), {"cost": np.zeros(300)}, "costs nothing, or no number"),
        (Design(20_000, merchant_cap=1), {"merchant": np.arange(300) % 2}, "raise the cap of buys from a merchant"),
    ],
)
def test_an_infeasible_plan_is_refused(design: Design, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        design_strata(replace(frame(300, 80, 3, seed=1), **change), design)
