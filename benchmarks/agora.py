"""How listings of unseen vendors are ranked on Agora, a real market with real counterfeits, compared with what titles alone show.

The pipeline itself lands the market, shapes it and makes the features, through examples/agora/sources.yml. A listing is rated
as of the day on which it is first seen. Folds go forward in time and keep vendors whole. No feature is read that changes when
the market's categories, which are the labels, are swapped. Prints a page of Markdown; docs/agora.md is that page.

    make bench-agora
    python benchmarks/agora.py --data FOLDER [FOLDER ...] --year 2015

Rows of earlier years than the judged one are learned from; later ones are not looked at.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ml.boosting import Parameters, fit_booster
from ml.declarations import Declaration, load_declarations
from ml.metrics import ranking
from ml.model import Scorer, load_booster, margin_of
from ml.starter import fit_scorecard, read_scorecard
from ml.text_scores import text_features, with_text_scores
from ml.train import fit_model, split_for
from ml.training_set import (
    EPOCH,
    PURPOSES,
    ActiveEntities,
    Flags,
    Floats,
    Integers,
    Rows,
    TrainingSet,
    component_folds,
    forward_blocks,
    known_before,
    read_training_set,
)
from touchstone.core.home import Home

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "agora"
TABLES = {
    "listings_daily": ("title", "price_btc double", "ship_from", "ship_to", "vendor", "category", "snapshot_date date"),
    "vendors_daily": ("vendor", "rating", "last_seen", "products", "deals", "pgp_sha1", "snapshot_date date"),
    "btc_usd": ("date date", "usd_per_btc double"),
}
"""The columns that the example maps, with their type where it is not text."""
ADMISSIONS = ("evasive_word_count", "merchant_evasive_share")
"""Features that count the words by which copies are offered: here the label, so they are not read even though masked."""
BLOCKS, GROUPS, FEWEST = 6, 5, 5

TOPIC, TEXTS, SIGNALS, SHIPPED = "title", "merchant texts", "signals", "shipped model"
STARTER = "starter, without labels"
MEANINGS = {
    TOPIC: "the baseline: logistic regression on TF-IDF of the masked title",
    TEXTS: "the mean of that score over all listings that the merchant offered up to that day",
    SIGNALS: "the pipeline's booster on the features that dbt makes",
    SHIPPED: "the pipeline's listing model as `touchstone run` trains it: the booster with scores of texts, mixed with these",
    STARTER: "the starter model, which is fitted to the features of the same rows without their labels",
}
HEAD = """# Agora {year}: ranking listings of vendors never seen

`make bench-agora` prints this page. It ranks {listings:,} listings of {vendors} vendors, each as of the day of {year} on
which it was first seen; {fake:.0f} % are counterfeit. A listing is scored by a model that was trained without its vendor,
and only on what was known before the listing's span of days. In training all vendors have the same weight, except for the
shipped model, which weighs listings as the pipeline does. In brackets: 95 % intervals from {draws:,} bootstrap samples of
vendors."""
TAIL = """## Limits

- The **starter** model finds nothing here. The market's tables fill six of its 34 indicators (prices against comparable listings
  and the category, copied titles, age and shown rating of the merchant), and the words that admit a copy are masked. It needs
  complaints, orders or brands' data.
- The market has no reviews, orders, specifications, brands or pictures, from which most features come. Their worth has
  to be measured on other data.
- These methods were chosen among about twenty that were tried on 2014, and the intervals do not account for that. Test
  them on a later year: `make bench-agora YEAR=...`.
