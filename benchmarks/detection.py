"""What each signal finds, on the demo's known truth: recall by archetype, and what is lost where one signal is left out.

A marketplace is trained on as of 2026-06-15 and rated as of 2026-06-30, as benchmarks/quality.py does. Then each model is
trained again on the same rows without one signal's features at a time. Counts are pooled over seeds until every rate of
interest rests on `--cases` entities; it prints them as Markdown, which is docs/detection.md. With `--counts` a seed's counts
are kept in a file there, by the code's revision, and not made again: a run that was stopped goes on where it was, and several
may share the seeds.

    make bench-detection
    python benchmarks/detection.py --scale 0.02 --seeds 101 --cases 1
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from quality import AS_OF, LABELLED, TRAINED_AS_OF, rate, revision

from ml.boosting import Parameters, fit_booster
from ml.declarations import SIGNALS, Declaration, load_declarations
from ml.model import load_booster, margin_of
from ml.registry import Registry
from ml.training_set import matrix, read_training_set, split_rows
from touchstone.demo.merchants import BRUSHERS, BRUSHING_LOOK_ALIKES, COUNTERFEITERS

Bools = npt.NDArray[np.bool_]
Counts = dict[str, list[Any]]
TARGET = 0.90
EVERYTHING = "everything"
"""In place of a signal's name: nothing was left out."""
AT_FLAG = "at the flag threshold"
ANY = "all of them"
OWN_SIGNAL = {
    "too_cheap": "price", "complaint_drawing": "review", "spec_liar": "spec", "picture_copier": "logo", "word_evader": "text",
    "fly_by_night": "merchant", "ring": "link",
}  # fmt: skip
"""The signal that is there to find an archetype. What gives a brusher away is in its orders."""
HEAD = """# What each signal finds

`make bench-detection` prints this page. Code {revision}; demo marketplaces at scale {scale}, seeds
{seeds}; trained as of {trained}, rated as of {rated}. Counts are
pooled over the seeds and compared with the demo's truth.

| column | meaning |
| --- | --- |
| cases | listings: counterfeits without a label; merchants: active merchants that sell a counterfeit |
| at the flag threshold | share of the cases that the model flags, by its threshold and the floor on own conduct |
| at {target} precision | share of the cases above the score at which {target} of everything above is counterfeit, by the truth |
| without a signal | change of the previous column if the model is trained without that signal's features |
| **bold** | the signal that is meant to find the archetype |
| flagged | share of an honest group that the model flags |
"""
POOLED = dict.fromkeys(BRUSHERS, "brusher") | dict.fromkeys(BRUSHING_LOOK_ALIKES, "honest")
"""How they brush, or seem to, does not concern counterfeits, and each kind has few merchants: they count as one."""
INNOCENT = {"brusher": "brusher of genuine goods", "honest": "any other honest merchant"}

# What each row of a list is, for the lists of counterfeits. A merchant is counterfeit if one of its live listings is.
TRUTH = {
    "listings": """
        select
          rated.listing_id as id,
          truth.archetype,
          truth.is_counterfeit and truth.since <= date '{as_of}' as is_counterfeit,
          sellers.is_counterfeit as of_counterfeiter,
          labelled.listing_id is not null as is_labelled
        from read_parquet('{features}', hive_partitioning = false) as rated
        inner join read_parquet('{truth}/listings.parquet') as truth using (listing_id)
        inner join ({sellers}) as sellers using (merchant_id)
        left join ({labelled}) as labelled using (listing_id)
        order by id
    """,
    "merchants": """
        select
          rated.merchant_id as id,
          truth.archetype,
          coalesce(selling.is_counterfeit, false) as is_counterfeit,
          sellers.is_counterfeit as of_counterfeiter,
          false as is_labelled
        from read_parquet('{features}', hive_partitioning = false) as rated
        inner join read_parquet('{truth}/merchants.parquet') as truth using (merchant_id)
        inner join ({sellers}) as sellers using (merchant_id)
        left join ({selling}) as selling using (merchant_id)
        order by id
    """,
}
SELLERS = """
select merchant_id, bool_or(truth.is_counterfeit) as is_counterfeit
from read_parquet('{sources}/listings.parquet')
inner join read_parquet('{truth}/listings.parquet') as truth using (listing_id)
group by merchant_id
"""
SELLING = """
select rated.merchant_id, bool_or(truth.is_counterfeit and truth.since <= date '{as_of}') as is_counterfeit
from read_parquet('{active}', hive_partitioning = false) as rated
inner join read_parquet('{truth}/listings.parquet') as truth using (listing_id)
group by rated.merchant_id
"""


