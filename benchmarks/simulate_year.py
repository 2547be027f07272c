"""A year of test buys, and what it is worth to learn from them: twelve monthly rounds, each seed with and without.

Of each seed one marketplace of 540 days is worked in two homes. Each month both rate, train, and let a model rate that passes
its review, and one that fails only where none rates yet; the first home also plans some 400 test buys, and gets the verdicts ten
days later, as the truth has them. In the sixth month a new kind of counterfeiter appears, with a hundredth of the listings.

Printed for each month: average precision of the listings' scores, over listings that neither home has a label of, and the
prevalence estimated from the test buys, with its interval, and the true one of what could be bought. Printed over the seeds, of
the last three months: the mean difference of average precision with its paired 95 % interval.
The pipeline never reads the truth; this does.

    make simulate-year                                            (many hours; resumes when run again)
    python benchmarks/simulate_year.py --seeds 1402 --rounds 3    (a small one)
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

from touchstone.casework.test_buys import Request, frame_of
from touchstone.core.settings import read_settings
from touchstone.demo.generate import generate

ROOT = Path(__file__).resolve().parents[1]
DAYS, LAST_DAY, ROUNDS, EVERY = 540, date(2026, 6, 30), 12, 30
NEWCOMERS_ROUND = 6
DECIDED_AFTER = timedelta(days=10)
LAST_ROUNDS = 3
MODEL = "listing_counterfeit"
ARMS = ("with", "without")
POLICY = "target_precision: 0.9\naction: review\nallow_empty: true\nmax_flagged_share: 0.2\nlists: [listings]\n"

SCORES = """
select scores.listing_id, scores.score, truth.is_counterfeit and truth.since <= date '{as_of}' as is_counterfeit
from read_parquet('{home}/scores/{model}/as_of={as_of}/scores.parquet', hive_partitioning = false) as scores
inner join read_parquet('{home}/marketplace/truth/listings.parquet') as truth using (listing_id)
order by listing_id
"""
LABELLED = """
select distinct entity_id from int_labels
where entity_kind = 'listing' and cast(decided_at as date) <= date '{as_of}'
"""


@dataclass(frozen=True)
class Month:
    """One round: its number, from 1, and its day."""

    number: int
    as_of: date


def months(rounds: int) -> list[Month]:
    """Returns the rounds, the last of which is the last day of the marketplace."""
    return [Month(number, LAST_DAY - timedelta(days=EVERY * (rounds - number))) for number in range(1, rounds + 1)]


def touchstone(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts one command over a home, with one thread: the two homes run side by side."""
    return subprocess.Popen(  # noqa: S603  # our own command
        [str(Path(sys.executable).parent / "touchstone"), *arguments],
        env=os.environ
        | {
            "TOUCHSTONE_HOME": str(home),
            "TOUCHSTONE_THREADS": "1",
            "TOUCHSTONE_POLICY": str(home.parent / "policy.yml"),
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(command: subprocess.Popen[str]) -> str:
    """Waits for a command and returns what it printed; anything but success ends the simulation."""
    printed, errors = command.communicate()
    if command.returncode:
        raise SystemExit(f"{command.args!r} ended with {command.returncode}:\n{errors}")
    return printed


def prepare(folder: Path, seed: int, scale: float, rounds: int) -> dict[str, Path]:
    """Makes the marketplace of a seed in both homes, unless it is there."""
    homes = {arm: folder / arm for arm in ARMS}
    if not (folder / "policy.yml").exists():
        shutil.rmtree(folder, ignore_errors=True)
        newcomers = DAYS - 1 - EVERY * (rounds - NEWCOMERS_ROUND)
        generate(homes["with"] / "marketplace", scale=scale, days=DAYS, seed=seed, newcomers_day=float(newcomers))
        shutil.copytree(homes["with"], homes["without"])
        (folder / "policy.yml").write_text(POLICY)
    return homes


def work(homes: dict[str, Path], month: Month, budget: float) -> dict[str, Any]:
    """Works one month in both homes, side by side, and returns what came of it."""
    with ThreadPoolExecutor(len(homes)) as pool:
        begun = {
            arm: pool.submit(work_one, home, month, budget if arm == "with" else None) for arm, home in homes.items()
        }
        worked = {arm: month_of.result() for arm, month_of in begun.items()}
    rated = {arm: scores_of(home, month) for arm, home in homes.items()}
    labelled = set.union(*(known for known, _, _ in worked.values()))
    unlabelled = np.array([name not in labelled for name in rated["with"][0]])
    return {
        "round": month.number,
        "as_of": str(month.as_of),
        "average_precision": {
            arm: round(float(average_precision_score(truth[unlabelled], score[unlabelled])), 4)
            for arm, (_, score, truth) in rated.items()
        },
        "champion": {arm: version for arm, (_, version, _) in worked.items()},
        "unlabelled": int(unlabelled.sum()),
        **worked["with"][2],
    }


def work_one(home: Path, month: Month, budget: float | None) -> tuple[set[str], int, dict[str, Any]]:
    """Works one month in one home: rates and trains, lets a model rate that passes, and buys where there is a budget.

    Returns:
        The listings that it has a label of, the version that rates from now on, and what the test buys found.
    """
    done(touchstone(home, "run", "--as-of", str(month.as_of), "--train", "--approve-if-passing"))
    labelled, version = labels_of(home, month), approve(home, month)
    return labelled, version, {} if budget is None else buy(home, month, budget)


def scores_of(home: Path, month: Month) -> tuple[list[str], Any, Any]:
    """Returns ids, scores and the truth of what was rated."""
    rows = duckdb.sql(SCORES.format(home=home, model=MODEL, as_of=month.as_of)).fetchnumpy()
    return rows["listing_id"].tolist(), np.asarray(rows["score"]), np.asarray(rows["is_counterfeit"], dtype=bool)


def labels_of(home: Path, month: Month) -> set[str]:
    """Returns the listings that a home has a label of by a day."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return {row[0] for row in connection.execute(LABELLED.format(as_of=month.as_of)).fetchall()}


def approve(home: Path, month: Month) -> int:
    """Lets the newest version rate from the next month on if it passed; returns the version that rates then.

    Where none rates yet and the newest failed, it is let rate all the same, by an override, and rates this month: without scores
    there is nothing to buy by. Both homes know the same until then, so it is the same version in both.
    """
    versions = [
        v for v in json.loads(done(touchstone(home, "models", "list", "--json")))["versions"] if v["model"] == MODEL
    ]
    newest = max(versions, key=lambda version: int(version["version"]))
    champion = next((int(version["version"]) for version in versions if version["status"] == "champion"), None)
    passed = newest["gate"] == "passed"
    if champion is not None and (newest["status"] == "champion" or not passed):
        return champion
    why = [f"passed its review in round {month.number}"] if passed else ["none rates yet", "--override"]
    decided = ["models", "approve", MODEL, str(newest["version"]), "--who", "the simulation", "--why", *why]
    done(touchstone(home, *decided))
    if champion is None:
        done(touchstone(home, "run", "--as-of", str(month.as_of)))
    return int(newest["version"])


def buy(home: Path, month: Month, budget: float) -> dict[str, Any]:
    """Plans test buys, gives the verdicts that the truth has, and returns the estimates and the truth."""
    names, _, is_counterfeit = scores_of(home, month)
    truth = dict(zip(names, is_counterfeit.tolist(), strict=True))
    settings = read_settings(home=home)
    frame, _ = frame_of(settings, Request(budget=budget, currency="USD", as_of=month.as_of))
    on_offer = [truth[name] for name in frame["listing_id"].to_pylist()]
    planned = json.loads(
        done(touchstone(home, "test-buys", "plan", "--budget", str(budget), "--as-of", str(month.as_of), "--json"))
    )
    sheet = home / "filled.csv"
    ordered, decided = month.as_of + timedelta(days=1), month.as_of + DECIDED_AFTER
    with sheet.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["plan_id", "listing_id", "verdict", "ordered_at", "decided_at"])
        for pick in planned["picks"]:
            verdict = "counterfeit" if truth[pick["listing_id"]] else "genuine"
            writer.writerow([planned["plan_id"], pick["listing_id"], verdict, ordered, decided])
    done(touchstone(home, "test-buys", "record", str(sheet)))
    report = json.loads(done(touchstone(home, "test-buys", "report", "--plan", planned["plan_id"], "--json")))
    return {
        "buys": len(planned["picks"]),
        "counterfeit_buys": report["verdicts"]["counterfeit"],
        "prevalence": report["prevalence"],
        "true_prevalence": round(float(np.mean(on_offer)), 6),
    }


def summary(seeds: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the difference of average precision over the last months, and how often prevalence lay within its interval."""
    differences = [
        float(
            np.mean(
                [row["average_precision"]["with"] - row["average_precision"]["without"] for row in rows[-LAST_ROUNDS:]]
            )
        )
        for rows in seeds.values()
    ]
    count = len(differences)
    every = [row for rows in seeds.values() for row in rows]
    inside = [row["prevalence"]["low"] <= row["true_prevalence"] <= row["prevalence"]["high"] for row in every]
    mean = float(np.mean(differences))
    spread = np.std(differences, ddof=1) / np.sqrt(count) if count > 1 else None
    half = None if spread is None else float(student.ppf(0.975, count - 1) * spread)
    return {
        "seeds": count,
        "difference_by_seed": [round(value, 4) for value in differences],
        "mean_difference": round(mean, 4),
        "paired_interval": None if half is None else [round(mean - half, 4), round(mean + half, 4)],
        "months": len(every),
        "prevalence_within_its_interval": int(sum(inside)),
        "mean_buys": round(float(np.mean([row["buys"] for row in every])), 1),
    }


def draw(seeds: dict[int, list[dict[str, Any]]], target: Path) -> None:
    """Draws both curves of average precision and the prevalence that is estimated next to the true one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    numbers = [row["round"] for row in next(iter(seeds.values()))]
    for arm, colour in zip(ARMS, ("#1b6e9c", "#b0702a"), strict=True):
        curves = np.array([[row["average_precision"][arm] for row in rows] for rows in seeds.values()])
        above.plot(numbers, curves.T, color=colour, alpha=0.25, linewidth=1)
        above.plot(numbers, curves.mean(axis=0), color=colour, linewidth=2.5, label=f"{arm} the verdicts")
    above.set_ylabel("average precision\n(listings without a label)")
    above.legend(frameon=False)
    for place, rows in enumerate(seeds.values()):
        at = np.array(numbers) + 0.12 * (place - (len(seeds) - 1) / 2)
        share = 100 * np.array([row["prevalence"]["share"] for row in rows])
        low, high = (100 * np.array([row["prevalence"][end] for row in rows]) for end in ("low", "high"))
        below.errorbar(at, share, yerr=[share - low, high - share], fmt="o", color="#1b6e9c", markersize=3, linewidth=1)
        below.plot(at, [100 * row["true_prevalence"] for row in rows], "_", color="black", markersize=9)
    below.set_ylabel("counterfeit, % of what is on offer\n(black: true)")
    below.set_xlabel("month")
    for axes in (above, below):
        axes.axvline(NEWCOMERS_ROUND - 0.5, color="#888", linestyle=":", linewidth=1)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def simulate(folder: Path, seed: int, scale: float, rounds: int, budget: float) -> list[dict[str, Any]]:
    """Works a seed's year, and keeps each month when it is done."""
    kept = folder / f"{seed}.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    if len(rows) == rounds:
        return rows
    homes = prepare(folder / str(seed), seed, scale, rounds)
    for month in months(rounds)[len(rows) :]:
        rows.append(work(homes, month, budget))
        kept.write_text(json.dumps(rows, indent=2))
        print(json.dumps({"seed": seed, **rows[-1]}), flush=True)
    shutil.rmtree(folder / str(seed))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulates every seed, prints what came of it and draws it; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1402, 1403, 1404, 1405, 1406])
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=48_000.0, help="of each month; buys some 400")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "benchmarks" / "results" / "simulated-year",
        help="homes and what is done already",
    )
    parser.add_argument("--plot", type=Path, default=None)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    seeds = {
        seed: simulate(options.folder, seed, options.scale, options.rounds, options.budget) for seed in options.seeds
    }
    print(json.dumps(summary(seeds), indent=2))
    draw(seeds, options.plot or options.folder / "simulated-year.png")


if __name__ == "__main__":
    main()
