"""What our models are worth on a labelled table: how it is cut, what is measured, and what looks like a leak.

A table is cut once a split, or once a seed; each time a blend learns of the training rows alone and is measured on the test
rows alone. Figures are means over those, and their intervals come from drawing test rows again, groups whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.ensemble import Ensemble, Inputs, best_threshold, fit_baseline, fit_ensemble, group_folds, spread
from ml.labelled_table import Category, Table
from ml.metrics import Scored, bootstrap_weights, brier_skill, calibration_slope, ranking
from ml.neighbours import Edges, links_over, neighbour_features
from touchstone.core.errors import BadInputError
from touchstone.core.text import shorten

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

METRICS: Final = ("auroc", "average_precision", "f1", "precision_at_k", "calibration_slope", "brier_skill")
RESAMPLES: Final = 200
SIDES: Final[Mapping[str, str]] = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
LEAST_IN_TEST: Final = 2
LEAST_IN_TRAIN: Final = 5
HASHED: Final = 2**18
LETTERS: Final[Mapping[str, str]] = {"capitals": r"\p{Lu}", "digits": r"\p{Nd}", "marks": r"[^\p{L}\p{N}\s]"}
SEPARATES: Final = 0.99
"""From this AUROC on a feature alone is too good to be true."""
TELLS: Final = 0.9
"""From this AUROC on ids tell the label."""
SAME_SHARE: Final = 0.01
"""From this share of the test rows on, rows that are in training too are worth a warning."""
CHECKS: Final = 20_000


@dataclass(frozen=True)
class Cut:
    """One way in which a table is cut, as positions of rows.

    Attributes:
        name: The split or the seed.
        train: What is learned from.
        held: Validation rows; None to take them from the training rows.
        test: What is measured on.
        seed: Seed of everything that is drawn.
    """

    name: str
    train: Integers
    held: Integers | None
    test: Integers
    seed: int


@dataclass(frozen=True)
class Measured:
    """What was measured on one cut.

    Attributes:
        cut: The cut.
        figures: By the name of what rated and the metric.
        drawn: The same over test rows drawn again, each of shape (RESAMPLES,).
        scored: The test rows' scores by the blend.
        blend: The blend.
    """

    cut: Cut
    figures: Mapping[str, Mapping[str, float]]
    drawn: Mapping[str, Mapping[str, Floats]]
    scored: Scored
    blend: Ensemble

    def as_dict(self) -> dict[str, Any]:
        """Returns its rows and what the blend reached as plain data; null where it cannot be measured."""
        rows = {"train": len(self.cut.train), "test": len(self.cut.test)}
        return {"cut": self.cut.name, "rows": rows, **_plain(self.figures["blend"])}


@dataclass(frozen=True)
class Findings:
    """What a table showed.

    Attributes:
        rows: How many rows it has.
        positives: How many of them are positives.
        measured: What was measured, cut by cut.
        warnings: What looks like a leak, in words.
    """

    rows: int
    positives: int
    measured: tuple[Measured, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data: mean, sd, low and high of each metric; null where it cannot be measured."""
        rated = list(self.measured[0].figures)
        told = {name: {metric: self._summary(name, metric) for metric in METRICS} for name in rated}
        return {
            "metrics": told.pop("blend"),
            "baseline": told,
            "rows": self.rows,
            "positives": self.positives,
            "warnings": list(self.warnings),
        }

    def _summary(self, name: str, metric: str) -> dict[str, float | None]:
        values = np.array([one.figures[name][metric] for one in self.measured])
        drawn = np.array([one.drawn[name][metric] for one in self.measured])
        with np.errstate(all="ignore"):
            over_cuts = drawn.mean(axis=0)
        over_cuts = over_cuts[np.isfinite(over_cuts)]
        low, high = np.quantile(over_cuts, [0.025, 0.975]) if len(over_cuts) else (np.nan, np.nan)
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
        told = {"mean": float(values.mean()), "sd": sd, "low": float(low), "high": float(high)}
        return _plain({name: round(value, 6) for name, value in told.items()})


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Returns figures as JSON takes them: null where one cannot be measured."""
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def splits_by_column(table: Table, splits: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[Cut]:
    """Cuts a table as columns say.

    Args:
        table: The table.
        splits: What each says of each row, by name.
        seeds: One a split, or several of which each takes the one split.

    Raises:
        BadInputError: A row is told no side or an unknown one, or a side has too few of a class.
    """
    cuts = []
    for name, told in splits.items():
        unknown = sorted({word for word in told if word.strip().lower() not in SIDES})
        if unknown:
            count = sum(word in unknown for word in told)
            shown = ", ".join(repr(word) for word in unknown[:3])
            raise BadInputError(
                f"The split {name!r} says {shown} of {count:,} rows. It says train, validation or test of each row; correct it."
            )
        side = np.array([SIDES[word.strip().lower()] for word in told])
        parts = {which: np.flatnonzero(side == which) for which in ("train", "validation", "test")}
        held = parts["validation"] if len(parts["validation"]) else None
        for seed in seeds if len(splits) == 1 else [seeds[0]]:
            label = name if len(splits) > 1 or len(seeds) == 1 else f"{name}, seed {seed}"
            cuts.append(Cut(label, parts["train"], held, parts["test"], seed))
    for cut in cuts:
        _check(table, cut)
    return cuts


def random_splits(table: Table, test_size: float, seeds: Sequence[int]) -> list[Cut]:
    """Cuts a table by time, where it has one, else by chance with as many positives on either side; groups whole.

    Raises:
        BadInputError: A side would have too few of a class.
    """
    rows = np.arange(len(table))
    cuts = []
    for seed in seeds:
        if table.time is not None:
            order = np.argsort(table.time, kind="stable")
            first = table.time[order[min(len(order) - 1, round(len(order) * (1 - test_size)))]]
            is_test = table.time >= first
            is_train = ~is_test if table.group is None else ~is_test & ~np.isin(table.group, table.group[is_test])
        else:
            is_test = _drawn(table.label, table.group, test_size, np.random.default_rng([seed, 0]))
            is_train = ~is_test
        cut = Cut(f"seed {seed}", rows[is_train], None, rows[is_test], seed)
        _check(table, cut)
        cuts.append(cut)
    return cuts


def _drawn(label: Flags, group: Integers | None, share: float, random: np.random.Generator) -> Flags:
    """Draws a share of the positives and of the others; where groups stay whole, of those with positives and of those without."""
    unit = np.arange(len(label)) if group is None else np.unique(group, return_inverse=True)[1]
    positives, rows = np.bincount(unit, weights=label), np.bincount(unit).astype(np.float64)
    chosen = np.zeros(len(rows), dtype=bool)
    for units, weight in ((np.flatnonzero(positives > 0), positives), (np.flatnonzero(positives == 0), rows)):
        order = random.permutation(units)
        before = np.cumsum(weight[order]) - weight[order] / 2
        chosen[order[before < share * weight[units].sum()]] = True
    return chosen[unit]


def _check(table: Table, cut: Cut) -> None:
    for side, rows, least in (
        ("train", cut.train, LEAST_IN_TRAIN), ("test", cut.test, LEAST_IN_TEST), ("validation", cut.held, LEAST_IN_TEST),
    ):  # fmt: skip
        if rows is None:
            continue
        positives = int(table.label[rows].sum())
        few = min(positives, len(rows) - positives)
        if few < least:
            raise BadInputError(
                f"In the cut {cut.name!r} {side} has {positives:,} positives and {len(rows) - positives:,} others; it takes "
                f"{least} of each. Cut the table otherwise, or label more rows."
            )


def build_inputs(table: Table, edges: Mapping[str, Edges], hops: int) -> Inputs:
    """Puts together what is known of a table's rows before anything is learned."""
    dense, names = table.numbers, list(table.names)
    text = None
    if table.texts:
        told, kinds = _of_texts(table.texts)
        dense, names, text = np.concatenate([dense, told], axis=1), names + kinds, _hashed(table.texts)
    own = len(names)
    ways = links_over(edges, len(table))
    if ways:
        near, of_near = neighbour_features(dense, names, ways, hops)
        dense, names = np.concatenate([dense, near], axis=1), names + of_near
    is_own = np.arange(len(names)) < own
    return Inputs(
        np.ascontiguousarray(dense, dtype=np.float32),
        tuple(names),
        is_own,
        table.categories,
        text,
        tuple(ways.values()),
        hops,
    )


