"""An ensemble for a user's table: boosters and linear models, their weights, calibration and threshold.

Everything is learned from training rows. They are split into folds, and each fold is scored by the models that were fitted on
the others: on these scores parameters are selected, weights chosen, probabilities calibrated and the threshold set. The models
of all folds, averaged, rate new rows: nothing is refitted. If a validation part is large enough there are no folds: models are
fitted on all training rows, and that part is held out. Boosters are fitted by `ml/boosting.py` and calibrated like risk models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost
from joblib import parallel_config
from scipy.stats import loguniform, randint, uniform
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # scikit-learn exports HalvingRandomSearchCV only after this import
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import HalvingRandomSearchCV, KFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder
from threadpoolctl import threadpool_limits

from ml.boosting import quantile_matrix, threads, train_booster
from ml.calibrate import Calibration, calibrate, logit_of
from ml.labelled_table import Category
from ml.metrics import ranking
from ml.model import in_parallel, load_booster, margin_of
from ml.neighbours import Direct, Shared

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Steps = Sequence[tuple[int, int]]
"""Values by the number of rows from which they apply."""

FOLDS: Final[Steps] = ((0, 5), (3_000, 4), (300_000, 1))
"""Number of folds; with one, a fifth of the rows is held out once."""
ENOUGH: Final = 100
"""A validation part with this many positives and negatives is held out alone: all training rows are fitted."""
COPIES: Final[Steps] = ((0, 4), (300_000, 1))
"""In that case, number of fits per candidate, each with another seed."""
LATE_SHARE: Final = 0.2
SEARCH_ROWS: Final = 20_000
"""Maximum number of rows of a fold in the search."""
COARSE_STEP_FACTOR: Final = 5
"""Factor on the learning rate in the search, which takes a third of the time and ranks candidates much the same."""
KEPT: Final[Steps] = ((0, 3), (300_000, 1))
"""Number of candidates in the ensemble."""
MOST_ROUNDS: Final = 1_500
PATIENCE: Final = 40
BINS: Final[Steps] = ((0, 64), (20_000, 256))
"""Number of bins per feature: with 64 a fit on few rows takes a third of the time, and is no worse."""
COLUMNS_A_TREE: Final = 150
"""Maximum number of columns per tree, so that the time grows with rows and not with types of edges and hops."""
ONE_HOT: Final = 12
"""A category of so many values is one-hot encoded; one of more is target encoded."""
LINEAR_ROWS: Final = 100_000
RIDGES: Final = (0.01, 0.1, 1.0)
TEXT_RIDGES: Final = (1.0, 10.0, 100.0)
TEXT_PARTS: Final = 3
"""Number of parts for the cross-fitted text margin of training rows."""
WEIGHTS: Final = tuple(step / 10 for step in range(11))
FIXED: Final = {"objective": "binary:logistic", "tree_method": "hist", "device": "cpu"}
_NAMES: Final = ("max_depth", "learning_rate", "subsample", "colsample_bytree", "min_child_weight", "reg_lambda")
DEFAULTS: Final = tuple(
    dict(zip(_NAMES, values, strict=True))
    for values in ((6, 0.05, 0.8, 0.8, 1.0, 1.0), (3, 0.05, 0.8, 0.5, 1.0, 3.0), (8, 0.05, 0.8, 0.3, 3.0, 3.0))
)
"""The candidates without a search."""
LEARNING_RATES: Final = (0.03, 0.1)
DISTRIBUTIONS: Final = {
    "max_depth": randint(2, 9),
    "subsample": uniform(0.5, 0.5),
    "min_child_weight": loguniform(0.3, 20.0),
    "reg_lambda": loguniform(0.3, 30.0),
}


@dataclass(frozen=True)
class Inputs:
    """The inputs of all n rows, before anything is learned.

    Attributes:
        dense: Numbers, shape (n, d), nan if missing.
        names: Their names.
        is_own: Which of them are a row's own, and not its neighbours'.
        categories: Categorical columns by name.
        text: Counts of hashed words and parts of words, sparse, shape (n, h); None without text.
        links: Links from rows to their neighbours.
        hops: Number of hops that are followed.
    """

    dense: Matrix
    names: tuple[str, ...]
    is_own: Flags
    categories: Mapping[str, Category]
    text: Any = None
    links: tuple[Direct | Shared, ...] = ()
    hops: int = 1


@dataclass(frozen=True)
class Candidate:
    """One set of a booster's parameters.

    Attributes:
        settings: XGBoost's parameters.
        is_own_only: Whether it uses only a row's own features, without its neighbours'.
    """

    settings: Mapping[str, Any]
    is_own_only: bool

    def reseeded(self, copy: int) -> Candidate:
        """Returns the candidate with another seed; with the same one for copy 0."""
        return replace(self, settings={**self.settings, "seed": self.settings["seed"] + 100_000 * copy})

    def as_dict(self) -> dict[str, Any]:
        """Returns the candidate as JSON-serialisable data."""
        return {**self.settings, "own_features_only": self.is_own_only}


@dataclass(frozen=True)
class CategoryEncoding:
    """The encoded categorical columns of a fold.

    Attributes:
        transformer: Fitted on the rows of `learn`: one-hot or target encoding of each column.
        learned: The encoding of these rows, cross-fitted, so that it does not contain their own labels.
    """

    transformer: ColumnTransformer
    learned: Floats

    def transform(self, codes: Integers) -> Floats:
        """Returns the encoding of rows that it was not fitted on, from codes of shape (n, columns)."""
        return np.asarray(self.transformer.transform(codes), dtype=np.float64)


@dataclass(frozen=True)
class Fold:
    """One split of the training rows, and the models fitted on its larger part.

    Attributes:
        learn: Positions of the rows that the models were fitted on.
        held: Positions of the held-out rows.
        categories: The encoding of categorical columns; None without such columns.
        text: The linear model of the text; None without text.
        text_learned: Cross-fitted margins of such models for the rows of `learn`, shape (len(learn),).
        linear: The linear model of the numbers.
        boosters: Boosters as UBJ, in the order of the candidates.
    """

    learn: Integers
    held: Integers
    categories: CategoryEncoding | None = None
    text: Pipeline | None = None
    text_learned: Floats | None = None
    linear: Pipeline | None = None
    boosters: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Ensemble:
    """The models that rate, and how they are combined.

    Attributes:
        candidates: The parameters of the boosters, best first.
        folds: The models of each fold.
        text_weight: Weight of the text model against the boosters (0 to 1).
        linear_weight: Weight of the linear model of the numbers against both.
        neighbour_weight: Weight of the neighbours' margins against a row's own.
        calibration: From a combined margin to a probability.
        threshold: The lowest probability to flag: the one with the highest F1 on the held-out scores.
    """

    candidates: tuple[Candidate, ...]
    folds: tuple[Fold, ...]
    text_weight: float
    linear_weight: float
    neighbour_weight: float
    calibration: Calibration
    threshold: float

    def probability(self, inputs: Inputs, rows: Integers) -> Floats:
        """Returns the probability that rows are positive, shape (len(rows),)."""
        return self.calibration.probability(self.margin(inputs, rows))

    def margin(self, inputs: Inputs, rows: Integers) -> Floats:
        """Returns combined log-odds, the mean over the folds."""
        parts = [self._fold_margin(inputs, fold, rows) for fold in self.folds]
        return np.asarray(np.mean(parts, axis=0), dtype=np.float64)

    def _fold_margin(self, inputs: Inputs, fold: Fold, rows: Integers) -> Floats:
        rated = rows if self.neighbour_weight == 0 else np.arange(len(inputs.dense))
        parts = _margins(inputs, fold, self.candidates, rated)
        margin = _combine(*parts, self.text_weight, self.linear_weight)
        return margin if self.neighbour_weight == 0 else _smooth_over_graph(margin, inputs, self.neighbour_weight)[rows]


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
    """Fits an ensemble.

    Args:
        inputs: The inputs of all rows.
        label: Whether each is positive; only those of `rows` and `held` are read.
        rows: Positions of the training rows.
        held: Positions of validation rows, on which everything is selected; None to hold out training rows.
        group: Rows of one group are held out together.
        time: The last rows are held out.
        trials: Number of candidates of the search; `DEFAULTS` are used if it is too small for one.
        seed: Seed of everything random.

    Returns:
        The ensemble.
    """
    splits, copies = _split(label, rows, group, time, seed), 1
    if held is not None and min(label[held].sum(), (~label[held]).sum()) >= ENOUGH:
        splits, copies = [(rows, held)], _step(COPIES, len(rows))
    elif held is not None:
        splits = [(learn, np.concatenate([out, held])) for learn, out in splits]
    folds = in_parallel([partial(_fit_fold, inputs, label, group, learn, out) for learn, out in splits])
    candidates = _search(inputs, label, folds, trials, _step(KEPT, len(rows)), seed)
    candidates = [candidate.reseeded(copy) for copy in range(copies) for candidate in candidates]
    fits = in_parallel([partial(_booster_fits, inputs, label, fold, candidates) for fold in folds])
    boosters = in_parallel([fit for fold_fits in fits for fit in fold_fits])
    folds = [
        replace(fold, boosters=tuple(boosters[start : start + len(candidates)]))
        for fold, start in zip(folds, range(0, len(boosters), len(candidates)), strict=True)
    ]
    # With links all rows are rated, so that the held-out ones can be smoothed over their neighbours.
    every = np.arange(len(label))
    rated = [(every, fold.held) if inputs.links else (fold.held, slice(None)) for fold in folds]
    scored = [
        _margins(inputs, fold, candidates, rated_rows) for fold, (rated_rows, _) in zip(folds, rated, strict=True)
    ]
    truth = label[np.concatenate([fold.held for fold in folds])]

    def held_out(parts: Iterable[Floats]) -> Floats:
        return np.concatenate([part[kept] for part, (_, kept) in zip(parts, rated, strict=True)])

    boosted, text, linear = (held_out(parts) for parts in zip(*scored, strict=True))
    text_weight = 0.0
    if inputs.text is not None:
        text_weight = _best_weight(lambda weight: _mix(boosted, text, weight), truth)
    both = _mix(boosted, text, text_weight)
    linear_weight = _best_weight(lambda weight: _mix(both, linear, weight), truth)
    combined = [_combine(*parts, text_weight, linear_weight) for parts in scored]
    neighbour_weight = 0.0
    if inputs.links:
        neighbour_weight = _best_weight(
            lambda weight: held_out(_smooth_over_graph(part, inputs, weight) for part in combined), truth
        )
        combined = [_smooth_over_graph(part, inputs, neighbour_weight) for part in combined]
    margin = held_out(combined)
    calibration = calibrate(margin, truth, np.ones(len(truth)), np.ones(len(truth), dtype=bool))
    threshold = best_threshold(calibration.probability(margin), truth)
    return Ensemble(
        tuple(candidates), tuple(folds), text_weight, linear_weight, neighbour_weight, calibration, threshold
    )


def fit_baseline(inputs: Inputs, label: Flags, rows: Integers) -> Callable[[Integers], Floats]:
    """Fits a logistic regression of a row's own features, for comparison.

    Returns:
        A function from rows to their probabilities.
    """
    own = replace(inputs, dense=inputs.dense[:, inputs.is_own])
    fold = Fold(rows, rows, _fit_categories(inputs, rows, label))
    some = spread(rows, LINEAR_ROWS)
    (numbers,) = _fit_numbers(_numbers(own, fold, some, is_learning=True), label[some], (1.0,))
    text = None if inputs.text is None else _fit_text(inputs.text[rows], label[rows], (1.0,))[0]

    def probability(wanted: Integers) -> Floats:
        margin = _linear_margin(numbers, _numbers(own, fold, wanted))
        if text is not None:
            margin = (margin + _linear_margin(text, inputs.text[wanted])) / 2
        return np.asarray(1.0 / (1.0 + np.exp(-margin)), dtype=np.float64)

    return probability


def best_threshold(probability: Floats, label: Flags) -> float:
    """Returns the threshold with the highest F1; the midpoint between two scores."""
    order = np.argsort(-probability, kind="stable")
    true_positives = np.cumsum(label[order])
    flagged = np.arange(1, len(order) + 1)
    f1 = 2 * true_positives / (flagged + label.sum())
    last_of_equal = np.append(np.diff(probability[order]) != 0, True)
    best = int(np.argmax(np.where(last_of_equal, f1, -1.0)))
    below = probability[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((probability[order[best]] + below) / 2)


def quality(score: Floats, label: Flags) -> float:
    """Returns the objective of every selection: the mean of AUROC and average precision."""
    auroc, precision = ranking(score, label, np.ones((1, len(label))))
    return float(auroc[0] + precision[0]) / 2


def spread(rows: Integers, most: int) -> Integers:
    """Returns at most so many of the rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]


