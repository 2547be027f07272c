"""A blend for a table of somebody's own: boosters and a linear model, their shares, calibration and threshold.

All that is learned is learned of training rows. They are cut into folds, and each fold is scored by what was fitted on the
others: by these scores parameters are sought, shares chosen, probabilities calibrated and the threshold set. What was fitted
on folds is what rates new rows, averaged: nothing is fitted again. Where a validation part is large enough there are no folds:
all training rows are learned from, and that part is held out. Boosters are fitted where all are (ml/boosting.py) and calibrated
as risk models are (ml/calibrate.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.boosting import quantile_matrix, threads, train_booster
from ml.calibrate import Calibration, calibrate, sigmoid
from ml.labelled_table import Category
from ml.metrics import ranking
from ml.model import in_parallel, load_booster, margin_of
from ml.neighbours import Direct, Shared

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FOLDS: Final = ((0, 5), (3_000, 4), (300_000, 1))
"""From how many training rows on into how many folds they are cut; with one, a fifth is held out once."""
ENOUGH: Final = 100
"""A validation part with so many positives, and as many others, alone is held out: all training rows are learned from."""
COPIES: Final = ((0, 4), (300_000, 1))
"""And there, from how many training rows on how often a set of parameters is fitted, each time with other draws."""
LATE_SHARE: Final = 0.2
TRIED_ON: Final = 20_000
"""Parameters are tried on so many rows at most."""
COARSE_STEP_FACTOR: Final = 5
"""And in steps so many times as large, which takes a third of the time and ranks them much the same."""
KEPT: Final = ((0, 3), (300_000, 1))
"""From how many training rows on how many sets of parameters are blended."""
MOST_ROUNDS: Final = 1_500
PATIENCE: Final = 40
BINS: Final = ((0, 64), (20_000, 256))
"""From how many rows on how many bins a number has: with 64 a fit on few rows takes a third of the time, and is no worse."""
COLUMNS_A_TREE: Final = 150
"""A tree takes no more columns, so that a fit's time grows with the rows and not with the edges' types and hops."""
ONE_HOT: Final = 12
"""A category of so many words has a column for each; one of more is told by how often, and how often positive, a word is."""
PRIOR_ROWS: Final = 10.0
"""What is said of a word by its rows weighs against so many rows of the mean."""
LINEAR_ROWS: Final = 100_000
RIDGES: Final = (0.01, 0.1, 1.0)
TEXT_RIDGES: Final = (1.0, 10.0, 100.0)
TEXT_PARTS: Final = 3
"""Into so many parts the rows of a fold are cut again, so that a text's score is no memory of the row's own label."""
SHARES: Final = tuple(at / 10 for at in range(11))


@dataclass(frozen=True)
class Inputs:
    """What is known of all rows, of n in all, before anything is learned.

    Attributes:
        dense: Numbers, shape (n, d), nan where null.
        names: What each is.
        is_own: Which of them are a row's own, and not its neighbours'.
        categories: Columns of words.
        text: How often each hashed word or part of a word is there, sparse, shape (n, h); None without text.
        ways: What leads from rows to their neighbours.
        hops: How far it is followed.
    """

    dense: Matrix
    names: tuple[str, ...]
    is_own: Flags
    categories: Mapping[str, Category]
    text: Any = None
    ways: tuple[Direct | Shared, ...] = ()
    hops: int = 1


@dataclass(frozen=True)
class Trial:
    """One set of a booster's parameters.

    Attributes:
        settings: XGBoost's parameters.
        is_own_only: Whether it takes a row's own features alone, without its neighbours'.
    """

    settings: Mapping[str, Any]
    is_own_only: bool

    def reseeded(self, copy: int) -> Trial:
        """Returns the same with other draws of rows and columns; of copy 0, the same."""
        return replace(self, settings={**self.settings, "seed": self.settings["seed"] + 100_000 * copy})

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {**self.settings, "own features only": self.is_own_only}


@dataclass(frozen=True)
class Linear:
    """A logistic regression with a ridge, on numbers that are standardised or on a text's words.

    Attributes:
        centre: What is taken off each number; null becomes it.
        scale: What each is divided by.
        low: What lies below is raised to it.
        high: What lies above is lowered to it.
        nullable: Positions of the numbers that were null in some row.
        weight: Of each number, and then of each of those being null; of each word.
        intercept: The log-odds of a row that is all centre.
        rarity: By what each word's count is multiplied; None for numbers.
    """

    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    nullable: Integers
    weight: Floats
    intercept: float
    idf: Floats | None = None

    def prepared(self, values: Any) -> Any:
        """Returns the numbers, or the words, as the weights are for."""
        if self.idf is not None:
            return _weighed(values, self.idf)
        null = np.isnan(values)
        sound = np.where(null, self.centre, np.clip(values, self.low, self.high))
        return np.column_stack([(sound - self.centre) / self.scale, null[:, self.nullable]])

    def margin(self, values: Any) -> Floats:
        """Returns log-odds, shape (n,)."""
        return np.asarray(self.prepared(values) @ self.weight, dtype=np.float64).ravel() + self.intercept


@dataclass(frozen=True)
class Fold:
    """One cut of the training rows, and what was learned of its larger part.

    Attributes:
        learn: Positions of the rows that were learned from.
        held: Positions of those that were held out.
        words: What each category's words were found to be.
        text: The linear model of the text; None without text.
        text_learned: What its like, fitted on other parts of what is learned from, say of each row there, shape (len(learn),).
        linear: The linear model of the numbers.
        boosters: Boosters as UBJ, in the order of the blend's trials.
    """

    learn: Integers
    held: Integers
    words: tuple[Words, ...] = ()
    text: Linear | None = None
    text_learned: Floats | None = None
    linear: Linear | None = None
    boosters: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Ensemble:
    """What rates.

    Attributes:
        trials: The parameters of the boosters, best first.
        folds: What was learned of each fold.
        text_share: The share of the text's linear model against the boosters (0 to 1).
        linear_share: The share of the numbers' linear model against both.
        near_share: The share of what neighbours are rated against what a row itself is.
        calibration: From a blended margin to a probability.
        threshold: The least probability to flag: where F1 is greatest over the held-out scores.
    """

    trials: tuple[Trial, ...]
    folds: tuple[Fold, ...]
    text_share: float
    linear_share: float
    neighbour_share: float
    calibration: Calibration
    threshold: float

    def probability(self, inputs: Inputs, rows: Integers) -> Floats:
        """Returns the probability that rows are positives, shape (len(rows),)."""
        return self.calibration.probability(self.margin(inputs, rows))

    def margin(self, inputs: Inputs, rows: Integers) -> Floats:
        """Returns blended log-odds, each the mean over the folds."""
        parts = [self._of_fold(inputs, fold, rows) for fold in self.folds]
        return np.asarray(np.mean(parts, axis=0), dtype=np.float64)

    def _of_fold(self, inputs: Inputs, fold: Fold, rows: Integers) -> Floats:
        rated = rows if self.neighbour_share == 0 else np.arange(len(inputs.dense))
        margin = _blended(*_margins(inputs, fold, self.trials, rated), self.text_share, self.linear_share)
        return margin if self.neighbour_share == 0 else _smooth_over_graph(margin, inputs, self.neighbour_share)[rows]


@dataclass(frozen=True)
class Words:
    """What a category's words were found to be, of training rows.

    Attributes:
        shown: The words that have a column of their own; none where there are too many.
        rows: How many rows each word has.
        odds: The log-odds of a positive among each word's rows, drawn towards the mean; the last is that of no word.
    """

    shown: tuple[int, ...]
    rows: Floats
    odds: Floats


def fit_ensemble(
    inputs: Inputs,
    label: Flags,
    rows: Integers,
    held: Integers | None = None,
    *,
    group: Integers | None = None,
    time: Floats | None = None,
    trials: int = 30,
    seed: int = 0,
) -> Ensemble:
    """Learns a blend.

    Args:
        inputs: What is known of all rows.
        label: Whether each is a positive; read of `rows` and `held` alone.
        rows: Positions of the training rows.
        held: Positions of validation rows, by which everything is chosen; None to take them from the training rows.
        group: Rows of one group are held out together.
        time: The last rows are held out.
        trials: How many sets of parameters are tried; with 0 the first ones are taken.
        seed: Seed of every draw.

    Returns:
        The blend.
    """
    random = np.random.default_rng(seed)
    cuts, copies = _cut(label, rows, group, time, random), 1
    if held is not None and min(label[held].sum(), (~label[held]).sum()) >= ENOUGH:
        cuts, copies = [(rows, held)], _at(COPIES, len(rows))
    elif held is not None:
        cuts = [(learn, np.concatenate([out, held])) for learn, out in cuts]
    folds = in_parallel([partial(_learned, inputs, label, group, learn, out) for learn, out in cuts])
    has_neighbours = not bool(inputs.is_own.all())
    keep = _at(KEPT, len(rows))
    wanted = _trials(max(trials, keep), seed, has_neighbours=has_neighbours)
    chosen, boosters = _successive_halving(inputs, label, folds, wanted, keep, copies, random)
    folds = [replace(fold, boosters=made) for fold, made in zip(folds, boosters, strict=True)]
    # With ways all rows are rated, so that the held-out ones can be drawn towards their neighbours.
    every = np.arange(len(label))
    rated = [(every, fold.held) if inputs.ways else (fold.held, slice(None)) for fold in folds]
    scored = [_margins(inputs, fold, chosen, rows_of) for fold, (rows_of, _) in zip(folds, rated, strict=True)]
    truth = label[np.concatenate([fold.held for fold in folds])]

    def held_out(parts: Sequence[Floats]) -> Floats:
        return np.concatenate([part[held_at] for part, (_, held_at) in zip(parts, rated, strict=True)])

    of_boosters, of_text, of_linear = (held_out(parts) for parts in zip(*scored, strict=True))
    text_share = 0.0
    if inputs.text is not None:
        text_share = _best_share(lambda share: _mixed(of_boosters, of_text, share), truth)
    both = _mixed(of_boosters, of_text, text_share)
    linear_share = _best_share(lambda share: _mixed(both, of_linear, share), truth)
    blended = [_blended(*parts, text_share, linear_share) for parts in scored]
    neighbour_share = 0.0
    if inputs.ways:
        neighbour_share = _best_share(
            lambda share: held_out([_smooth_over_graph(part, inputs, share) for part in blended]), truth
        )
        blended = [_smooth_over_graph(part, inputs, neighbour_share) for part in blended]
    margin = held_out(blended)
    ones = np.ones(len(truth))
    calibration = calibrate(margin, truth, ones, np.ones(len(truth), dtype=bool))
    threshold = best_threshold(calibration.probability(margin), truth)
    return Ensemble(tuple(chosen), tuple(folds), text_share, linear_share, neighbour_share, calibration, threshold)


def best_threshold(probability: Floats, label: Flags) -> float:
    """Returns the probability from which on to flag so that F1 is greatest; the middle between two scores."""
    order = np.argsort(-probability, kind="stable")
    found = np.cumsum(label[order])
    flagged = np.arange(1, len(order) + 1)
    f1 = 2 * found / (flagged + label.sum())
    last_of_equal = np.append(np.diff(probability[order]) != 0, True)
    at = int(np.argmax(np.where(last_of_equal, f1, -1.0)))
    below = probability[order[at + 1]] if at + 1 < len(order) else 0.0
    return float((probability[order[at]] + below) / 2)


def quality(score: Floats, label: Flags) -> float:
    """What is sought: the mean of AUROC and average precision."""
    auroc, precision = ranking(score, label, np.ones((1, len(label))))
    return float(auroc[0] + precision[0]) / 2


def _cut(
    label: Flags, rows: Integers, group: Integers | None, time: Floats | None, random: np.random.Generator
) -> list[tuple[Integers, Integers]]:
    """Cuts training rows into what is learned from and what is held out, fold by fold."""
    if time is not None:
        order = rows[np.argsort(time[rows], kind="stable")]
        cut = int(len(order) * (1 - LATE_SHARE))
        late = np.isin(rows, order[cut:])
        if group is not None:
            late |= np.isin(group[rows], group[rows[late]])
        if 0 < label[rows[late]].sum() < late.sum() and 0 < label[rows[~late]].sum() < (~late).sum():
            return [(rows[~late], rows[late])]
    count = _at(FOLDS, len(rows))
    fold = group_folds(label[rows], None if group is None else group[rows], count if count > 1 else 5, random)
    cuts = [(rows[fold != at], rows[fold == at]) for at in range(count)]
    sound = [
        (learn, held)
        for learn, held in cuts
        if 0 < label[held].sum() < len(held) and 0 < label[learn].sum() < len(learn)
    ]
    return sound or [(rows, rows)]


def _at(steps: Sequence[tuple[int, int]], rows: int) -> int:
    """The value of the last step that so many rows reach."""
    return [value for least, value in steps if rows >= least][-1]


def spread(rows: Integers, most: int) -> Integers:
    """Returns at most so many of the rows, evenly spread over them."""
    return rows[:: max(1, -(-len(rows) // most))]


def group_folds(label: Flags, group: Integers | None, folds: int, random: np.random.Generator) -> Integers:
    """Deals rows into folds of about as many positives each, whole groups at a time.

    Returns:
        The fold of each row, 0 to folds - 1.
    """
    unit = np.arange(len(label)) if group is None else np.unique(group, return_inverse=True)[1]
    positives = np.bincount(unit, weights=label)
    sizes = np.bincount(unit)
    shuffled = random.permutation(len(sizes))
    order = shuffled[np.lexsort((-sizes[shuffled], -positives[shuffled]))]
    turn = np.arange(len(order)) % (2 * folds)
    of_unit = np.empty(len(order), dtype=np.int64)
    of_unit[order] = np.where(turn < folds, turn, 2 * folds - 1 - turn)
    return of_unit[unit]


def _learned(inputs: Inputs, label: Flags, group: Integers | None, learn: Integers, held: Integers) -> Fold:
    """Learns all of a fold but its boosters."""
    words = tuple(_words(column, learn, label) for column in inputs.categories.values())
    text, text_learned = None, None
    if inputs.text is not None:
        made = _linear_text(inputs.text[learn], label[learn], TEXT_RIDGES)
        at = _best_linear(made, inputs.text[held], label[held])
        text, text_learned = made[at], _of_other_texts(inputs, label, learn, group, TEXT_RIDGES[at])
    own = Fold(learn, held, words, text, text_learned)
    some = spread(learn, LINEAR_ROWS)
    made = _linear_numbers(_numbers(inputs, own, some, is_learning=True, label=label), label[some], RIDGES)
    return replace(own, linear=made[_best_linear(made, _numbers(inputs, own, held), label[held])])


def _of_other_texts(inputs: Inputs, label: Flags, learn: Integers, group: Integers | None, ridge: float) -> Floats:
    """What a text's linear model says of rows that are learned from, each fitted on the other parts of them."""
    part = group_folds(label[learn], None if group is None else group[learn], TEXT_PARTS, np.random.default_rng(0))
    told = np.zeros(len(learn))
    for at in range(TEXT_PARTS):
        others, own = learn[part != at], part == at
        if own.any() and 0 < label[others].sum() < len(others):
            told[own] = _linear_text(inputs.text[others], label[others], (ridge,))[0].margin(inputs.text[learn[own]])
    return told


