"""How far scores are probabilities, against the demo's truth: trained as of 2026-06-15, rated as of 2026-06-30, seeds pooled.

Of each model all that was rated: the slope of the truth on the log-odds of the score (1 is right, less says too much at both
ends), and in each band of ten points that holds 200 or more the share that is true, with its 95 % Wilson interval and whether
that touches the band. The pipeline never reads the truth; this does, afterwards. Prints Markdown.

    make bench-calibration                                  (ten seeds, an hour)
    python benchmarks/calibration.py --scale 0.1 --seeds 1101 1102
    python benchmarks/calibration.py --homes FOLDER FOLDER  (homes that were trained and rated so already)
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from quality import AS_OF, calibration_slope, rate

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEAST_IN_BAND = 200
# What each model rates, and whether it is so. A trade is its order, or the review of one that is not on record.
TRUTHS = {
    "listing_counterfeit": """
        select listing_id as id, is_counterfeit and since <= date '{as_of}' as is_true from '{truth}/listings.parquet'
    """,
    "merchant_counterfeit": "select merchant_id as id, is_counterfeit as is_true from '{truth}/merchants.parquet'",
    "review_brushing": """
        select order_id as id, is_brushing as is_true from '{truth}/orders.parquet'
        union all
        select review_id as id, is_brushing as is_true from '{truth}/reviews.parquet'
    """,
    "merchant_brushing": "select merchant_id as id, is_brushing as is_true from '{truth}/merchants.parquet'",
}
IDS = {
    "listing_counterfeit": "listing_id",
    "merchant_counterfeit": "merchant_id",
    "review_brushing": "coalesce(order_id, review_id)",
    "merchant_brushing": "merchant_id",
}
RATED = """
select score / 100 as probability, is_true
from read_parquet('{home}/scores/{model}/as_of={as_of}/scores.parquet', hive_partitioning = false) as scores
inner join ({truths}) as truths on truths.id = {id}
"""


def rated(home: Path, model: str) -> tuple[Floats, Flags]:
    """Returns the scores of a home as probabilities, and what is true; empty where the model was off."""
    if not (home / "scores" / model / f"as_of={AS_OF}").is_dir():
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    truths = TRUTHS[model].format(truth=home / "marketplace" / "truth", as_of=AS_OF)
    rows = duckdb.sql(RATED.format(home=home, model=model, as_of=AS_OF, truths=truths, id=IDS[model])).fetchnumpy()
    return np.asarray(rows["probability"], dtype=np.float64), np.asarray(rows["is_true"], dtype=np.bool_)


def wilson(positives: int, number: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns Wilson's interval of a share."""
    share, scale = positives / number, 1 + z * z / number
    middle = (share + z * z / (2 * number)) / scale
    half = z * float(np.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)) / scale
    return middle - half, middle + half


def tell(pooled: dict[str, list[tuple[Floats, Flags]]]) -> None:
    """Prints the page."""
    held, bands = 0, 0
    for model, parts in pooled.items():
        probability, truth = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        if not truth.any():
            print(f"\n## {model}\n\nNothing was rated.")
            continue
        slope = calibration_slope(probability, truth)
        slopes = ", ".join(f"{calibration_slope(*part):.2f}" for part in parts if part[1].any())
        print(
            f"\n## {model}\n\n{len(truth):,} rated, {int(truth.sum()):,} true; slope {slope:.2f} (by seed {slopes}).\n"
        )
        print("| score | rated | mean score | true | 95 % | holds |\n|---|---|---|---|---|---|")
        band = np.minimum(np.floor(probability * 10 + 1e-9).astype(np.int64), 9)
        for at in range(10):
            inside = band == at
            number, positives = int(inside.sum()), int(truth[inside].sum())
            if number < LEAST_IN_BAND:
                continue
            low, high = wilson(positives, number)
            holds = low <= (at + 1) / 10 and high >= at / 10
            held, bands = held + holds, bands + 1
            cells = [100 * probability[inside].mean(), 100 * positives / number, 100 * low, 100 * high]
            mean, share, *interval = (f"{cell:.1f}" for cell in cells)
            holds_or_not = "yes" if holds else "no"
            print(
                f"| {10 * at} to {10 * at + 10} | {number:,} | {mean} | {share} | {' to '.join(interval)} | {holds_or_not} |"
            )
    print(f"\n{held} of {bands} bands hold.")


def main() -> None:
    """Makes, trains, rates and counts; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1101, 1111)))
    parser.add_argument("--homes", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    pooled: dict[str, list[tuple[Floats, Flags]]] = defaultdict(list)
    for home in options.homes:
        for model in TRUTHS:
            pooled[model].append(rated(home, model))
    for seed in options.seeds if not options.homes else []:
        with tempfile.TemporaryDirectory() as folder:
            rate(Path(folder), options.scale, seed, 1.0)
            for model in TRUTHS:
                pooled[model].append(rated(Path(folder), model))
    tell(pooled)


if __name__ == "__main__":
    main()