def group_folds(label: Flags, group: Integers | None, folds: int, seed: int) -> Integers:
    """Assigns rows to folds with about the same share of positives, whole groups at a time.

    Returns:
        The fold of each row, 0 to folds - 1.
    """
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    group = np.arange(len(label)) if group is None else group
    fold = np.zeros(len(label), dtype=np.int64)
    for number, (_, held) in enumerate(splitter.split(np.zeros(len(label)), label, group)):
        fold[held] = number
    return fold


def _split(
    label: Flags, rows: Integers, group: Integers | None, time: Floats | None, seed: int
) -> list[tuple[Integers, Integers]]:
    """Splits training rows into fitted and held-out rows, fold by fold."""
    if time is not None:
        order = rows[np.argsort(time[rows], kind="stable")]
        late = np.isin(rows, order[int(len(order) * (1 - LATE_SHARE)) :])
        if group is not None:
            late |= np.isin(group[rows], group[rows[late]])
        if 0 < label[rows[late]].sum() < late.sum() and 0 < label[rows[~late]].sum() < (~late).sum():
            return [(rows[~late], rows[late])]
    count = _step(FOLDS, len(rows))
    fold = group_folds(label[rows], None if group is None else group[rows], count if count > 1 else 5, seed)
    splits = [(rows[fold != number], rows[fold == number]) for number in range(count)]
    valid = [
        (learn, held)
        for learn, held in splits
        if 0 < label[held].sum() < len(held) and 0 < label[learn].sum() < len(learn)
    ]
    return valid or [(rows, rows)]