- The label is what the market and the vendor stated about the goods, not what an expert found."""
METRICS = ("AUROC", "average precision")


@dataclass(frozen=True)
class Goods:
    """Listings as of the day on which each was first seen; arrays of one length n.

    Attributes:
        rows: What is known of them, and their labels; each vendor's rows weigh the same together.
        titles: Their masked titles.
        columns: Positions of the features that may be read.
        signs: Monotone constraint of each feature that the rows have.
        training: The pipeline's training set of these rows, with the texts of all listings.
    """

    rows: Rows
    titles: npt.NDArray[np.str_]
    columns: list[int]
    signs: Integers
    training: TrainingSet


def gather(folders: Sequence[Path], target: Path, last: date, *, swapped: bool) -> None:
    """Writes the market's tables up to a day, with counterfeits and other goods in each other's categories if `swapped`."""
    target.mkdir()
    with duckdb.connect(":memory:") as connection:
        for table, query in queries(folders).items():
            category = "case when category like 'Counterfeits/%' then 'Other' else 'Counterfeits/' || category end"
            changed = f" replace ({category} as category)" if swapped and table == "listings_daily" else ""
            day = "date" if table == "btc_usd" else "snapshot_date"
            name, kind = (f"{table}.csv", "csv, header") if table == "btc_usd" else (f"{table}.parquet", "parquet")
            cut = f"select *{changed} from ({query}) where {day} <= date '{last}'"
            connection.execute(f"copy ({cut}) to '{target / name}' (format {kind})")


def queries(folders: Sequence[Path]) -> dict[str, str]:
    """Returns SQL for the rows of each table in all folders, those of one without the table left out."""
    found = {}
    for table, columns in TABLES.items():
        typed = [
            f"cast({name} as {kind or 'varchar'}) as {name}"
            for name, _, kind in (one.partition(" ") for one in columns)
        ]
        empty = ", ".join(f"null as {one.partition(' ')[0]}" for one in columns)
        read, ending = ("read_csv", "csv") if table == "btc_usd" else ("read_parquet", "parquet")
        files = [path for folder in folders if (path := folder / f"{table}.{ending}").exists()]
        parts = [f"select {empty} where false", *(f"select * from {read}('{path}')" for path in files)]
        found[table] = f"select {', '.join(typed)} from ({' union all by name '.join(parts)})"
    return found


def days_of(folders: Sequence[Path]) -> list[date]:
    """Returns the days of which there are listings, sorted."""
    query = f"select distinct snapshot_date from ({queries(folders)['listings_daily']}) order by all"
    return [row[0] for row in duckdb.execute(query).fetchall()]


def run_pipeline(data: Path, home: Path, as_of: date) -> None:
    """Runs everything over a market; what the gates say of the lists is irrelevant here."""
    command = [str(Path(sys.executable).parent / "touchstone"), "run", "--sources", str(EXAMPLE / "sources.yml")]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, "--as-of", as_of.isoformat(), "--train"],
        env=os.environ | {"TOUCHSTONE_HOME": str(home), "AGORA_DIR": str(data)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not (training_of(home, as_of) / "features.parquet").exists():
        raise SystemExit(
            f"The pipeline ended with {done.returncode} before it had features to learn from:\n{done.stderr}"
        )


def training_of(home: Path, as_of: date) -> Path:
    """Returns where the training rows of a day are."""
    return home / "training" / "listings" / f"as_of={as_of}"


def read_goods(home: Path, swapped: Path, as_of: date, declaration: Declaration) -> Goods:
    """Reads the labelled listings of a home, and which features stay when categories are swapped."""
    # Known positives are rows of the last day, of other listings where the categories are swapped; what is compared is as of the
    # day on which a listing was first seen.
    training, swapped_training = (_read_training_set(at, as_of, declaration) for at in (home, swapped))
    every, every_swapped = training.rows, swapped_training.rows
    labelled, labelled_swapped = (one.is_verdict & ~one.has_purpose("known_positive") for one in (every, every_swapped))
    rows, swapped_rows = every.take(labelled), every_swapped.take(labelled_swapped)
    if not np.array_equal(rows.day, swapped_rows.day) or not np.array_equal(rows.entity, swapped_rows.entity):
        raise SystemExit(
            "With the categories swapped the pipeline rates other listings or days, so nothing can be compared."
        )
    table = pq.read_table(training_of(home, as_of) / "spine.parquet", partitioning=None)
    ids = table.sort_by([(key, "ascending") for key in ("listing_id", "as_of_date", "purpose")])[
        "listing_id"
    ].to_pylist()
    landed = str(home / "landing" / "listings" / "*" / "*.parquet")
    titles = dict(duckdb.execute("select listing_id, coalesce(title, '') from read_parquet(?)", [landed]).fetchall())
    return Goods(
        rows=replace(rows, weight=alike(rows.merchant) * len(rows)),
        titles=np.array([titles[one] for one in ids])[labelled],
        columns=readable(rows.features, swapped_rows.features, declaration),
        signs=np.array([feature.monotone for feature in declaration.features]),
        training=training.take(np.flatnonzero(labelled)),
    )


def _read_training_set(home: Path, as_of: date, declaration: Declaration) -> TrainingSet:
    features, spine, edges = (training_of(home, as_of) / f"{name}.parquet" for name in ("features", "spine", "edges"))
    return read_training_set(declaration, features, spine, edges, None, as_of, texts=Home(home).texts(as_of))


def readable(
    features: npt.NDArray[np.float32], swapped: npt.NDArray[np.float32], declaration: Declaration
) -> list[int]:
    """Returns the positions of the features that neither the categories nor admissions move, and that say anything."""
    return [
        at
        for at, name in enumerate(declaration.columns)
        if name not in ADMISSIONS
        and np.array_equal(features[:, at], swapped[:, at], equal_nan=True)
        and len(np.unique(features[:, at])) > 1
    ]


def alike(merchant: Integers) -> Floats:
    """Returns weights with which every merchant weighs the same; they sum to 1."""
    _, owner = np.unique(merchant, return_inverse=True)
    counts = np.bincount(owner)
    return np.asarray(1.0 / counts[owner] / len(counts), dtype=np.float64)


def forward_folds(rows: Rows, first_day: int, blocks: int = BLOCKS, groups: int = GROUPS) -> list[tuple[Flags, Flags]]:
    """Returns which rows are learned from and which are judged, fold by fold.

    Args:
        rows: The rows.
        first_day: The first day that is judged; what lies before is only learned from.
        blocks: How many spans of days are judged one after the other; the first only where there are rows before it.
        groups: Into how many groups the merchants, joined by shared keys, are divided. Each group of a block is judged by
            what was known of the other groups before the block.
    """
    group = component_folds(rows, groups)
    wanted = rows.day >= first_day
    block = np.full(len(rows), -1)
    block[wanted] = forward_blocks(rows.take(wanted), blocks)
    folds = []
    for at in range(int(block.max(initial=-1)) + 1):
        known = known_before(rows, int(rows.day[block == at].min()))
        for one in range(groups):
            learn, judged = known & (group != one), (block == at) & (group == one)
            positives = int(rows.label[learn].sum())
            if judged.any() and min(positives, int(learn.sum()) - positives) >= FEWEST:
                folds.append((learn, judged))
    return folds


def topic(goods: Goods, learn: Flags | Integers, judged: Flags | Integers) -> Floats:
    """Returns what titles alone tell of the judged rows, in log-odds."""
    words = TfidfVectorizer(sublinear_tf=True)
    rows = goods.rows
    model = LogisticRegression(max_iter=1000)
    model.fit(words.fit_transform(goods.titles[learn]), rows.label[learn], sample_weight=rows.weight[learn])
    return np.asarray(model.decision_function(words.transform(goods.titles[judged])), dtype=np.float64)


def so_far(merchant: Integers, day: Integers, value: Floats) -> Floats:
    """Returns the mean of a value over the rows of the same merchant up to the end of each row's day."""
    order = np.lexsort((day, merchant))
    merchant, day, value = merchant[order], day[order], value[order]
    starts = np.searchsorted(merchant, merchant, side="left")
    span = int(day.max(initial=0)) + 1
    ends = np.searchsorted(merchant * span + day, merchant * span + day, side="right")
    total = np.concatenate([[0.0], np.cumsum(value)])
    mean = np.empty(len(value))
    mean[order] = (total[ends] - total[starts]) / (ends - starts)
    return mean