def _numbers(
    inputs: Inputs, fold: Fold, rows: Integers, *, is_learning: bool = False, label: Flags | None = None
) -> Floats:
    """A row's numbers and what its words were found to be."""
    return np.column_stack([
        inputs.dense[rows].astype(np.float64), _of_words(inputs, fold, rows, label if is_learning else None)
    ])  # fmt: skip


def _words(column: Category, learn: Integers, label: Flags) -> Words:
    code = column.code[learn]
    known = code >= 0
    rows = np.bincount(code[known], minlength=len(column.words)).astype(np.float64)
    positives = np.bincount(code[known], weights=label[learn][known], minlength=len(column.words))
    share = float(label[learn].mean())
    odds = _odds(np.append(positives, 0.0), np.append(rows, 0.0), share)
    shown = tuple(np.flatnonzero(rows > 0).tolist()) if (rows > 0).sum() <= ONE_HOT else ()
    return Words(shown, rows, odds)


def _odds(positives: Any, rows: Any, share: float) -> Floats:
    mean = np.clip((positives + PRIOR_ROWS * share) / (rows + PRIOR_ROWS), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(mean / (1 - mean)), dtype=np.float64)


def _of_words(inputs: Inputs, fold: Fold, rows: Integers, label: Flags | None) -> Matrix:
    """What the words of rows were found to be; with labels, of rows that were learned from, without what each itself said."""
    parts: list[Floats] = []
    for column, words in zip(inputs.categories.values(), fold.words, strict=True):
        code = column.code[rows]
        if words.shown:
            parts += [(code == word).astype(np.float64) for word in words.shown]
            parts.append((code < 0).astype(np.float64))
            continue
        count = np.append(words.rows, 0.0)[code]
        odds = words.odds[code]
        if label is not None:
            share = float(label[fold.learn].mean())
            positives = np.bincount(
                column.code[fold.learn] + 1, weights=label[fold.learn], minlength=len(words.rows) + 1
            )
            own = label[rows].astype(np.float64)
            odds = np.where(
                code >= 0, _odds(positives[code + 1] - own, np.maximum(count - 1, 0.0), share), words.odds[-1]
            )
        parts += [np.log1p(count), odds]
    return np.column_stack(parts).astype(np.float32) if parts else np.zeros((len(rows), 0), dtype=np.float32)