def _step(steps: Steps, rows: int) -> int:
    """Returns the value of the last step that so many rows reach."""
    return [value for least, value in steps if rows >= least][-1]


def _fit_fold(inputs: Inputs, label: Flags, group: Integers | None, learn: Integers, held: Integers) -> Fold:
    """Fits everything of a fold but its boosters."""
    text, text_learned = None, None
    if inputs.text is not None:
        models = _fit_text(inputs.text[learn], label[learn], TEXT_RIDGES)
        best = _best_linear(models, inputs.text[held], label[held])
        text, text_learned = models[best], _cross_fit_text(inputs, label, learn, group, TEXT_RIDGES[best])
    fold = Fold(learn, held, _fit_categories(inputs, learn, label), text, text_learned)
    some = spread(learn, LINEAR_ROWS)
    models = _fit_numbers(_numbers(inputs, fold, some, is_learning=True), label[some], RIDGES)
    return replace(fold, linear=models[_best_linear(models, _numbers(inputs, fold, held), label[held])])


# Categories -----------------------------------------------------------------------------------------------------------


def _codes(inputs: Inputs, rows: Integers) -> Integers:
    return np.column_stack([column.code[rows] for column in inputs.categories.values()])


def _fit_categories(inputs: Inputs, learn: Integers, label: Flags) -> CategoryEncoding | None:
    if not inputs.categories:
        return None
    codes = _codes(inputs, learn)
    few = [column for column in range(codes.shape[1]) if len(np.unique(codes[:, column])) <= ONE_HOT]
    many = [column for column in range(codes.shape[1]) if column not in few]
    target = TargetEncoder(target_type="binary", cv=KFold(5, shuffle=True, random_state=0))
    log_odds = FunctionTransformer(logit_of)
    transformer = ColumnTransformer([
        ("few", OneHotEncoder(handle_unknown="ignore", sparse_output=False), few),
        ("many", make_pipeline(target, log_odds), many),
    ])  # fmt: skip
    return CategoryEncoding(
        transformer, learned=np.asarray(transformer.fit_transform(codes, label[learn]), dtype=np.float64)
    )


