"""A marketplace's first months without a label: starter ranking, three monthly plans of 400 verdicts, training after each.

The demo with all label tables removed. Each month the ranking in force draws a plan of test buys, the demo's truth gives the
verdicts, and the next month trains on them. Measured against the truth, on the active listings without a verdict: average
precision and precision in the first 100 after each round; after the last ones also the calibration slope, and the prevalence
that the test buys estimate.
The pipeline never reads the truth; this does, afterwards. Prints Markdown.

    python benchmarks/first_day.py --scale 0.1 --seeds 1201 1202 1203 1204
    python benchmarks/first_day.py --scale 0.1 --seeds 1201 --rounds 0      (the starter alone)
    python benchmarks/first_day.py --scale 0.02 --seeds 7 --plot docs/images/first-day.png
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import yaml

from ml.metrics import calibration_slope
from ml.registry import Registry
from ml.sampling import Design, design_strata
from touchstone.casework.plans import sampling_frame
from touchstone.casework.reports import figure_values, read_report
from touchstone.casework.test_buys import Request, frame_of
from touchstone.core.settings import Settings
from touchstone.demo.generate import generate

LABEL_TABLES = (
    "notices", "test_buys", "moderation_decisions", "platform_actions", "enforcement_actions", "appeals", "suppressions",
)  # fmt: skip
MODEL = "listing_counterfeit"
DATES = (date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 31), date(2026, 6, 30))
BUYS = 400
RESAMPLES = 200


@dataclass(frozen=True)
class Round:
    """What a month's ranking is worth.

    Attributes:
        as_of: The day.
        kind: `starter`, or the calibration's method.
        verdicts: Number of verdicts so far.
        active: Active listings without a verdict.
        prevalence: Share of counterfeits among them.
        average_precision: Of the ranking of them.
        first_100: Share of counterfeits among the first 100.
        estimate: Mean score / 100 of all active listings.
        true_share: Share of counterfeits among all active listings.
        slope: Calibration slope on the listings without a verdict; nan for a ranking.
        slope_interval: Its 95 % interval, by resampling the listings.
        bought: The prevalence that the test buys of the last 90 days give, with its 95 % interval; nan before any verdict.
    """

    as_of: date
    kind: str
    verdicts: int
    active: int
    prevalence: float
    average_precision: float
    first_100: float
    estimate: float
    true_share: float
    slope: float
    slope_interval: tuple[float, float]
    bought: tuple[float, float, float]


def without_labels(folder: Path, scale: float, seed: int) -> None:
    """Makes the demo marketplace without its label tables."""
    generate(folder, scale=scale, days=120, seed=seed, hardness=1.0)
    file = folder / "sources.yml"
    content = yaml.safe_load(file.read_text())
    for name in LABEL_TABLES:
        content["inputs"].pop(name, None)
        content["tables"].pop(name, None)
        (folder / "sources" / f"{name}.parquet").unlink(missing_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def touchstone(home: Path, *arguments: str) -> str:
    """Runs a command over a home; returns what it prints."""
    done = subprocess.run(  # noqa: S603  # the commands of this file
        [sys.executable, "-c", "from touchstone.cli.start import main; main()", *arguments],
        env=os.environ
        | {
            "TOUCHSTONE_HOME": str(home),
            "TOUCHSTONE_SOURCES": str(home.parent / "market" / "sources.yml"),
            "TOUCHSTONE_TRAINER_MAY_APPROVE": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"touchstone {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def plan_and_record(home: Path, truth: Path, as_of: date) -> None:
    """Draws a plan of about 400 test buys and records the truth as their verdicts, a week later."""
    settings = Settings(home=home)
    budget = min(_budgets(settings, as_of), key=lambda each: abs(_buys(settings, as_of, each) - BUYS))
    facts = json.loads(touchstone(home, "test-buys", "plan", "--budget", str(budget), "--as-of", str(as_of), "--json"))
    sheet = Path(facts["folder"]) / "buy_sheet.csv"
    genuine = {
        row[0]: not row[1]
        for row in duckdb.execute(
            "select listing_id, is_counterfeit and since <= $as_of from read_parquet($truth)",
            {"as_of": as_of, "truth": str(truth / "listings.parquet")},
        ).fetchall()
    }
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        verdict = "genuine" if genuine[row["listing_id"]] else "counterfeit"
        row.update(
            ordered_at=f"{as_of + timedelta(days=1)} 12:00:00",
            decided_at=f"{as_of + timedelta(days=8)} 12:00:00",
            verdict=verdict,
        )
    filled = home / "buy_sheet.csv"
    with filled.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    touchstone(home, "test-buys", "record", str(filled))


def _budgets(settings: Settings, as_of: date) -> list[float]:
    """Returns budgets among which one buys about 400 listings, by bisection."""
    low, high, tried = 1_000.0, 1_000_000.0, []
    for _ in range(14):
        middle = round((low * high) ** 0.5, 2)
        tried.append(middle)
        low, high = (middle, high) if _buys(settings, as_of, middle) < BUYS else (low, middle)
    return tried


def _buys(settings: Settings, as_of: date, budget: float) -> int:
    frame, _ = frame_of(settings, Request(budget=budget, currency="USD", as_of=as_of))
    return int(design_strata(sampling_frame(frame, "listing_id"), Design(budget=budget)).number.sum())


def measure(home: Path, truth: Path, as_of: date) -> Round:
    """Measures the scores of a day against the truth."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("create table verdicts (listing_id varchar)")
        if files := [str(file) for file in home.glob("landing/test_buys/*/*.parquet")]:
            connection.execute(
                "insert into verdicts select distinct listing_id from read_parquet($files)", {"files": sorted(files)}
            )
        rows = connection.execute(
            """
            select scores.score, coalesce(t.is_counterfeit and t.since <= $as_of, false) as is_true,
                verdicts.listing_id is not null as has_verdict
            from read_parquet($scores, hive_partitioning = false) as scores
            left join read_parquet($truth) as t using (listing_id)
            left join verdicts using (listing_id)
            order by scores.score desc, scores.margin desc, scores.listing_id
            """,
            {
                "scores": str(home / "scores" / MODEL / f"as_of={as_of}" / "scores.parquet"),
                "truth": str(truth / "listings.parquet"),
                "as_of": as_of,
            },
        ).fetchnumpy()
    score, is_true, open_ = rows["score"] / 100, rows["is_true"].astype(bool), ~rows["has_verdict"].astype(bool)
    found = is_true[open_]
    precision = np.cumsum(found) / np.arange(1, len(found) + 1)
    champion = Registry(home).champion(MODEL)
    if champion is None:
        raise SystemExit(f"no version of {MODEL} rates as of {as_of}")
    kind = "starter" if champion.card.get("is_starter") else champion.card["calibration"]["main"]["method"]
    slope, slope_interval = slope_of(score[open_], found) if champion.is_calibrated else (np.nan, (np.nan, np.nan))
    figures = figure_values(read_report(home, as_of)[1])
    low, share, high = (figures[f"test_buys.prevalence_{name}"] for name in ("low", "share", "high"))
    return Round(
        as_of, kind, int((~open_).sum()), len(found), float(found.mean()), float(precision[found].mean()),
        float(found[:100].mean()), float(score.mean()), float(is_true.mean()), slope,
        slope_interval, (np.nan, np.nan, np.nan) if share is None else (low, share, high),
    )  # fmt: skip