def _of_texts(texts: Mapping[str, Sequence[str]]) -> tuple[npt.NDArray[np.float32], list[str]]:
    """How each text is written: how long, in which letters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts, names = [], []
    for name, column in texts.items():
        text = pa.array(column, pa.string())
        length = pc.utf8_length(text).cast(pa.float64())
        words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text)))
        parts += [length, words]
        names += [f"letters of {name}", f"words of {name}"]
        for kind, pattern in LETTERS.items():
            share = pc.divide(
                pc.count_substring_regex(text, pattern).cast(pa.float64()), pc.max_element_wise(length, 1.0)
            )
            parts.append(share)
            names.append(f"share of {kind} of {name}")
    return np.column_stack([part.to_numpy(zero_copy_only=False) for part in parts]).astype(np.float32), names


def _hashed(texts: Mapping[str, Sequence[str]]) -> Any:
    """Counts of words, pairs of words, and parts of words, by a hash that nothing is learned for."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    count = partial(HashingVectorizer, n_features=HASHED, alternate_sign=False, norm=None)
    ways = (count(ngram_range=(1, 2)), count(analyzer="char_wb", ngram_range=(2, 5)))
    return hstack([way.transform(column) for column in texts.values() for way in ways], format="csr")


def evaluate_table(
    table: Table,
    inputs: Inputs,
    cuts: Sequence[Cut],
    *,
    trials: int,
    with_baseline: bool,
    warnings: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Findings:
    """Learns and measures on each cut.

    Args:
        table: The table.
        inputs: What is known of its rows.
        cuts: How it is cut.
        trials: How many sets of parameters are tried on each cut.
        with_baseline: Whether to measure the prevalence and a logistic regression, too.
        warnings: What else is to be told.
        progress: Called with a line a cut.
    """
    found = [*warnings, *leaks(table, cuts)]
    measured = []
    for number, cut in enumerate(cuts, start=1):
        blend = fit_ensemble(
            inputs, table.label, cut.train, cut.held, group=table.group, time=table.time, trials=trials, seed=cut.seed
        )
        rated = {"blend": (blend.probability(inputs, cut.test), blend.threshold)}
        if with_baseline:
            share = float(table.label[cut.train].mean())
            rated["prevalence"] = (np.full(len(cut.test), share), share)
            baseline = fit_baseline(inputs, table.label, cut.train)
            threshold = best_threshold(baseline(cut.train), table.label[cut.train])
            rated["logistic_regression"] = (baseline(cut.test), threshold)
        truth = table.label[cut.test]
        owner = np.arange(len(truth)) if table.group is None else table.group[cut.test]
        figures, drawn = {}, {}
        for name, (probability, threshold) in rated.items():
            weights = np.ones((1, len(truth)))
            figures[name] = {
                metric: float(value[0]) for metric, value in measure(probability, truth, threshold, weights).items()
            }
            parts = [
                measure(probability, truth, threshold, weight)
                for weight in bootstrap_weights(owner, np.ones(len(truth)), RESAMPLES, 0)
            ]
            drawn[name] = {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS}
        scored = Scored(100.0 * rated["blend"][0], truth, np.ones(len(truth)), owner)
        measured.append(Measured(cut, figures, drawn, scored, blend))
        told = ", ".join(f"{metric} {figures['blend'][metric]:.4f}" for metric in METRICS[:2])
        progress(f"{shorten(cut.name)} ({number} of {len(cuts)}): {told}")
    return Findings(len(table), int(table.label.sum()), tuple(measured), tuple(found))


def measure(probability: Floats, label: Flags, threshold: float, weight: Floats) -> dict[str, Floats]:
    """Measures scores under many weightings at once.

    Args:
        probability: Of each test row, shape (n,).
        label: Truth, shape (n,).
        threshold: The least probability to flag.
        weight: Weights, shape (b, n).

    Returns:
        Each metric, of shape (b,); nan where it cannot be measured. Precision at k is of the first k rows, k the number of
        positives; of rows with one probability as many count as there is room for.
    """
    auroc, precision = ranking(probability, label, weight)
    flagged = probability >= threshold
    right, wrong = weight @ (flagged & label), weight @ (flagged & ~label)
    positives = weight @ label.astype(np.float64)
    order = np.argsort(-probability, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(probability[order]) != 0]))
    of_positives = np.add.reduceat(weight[:, order] * label[order], starts, axis=1)
    of_all = np.add.reduceat(weight[:, order], starts, axis=1)
    before = np.cumsum(of_all, axis=1) - of_all
    room = np.clip(positives[:, None] - before, 0.0, of_all)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(of_all > 0, of_positives * room / of_all, 0.0).sum(axis=1)
        f1 = np.where(positives > 0, 2 * right / (right + wrong + positives), np.nan)
        at_k = within / positives
    both = (positives > 0) & (positives < weight.sum(axis=1))
    slope = [
        calibration_slope(probability, label, row) if sound else np.nan for row, sound in zip(weight, both, strict=True)
    ]
    skill = [brier_skill(probability, label, row) if sound else np.nan for row, sound in zip(weight, both, strict=True)]
    values = (auroc, precision, f1, at_k, np.array(slope), np.array(skill))
    return dict(zip(METRICS, values, strict=True))