def _categories(inputs: Inputs, fold: Fold, rows: Integers, *, is_learning: bool) -> Floats:
    """Returns the encoding of rows; if they are rows of `learn`, the cross-fitted one."""
    if fold.categories is None:
        return np.zeros((len(rows), 0))
    if is_learning:
        return fold.categories.learned[np.searchsorted(fold.learn, rows)]
    return fold.categories.transform(_codes(inputs, rows))


# Linear models --------------------------------------------------------------------------------------------------------


def _numbers(inputs: Inputs, fold: Fold, rows: Integers, *, is_learning: bool = False) -> Floats:
    """Returns numbers and encoded categories."""
    return np.column_stack([
        inputs.dense[rows].astype(np.float64), _categories(inputs, fold, rows, is_learning=is_learning)
    ])  # fmt: skip


def _fit_numbers(values: Floats, label: Flags, ridges: Sequence[float]) -> list[Pipeline]:
    """Fits one logistic regression of standardised numbers per ridge, clipped to their 1st and 99th percentiles."""
    with np.errstate(all="ignore"):
        known = np.where(np.isnan(values).all(axis=0), 0.0, values)
        low, high = np.nanquantile(known, [0.01, 0.99], axis=0)
        bounds = np.where(low < high, [low, high], [np.nanmin(known, axis=0), np.nanmax(known, axis=0)])
    clip = FunctionTransformer(np.clip, kw_args={"a_min": bounds[0], "a_max": bounds[1]})
    impute = SimpleImputer(strategy="mean", add_indicator=True, keep_empty_features=True)
    return _fit_linear(make_pipeline(clip, impute, StandardScaler()), values, label, ridges, "newton-cholesky")


