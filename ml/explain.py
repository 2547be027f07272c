"""Why a score is high: by signal, the drop in margin when the whole signal goes to its usual value, in words.

Where no signal alone lowers the margin of a flagged row, since each holds what another one says too, the strongest pair is
named together.

A usual value is the median (the mode of a yes or no) over entities that live at the cut without a positive label, in
the category where it has 100 of them, else over all; it is kept in the model, so that reasons do not move with the
batch. Exact TreeSHAP is for the model's card and for flagged rows; it costs a thousand times a prediction.

A reason is for those who may read the feature that it names. Which that is hangs on the row, so reasons are made whole
and filtered when they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.declarations import AUDIENCES, Feature
from ml.model import Scorer, in_parallel
from ml.training_set import ActiveEntities, Integers, Matrix
from touchstone.core.errors import BadInputError

MIN_IN_CATEGORY: Final = 100
EVERYWHERE: Final = ""
MOST_REASONS: Final = 4
LEAST_EFFECT: Final = 0.05
YES_OR_NO: Final = ("boolean", "flag")
# What others than internal are shown of a reason: no figures, for they add up to the model's weights.
SHOWN: Final = ("signal", "with_signal", "quote", "audiences", "text")

Signals = tuple[str, ...]


def baseline_values(active: ActiveEntities, features: Sequence[Feature]) -> dict[str, list[float | None]]:
    """Computes what is usual, by category.

    Args:
        live: Live entities at the cut; those with a positive label do not count.
        features: The features, in the order of the matrix.

    Returns:
        By category, and under the empty name for all of them: a value for each feature, None where unknown is usual.
    """
    unlabelled = np.flatnonzero(~active.is_labelled)
    baseline = {EVERYWHERE: _baseline(active.features, unlabelled, features)}
    category = active.category[unlabelled]
    counts = np.bincount(category, minlength=len(active.categories))
    for index, name in enumerate(active.categories):
        if counts[index] >= MIN_IN_CATEGORY and name != EVERYWHERE:
            baseline[name] = _baseline(active.features, unlabelled[category == index], features)
    return baseline


def _baseline(matrix: Matrix, rows: Integers, features: Sequence[Feature]) -> list[float | None]:
    values: list[float | None] = []
    for index, feature in enumerate(features):
        column = matrix[rows, index]
        known = column[~np.isnan(column)]
        if 2 * len(known) < len(rows) or not len(known):
            values.append(None)
        else:
            middle = float(np.median(known.astype(np.float64)))
            values.append(float(middle >= 0.5) if feature.unit in YES_OR_NO else float(f"{middle:.6g}"))
    return values


class Explainer:
    """Gives the reasons of scored rows, by the usual values that the model keeps."""

    def __init__(self, scorer: Scorer) -> None:
        """Prepares the signals of the scorer's model."""
        self.scorer = scorer
        self.features = scorer.model.features
        self.signals: dict[str, list[int]] = {}
        for index, feature in enumerate(self.features):
            self.signals.setdefault(feature.signal, []).append(index)
        self._baseline = {
            name: np.array([np.nan if value is None else value for value in values], dtype=np.float32)
            for name, values in scorer.model.body["baseline"].items()
        }

    def reasons(self, matrix: Matrix, category: Sequence[str], flagged: npt.NDArray[np.bool_]) -> list[str]:
        """Explains rows.

        Args:
            matrix: Their features, shape (n, number of features).
            category: Their categories, shape (n,).
            flagged: Which of them are flagged; those also get the exact attribution of each signal.

        Returns:
            One JSON text a row: a list, from the strongest, of objects with signal, effect (drop in log-odds), audiences
            (who beside internal may read it, sorted), text and, for flagged rows, attribution (sum of the signal's exact
            TreeSHAP values). A pair also has `with_signal`; its effect, text and attribution are of both together, and its
            audiences are those of both.
        """
        baseline = (
            np.stack([self._baseline.get(name, self._baseline[EVERYWHERE]) for name in category])
            if len(matrix)
            else matrix
        )
        margin = self.scorer.margin(matrix)
        without = partial(self._without, matrix, baseline)
        signal_margins = in_parallel([partial(without, columns) for columns in self.signals.values()])
        column_margins = in_parallel([partial(without, [index]) for index in range(matrix.shape[1])])
        drops = {signal: margin - low for signal, low in zip(self.signals, signal_margins, strict=True)}
        single = margin[:, None] - np.column_stack(column_margins)
        attributions = np.full(matrix.shape, np.nan)
        if flagged.any():
            attributions[flagged] = self.scorer.attributions(matrix[flagged])
        strongest = np.max(list(drops.values()), axis=0) if len(matrix) else np.zeros(0)
        pairs = self._pairs(matrix, baseline, margin, np.flatnonzero(flagged & (strongest < LEAST_EFFECT)))
        return [
            self._reasons(
                matrix[row],
                baseline[row],
                {(name,): float(drop[row]) for name, drop in drops.items()} | pairs.get(row, {}),
                single[row],
                attributions[row],
            )
            for row in range(len(matrix))
        ]

    def _pairs(
        self, matrix: Matrix, baseline: Matrix, margin: npt.NDArray[np.float32], rows: Integers
    ) -> dict[int, dict[Signals, float]]:
        """Returns by row the drop in margin when both signals of a pair go to their usual values."""
        drops_by_row: dict[int, dict[Signals, float]] = {int(row): {} for row in rows}
        for pair in combinations(self.signals, 2) if len(rows) else ():
            columns = [index for signal in pair for index in self.signals[signal]]
            for row, low in zip(rows, self._without(matrix[rows], baseline[rows], columns), strict=True):
                drops_by_row[int(row)][pair] = float(margin[row] - low)
        return drops_by_row

    def _without(self, matrix: Matrix, baseline: Matrix, columns: list[int]) -> npt.NDArray[np.float32]:
        changed = matrix.copy()
        changed[:, columns] = baseline[:, columns]
        return self.scorer.margin(changed)

    def _reasons(
        self,
        values: npt.NDArray[np.float32],
        baseline: npt.NDArray[np.float32],
        drops: Mapping[Signals, float],
        single: npt.NDArray[np.float32],
        attributions: npt.NDArray[np.float64],
    ) -> str:
        # A pair stands only where no single signal does much; then it, or whatever is strongest, is all that is told.
        strongest = sorted(drops, key=lambda signals: (-round(drops[signals], 4), len(signals), signals))[:MOST_REASONS]
        reasons: list[dict[str, Any]] = []
        is_flagged = not np.isnan(attributions).all()
        for signals in strongest:
            if (drops[signals] < LEAST_EFFECT or len(signals) == 2) and (reasons or not is_flagged):
                continue
            columns = [column for signal in signals for column in self.signals[signal]]
            reason: dict[str, Any] = {"signal": signals[0], "effect": round(drops[signals], 4)}
            if len(signals) == 2:
                reason["with_signal"] = signals[1]
            if not np.isnan(attributions[columns]).any():
                reason["attribution"] = round(float(attributions[columns].sum()), 4)
            named = [self._named(self.signals[signal], values, single) for signal in signals]
            texts = [
                describe_feature(self.features[index], float(values[index]), float(baseline[index])) for index in named
            ]
            audiences = set.intersection(*(set(self.features[index].audiences) for index in named))
            reasons.append({**reason, "audiences": sorted(audiences), "text": "; together with this: ".join(texts)})
        return json.dumps(reasons, ensure_ascii=False)

    def _named(self, columns: list[int], values: npt.NDArray[np.float32], single: npt.NDArray[np.float32]) -> int:
        """Returns of a signal's features the one that alone lowers the margin most."""
        known = [column for column in columns if not np.isnan(values[column])] or columns
        return max(known, key=lambda column: (round(float(single[column]), 4), -column))


