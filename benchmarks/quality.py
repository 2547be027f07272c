"""How well the demo is rated, against its truth: trained as of 2026-06-15, rated as of 2026-06-30, by seed.

The pipeline never reads the truth; this does, afterwards. Prints one JSON object: a row of figures a seed, and medians.

    python benchmarks/quality.py --scale 0.1 --seeds 101 102 103
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

ROOT = Path(__file__).resolve().parents[1]
TRAINED_AS_OF, AS_OF = "2026-06-15", "2026-06-30"
HIGH_SCORE = 50.0

# A label is what a platform knows of a listing by as_of: a decided notice that says what it is, a verdict, a decision.
LABELLED = """
select listing_id from read_parquet('{sources}/notices.parquet')
where decided_at < timestamptz '{as_of} 00:00:00+00' + interval 1 day and (
  outcome = 'upheld'
  or (outcome = 'rejected' and reason in ('genuine', 'authorised_seller', 'proof_of_purchase'))
)
union
select listing_id from read_parquet('{sources}/test_buys.parquet')
where decided_at < timestamptz '{as_of} 00:00:00+00' + interval 1 day and verdict in ('genuine', 'counterfeit')
union
select entity_id from read_parquet('{sources}/moderation_decisions.parquet')
where entity_kind = 'listing' and decided_at < timestamptz '{as_of} 00:00:00+00' + interval 1 day
"""
RATED = """
select
  scores.score / 100 as probability,
  truth.is_counterfeit and truth.since <= date '{as_of}' as is_counterfeit,
  labelled.listing_id is not null as is_labelled
from read_parquet('{home}/scores/listing_counterfeit/as_of={as_of}/scores.parquet', hive_partitioning = false) as scores
inner join read_parquet('{truth}/listings.parquet') as truth using (listing_id)
left join ({labelled}) as labelled using (listing_id)
order by listing_id
"""


def revision() -> str:
    """Returns the commit that this code is of, with `-dirty` where it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603  # our own command
    return done.stdout.strip()


def touchstone(home: Path, *arguments: str) -> None:
    """Runs one command over a home; anything but success ends the measurement."""
    subprocess.run(  # noqa: S603  # our own command
        [str(Path(sys.executable).parent / "touchstone"), *arguments],
        env=os.environ | {"TOUCHSTONE_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def rate(home: Path, scale: float, seed: int, hardness: float) -> None:
    """Makes a marketplace, trains on it as of one date and rates it as of a later one."""
    touchstone(home, "demo", "--scale", str(scale), "--seed", str(seed), "--hardness", str(hardness))
    touchstone(home, "run", "--as-of", TRAINED_AS_OF, "--train", "--approve-if-passing")
    touchstone(home, "run", "--as-of", AS_OF)


def measure(home: Path) -> dict[str, float]:
    """Returns the figures of one rated home."""
    sources, truth = home / "marketplace" / "sources", home / "marketplace" / "truth"
    labelled = LABELLED.format(sources=sources, as_of=AS_OF)
    rows = duckdb.execute(RATED.format(home=home, truth=truth, as_of=AS_OF, labelled=labelled)).fetchnumpy()
    probability = np.asarray(rows["probability"], dtype=np.float64)
    label = np.asarray(rows["is_counterfeit"], dtype=bool)
    unlabelled = ~np.asarray(rows["is_labelled"], dtype=bool)
    prevalence = float(label[unlabelled].mean())
    average_precision = float(average_precision_score(label[unlabelled], probability[unlabelled]))
    high = probability * 100 >= HIGH_SCORE
    return {
        "live": len(label),
        "prevalence": float(label.mean()),
        "unlabelled_prevalence": prevalence,
        "unlabelled_average_precision": average_precision,
        "unlabelled_average_precision_over_prevalence": average_precision / prevalence,
        "auroc": float(roc_auc_score(label, probability)),
        "calibration_slope": calibration_slope(probability, label),
        "high_scores": int(high.sum()),
        "high_score_error": abs(float(probability[high].mean() - label[high].mean())) if high.any() else float("nan"),
        "brier_skill": float(1 - np.mean((probability - label) ** 2) / (label.mean() * (1 - label.mean()))),
    }


def calibration_slope(probability: npt.NDArray[np.float64], label: npt.NDArray[np.bool_]) -> float:
    """Returns the slope of an unpenalised logistic regression of truth on logit p, p clipped to 1e-4."""
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped)).reshape(-1, 1)
    return float(LogisticRegression(C=np.inf, max_iter=1000).fit(logit, label).coef_[0, 0])


def measure_seeds(seeds: list[int], scale: float, hardness: float = 1.0) -> dict[str, dict[str, float]]:
    """Returns the figures by seed, and their medians under `median`."""
    figures: dict[str, dict[str, float]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            rate(Path(folder), scale, seed, hardness)
            figures[str(seed)] = measure(Path(folder))
        print(seed, json.dumps(figures[str(seed)]), file=sys.stderr, flush=True)
    names = figures[str(seeds[0])]
    figures["median"] = {name: statistics.median(figures[str(seed)][name] for seed in seeds) for name in names}
    return figures


def main() -> None:
    """Parses the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--hardness", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    arguments = parser.parse_args()
    print(json.dumps(measure_seeds(arguments.seeds, arguments.scale, arguments.hardness), indent=2))


if __name__ == "__main__":
    main()