def _fit_text(counts: Any, label: Flags, ridges: Sequence[float]) -> list[Pipeline]:
    """Fits one logistic regression of TF-IDF per ridge, of the words that at least two texts have."""
    frequent = np.flatnonzero(counts.getnnz(axis=0) > 1)
    select = FunctionTransformer(_take_columns, kw_args={"columns": frequent}, accept_sparse=True)
    return _fit_linear(make_pipeline(select, TfidfTransformer(sublinear_tf=True)), counts, label, ridges, "lbfgs")


def _take_columns(values: Any, columns: Integers) -> Any:
    return values[:, columns] if len(columns) else values[:, :1] * 0.0


def _fit_linear(
    preparation: Pipeline, values: Any, label: Flags, ridges: Sequence[float], solver: str
) -> list[Pipeline]:
    with threadpool_limits(limits=1):  # sums do not depend on the number of threads
        prepared = preparation.fit_transform(values, label)
        return [
            make_pipeline(
                preparation, LogisticRegression(C=ridge, solver=solver, max_iter=100, tol=1e-3).fit(prepared, label)
            )
            for ridge in ridges
        ]


def _linear_margin(model: Pipeline, values: Any) -> Floats:
    with threadpool_limits(limits=1):
        return np.asarray(model.decision_function(values), dtype=np.float64)


def _best_linear(models: Sequence[Pipeline], values: Any, label: Flags) -> int:
    """Returns the position of the model that ranks held-out rows best; the first of equal ones."""
    return max(
        range(len(models)), key=lambda position: (quality(_linear_margin(models[position], values), label), -position)
    )


def _cross_fit_text(inputs: Inputs, label: Flags, learn: Integers, group: Integers | None, ridge: float) -> Floats:
    """Returns margins of text models for the rows of `learn`, each fitted on the other parts of them."""
    part = group_folds(label[learn], None if group is None else group[learn], TEXT_PARTS, 0)
    margins = np.zeros(len(learn))
    for number in range(TEXT_PARTS):
        others, own = learn[part != number], part == number
        if own.any() and 0 < label[others].sum() < len(others):
            (model,) = _fit_text(inputs.text[others], label[others], (ridge,))
            margins[own] = _linear_margin(model, inputs.text[learn[own]])
    return margins


# Boosters -------------------------------------------------------------------------------------------------------------


