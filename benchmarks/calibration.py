"""How far scores are probabilities, against the demo's truth: trained as of 2026-06-15, rated as of 2026-06-30, seeds pooled.

Of each model all that was rated: the slope of the truth on the log-odds of the score (1 is right, less says too much at both
ends), and in each band of ten points that holds 200 or more the share that is true, with its 95 % Wilson interval and whether
that touches the band. The pipeline never reads the truth; this does, afterwards. Prints Markdown.

    make bench-calibration                                  (ten seeds, an hour)
    python benchmarks/calibration.py --scale 0.1 --seeds 1101 1102
    python benchmarks/calibration.py --homes FOLDER FOLDER  (homes that were trained and rated so already)
    python benchmarks/calibration.py --versions FOLDER      (each version for listings, as it stood when it was trained)
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path
from unittest import mock

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from quality import AS_OF, calibration_slope, rate

from ml import calibrate as calibrating
from ml.declarations import load_declarations
from ml.metrics import calibration_slope as weighted_slope
from ml.model import load_booster, margin_of
from ml.registry import Registry
from ml.training_set import read_training_set

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


def tell_versions(home: Path) -> None:
    """Prints of each version for listings the slope on its verdicts and by the truth; and with a slope fitted in any case."""
    heads = (
        "version",
        "as of",
        "positives",
        "by chance",
        "slope on verdicts",
        "by the truth",
        "log loss",
        "if fitted",
        "log loss",
    )
    print("\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads))))
    declaration = load_declarations()["listing_counterfeit"]
    for version in Registry(home).versions(declaration.name):
        card = json.loads((version.folder.parent / "card.json").read_text())
        day = f"as_of={card['as_of']}"
        learned, lives = home / "training" / "listings" / day, home / "features" / "listings" / day / "features.parquet"
        features, spine, edges = (learned / f"{name}.parquet" for name in ("features", "spine", "edges"))
        known = read_training_set(declaration, features, spine, edges, lives, date.fromisoformat(card["as_of"]))
        booster = load_booster((version.folder / "main.ubj").read_bytes())
        verdicts, others = (known.rows.take(known.rows.has_purpose(name)) for name in ("calibrate", "known_positive"))
        margins = [margin_of(booster, rows.features).astype(np.float64) for rows in (verdicts, others, known.active)]
        truths = TRUTHS[declaration.name].format(truth=home / "marketplace" / "truth", as_of=card["as_of"])
        listed = f"select listing_id as id from read_parquet('{lives}', hive_partitioning = false)"
        is_true = duckdb.sql(
            f"select is_true from ({listed}) inner join ({truths}) using (id) order by id"
        ).fetchnumpy()
        truth = np.asarray(is_true["is_true"], dtype=np.bool_)[np.argsort(np.argsort(ids_of(lives)))]
        cells = [str(version.version), card["as_of"], *(str(int(count)) for count in (
            verdicts.label.sum(), (verdicts.label & verdicts.is_random_arm).sum()
        ))]  # fmt: skip
        for least in (calibrating.MIN_RANDOM_POSITIVES_FOR_SLOPE, 0):
            with mock.patch.object(calibrating, "MIN_RANDOM_POSITIVES_FOR_SLOPE", least):
                fitted = calibrating.calibrate(
                    margins[0],
                    verdicts.label,
                    verdicts.expansion_weight,
                    verdicts.is_random_arm,
                    is_known=np.isin(verdicts.entity, others.entity),
                    known=margins[1],
                    active=margins[2][~known.active.is_training_verdict],
                )
            probability = fitted.probability(margins[2])
            kept = np.clip(probability, 1e-4, 1 - 1e-4)
            loss = -float(np.mean(np.where(truth, np.log(kept), np.log(1 - kept))))
            if least:
                of_verdicts = weighted_slope(fitted.probability(margins[0]), verdicts.label, verdicts.expansion_weight)
                cells.append(f"{of_verdicts:.2f}")
            cells += [f"{calibration_slope(probability, truth):.2f}", f"{loss:.4f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def ids_of(features: Path) -> list[str]:
    """Returns the listings of a features file, in its order."""
    ids: list[str] = pq.read_table(features, columns=["listing_id"], partitioning=None)["listing_id"].to_pylist()
    return ids


def main() -> None:
    """Makes, trains, rates and counts; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1101, 1111)))
    parser.add_argument("--homes", type=Path, nargs="*", default=[])
    parser.add_argument("--versions", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    for home in options.versions:
        tell_versions(home)
    if options.versions:
        return
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