def leaks(table: Table, cuts: Sequence[Cut]) -> list[str]:
    """Says what looks as if the label leaked into the features or across a cut."""
    return [*_separating(table, cuts[0]), *_telling_ids(table), *_straddling(table, cuts), *_repeated(table, cuts)]


def _separating(table: Table, cut: Cut) -> list[str]:
    """Features that alone separate the training rows."""
    rows = spread(cut.train, CHECKS)
    label = table.label[rows]
    fold = group_folds(label, None if table.group is None else table.group[rows], 2, np.random.default_rng(0))
    columns = {name: table.numbers[rows, at].astype(np.float64)[:, None] for at, name in enumerate(table.names)}
    columns |= {name: _rates(column, rows, label, fold)[:, None] for name, column in table.categories.items()}
    found = []
    for name, values in columns.items():
        auroc = _alone(values, label, fold)
        if auroc >= SEPARATES:
            found.append(
                f"The feature {name!r} alone separates positives from others (AUROC {auroc:.3f}). If it is only known once the "
                f"label is, leave it out: --drop {shorten(name)}."
            )
    return found


def _telling_ids(table: Table) -> list[str]:
    """Whether ids tell the label: by their number, their length or what they begin with."""
    if table.ids is None:
        return []
    rows = spread(np.arange(len(table)), CHECKS)
    ids = table.ids.take(rows).to_pylist()
    label = table.label[rows]
    fold = group_folds(label, None, 2, np.random.default_rng(0))
    letters = ["".join(sign for sign in name if not sign.isdigit()) for name in ids]
    digits = ["".join(sign for sign in name if sign.isdigit())[:15] for name in ids]
    words, code = np.unique(letters, return_inverse=True)
    starts = _rates(Category(code.astype(np.int64), tuple(words.tolist())), np.arange(len(rows)), label, fold)
    numbers = np.array([float(each) if each else np.nan for each in digits])
    values = np.column_stack([numbers, np.array([len(name) for name in ids], dtype=np.float64), starts])
    auroc = _alone(values, label, fold)
    if auroc < TELLS:
        return []
    said = f"The ids tell the label (AUROC {auroc:.3f}), as if rows had been numbered class by class. They are no feature here, "
    return [said + "but whatever was made in the same order may tell it, too."]