def _search(inputs: Inputs, label: Flags, folds: Sequence[Fold], trials: int, keep: int, seed: int) -> list[Candidate]:
    """Returns the best candidates of a successive halving over all folds, or `DEFAULTS` if there are too few to halve."""
    if trials <= keep:
        return [
            Candidate({**FIXED, **settings, "seed": seed * 1000 + number}, is_own_only=False)
            for number, settings in enumerate(DEFAULTS[:keep])
        ]
    random = np.random.default_rng(seed)
    parts, targets, splits, start = [], [], [], 0
    for fold in folds:
        learn, held = (_sample(rows, label, random) for rows in (fold.learn, fold.held))
        parts += [_columns(inputs, fold, learn, is_learning=True), _columns(inputs, fold, held)]
        targets += [label[learn], label[held]]
        middle, end = start + len(learn), start + len(learn) + len(held)
        splits.append((np.arange(start, middle), np.arange(middle, end)))
        start = end
    features, target = np.concatenate(parts), np.concatenate(targets)
    own = _own_columns(inputs, features.shape[1])
    every = np.arange(features.shape[1])
    most = _column_share(1.0, len(every))
    distributions = {
        **{f"booster__{name}": values for name, values in DISTRIBUTIONS.items()},
        "booster__learning_rate": loguniform(
            COARSE_STEP_FACTOR * LEARNING_RATES[0], COARSE_STEP_FACTOR * LEARNING_RATES[1]
        ),
        "booster__colsample_bytree": loguniform(min(0.15, most / 2), most),
        "columns__kw_args": [{"columns": every}] * 3 + [{"columns": own}] * (len(own) < len(every)),
    }
    rounds = MOST_ROUNDS // COARSE_STEP_FACTOR
    search = HalvingRandomSearchCV(
        Pipeline([
            ("columns", FunctionTransformer(_take_columns, kw_args={"columns": every})),
            ("booster", xgboost.XGBClassifier(**FIXED, max_bin=_step(BINS, len(splits[0][0])), n_jobs=1, random_state=seed)),
        ]),
        distributions,
        n_candidates=trials,
        factor=3,
        resource="booster__n_estimators",
        min_resources=rounds // 9,
        max_resources=rounds,
        cv=splits,
        scoring=_score,
        refit=False,
        random_state=seed,
        n_jobs=os.cpu_count(),
    )  # fmt: skip
    with parallel_config("threading"):
        search.fit(features, target)
    results = search.cv_results_
    order = sorted(
        range(len(results["params"])),
        key=lambda place: (-results["iter"][place], -results["mean_test_score"][place], place),
    )
    return [
        _candidate(results["params"][place], seed * 1000 + number, len(own), len(every))
        for number, place in enumerate(order[:keep])
    ]


def _candidate(parameters: Mapping[str, Any], seed: int, own: int, every: int) -> Candidate:
    """Returns the candidate with the parameters of the search, at the full number of steps."""
    settings = {
        name.removeprefix("booster__"): round(float(value), 4) if isinstance(value, float) else int(value)
        for name, value in parameters.items()
        if name.startswith("booster__") and name != "booster__n_estimators"
    }
    settings["learning_rate"] = round(settings["learning_rate"] / COARSE_STEP_FACTOR, 4)
    taken = len(parameters["columns__kw_args"]["columns"])
    return Candidate({**FIXED, **settings, "seed": seed}, is_own_only=taken == own < every)


def _score(model: Pipeline, features: Matrix, label: Flags) -> float:
    return quality(model.predict_proba(features)[:, 1].astype(np.float64), label)


def _sample(rows: Integers, label: Flags, random: np.random.Generator) -> Integers:
    """Returns at most `SEARCH_ROWS` rows, up to half of them of the rarer class."""
    if len(rows) <= SEARCH_ROWS:
        return rows
    rare, common = sorted((rows[label[rows]], rows[~label[rows]]), key=len)
    rare = rare if len(rare) <= SEARCH_ROWS // 2 else random.choice(rare, size=SEARCH_ROWS // 2, replace=False)
    return np.sort(np.concatenate([rare, random.choice(common, size=SEARCH_ROWS - len(rare), replace=False)]))