def for_audience(reasons_json: str, audience: str) -> str:
    """Returns those reasons that an audience may read, without what is internal.

    Args:
        reasons_json: Reasons of one row, as `Explainer.reasons` gives them or with quotes; where one does not say who may
            read it, it is of a model from before and internal.
        audience: One of `AUDIENCES`. Internal is shown all, others no figures. A merchant is shown no quote either: it
            can hold the lowest price that the brand ever asks.

    Returns:
        JSON text of the same form; an empty list where the audience may read none.

    Raises:
        BadInputError: There is no such audience.
    """
    if audience not in AUDIENCES:
        raise BadInputError(f"there is no audience {audience!r}; there are {', '.join(AUDIENCES)}.")
    if audience == "internal":
        return reasons_json
    shown = [name for name in SHOWN if not (name == "quote" and audience == "merchant")]
    reasons = [
        {name: reason[name] for name in shown if name in reason}
        for reason in json.loads(reasons_json)
        if audience in reason.get("audiences", ())
    ]
    return json.dumps(reasons, ensure_ascii=False)


def named_signals(reasons_json: str) -> set[str]:
    """Returns the signals by which a row's reasons speak against it: those with an effect above 0, of a pair both."""
    reasons = [reason for reason in json.loads(reasons_json) if reason["effect"] > 0]
    return {reason[name] for reason in reasons for name in ("signal", "with_signal") if name in reason}


def describe_feature(feature: Feature, value: float, baseline: float) -> str:
    """Says a value and what is usual, such as `price is 0.41 of the recommended price; usual is 0.93`.

    Args:
        feature: The feature; its `words` are used where it has any, with `{value}` in them.
        value: Its value; nan if unknown.
        usual: What is usual for peers; nan if unknown is usual, and then nothing is said of it.
    """
    text, peers = _format_value(feature, value), _format_value(feature, baseline)
    if not text:
        sentence = f"not known: {feature.description[:1].lower()}{feature.description[1:].rstrip('.')}"
    elif feature.words:
        sentence = feature.words.format(value=text)
    else:
        sentence = f"{feature.name.replace('_', ' ')} is {text}"
    return sentence if not peers or text == peers else f"{sentence}; usual is {peers}"


def _format_value(feature: Feature, value: float) -> str:
    """A value in its unit; empty if it is unknown."""
    if np.isnan(value):
        return ""
    unit = feature.unit
    if unit in YES_OR_NO:
        return "yes" if value >= 0.5 else "no"
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "usd":
        return f"{value:,.2f} USD"
    number = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    return f"{number} {unit}" if unit in ("days", "hours", "stars", "grams") else number