def texts(goods: Goods, learn: Flags, judged: Flags) -> Floats:
    """Returns what texts tell of the judged rows: title and merchant's mean, shape (rows, 2).

    The mean takes in what the merchant offered before the block that is judged; it is of the same fold, so nothing was
    learned from it.
    """
    rows = goods.rows
    theirs = np.flatnonzero(np.isin(rows.merchant, rows.merchant[judged]) & (rows.day <= rows.day[judged].max()))
    margin = topic(goods, learn, theirs)
    text_margins = np.column_stack([margin, so_far(rows.merchant[theirs], rows.day[theirs], margin)])
    return text_margins[np.isin(theirs, np.flatnonzero(judged))]


def margins(
    goods: Goods, folds: Sequence[tuple[Flags, Flags]], parameters: Parameters, declaration: Declaration
) -> dict[str, Floats]:
    """Returns each way's margins of the rows, nan where no fold judged one."""
    found = {name: np.full(len(goods.rows), np.nan) for name in MEANINGS}
    for learn, judged in folds:
        text_margins = texts(goods, learn, judged)
        found[TOPIC][judged], found[TEXTS][judged] = text_margins.T
        found[SIGNALS][judged] = boosted(goods, learn, judged, parameters)
        found[SHIPPED][judged] = shipped(goods, learn, judged, parameters, declaration)
        found[STARTER][judged] = starter_margins(goods, learn, judged, declaration)
    return found