def _booster_fits(
    inputs: Inputs, label: Flags, fold: Fold, candidates: Sequence[Candidate]
) -> list[Callable[[], bytes]]:
    """Returns functions that fit the candidates' boosters on a fold, with early stopping on its held-out rows."""
    features, held = _columns(inputs, fold, fold.learn, is_learning=True), _columns(inputs, fold, fold.held)
    bins, rows = _step(BINS, len(fold.learn)), len(fold.learn)
    matrices: dict[bool, tuple[Any, Any, int]] = {}
    for is_own_only in sorted({candidate.is_own_only for candidate in candidates}):
        columns = _own_columns(inputs, features.shape[1]) if is_own_only else np.arange(features.shape[1])
        stop = xgboost.DMatrix(held[:, columns], label[fold.held], nthread=threads(len(held)))
        matrices[is_own_only] = quantile_matrix(features[:, columns], label[fold.learn], None, bins), stop, len(columns)

    def fit(candidate: Candidate) -> bytes:
        learn, stop, columns = matrices[candidate.is_own_only]
        settings = {
            **candidate.settings,
            "colsample_bytree": _column_share(candidate.settings["colsample_bytree"], columns),
            "nthread": threads(rows),
            "max_bin": bins,
            "base_score": float(label[fold.learn].mean()),
        }
        return train_booster(settings, MOST_ROUNDS, learn, stop, PATIENCE)

    return [partial(fit, candidate) for candidate in candidates]


def _column_share(share: float, columns: int) -> float:
    return min(share, COLUMNS_A_TREE / columns)


def _columns(inputs: Inputs, fold: Fold, rows: Integers, *, is_learning: bool = False) -> Matrix:
    """Returns the boosters' features: numbers, encoded categories, and the margin of the text model."""
    parts = [inputs.dense[rows], _categories(inputs, fold, rows, is_learning=is_learning).astype(np.float32)]
    if fold.text is not None and fold.text_learned is not None:
        margin = (
            fold.text_learned[np.searchsorted(fold.learn, rows)]
            if is_learning
            else _linear_margin(fold.text, inputs.text[rows])
        )
        parts.append(margin[:, None].astype(np.float32))
    return np.concatenate(parts, axis=1)


def _own_columns(inputs: Inputs, columns: int) -> Integers:
    """Returns positions of the boosters' features that are a row's own."""
    return np.flatnonzero(np.append(inputs.is_own, np.ones(columns - len(inputs.is_own), dtype=bool)))


# Combination ----------------------------------------------------------------------------------------------------------


def _margins(
    inputs: Inputs, fold: Fold, candidates: Sequence[Candidate], rows: Integers
) -> tuple[Floats, Floats, Floats]:
    """Returns margins of the boosters, the text model and the linear model of a fold, for rows that it was not fitted on."""
    features = _columns(inputs, fold, rows)
    own = _own_columns(inputs, features.shape[1])
    boosted = [
        margin_of(load_booster(booster), features[:, own] if candidate.is_own_only else features).astype(np.float64)
        for candidate, booster in zip(candidates, fold.boosters, strict=True)
    ]
    none = np.zeros(len(rows))
    text = none if fold.text is None else _linear_margin(fold.text, inputs.text[rows])
    linear = none if fold.linear is None else _linear_margin(fold.linear, _numbers(inputs, fold, rows))
    return np.asarray(np.mean(boosted, axis=0), dtype=np.float64), text, linear


def _mix(one: Floats, other: Floats, weight: float) -> Floats:
    return (1 - weight) * one + weight * other


def _combine(boosted: Floats, text: Floats, linear: Floats, text_weight: float, linear_weight: float) -> Floats:
    return _mix(_mix(boosted, text, text_weight), linear, linear_weight)


def _smooth_over_graph(margin: Floats, inputs: Inputs, weight: float) -> Floats:
    """Moves margins of shape (n,) towards the mean of the neighbours, once per hop."""
    smoothed = margin
    for _ in range(inputs.hops if weight > 0 else 0):
        near = np.column_stack([link.aggregate("mean", smoothed[:, None]) for link in inputs.links])
        known = np.isfinite(near)
        count = known.sum(axis=1)
        mean = np.where(known, near, 0.0).sum(axis=1) / np.maximum(count, 1)
        smoothed = np.where(count > 0, _mix(margin, mean, weight), margin)
    return smoothed


def _best_weight(mixed: Callable[[float], Floats], label: Flags) -> float:
    """Returns the weight that ranks the held-out rows best; the lowest of equal ones."""
    return max(WEIGHTS, key=lambda weight: (quality(mixed(weight), label), -weight))
