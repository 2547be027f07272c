"""Evaluation on a user's labelled table: splits, metrics, and warnings about leaks.

A table is split once per given split or per seed; each time an ensemble is fitted on the training rows and measured on the test
rows. Metrics are means over the splits; their intervals are bootstrap intervals over test rows, with whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import hstack
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.tree import DecisionTreeClassifier

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
"""From this AUROC of a single feature there is a warning."""
IDS_WITH_LABEL: Final = 0.9
"""From this AUROC of the ids there is a warning."""
DUPLICATE_SHARE: Final = 0.01
"""From this share of test rows that are also training rows there is a warning."""
LEAK_ROWS: Final = 20_000


@dataclass(frozen=True)
class Split:
    """One split of a table, as positions of rows.

    Attributes:
        name: The name of the split or the seed.
        train: Training rows.
        held: Validation rows; None to hold out training rows.
        test: Test rows.
        seed: Seed of everything random.
    """

    name: str
    train: Integers
    held: Integers | None
    test: Integers
    seed: int


@dataclass(frozen=True)
class Measured:
    """The results on one split.

    Attributes:
        split: The split.
        figures: By model (`ensemble` and baselines) and metric.
        drawn: The same over bootstrap resamples of test rows, each of shape (RESAMPLES,).
        scored: The test rows' scores by the ensemble.
        ensemble: The ensemble.
    """

    split: Split
    figures: Mapping[str, Mapping[str, float]]
    drawn: Mapping[str, Mapping[str, Floats]]
    scored: Scored
    ensemble: Ensemble

    def as_dict(self) -> dict[str, Any]:
        """Returns its rows and the ensemble's metrics as JSON-serialisable data; null if undefined."""
        rows = {"train": len(self.split.train), "test": len(self.split.test)}
        return {"split": self.split.name, "rows": rows, **_to_json(self.figures["ensemble"])}