def starter_margins(goods: Goods, learn: Flags, judged: Flags, declaration: Declaration) -> Floats:
    """Returns the starter model's margins of the judged rows; no label is used."""
    features, names = goods.rows.features[:, goods.columns], [declaration.columns[at] for at in goods.columns]
    booster = load_booster(fit_scorecard(read_scorecard(declaration), names, features[learn]))
    return margin_of(booster, np.ascontiguousarray(features[judged])).astype(np.float64)


def boosted(goods: Goods, learn: Flags, judged: Flags, parameters: Parameters) -> Floats:
    """Returns the margins of the pipeline's booster, which reads the features that dbt makes."""
    booster = load_booster(fit_booster(goods.rows.take(learn), goods.columns, goods.signs, parameters))
    return margin_of(booster, np.ascontiguousarray(goods.rows.features[judged][:, goods.columns])).astype(np.float64)


def shipped(goods: Goods, learn: Flags, judged: Flags, parameters: Parameters, declaration: Declaration) -> Floats:
    """Returns the margins of the model that the pipeline trains on the learned rows, for the judged ones as active listings."""
    used = np.flatnonzero(learn | judged)
    kept = [*goods.columns, *text_features(declaration)]
    narrowed = replace(declaration, features=tuple(declaration.features[index] for index in kept))
    purpose = np.where(learn[used], PURPOSES.index("train"), PURPOSES.index("evaluate"))
    training = goods.training.take(used)
    rows = training.rows
    rows = replace(rows, purpose=purpose, features=np.ascontiguousarray(rows.features[:, kept]))
    is_judged = np.flatnonzero(judged[used])
    seen = rows.take(is_judged)
    nobody = np.zeros(len(seen), dtype=bool)
    active = ActiveEntities(seen.merchant, seen.category, seen.categories, nobody, nobody, seen.features)
    parameters = replace(parameters, unseen_share=0.0)  # what is held out is judged here
    training = replace(training, rows=rows, active=active, active_places=training.take(is_judged).places)
    models, training = with_text_scores(narrowed, training, parameters)
    split = split_for(narrowed, training, parameters)
    last = EPOCH + timedelta(days=int(rows.day.max()))
    trained = fit_model(narrowed, training, split, parameters, last, models)
    return Scorer(trained.model).margin(training.active.features).astype(np.float64)