def _linear_numbers(values: Floats, label: Flags, ridges: Sequence[float]) -> list[Linear]:
    """A linear model of numbers a ridge; what lies beyond the 1st and the 99th percentile counts as these, if they differ."""
    with np.errstate(all="ignore"):
        safe = np.where(np.isnan(values).all(axis=0), 0.0, values)
        low, high = np.nanquantile(safe, [0.01, 0.99], axis=0)
        low, high = np.where(low < high, [low, high], [np.nanmin(safe, axis=0), np.nanmax(safe, axis=0)])
        sound = np.clip(safe, low, high)
        centre, scale = np.nanmean(sound, axis=0), np.nanstd(sound, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    nullable = np.flatnonzero(np.isnan(values).any(axis=0))
    made = Linear(centre, scale, low, high, nullable, np.zeros(0), 0.0)
    prepared = made.prepared(values)
    fitted = [_regression(prepared, label, ridge, "newton-cholesky") for ridge in ridges]
    return [replace(made, weight=weight, intercept=intercept) for weight, intercept in fitted]


def _linear_text(counts: Any, label: Flags, ridges: Sequence[float]) -> list[Linear]:
    """A linear model of words a ridge, of words that two of the rows have; those of one row teach nothing of another."""
    held = np.asarray((counts > 0).sum(axis=0), dtype=np.float64).ravel()
    idf = np.where(held > 1, np.log((1.0 + counts.shape[0]) / (1.0 + held)) + 1.0, 0.0)
    none, kept = np.zeros(0), np.flatnonzero(held > 1)
    made = Linear(none, none, none, none, np.zeros(0, dtype=np.int64), np.zeros(len(idf)), 0.0, idf)
    if not len(kept):
        return [made]
    prepared, found = made.prepared(counts)[:, kept], []
    for ridge in ridges:
        weight = np.zeros(len(idf))
        weight[kept], intercept = _regression(prepared, label, ridge, "lbfgs")
        found.append(replace(made, weight=weight, intercept=intercept))
    return found


def _regression(values: Any, label: Flags, ridge: float, solver: str) -> tuple[Floats, float]:
    """A logistic regression's weights and intercept, by one thread: no sum depends on how many there are."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        fitted = LogisticRegression(C=ridge, solver=solver, max_iter=100, tol=1e-3).fit(values, label)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _weighed(counts: Any, idf: Floats) -> Any:
    """Counts as weights of words: damped, by rarity, each text of length 1."""
    from sklearn.preprocessing import normalize

    told = counts.astype(np.float64)
    told.data = 1.0 + np.log(told.data)
    return normalize(told.multiply(idf).tocsr())


def _best_linear(made: Sequence[Linear], values: Any, label: Flags) -> int:
    """The position of the one that ranks held-out rows best; the first of equal ones."""
    return max(range(len(made)), key=lambda at: (quality(made[at].margin(values), label), -at))


def _trials(count: int, seed: int, *, has_neighbours: bool) -> list[Trial]:
    """The sets of parameters that are tried: a plain one, a shallow one, and drawn ones."""
    random = np.random.default_rng([seed, 1])
    fixed = {"objective": "binary:logistic", "tree_method": "hist", "device": "cpu"}
    named = ("max_depth", "learning_rate", "subsample", "colsample_bytree", "min_child_weight", "reg_lambda")
    known = ((6, 0.05, 0.8, 0.8, 1.0, 1.0), (3, 0.05, 0.8, 0.5, 1.0, 3.0), (8, 0.05, 0.8, 0.3, 3.0, 3.0))
    drawn: list[dict[str, Any]] = [dict(zip(named, values, strict=True)) for values in known]
    while len(drawn) < count:
        values = (
            int(random.integers(2, 9)),
            float(np.exp(random.uniform(np.log(0.03), np.log(0.1)))),
            float(random.uniform(0.5, 1.0)),
            float(np.exp(random.uniform(np.log(0.15), 0.0))),
            float(np.exp(random.uniform(np.log(0.3), np.log(20.0)))),
            float(np.exp(random.uniform(np.log(0.3), np.log(30.0)))),
        )
        drawn.append({name: round(value, 4) for name, value in zip(named, values, strict=True)})
    own_only = [has_neighbours and at % 4 == 3 for at in range(len(drawn))]
    return [
        Trial({**fixed, **settings, "seed": seed * 1000 + at}, own)
        for at, (settings, own) in enumerate(zip(drawn, own_only, strict=True))
    ][:count]


def _successive_halving(
    inputs: Inputs,
    label: Flags,
    folds: Sequence[Fold],
    trials: list[Trial],
    keep: int,
    copies: int,
    random: np.random.Generator,
) -> tuple[list[Trial], list[tuple[bytes, ...]]]:
    """Tries parameters in haste, fold by fold and copy by copy, going on with the better third; fits the `keep` best at leisure.

    Returns:
        Those, as often as there are copies, and their boosters fold by fold.
    """
    going = list(range(len(trials)))
    scores: dict[int, list[float]] = {at: [] for at in going}
    for copy in range(copies):
        for fold in folds:
            if len(going) <= keep:
                break
            drawn = [trials[at].reseeded(copy) for at in going]
            tried = in_parallel(_fits(inputs, label, fold, drawn, COARSE_STEP_FACTOR, random))
            for at, (_, score) in zip(going, tried, strict=True):
                scores[at].append(score)
            ordered = sorted(going, key=lambda at: (-float(np.mean(scores[at])), at))
            going = ordered[: max(keep, len(going) // 3)]
    kept = [trials[at].reseeded(copy) for copy in range(copies) for at in going[:keep]]
    fits = in_parallel([partial(_fits, inputs, label, fold, kept) for fold in folds])
    made = [booster for booster, _ in in_parallel([fit for of_fold in fits for fit in of_fold])]
    return kept, [tuple(made[at : at + len(kept)]) for at in range(0, len(made), len(kept))]


def _drawn(rows: Integers, label: Flags, random: np.random.Generator) -> Integers:
    """At most `TRIED_ON` rows, with as many of the positives as half of them are."""
    if len(rows) <= TRIED_ON:
        return rows
    positive, other = rows[label[rows]], rows[~label[rows]]
    few, many = sorted((positive, other), key=len)
    few = few if len(few) <= TRIED_ON // 2 else random.choice(few, size=TRIED_ON // 2, replace=False)
    return np.sort(np.concatenate([few, random.choice(many, size=TRIED_ON - len(few), replace=False)]))


def _fits(
    inputs: Inputs,
    label: Flags,
    fold: Fold,
    trials: Sequence[Trial],
    coarse_step_factor: int = 1,
    some_of: np.random.Generator | None = None,
) -> list[Callable[[], tuple[bytes, float]]]:
    """What fits a booster a trial on a fold, or on some of its rows, and says how good each is on those held out."""
    import xgboost

    learn, held_out = (rows if some_of is None else _drawn(rows, label, some_of) for rows in (fold.learn, fold.held))
    features = _columns(inputs, fold, learn, label), _columns(inputs, fold, held_out, None)
    bins = _at(BINS, len(learn))

    matrices: dict[bool, tuple[Any, Any, Matrix]] = {}
    for is_own_only in sorted({trial.is_own_only for trial in trials}):
        columns = _taken(inputs, fold, is_own_only=is_own_only)
        told, held = (part if columns is None else part[:, columns] for part in features)
        stop = xgboost.DMatrix(held, label[held_out], nthread=threads(len(held_out)))
        matrices[is_own_only] = quantile_matrix(told, label[learn], None, bins), stop, held

    def fit(trial: Trial) -> tuple[bytes, float]:
        told, stop, held = matrices[trial.is_own_only]
        settings = {
            **trial.settings,
            "learning_rate": coarse_step_factor * trial.settings["learning_rate"],
            "colsample_bytree": min(trial.settings["colsample_bytree"], COLUMNS_A_TREE / held.shape[1]),
            "nthread": threads(len(learn)),
            "max_bin": bins,
            "base_score": float(label[learn].mean()),
        }
        booster = train_booster(settings, MOST_ROUNDS // coarse_step_factor, told, stop, PATIENCE // coarse_step_factor)
        return booster, quality(margin_of(load_booster(booster), held).astype(np.float64), label[held_out])

    return [partial(fit, trial) for trial in trials]


def _columns(inputs: Inputs, fold: Fold, rows: Integers, label: Flags | None) -> Matrix:
    """What boosters take: numbers, what words were found to be, and what the text's linear model says."""
    parts = [inputs.dense[rows], _of_words(inputs, fold, rows, label)]
    if fold.text is not None and fold.text_learned is not None:
        told = (
            fold.text.margin(inputs.text[rows])
            if label is None
            else fold.text_learned[np.searchsorted(fold.learn, rows)]
        )
        parts.append(told[:, None].astype(np.float32))
    return np.concatenate(parts, axis=1) if len(parts) > 2 or parts[1].shape[1] else parts[0]


def _taken(inputs: Inputs, fold: Fold, *, is_own_only: bool) -> Integers | None:
    """Which of these columns a trial takes; None for all."""
    if not is_own_only or bool(inputs.is_own.all()):
        return None
    beyond = _columns(inputs, fold, fold.held[:1], None).shape[1] - len(inputs.is_own)
    return np.flatnonzero(np.append(inputs.is_own, np.ones(beyond, dtype=bool)))


def _margins(inputs: Inputs, fold: Fold, trials: Sequence[Trial], rows: Integers) -> tuple[Floats, Floats, Floats]:
    """What the boosters, the text's and the numbers' linear models of a fold say of rows that it did not learn from."""
    columns = _columns(inputs, fold, rows, None)
    told = []
    for trial, booster in zip(trials, fold.boosters, strict=True):
        taken = _taken(inputs, fold, is_own_only=trial.is_own_only)
        told.append(
            margin_of(load_booster(booster), columns if taken is None else columns[:, taken]).astype(np.float64)
        )
    none = np.zeros(len(rows))
    text = none if fold.text is None else fold.text.margin(inputs.text[rows])
    linear = none if fold.linear is None else fold.linear.margin(_numbers(inputs, fold, rows))
    return np.asarray(np.mean(told, axis=0), dtype=np.float64), text, linear


def _mixed(one: Floats, other: Floats, share: float) -> Floats:
    return (1 - share) * one + share * other


def _blended(boosters: Floats, text: Floats, linear: Floats, text_share: float, linear_share: float) -> Floats:
    return _mixed(_mixed(boosters, text, text_share), linear, linear_share)


def _smooth_over_graph(margin: Floats, inputs: Inputs, share: float) -> Floats:
    """Draws what rows are rated, shape (n,), towards what their neighbours are; once a hop, so that these are drawn, too."""
    drawn = margin
    for _ in range(inputs.hops if share > 0 else 0):
        near = np.column_stack([way.aggregate("mean", drawn[:, None]) for way in inputs.ways])
        known = np.isfinite(near)
        count = known.sum(axis=1)
        mean = np.where(known, near, 0.0).sum(axis=1) / np.maximum(count, 1)
        drawn = np.where(count > 0, _mixed(margin, mean, share), margin)
    return drawn


def _best_share(mixed: Callable[[float], Floats], label: Flags) -> float:
    """The share with which the held-out rows are ranked best; the least of equal ones."""
    return max(SHARES, key=lambda share: (quality(mixed(share), label), -share))


def fit_baseline(inputs: Inputs, label: Flags, rows: Integers) -> Callable[[Integers], Floats]:
    """Fits a plain logistic regression of a row's own features, to compare with.

    Returns:
        What gives the probability of rows.
    """
    own = replace(inputs, dense=inputs.dense[:, inputs.is_own])
    words = tuple(_words(column, rows, label) for column in inputs.categories.values())
    fold = Fold(rows, rows, words)
    some = spread(rows, LINEAR_ROWS)
    numbers = _linear_numbers(_numbers(own, fold, some, is_learning=True, label=label), label[some], (1.0,))[0]
    text = None if inputs.text is None else _linear_text(inputs.text[rows], label[rows], (1.0,))[0]

    def probability(wanted: Integers) -> Floats:
        margin = numbers.margin(_numbers(own, fold, wanted))
        if text is not None:
            margin = (margin + text.margin(inputs.text[wanted])) / 2
        return sigmoid(margin)

    return probability
