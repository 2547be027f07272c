"""Reasons: by signal, the drop in margin if all features of the signal are set to their baseline, as a sentence.

If no signal alone lowers the margin of a flagged row, because others carry the same information, the strongest pair of signals
is given together.

The baseline of a feature is the median (for booleans the mode) over the active entities at cutoff_date without a positive
label: within the category if it has 100 of them, otherwise over all. It is stored in the model, so that reasons do not depend
on the batch. Exact TreeSHAP is computed for the model card and for flagged rows; it costs a thousand times a prediction.

Who may read a reason depends on the feature that it names, so reasons are complete and are filtered when they are shown.
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
from ml.reason_text import BOOLEAN_UNITS, describe_feature
from ml.training_set import ActiveEntities, Integers, Matrix
from touchstone.core.errors import BadInputError

MIN_IN_CATEGORY: Final = 100
EVERYWHERE: Final = ""
MOST_REASONS: Final = 4
LEAST_EFFECT: Final = 0.05
# Fields of a reason for readers other than internal: without effects, which would reveal the model.
SHOWN: Final = ("signal", "with_signal", "quote", "audiences", "text")

Signals = tuple[str, ...]


def baseline_values(active: ActiveEntities, features: Sequence[Feature]) -> dict[str, list[float | None]]:
    """Computes the baselines by category.

    Args:
        active: Active entities at cutoff_date; those with a positive label are ignored.
        features: The features, in the order of the matrix.

    Returns:
        By category, and under the empty name for all entities: a value per feature, None if most values are missing.
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
            values.append(float(middle >= 0.5) if feature.unit in BOOLEAN_UNITS else float(f"{middle:.6g}"))
    return values


class Explainer:
    """Computes the reasons of scored rows, with the baselines of the model."""

    def __init__(self, scorer: Scorer, currency: str = "") -> None:
        """Groups the model's features by signal.

        Args:
            scorer: The model.
            currency: The base currency, which amounts are in.
        """
        self.scorer = scorer
        self.currency = currency
        self.features = scorer.model.features
        self.signals: dict[str, list[int]] = {}
        for index, feature in enumerate(self.features):
            self.signals.setdefault(feature.signal, []).append(index)
        self._baseline = {
            name: np.array([np.nan if value is None else value for value in values], dtype=np.float32)
            for name, values in scorer.model.body["baseline"].items()
        }

    def reasons(
        self,
        matrix: Matrix,
        category: Sequence[str],
        flagged: npt.NDArray[np.bool_],
        quotes: Mapping[int, Sequence[Sequence[str]]] | None = None,
    ) -> list[str]:
        """Explains rows.

        Args:
            matrix: Their features, shape (n, number of features).
            category: Their categories, shape (n,).
            flagged: Which of them are flagged; these also get the exact attribution of each signal.
            quotes: For features that are scores of texts, by position: the words of each row that raise the score most.

        Returns:
            One JSON text per row: a list, the strongest first, of objects with signal, effect (drop in log-odds), audiences
            (readers in addition to internal, sorted), text and, for flagged rows, attribution (sum of the signal's exact
            TreeSHAP values). A pair also has `with_signal`; its effect, text and attribution are of both together, and its
            audiences are those common to both.
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
                {index: words[row] for index, words in (quotes or {}).items()},
                is_of_category=category[row] in self._baseline and category[row] != EVERYWHERE,
            )
            for row in range(len(matrix))
        ]

    def _pairs(
        self, matrix: Matrix, baseline: Matrix, margin: npt.NDArray[np.float32], rows: Integers
    ) -> dict[int, dict[Signals, float]]:
        """Returns by row the drop in margin if both signals of a pair are set to their baselines."""
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
        quotes: Mapping[int, Sequence[str]],
        *,
        is_of_category: bool,
    ) -> str:
        # A pair is given only if no single signal has an effect; then the strongest one is the only reason.
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
                describe_feature(
                    self.features[index],
                    float(values[index]),
                    float(baseline[index]),
                    is_of_category=is_of_category,
                    currency=self.currency,
                    quoted=quotes.get(index, ()),
                )
                for index in named
            ]
            audiences = set.intersection(*(set(self.features[index].audiences) for index in named))
            reasons.append({**reason, "audiences": sorted(audiences), "text": "; together with: ".join(texts)})
        return json.dumps(reasons, ensure_ascii=False)

    def _named(self, columns: list[int], values: npt.NDArray[np.float32], single: npt.NDArray[np.float32]) -> int:
        """Returns the feature of a signal that alone lowers the margin most."""
        known = [column for column in columns if not np.isnan(values[column])] or columns
        return max(known, key=lambda column: (round(float(single[column]), 4), -column))


def for_audience(reasons_json: str, audience: str) -> str:
    """Returns the reasons that an audience may read, without internal fields.

    Args:
        reasons_json: Reasons of one row, from `Explainer.reasons`, possibly with quotes; a reason without audiences is internal.
        audience: One of `AUDIENCES`. Internal reads all, others no effects. A merchant does not read quotes either: they
            can contain the lowest price that the brand allows.

    Returns:
        JSON text of the same form; an empty list if the audience may read none.

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
    """Returns the signals of a row's reasons with an effect above 0; of a pair both."""
    reasons = [reason for reason in json.loads(reasons_json) if reason["effect"] > 0]
    return {reason[name] for reason in reasons for name in ("signal", "with_signal") if name in reason}
