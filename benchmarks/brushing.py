"""How much of the brushing is found, against the demo's truth: orders, merchants, ranks and services, pooled over seeds.

Each seed is made, trained and rated as of 2026-06-30. Of orders and of merchants it counts how many lie above the score at which
nine of ten are brushed, by archetype; an order that is not rated is not found. Then the greatest AUROC that one feature has
within an archetype, how the adjusted ranks compare with the true ones, and how well the accounts of services are found, by pairs.
Prints Markdown.

    make bench-brushing                                     (sixteen seeds: 500 innocent merchants of each kind)
    python benchmarks/brushing.py --scale 0.1 --seeds 301
    python benchmarks/brushing.py --homes FOLDER FOLDER     (homes that were rated already)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from quality import touchstone

from ml.declarations import load_declarations
from touchstone.demo.merchants import BRUSHERS, BRUSHING_LOOK_ALIKES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.demo_judges import auroc

PRECISION = 0.90
INNOCENTS_OF_FEATURES = 20
"""One innocent order in so many is compared with the brushed ones, where a feature's AUROC is asked."""
MODELS = {"orders": "review_brushing", "merchants": "merchant_brushing"}
TRUTHS = {
    "orders": """
        select coalesce(scores.margin, -1e9) as margin, truth.is_brushing, truth.archetype
        from '{home}/marketplace/truth/orders.parquet' as truth
        left join '{home}/scores/review_brushing/*/scores.parquet' as scores using (order_id)
    """,
    "merchants": """
        select scores.margin, truth.is_brushing, truth.archetype
        from '{home}/marketplace/truth/merchants.parquet' as truth
        inner join '{home}/scores/merchant_brushing/*/scores.parquet' as scores using (merchant_id)
    """,
}
FEATURES = {
    "orders": """
        select features.*, truth.is_brushing as is_positive, truth.archetype
        from read_parquet('{home}/features/reviews/*/features.parquet', hive_partitioning = false) as features
        inner join '{home}/marketplace/truth/orders.parquet' as truth using (order_id)
        where truth.is_brushing or hash(order_id) % {part} = 0
    """,
    "merchants": """
        select features.*, truth.is_brushing as is_positive, truth.archetype
        from read_parquet('{home}/features/brushing_merchants/*/features.parquet', hive_partitioning = false) as features
        inner join '{home}/marketplace/truth/merchants.parquet' as truth using (merchant_id)
    """,
}
RANKS = """
with sales as (
  select orders.listing_id, count(*) filter (where not truth.is_brushing) as true_sales_count
  from '{home}/marketplace/sources/orders.parquet' as orders
  inner join '{home}/marketplace/truth/orders.parquet' as truth using (order_id)
  group by 1),
ranked as (
  select
    ranks.*,
    truth.is_brushing,
    rank() over (partition by ranks.category order by raw_sales_count) as raw_place,
    rank() over (partition by ranks.category order by adjusted_sales_count) as adjusted_place,
    rank() over (partition by ranks.category order by coalesce(true_sales_count, 0)) as true_place
  from '{home}/marts/adjusted_rank/*/adjusted_rank.parquet' as ranks
  inner join '{home}/marketplace/truth/listings.parquet' as truth using (listing_id)
  left join sales using (listing_id))
select
  category,
  corr(raw_place, true_place) as raw,
  corr(adjusted_place, true_place) as adjusted,
  median(places_lost) filter (where not is_brushing) as honest_places_lost
from ranked group by 1 order by 1
"""
SERVICES = """
with ids as (
  select distinct made.buyer_id, landed.buyer_id as hashed
  from '{home}/marketplace/sources/orders.parquet' as made
  inner join read_parquet('{home}/landing/orders/*/*.parquet') as landed using (order_id)),
hired as (
  select distinct service_id, hashed as buyer_id
  from '{home}/marketplace/truth/services.parquet' inner join ids using (buyer_id)),
found as (select distinct service_id, buyer_id from '{home}/marts/brushing_services/*/brushing_services.parquet'),
pairs as (
  select count(*) as number from hired as one
  inner join hired as other on other.service_id = one.service_id and other.buyer_id > one.buyer_id),
found_pairs as (
  select one.buyer_id as a, other.buyer_id as b from found as one
  inner join found as other on other.service_id = one.service_id and other.buyer_id > one.buyer_id),
right_pairs as (
  select count(*) as number from found_pairs
  inner join hired as one on one.buyer_id = a
  inner join hired as other on other.buyer_id = b and other.service_id = one.service_id)
select (select number from right_pairs), (select count(*) from found_pairs), (select number from pairs)
"""


@dataclass
class Counts:
    """What is pooled over the seeds."""

    found: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    innocent: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    features: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    ranks: list[tuple[str, float, float, float]] = field(default_factory=list)
    pairs: list[tuple[int, int, int]] = field(default_factory=list)


