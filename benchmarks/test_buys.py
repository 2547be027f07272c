"""How well plans of test buys estimate the prevalence, against the demo's truth: a thousand plans of one home, for each budget.

Of the estimates: bias in standard errors, how often the 95 % interval holds the truth, and how wide it is compared with Clopper
and Pearson's at the variance that the estimates have. Of the plans: buys, what they cost, and how many of those bought for
their risk are counterfeit. The pipeline never reads the truth; this does, afterwards. Prints Markdown.

    python benchmarks/test_buys.py --seed 1101                       (makes a home at scale 0.1 and rates it; half an hour)
    python benchmarks/test_buys.py --home FOLDER --plans 1000        (a home that was rated as of 2026-06-30 already)
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from quality import AS_OF, rate
from scipy.stats import beta

from ml.sampling import Design, Frame, design_strata, draw, prevalence

GOODS = """
select
    dense_rank() over (order by features.merchant_id) - 1 as merchant,
    dense_rank() over (order by features.category) - 1 as category,
    features.price_base as cost,
    scores.score / 100 as risk,
    truths.is_counterfeit and truths.since <= date '{as_of}' as is_counterfeit
from read_parquet('{home}/features/listings/as_of={as_of}/features.parquet', hive_partitioning = false) as features
inner join read_parquet('{home}/scores/listing_counterfeit/as_of={as_of}/scores.parquet', hive_partitioning = false) as scores
    using (listing_id)
inner join read_parquet('{home}/marketplace/truth/listings.parquet') as truths using (listing_id)
where features.price_base > 0
order by listing_id
"""
COLUMNS = (
    "budget",
    "buys",
    "cost",
    "prevalence",
    "mean estimate",
    "bias in standard errors",
    "interval holds it",
    "width relative to Clopper and Pearson's",
    "of bought for risk counterfeit",
    "seconds a plan",
)


def goods(home: Path) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """Returns a home's live listings as a frame, and which are counterfeit."""
    rows = duckdb.sql(GOODS.format(home=home, as_of=AS_OF)).fetchnumpy()
    return (
        Frame(
            merchant=np.asarray(rows["merchant"], dtype=np.int64),
            category=np.asarray(rows["category"], dtype=np.int64),
            cost=np.asarray(rows["cost"], dtype=np.float64),
            risk=np.asarray(rows["risk"], dtype=np.float64),
            certain=np.zeros(len(rows["cost"]), dtype=bool),
        ),
        np.asarray(rows["is_counterfeit"], dtype=bool),
    )


def tell(frame: Frame, truth: npt.NDArray[np.bool_], budget: float, plans: int) -> None:
    """Draws the plans of one budget and prints a row."""
    design = Design(budget)
    strata, share = design_strata(frame, design), float(truth.mean())
    estimates, costs, risky, begun = [], [], [], time.monotonic()
    for seed in range(1, plans + 1):
        plan = draw(strata, seed)
        at = plan.listing
        if np.bincount(frame.merchant[at]).max() > design.merchant_cap or frame.cost[at].sum() > budget:
            raise AssertionError(f"plan {seed} passes its cap or its budget")
        everybody = np.ones(len(at), dtype=bool)
        sample = (strata.stratum[at], strata.probability[at], frame.risk[at], truth[at], everybody)
        estimates.append(prevalence(*sample))
        costs.append(frame.cost[at].sum())
        risky.append(truth[at][plan.is_risk].mean())
    took = time.monotonic() - begun
    shares = np.array([estimate.share for estimate in estimates])
    effective = share * (1 - share) / float(shares.var())
    ideal = beta.ppf(
        [0.025, 0.975],
        [effective * share, effective * share + 1],
        [effective * (1 - share) + 1, effective * (1 - share)],
    )
    wide = float(np.mean([estimate.high - estimate.low for estimate in estimates]))
    holds = 100 * np.mean([estimate.low <= share <= estimate.high for estimate in estimates])
    cells = [
        f"{budget:,.0f}",
        f"{int(strata.number.sum())} in {len(strata.number)} strata",
        f"{np.mean(costs):,.0f}",
        f"{100 * share:.2f} %",
        f"{100 * shares.mean():.2f} %",
        f"{(shares.mean() - share) / (shares.std() / np.sqrt(plans)):+.1f}",
        f"{holds:.1f} %",
        f"{wide / float(ideal[1] - ideal[0]):.2f}",
        f"{100 * np.mean(risky):.0f} %",
        f"{took / plans:.2f}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Makes and rates a home unless it is given, and draws plans of it; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1101)
    parser.add_argument("--budgets", type=float, nargs="*", default=[38_000, 170_000])
    parser.add_argument("--plans", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.home is None:
            rate(Path(folder), options.scale, options.seed, 1.0)
        frame, truth = goods(options.home or Path(folder))
    print(
        f"{len(truth):,} live listings, {int(truth.sum()):,} counterfeit; {options.plans} plans for each budget, seeds from 1.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for budget in options.budgets:
        tell(frame, truth, budget, options.plans)


if __name__ == "__main__":
    main()