@dataclass
class Rate:
    """How many of so many."""

    found: int = 0
    cases: int = 0

    @property
    def share(self) -> float:
        """The share, nan of none."""
        return self.found / self.cases if self.cases else float("nan")

    def add(self, found: int, cases: int) -> None:
        """Counts more of them."""
        self.found += found
        self.cases += cases

    def look(self, found: Bools, cases: Bools) -> None:
        """Counts those of the cases that were found."""
        self.add(int((found & cases).sum()), int(cases.sum()))


@dataclass
class Findings:
    """What was found of one model's entities, pooled over seeds.

    Attributes:
        recall: By archetype, and by what was left out (`EVERYTHING`: nothing; `AT_FLAG`: the model as it rates).
        flagged: By kind of innocent.
    """

    recall: dict[tuple[str, str], Rate] = field(default_factory=lambda: defaultdict(Rate))
    flagged: dict[str, Rate] = field(default_factory=lambda: defaultdict(Rate))

    @property
    def fewest(self) -> int:
        """The least number of cases that a rate rests on."""
        return min(rate.cases for rate in (*self.recall.values(), *self.flagged.values()))

    def pool(self, counts: Counts) -> None:
        """Adds the counts of one marketplace."""
        for archetype, what, found, cases in counts["recall"]:
            self.recall[archetype, what].add(found, cases)
        for kind, found, cases in counts["flagged"]:
            self.flagged[kind].add(found, cases)

    def counts(self) -> Counts:
        """Returns everything counted, for a file."""
        return {
            "recall": [[*key, rate.found, rate.cases] for key, rate in self.recall.items()],
            "flagged": [[kind, rate.found, rate.cases] for kind, rate in self.flagged.items()],
        }

    def add(self, archetype: npt.NDArray[np.str_], wanted: Bools, what: str, found: Bools) -> None:
        """Counts what was found of the wanted entities, by archetype."""
        self.recall[ANY, what].look(found, wanted)
        for name in COUNTERFEITERS:
            self.recall[name, what].look(found, wanted & (archetype == name))


def features_of(home: Path, rates: str, as_of: str) -> Path:
    """Returns where the features of the live entities of a day are."""
    return home / "features" / rates / f"as_of={as_of}" / "features.parquet"


def truth_of(home: Path, rates: str) -> dict[str, npt.NDArray[np.generic]]:
    """Returns what each rated entity is, as columns sorted by id."""
    places = {
        "sources": home / "marketplace" / "sources",
        "truth": home / "marketplace" / "truth",
        "as_of": AS_OF,
        "features": features_of(home, rates, AS_OF),
        "active": features_of(home, "listings", AS_OF),
    }
    parts = {"labelled": LABELLED, "sellers": SELLERS, "selling": SELLING}
    parts = {name: sql.format(**places) for name, sql in parts.items()}
    columns = duckdb.execute(TRUTH[rates].format(**places, **parts)).fetchnumpy()
    return {name: np.asarray(values) for name, values in columns.items()}