def _straddling(table: Table, cuts: Sequence[Cut]) -> list[str]:
    """Groups on both sides of a cut."""
    if table.group is None:
        return []
    found = []
    for cut in cuts:
        learned = cut.train if cut.held is None else np.concatenate([cut.train, cut.held])
        both = np.intersect1d(table.group[learned], table.group[cut.test])
        rows = int(np.isin(table.group[cut.test], both).sum())
        said = (
            f"{len(both):,} groups straddle the cut {cut.name!r}: {rows:,} of its {len(cut.test):,} test rows are of a group "
            "that was learned from"
        )
        found.append((rows, said))
    return _worst(found, "Without --split or --splits groups stay whole.")


def _worst(found: Sequence[tuple[int, str]], remedy: str) -> list[str]:
    """One sentence of the cut in which most rows are amiss, and how many other cuts have some."""
    amiss = [told for told in found if told[0]]
    if not amiss:
        return []
    said = max(amiss, key=lambda told: told[0])[1]
    others = "" if len(amiss) == 1 else f", and {len(amiss) - 1} other cuts are like it"
    return [f"{said}{others}. {remedy}"]


def _repeated(table: Table, cuts: Sequence[Cut]) -> list[str]:
    """Test rows that are in training, feature by feature; where there are texts, by these alone."""
    if table.texts:
        joined = ["\x00".join(parts) for parts in zip(*table.texts.values(), strict=True)]
        same = np.unique(joined, return_inverse=True)[1]
        empty = np.array([not text.strip("\x00 ") for text in joined])
    else:
        codes = [column.code.astype(np.float32)[:, None] for column in table.categories.values()]
        values = np.ascontiguousarray(np.nan_to_num(np.concatenate([table.numbers, *codes], axis=1), nan=-1.25e30))
        whole = values.view(np.dtype((np.void, values.dtype.itemsize * values.shape[1]))).ravel()
        same, empty = np.unique(whole, return_inverse=True)[1], np.zeros(len(table), dtype=bool)
    found = []
    for cut in cuts:
        again = int((np.isin(same[cut.test], same[cut.train]) & ~empty[cut.test]).sum())
        amiss = again if again > 1 and again >= SAME_SHARE * len(cut.test) else 0
        said = f"{again:,} of the {len(cut.test):,} test rows of the cut {cut.name!r} are the same as a training row"
        found.append((amiss, said))
    return _worst(found, "Take repeated rows out, or keep them together with --group.")