def slope_of(score: npt.NDArray[np.float64], label: npt.NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Returns the calibration slope and its 95 % interval, from 200 samples of the listings with replacement."""
    rng, weight = np.random.default_rng(0), np.ones(len(label))
    samples = [
        calibration_slope(score, label, rng.multinomial(len(label), weight / len(label)).astype(np.float64))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(samples, (0.025, 0.975))
    return calibration_slope(score, label, weight), (float(low), float(high))


def run_seed(scale: float, seed: int, rounds: int) -> list[Round]:
    """Runs the loop for one seed."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        market, home = Path(folder) / "market", Path(folder) / "home"
        without_labels(market, scale, seed)
        truth = market / "truth"
        dates = DATES[len(DATES) - 1 - rounds :]
        for number, as_of in enumerate(dates):
            arguments = ["run", "--as-of", str(as_of)]
            touchstone(home, *arguments, "--train", "--approve-if-passing")
            newest = max(Registry(home).versions(MODEL), key=lambda version: version.version)
            if newest.status == "challenger":
                why = "passes the gate" if not newest.failures else "; ".join(newest.failures)
                print(f"<!-- seed {seed}, {as_of}: version {newest.version} is approved: {why} -->", file=sys.stderr)
                touchstone(home, "models", "approve", MODEL, str(newest.version), "--why", why[:200], "--override")
                touchstone(home, *arguments)
            results.append(measure(home, truth, as_of))
            if number < rounds:
                plan_and_record(home, truth, as_of)
    return results


def plot(all_rounds: list[list[Round]], file: Path) -> None:
    """Draws average precision and precision in the first 100 by number of verdicts."""
    from ml.plots import new_axes, png

    figure, axes = new_axes("From no label to a calibrated model", "verdicts", "share")
    for index, rounds in enumerate(all_rounds):
        verdicts = [each.verdicts for each in rounds]
        label = ("average precision", "precision in the first 100") if index == 0 else (None, None)
        axes.plot(verdicts, [each.average_precision for each in rounds], marker="o", color="#33658a", label=label[0])
        axes.plot(verdicts, [each.first_100 for each in rounds], marker="s", color="#f26419", label=label[1])
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    file.write_bytes(png(figure))


def main() -> None:
    """Prints a row for each seed and round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1201, 1202, 1203, 1204])
    parser.add_argument("--rounds", type=int, default=3, choices=range(4))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    heads = ["seed", "as of", "model", "verdicts", "prevalence", "average precision", "times prevalence", "first 100"]
    heads += ["mean score", "true", "slope (95 %)", "by test buys (95 %)"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    all_rounds = []
    for seed in given.seeds:
        all_rounds.append(run_seed(given.scale, seed, given.rounds))
        for each in all_rounds[-1]:
            mean = "" if each.kind in ("starter", "ranking") else f"{each.estimate:.4f}"
            low, share, high = each.bought
            bought = "" if np.isnan(share) else f"{share:.4f} ({low:.4f} to {high:.4f})"
            slope = "" if np.isnan(each.slope) else "{:.2f} ({:.2f} to {:.2f})".format(each.slope, *each.slope_interval)
            cells = [
                str(seed), str(each.as_of), each.kind, f"{each.verdicts:,}", f"{each.prevalence:.4f}",
                f"{each.average_precision:.3f}", f"{each.average_precision / each.prevalence:.1f}", f"{each.first_100:.2f}",
                mean, f"{each.true_share:.4f}", slope, bought,
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)
    if given.plot:
        plot(all_rounds, given.plot)


if __name__ == "__main__":
    main()