def threshold(margin: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> float:
    """Returns the least margin above which nine of ten are brushed; infinite where there is none."""
    order = np.argsort(-margin, kind="stable")
    precise = np.cumsum(truth[order]) / np.arange(1, len(order) + 1) >= PRECISION
    return float(margin[order][np.flatnonzero(precise)[-1]]) if precise.any() else float("inf")


def count(home: Path, counts: Counts) -> None:
    """Adds what one rated home shows."""
    for what, truths in TRUTHS.items():
        if not any(home.glob(f"scores/{MODELS[what]}/*/scores.parquet")):
            print(f"{home}: {MODELS[what]} is off; none of its {what} are counted.", file=sys.stderr)
            continue
        rows = duckdb.sql(truths.format(home=home)).fetchnumpy()
        margin, truth = np.asarray(rows["margin"], dtype=np.float64), np.asarray(rows["is_brushing"], dtype=np.bool_)
        archetype = np.asarray(rows["archetype"]).astype(str)
        flagged = margin >= threshold(margin, truth)
        for kind in np.unique(archetype):
            for into, chosen in ((counts.found, truth), (counts.innocent, ~truth)):
                cell, of_kind = into[what, kind], chosen & (archetype == kind)
                cell[0] += int((flagged & of_kind).sum())
                cell[1] += int(of_kind.sum())
        counts.features[what].append(
            duckdb.sql(FEATURES[what].format(home=home, part=INNOCENTS_OF_FEATURES)).fetchnumpy()
        )
    counts.ranks += duckdb.sql(RANKS.format(home=home)).fetchall()
    counts.pairs += duckdb.sql(SERVICES.format(home=home)).fetchall()


def _column(parts: list[dict[str, Any]], name: str) -> npt.NDArray[np.float64]:
    values = [np.ma.filled(np.ma.asarray(part[name]).astype(np.float64), np.nan) for part in parts]
    return np.concatenate(values)


def best_single(parts: list[dict[str, Any]], model: str, kind: str) -> tuple[float, str]:
    """Returns the greatest AUROC that one of the model's features has between an archetype's brushed and the innocent."""
    truth = np.concatenate([np.asarray(part["is_positive"], dtype=np.bool_) for part in parts])
    archetype = np.concatenate([np.asarray(part["archetype"]).astype(str) for part in parts])
    chosen = ~truth | (archetype == kind)
    return max(
        (auroc(_column(parts, name)[chosen], truth[chosen]), name) for name in load_declarations()[model].columns
    )


def tell(counts: Counts) -> None:
    """Prints the page."""
    for what, model in MODELS.items():
        print(f"\n## Brushed {what}\n")
        print(f"| archetype | cases | found at {PRECISION:.0%} precision | best single feature |\n|---|---|---|---|")
        for kind in (*BRUSHERS, *(["brushed_by_rival"] if what == "orders" else [])):
            found, cases = counts.found[what, kind]
            if cases:
                area, name = best_single(counts.features[what], model, kind)
                print(f"| {kind} | {cases:,} | {found / cases:.2f} | {area:.3f} `{name}` |")
        found, cases = (sum(counts.found[what, kind][place] for kind in BRUSHERS) for place in (0, 1))
        print(f"| all | {cases:,} | {found / cases:.2f} | |")
        print("\n| innocent | cases | flagged |\n|---|---|---|")
        for kind in BRUSHING_LOOK_ALIKES:
            flagged, cases = counts.innocent[what, kind]
            print(f"| {kind} | {cases:,} | {flagged / max(cases, 1):.2%} |")
    of_category: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for category, raw, adjusted, _ in counts.ranks:
        of_category[category].append((raw, adjusted))
    better = sum(float(np.mean(pairs, axis=0) @ [-1, 1]) > 0 for pairs in of_category.values())
    at_once = sum(adjusted > raw for _, raw, adjusted, _ in counts.ranks)
    print(
        f"\n## Ranks\n\nThe adjusted order is nearer to the true one in {better} of {len(of_category)} categories, by the mean "
        f"of the seeds' correlations, and in {at_once} of {len(counts.ranks)} of each category and seed alone;"
    )
    print(f"honest goods move by at most {max(row[3] for row in counts.ranks):g} places at the median of one.")
    right, found, true = (sum(row[place] for row in counts.pairs) for place in range(3))
    print("\n## Services\n\nPairs of accounts of one service: ", end="")
    print(f"precision {right / max(found, 1):.3f}, recall {right / max(true, 1):.3f} of {true:,}.")


def main() -> None:
    """Makes, rates and counts; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1101, 1117)))
    parser.add_argument("--homes", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    counts = Counts()
    for home in options.homes:
        count(home, counts)
    for seed in options.seeds if not options.homes else []:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            touchstone(home, "demo", "--scale", str(options.scale), "--seed", str(seed))
            touchstone(home, "run", "--approve-if-passing")
            count(home, counts)
    tell(counts)


if __name__ == "__main__":
    main()