def margins(
    home: Path, declaration: Declaration, parameters: Parameters
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yields what was left out, and the margins that a booster trained without it gives the rated entities."""
    training = home / "training" / declaration.rates / f"as_of={TRAINED_AS_OF}"
    files = [training / f"{name}.parquet" for name in ("features", "spine", "edges")]
    live = features_of(home, declaration.rates, TRAINED_AS_OF)
    rows = read_training_set(declaration, *files, live, date.fromisoformat(TRAINED_AS_OF)).rows
    most = (parameters.least_unlabelled, parameters.unlabelled_per_positive, parameters.forward_unlabelled)
    learnt = split_rows(rows, declaration.entity, parameters.unseen_share, most, parameters.seed).train
    signs = np.array([feature.monotone for feature in declaration.features])
    table = pq.read_table(features_of(home, declaration.rates, AS_OF), partitioning=None)
    rated = matrix(table.sort_by(declaration.id_column), declaration.columns)
    for left_out in (EVERYTHING, *signals_of(declaration)):
        kept = [at for at, feature in enumerate(declaration.features) if feature.signal != left_out]
        booster = load_booster(fit_booster(learnt, kept, signs, parameters))
        yield left_out, margin_of(booster, np.ascontiguousarray(rated[:, kept]))


def signals_of(declaration: Declaration) -> list[str]:
    """Returns the signals of which a model reads a feature."""
    return [signal for signal in SIGNALS if any(feature.signal == signal for feature in declaration.features)]


def above(margin: npt.NDArray[np.float32], truth: Bools, judged: Bools) -> Bools:
    """Returns what lies above the lowest margin at which `TARGET` of the judged entities at or above it are counterfeit."""
    order = np.argsort(-margin[judged], kind="stable")
    hits = np.cumsum(truth[judged][order])
    holds = np.flatnonzero(hits >= TARGET * np.arange(1, len(order) + 1))
    if not len(holds):
        return np.zeros(len(margin), dtype=bool)
    return np.asarray(margin >= margin[judged][order][holds[-1]], dtype=np.bool_)


def flags(home: Path, declaration: Declaration) -> Bools:
    """Returns which entities the model flags as it rates: its threshold, and the floor on their own conduct."""
    champion = Registry(home).champion(declaration.name)
    if champion is None:
        raise SystemExit(f"{declaration.name} has no champion in {home}")
    scores = home / "scores" / declaration.name / f"as_of={AS_OF}" / "scores.parquet"
    table = pq.read_table(scores, partitioning=None).sort_by(declaration.id_column)
    own = table["own_conduct_score"].to_numpy()
    return np.asarray((table["score"].to_numpy() >= champion.threshold) & (own >= champion.floor), dtype=np.bool_)


def measure(home: Path, declaration: Declaration, parameters: Parameters) -> Findings:
    """Counts what one model finds in one home."""
    findings = Findings()
    truth = truth_of(home, declaration.rates)
    archetype = np.array([POOLED.get(kind, kind) for kind in truth["archetype"].astype(str)])
    is_fake, of_fake = truth["is_counterfeit"].astype(bool), truth["of_counterfeiter"].astype(bool)
    judged = ~truth["is_labelled"].astype(bool)
    flagged = flags(home, declaration)
    findings.add(archetype, judged & is_fake, AT_FLAG, flagged)
    for kind in sorted(set(archetype)):
        innocent = (archetype == kind) & ~is_fake & ~of_fake
        if innocent.any():
            findings.flagged[INNOCENT.get(kind, kind)].look(flagged, innocent)
    for left_out, margin in margins(home, declaration, parameters):
        findings.add(archetype, judged & is_fake, left_out, above(margin, is_fake, judged))
    return findings


def counts_of(seed: int, scale: float, hardness: float, declarations: dict[str, Declaration]) -> dict[str, Counts]:
    """Makes and rates a marketplace and returns each model's counts."""
    with tempfile.TemporaryDirectory() as folder:
        rate(Path(folder), scale, seed, hardness)
        return {name: measure(Path(folder), one, Parameters()).counts() for name, one in declarations.items()}


def page(models: dict[str, Findings], declarations: dict[str, Declaration]) -> str:
    """Returns the tables as Markdown."""
    parts = []
    for name, findings in models.items():
        signals = signals_of(declarations[name])
        head = ["archetype", "cases", AT_FLAG, "at 90 % precision", *(f"without {signal}" for signal in signals)]
        rows = []
        for archetype in (ANY, *COUNTERFEITERS):
            whole = findings.recall[archetype, EVERYTHING]
            lost = [(signal, findings.recall[archetype, signal].share - whole.share) for signal in signals]
            at_flag = findings.recall[archetype, AT_FLAG].share
            rows.append(
                [
                    archetype,
                    str(whole.cases),
                    f"{at_flag:.2f}",
                    f"{whole.share:.2f}",
                    *(_change(archetype, *one) for one in lost),
                ]
            )
        innocents = [[kind, str(rate.cases), f"{100 * rate.share:.2f} %"] for kind, rate in findings.flagged.items()]
        parts += [f"## `{name}`", _table(head, rows), _table(["honest group", "cases", "flagged"], innocents)]
    return "\n\n".join(parts) + "\n"


def _change(archetype: str, signal: str, change: float) -> str:
    return f"**{change:+.2f}**" if OWN_SIGNAL.get(archetype) == signal else f"{change:+.2f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Parses the arguments, measures seed after seed and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--hardness", type=float, default=1.0)
    # Those below 1069 were looked at while the demo was made.
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1093, 1113)))
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--counts", type=Path, help="folder that keeps each seed's counts; of one scale only")
    arguments, code = parser.parse_args(), revision()
    declarations = {name: one for name, one in load_declarations().items() if one.rates in TRUTH}
    models = {name: Findings() for name in declarations}
    pooled: list[str] = []
    for seed in arguments.seeds:
        kept = arguments.counts / code / f"seed={seed}.json" if arguments.counts else None
        if kept and kept.exists():
            counts = json.loads(kept.read_text(encoding="utf-8"))
        else:
            counts = counts_of(seed, arguments.scale, arguments.hardness, declarations)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(counts), encoding="utf-8")
        for name, findings in models.items():
            findings.pool(counts[name])
        pooled.append(str(seed))
        print(f"After seed {seed}:\n\n{page(models, declarations)}", file=sys.stderr, flush=True)
        if min(findings.fewest for findings in models.values()) >= arguments.cases:
            break
    head = HEAD.format(
        revision=code,
        scale=arguments.scale,
        seeds=", ".join(pooled),
        trained=TRAINED_AS_OF,
        rated=AS_OF,
        target=f"{100 * TARGET:.0f} %",
    )
    print(head, page(models, declarations), sep="\n", end="")


if __name__ == "__main__":
    main()