@dataclass(frozen=True)
class Figure:
    """A value with the ends of its 95 % interval, from drawing vendors with replacement."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns it as the page shows it."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def signed(self) -> str:
        """The same, of a difference."""
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def compare(
    margin: Mapping[str, Floats], label: Flags, merchant: Integers, draws: int, seed: int, *, equal: bool
) -> dict[str, tuple[tuple[Figure, Figure], ...]]:
    """Measures every way of ranking on the same draws of vendors.

    Args:
        margin: Margins by way, without nan.
        label: Truth.
        merchant: A number for each row's vendor.
        draws: How often vendors are drawn with replacement.
        seed: Seed of the draws.
        equal: Whether each vendor's rows weigh the same together, or each row.

    Returns:
        By way, for AUROC and average precision: the figure, and by how much it exceeds the baseline's.
    """
    vendors, owner = np.unique(merchant, return_inverse=True)
    weight = alike(merchant) if equal else np.ones(len(label))
    drawn = np.random.default_rng(seed).multinomial(len(vendors), np.full(len(vendors), 1 / len(vendors)), size=draws)
    weights = np.vstack([weight, drawn[:, owner] * weight])
    rankings = {name: ranking(values, label, weights) for name, values in margin.items()}
    return {
        name: tuple((_figure(one), _figure(one - base)) for one, base in zip(values, rankings[TOPIC], strict=True))
        for name, values in rankings.items()
    }


def _figure(values: Floats) -> Figure:
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Figure(float(values[0]), float(low), float(high))


def page(goods: Goods, margin: Mapping[str, Floats], declaration: Declaration, year: int, draws: int) -> str:
    """Returns what was found, as Markdown."""
    judged = ~np.isnan(margin[TOPIC])
    rows = goods.rows.take(judged)
    kept = {name: values[judged] for name, values in margin.items()}
    figures = {
        title: compare(kept, rows.label, rows.merchant, draws, Parameters().seed, equal=equal)
        for title, equal in (("all listings", False), ("vendors weighted equally", True))
    }
    vendors = len(np.unique(rows.merchant))
    parts = [HEAD.format(year=year, listings=len(rows), vendors=vendors, fake=100 * rows.label.mean(), draws=draws)]
    parts.append("\n".join(f"- **{name}**: {meaning}" for name, meaning in MEANINGS.items()))
    read = ", ".join(f"`{declaration.columns[at]}`" for at in goods.columns)
    parts.append(
        f"Features used (those that neither the market's categories nor words that admit a copy influence): {read}."
    )
    for title, values in figures.items():
        lines = [
            f"| {name} | "
            + " | ".join(f"{value} | {'' if name == TOPIC else more.signed}" for value, more in values[name])
            + " |"
            for name in MEANINGS
        ]
        head = "| | " + " | ".join(f"{metric} | difference from {TOPIC}" for metric in METRICS) + " |"
        parts += [f"## {title.capitalize()}", "\n".join([head, "|---|---|---|---|---|", *lines])]
    parts += ["## Results", "\n".join(_verdicts(figures)), TAIL]
    return "\n\n".join(parts) + "\n"


def _verdicts(figures: Mapping[str, Mapping[str, tuple[tuple[Figure, Figure], ...]]]) -> list[str]:
    """Says of each way where its interval lies above the baseline, where below, and where it shows nothing."""
    lines = []
    for name in list(MEANINGS)[1:]:
        by_effect: dict[str, list[str]] = {
            "better than the baseline": [],
            "worse than the baseline": [],
            "no significant difference": [],
        }
        above, below, neither = by_effect.values()
        for title, ways in figures.items():
            for metric, (_, more) in zip(METRICS, ways[name], strict=True):
                (above if more.low > 0 else below if more.high < 0 else neither).append(f"{metric} ({title})")
        lines.append(
            f"- **{name}**: "
            + "; ".join(f"{what}: {', '.join(where)}" for what, where in by_effect.items() if where)
            + "."
        )
    return lines


def main() -> None:
    """Parses the arguments, runs the pipeline twice and prints the page."""
    shared = Path(os.environ.get("TOUCHSTONE_SHARED", str(ROOT.parent / "shared")))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[ROOT / shared / "data" / "agora"], help="folders of the tables"
    )
    parser.add_argument("--year", type=int, help="the year that is judged; the last one that there is by default")
    parser.add_argument("--draws", type=int, default=2000)
    arguments = parser.parse_args()
    folders = [folder.resolve() for folder in arguments.data]
    if not any((folder / "listings_daily.parquet").exists() for folder in folders):
        where = ", ".join(map(str, folders))
        raise SystemExit(
            f"There is no listings_daily.parquet in {where}. Set TOUCHSTONE_SHARED, or name folders with --data."
        )
    days = days_of(folders)
    year = arguments.year or days[-1].year
    if year not in {day.year for day in days}:
        raise SystemExit(f"There are no listings of {year}; there are from {days[0]} to {days[-1]}.")
    as_of = max(day for day in days if day.year == year)
    declaration = load_declarations()["listing_counterfeit"]
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("home", "home-swapped")]
        for home, swapped in zip(homes, (False, True), strict=True):
            gather(folders, Path(folder) / f"{home.name}-data", as_of, swapped=swapped)
            run_pipeline(Path(folder) / f"{home.name}-data", home, as_of)
        goods = read_goods(homes[0], homes[1], as_of, declaration)
    folds = forward_folds(goods.rows, (date(year, 1, 1) - date(1970, 1, 1)).days)
    if not folds:
        raise SystemExit(f"Before {as_of} there is too little to learn from.")
    print(page(goods, margins(goods, folds, Parameters(), declaration), declaration, year, arguments.draws), end="")


if __name__ == "__main__":
    main()