@dataclass(frozen=True)
class Findings:
    """The results on a table.

    Attributes:
        rows: Number of rows.
        positives: Number of positives.
        measured: The results by split.
        warnings: Warnings about leaks.
    """

    rows: int
    positives: int
    measured: tuple[Measured, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns mean, sd, low and high of each metric as JSON-serialisable data; null if undefined."""
        rated = list(self.measured[0].figures)
        result = {name: {metric: self._summary(name, metric) for metric in METRICS} for name in rated}
        return {
            "metrics": result.pop("ensemble"),
            "baseline": result,
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
        result = {"mean": float(values.mean()), "sd": sd, "low": float(low), "high": float(high)}
        return _to_json({name: round(value, 6) for name, value in result.items()})


def _to_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Returns numbers for JSON: null if undefined."""
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def splits_by_column(table: Table, columns: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[Split]:
    """Splits a table by columns.

    Args:
        table: The table.
        columns: The side of each row (train, validation or test), by the name of the split.
        seeds: One per split, or several for a single split.

    Raises:
        BadInputError: A row has no or an unknown side, or a side has too few rows of a class.
    """
    splits = []
    for name, sides in columns.items():
        unknown = sorted({word for word in sides if word.strip().lower() not in SIDES})
        if unknown:
            count = sum(word in unknown for word in sides)
            shown = ", ".join(repr(word) for word in unknown[:3])
            raise BadInputError(
                f"The split {name!r} is {shown} in {count:,} rows; it must be train, validation or test in each row. Correct it."
            )
        side = np.array([SIDES[word.strip().lower()] for word in sides])
        parts = {which: np.flatnonzero(side == which) for which in ("train", "validation", "test")}
        held = parts["validation"] if len(parts["validation"]) else None
        for seed in seeds if len(columns) == 1 else [seeds[0]]:
            label = name if len(columns) > 1 or len(seeds) == 1 else f"{name}, seed {seed}"
            splits.append(Split(label, parts["train"], held, parts["test"], seed))
    for split in splits:
        _check(table, split)
    return splits


def random_splits(table: Table, test_size: float, seeds: Sequence[int]) -> list[Split]:
    """Splits a table by time if it has one, otherwise at random with the same share of positives; groups are kept whole.

    Raises:
        BadInputError: A side would have too few of a class.
    """
    rows = np.arange(len(table))
    splits = []
    for seed in seeds:
        if table.time is not None:
            order = np.argsort(table.time, kind="stable")
            first = table.time[order[min(len(order) - 1, round(len(order) * (1 - test_size)))]]
            is_test = table.time >= first
            is_train = ~is_test if table.group is None else ~is_test & ~np.isin(table.group, table.group[is_test])
        else:
            is_test = _sample_test_rows(table.label, table.group, test_size, np.random.default_rng([seed, 0]))
            is_train = ~is_test
        split = Split(f"seed {seed}", rows[is_train], None, rows[is_test], seed)
        _check(table, split)
        splits.append(split)
    return splits


def _sample_test_rows(label: Flags, group: Integers | None, share: float, random: np.random.Generator) -> Flags:
    """Samples a share of the positives and of the negatives, or of the groups with positives and of those without.

    scikit-learn has no splitter that keeps groups whole, is stratified, and takes any share.
    """
    unit = np.arange(len(label)) if group is None else np.unique(group, return_inverse=True)[1]
    positives, rows = np.bincount(unit, weights=label), np.bincount(unit).astype(np.float64)
    chosen = np.zeros(len(rows), dtype=bool)
    for units, weight in ((np.flatnonzero(positives > 0), positives), (np.flatnonzero(positives == 0), rows)):
        order = random.permutation(units)
        before = np.cumsum(weight[order]) - weight[order] / 2
        chosen[order[before < share * weight[units].sum()]] = True
    return chosen[unit]


def _check(table: Table, split: Split) -> None:
    for side, rows, least in (
        ("train", split.train, LEAST_IN_TRAIN), ("test", split.test, LEAST_IN_TEST), ("validation", split.held, LEAST_IN_TEST),
    ):  # fmt: skip
        if rows is None:
            continue
        positives = int(table.label[rows].sum())
        few = min(positives, len(rows) - positives)
        if few < least:
            raise BadInputError(
                f"In the split {split.name!r} {side} has {positives:,} positives and {len(rows) - positives:,} negatives; it "
                f"needs {least} of each. Split the table differently, or label more rows."
            )


def build_inputs(table: Table, edges: Mapping[str, Edges], hops: int) -> Inputs:
    """Builds the inputs of a table's rows, before anything is learned."""
    dense, names = table.numbers, list(table.names)
    text = None
    if table.texts:
        shapes, kinds = _text_features(table.texts)
        dense, names, text = np.concatenate([dense, shapes], axis=1), names + kinds, _hash_texts(table.texts)
    own = len(names)
    links = links_over(edges, len(table))
    if links:
        near, neighbour_names = neighbour_features(dense, names, links, hops)
        dense, names = np.concatenate([dense, near], axis=1), names + neighbour_names
    is_own = np.arange(len(names)) < own
    return Inputs(
        np.ascontiguousarray(dense, dtype=np.float32),
        tuple(names),
        is_own,
        table.categories,
        text,
        tuple(links.values()),
        hops,
    )


def _text_features(texts: Mapping[str, Sequence[str]]) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Returns the length of each text and its shares of kinds of characters."""
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


def _hash_texts(texts: Mapping[str, Sequence[str]]) -> Any:
    """Returns hashed counts of words, pairs of words, and parts of words; nothing is learned for them."""
    count = partial(HashingVectorizer, n_features=HASHED, alternate_sign=False, norm=None)
    vectorizers = (count(ngram_range=(1, 2)), count(analyzer="char_wb", ngram_range=(2, 5)))
    return hstack([each.transform(column) for column in texts.values() for each in vectorizers], format="csr")


def evaluate_table(
    table: Table,
    inputs: Inputs,
    splits: Sequence[Split],
    *,
    trials: int,
    with_baseline: bool,
    warnings: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Findings:
    """Fits and measures an ensemble on each split.

    Args:
        table: The table.
        inputs: The inputs of its rows.
        splits: The splits.
        trials: Number of candidates of the parameter search.
        with_baseline: Whether to measure the prevalence and a logistic regression, too.
        warnings: Other warnings to report.
        progress: Called with a line per split.
    """
    warnings = [*warnings, *leaks(table, splits)]
    measured = []
    for number, split in enumerate(splits, start=1):
        ensemble = fit_ensemble(
            inputs,
            table.label,
            split.train,
            split.held,
            group=table.group,
            time=table.time,
            trials=trials,
            seed=split.seed,
        )
        rated = {"ensemble": (ensemble.probability(inputs, split.test), ensemble.threshold)}
        if with_baseline:
            share = float(table.label[split.train].mean())
            rated["prevalence"] = (np.full(len(split.test), share), share)
            baseline = fit_baseline(inputs, table.label, split.train)
            threshold = best_threshold(baseline(split.train), table.label[split.train])
            rated["logistic_regression"] = (baseline(split.test), threshold)
        truth = table.label[split.test]
        owner = np.arange(len(truth)) if table.group is None else table.group[split.test]
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
        scored = Scored(100.0 * rated["ensemble"][0], truth, np.ones(len(truth)), owner)
        measured.append(Measured(split, figures, drawn, scored, ensemble))
        summary = ", ".join(f"{metric} {figures['ensemble'][metric]:.4f}" for metric in METRICS[:2])
        progress(f"{shorten(split.name)} ({number} of {len(splits)}): {summary}")
    return Findings(len(table), int(table.label.sum()), tuple(measured), tuple(warnings))


def measure(probability: Floats, label: Flags, threshold: float, weight: Floats) -> dict[str, Floats]:
    """Measures scores under many weightings at once.

    Args:
        probability: Predicted probabilities, shape (n,).
        label: Truth, shape (n,).
        threshold: The lowest probability to flag.
        weight: Weights, shape (b, n).

    Returns:
        Each metric, of shape (b,); nan if undefined. Precision at k refers to the first k rows, k being the number of
        positives; rows with equal probabilities count in proportion.
    """
    auroc, precision = ranking(probability, label, weight)
    flagged = probability >= threshold
    right, wrong = weight @ (flagged & label), weight @ (flagged & ~label)
    positives = weight @ label.astype(np.float64)
    order = np.argsort(-probability, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(probability[order]) != 0]))
    positives_at = np.add.reduceat(weight[:, order] * label[order], starts, axis=1)
    total_at = np.add.reduceat(weight[:, order], starts, axis=1)
    before = np.cumsum(total_at, axis=1) - total_at
    room = np.clip(positives[:, None] - before, 0.0, total_at)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(total_at > 0, positives_at * room / total_at, 0.0).sum(axis=1)
        f1 = np.where(positives > 0, 2 * right / (right + wrong + positives), np.nan)
        at_k = within / positives
    both = (positives > 0) & (positives < weight.sum(axis=1))
    slope = [
        calibration_slope(probability, label, row) if sound else np.nan for row, sound in zip(weight, both, strict=True)
    ]
    skill = [brier_skill(probability, label, row) if sound else np.nan for row, sound in zip(weight, both, strict=True)]
    values = (auroc, precision, f1, at_k, np.array(slope), np.array(skill))
    return dict(zip(METRICS, values, strict=True))


def leaks(table: Table, splits: Sequence[Split]) -> list[str]:
    """Returns warnings about a label that may leak into the features or across a split."""
    return [
        *_separating(table, splits[0]),
        *_ids_with_label(table),
        *_groups_across_splits(table, splits),
        *_duplicates(table, splits),
    ]


def _separating(table: Table, split: Split) -> list[str]:
    """Returns warnings about features that alone separate the training rows."""
    rows = spread(split.train, LEAK_ROWS)
    label = table.label[rows]
    fold = group_folds(label, None if table.group is None else table.group[rows], 2, 0)
    columns = {name: table.numbers[rows, index].astype(np.float64)[:, None] for index, name in enumerate(table.names)}
    columns |= {name: _target_encode(column, rows, label, fold)[:, None] for name, column in table.categories.items()}
    warnings = []
    for name, values in columns.items():
        auroc = _auroc_alone(values, label, fold)
        if auroc >= SEPARATES:
            warnings.append(
                f"The feature {name!r} alone separates the classes (AUROC {auroc:.3f}). If it is only known together with the "
                f"label, leave it out: --drop {shorten(name)}."
            )
    return warnings


def _ids_with_label(table: Table) -> list[str]:
    """Returns a warning if the ids predict the label by their number, their length or their letters."""
    if table.ids is None:
        return []
    rows = spread(np.arange(len(table)), LEAK_ROWS)
    ids = table.ids.take(rows).to_pylist()
    label = table.label[rows]
    fold = group_folds(label, None, 2, 0)
    letters = ["".join(character for character in name if not character.isdigit()) for name in ids]
    digits = ["".join(character for character in name if character.isdigit())[:15] for name in ids]
    words, code = np.unique(letters, return_inverse=True)
    starts = _target_encode(Category(code.astype(np.int64), tuple(words.tolist())), np.arange(len(rows)), label, fold)
    numbers = np.array([float(each) if each else np.nan for each in digits])
    values = np.column_stack([numbers, np.array([len(name) for name in ids], dtype=np.float64), starts])
    auroc = _auroc_alone(values, label, fold)
    if auroc < IDS_WITH_LABEL:
        return []
    text = f"The ids predict the label (AUROC {auroc:.3f}), as if rows were numbered by class. They are not used as a feature, "
    return [text + "but other columns created in the same order may predict it too."]


def _groups_across_splits(table: Table, splits: Sequence[Split]) -> list[str]:
    """Returns a warning about groups on both sides of a split."""
    if table.group is None:
        return []
    warnings = []
    for split in splits:
        learned = split.train if split.held is None else np.concatenate([split.train, split.held])
        both = np.intersect1d(table.group[learned], table.group[split.test])
        rows = int(np.isin(table.group[split.test], both).sum())
        text = (
            f"{len(both):,} groups are on both sides of the split {split.name!r}: {rows:,} of its {len(split.test):,} test rows "
            "belong to a group with training rows"
        )
        warnings.append((rows, text))
    return _worst(warnings, "Without --split or --splits groups are kept whole.")


def _worst(warnings: Sequence[tuple[int, str]], remedy: str) -> list[str]:
    """Returns the warning about the split with most affected rows, and how many other splits have some."""
    affected = [warning for warning in warnings if warning[0]]
    if not affected:
        return []
    text = max(affected, key=lambda warning: warning[0])[1]
    others = "" if len(affected) == 1 else f", and {len(affected) - 1} other splits are similar"
    return [f"{text}{others}. {remedy}"]


def _duplicates(table: Table, splits: Sequence[Split]) -> list[str]:
    """Returns a warning about test rows that equal a training row in all features, or in all texts if there are any."""
    if table.texts:
        joined = ["\x00".join(parts) for parts in zip(*table.texts.values(), strict=True)]
        same = np.unique(joined, return_inverse=True)[1]
        empty = np.array([not text.strip("\x00 ") for text in joined])
    else:
        codes = [column.code.astype(np.float32)[:, None] for column in table.categories.values()]
        values = np.ascontiguousarray(np.nan_to_num(np.concatenate([table.numbers, *codes], axis=1), nan=-1.25e30))
        whole = values.view(np.dtype((np.void, values.dtype.itemsize * values.shape[1]))).ravel()
        same, empty = np.unique(whole, return_inverse=True)[1], np.zeros(len(table), dtype=bool)
    warnings = []
    for split in splits:
        again = int((np.isin(same[split.test], same[split.train]) & ~empty[split.test]).sum())
        affected = again if again > 1 and again >= DUPLICATE_SHARE * len(split.test) else 0
        text = f"{again:,} of the {len(split.test):,} test rows of the split {split.name!r} equal a training row"
        warnings.append((affected, text))
    return _worst(warnings, "Remove duplicates, or keep them together with --group.")


def _target_encode(column: Category, rows: Integers, label: Flags, fold: Integers) -> Floats:
    """Returns the share of positives of each row's value in the other fold; the mean for a value that is not there."""
    code = column.code[rows] + 1
    result = np.empty(len(rows))
    for index in (0, 1):
        other = fold != index
        count = np.bincount(code[other], minlength=len(column.values) + 1)
        positives = np.bincount(code[other], weights=label[other], minlength=len(column.values) + 1)
        result[fold == index] = ((positives + label[other].mean()) / (count + 1))[code[fold == index]]
    return result


def _auroc_alone(values: Floats, label: Flags, fold: Integers) -> float:
    """Returns the AUROC of a small decision tree on the values, in two-fold cross-validation."""
    score = np.full(len(label), label.mean())
    for index in (0, 1):
        learn, judged = fold != index, fold == index
        if 0 < label[learn].sum() < learn.sum() and judged.any():
            tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=3, random_state=0)
            score[judged] = tree.fit(values[learn], label[learn]).predict_proba(values[judged])[:, 1]
    return float(ranking(score, label, np.ones((1, len(label))))[0][0])


def pooled(findings: Findings) -> Scored:
    """Returns the test rows of all splits together, for charts."""
    parts = [one.scored for one in findings.measured]
    stacked = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("score", "label", "weight", "merchant")
    }
    return replace(parts[0], **stacked)