def _rates(column: Category, rows: Integers, label: Flags, fold: Integers) -> Floats:
    """How often a word is positive among the rows of the other fold; a word that is not there says the mean."""
    code = column.code[rows] + 1
    told = np.empty(len(rows))
    for at in (0, 1):
        other = fold != at
        count = np.bincount(code[other], minlength=len(column.words) + 1)
        positives = np.bincount(code[other], weights=label[other], minlength=len(column.words) + 1)
        told[fold == at] = ((positives + label[other].mean()) / (count + 1))[code[fold == at]]
    return told


def _alone(values: Floats, label: Flags, fold: Integers) -> float:
    """The AUROC of a small tree on values alone, over rows of the fold that it did not learn from."""
    from sklearn.tree import DecisionTreeClassifier

    score = np.full(len(label), label.mean())
    for at in (0, 1):
        learn, judged = fold != at, fold == at
        if 0 < label[learn].sum() < learn.sum() and judged.any():
            tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=3, random_state=0)
            score[judged] = tree.fit(values[learn], label[learn]).predict_proba(values[judged])[:, 1]
    return float(ranking(score, label, np.ones((1, len(label))))[0][0])


def pooled(findings: Findings) -> Scored:
    """Returns the test rows of all cuts together, for pictures."""
    parts = [one.scored for one in findings.measured]
    stacked = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("score", "label", "weight", "merchant")
    }
    return replace(parts[0], **stacked)
