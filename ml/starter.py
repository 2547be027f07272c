"""The starter model: a transparent scorecard that ranks entities before there are labels (`ml/starter.yml`).

A scorecard is a sum over features, so it is stored as a booster of stumps, one per feature and step of its surprise. Everything
that reads a model (scoring, reasons, exact attributions, review, drift, trace) therefore works for it unchanged. Fitting it uses
no label: it only finds which values are rare among the active entities.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ml import model
from ml.declarations import Declaration
from ml.extra import is_extra
from ml.training_set import Floats, Matrix
from touchstone.core.errors import BadInputError
from touchstone.core.yaml import load_packaged_yaml

STARTER_FILE: Final = Path(__file__).resolve().parent / "starter.yml"
DIRECTIONS: Final = {"high": 1, "low": -1}
LEAST_KNOWN: Final = 20
"""An indicator with fewer known values is off: ranks among so few say nothing."""
EXTRA_POINTS: Final = 1.0
"""The weight of a marketplace's own column that its sources file gives a direction."""
MOST_SURPRISE: Final = 3.0
STEP: Final = 0.25
"""Width of the steps in which surprise is stored."""


@dataclass(frozen=True)
class Indicator:
    """One line of a scorecard.

    Attributes:
        feature: The feature's column.
        direction: 1 if large values are suspicious, -1 if small ones are.
        points: The weight of its surprise.
        rationale: Why it is there.
    """

    feature: str
    direction: int
    points: float
    rationale: str


def read_scorecard(declaration: Declaration, file: Path = STARTER_FILE) -> tuple[Indicator, ...]:
    """Reads the scorecard of a model.

    Args:
        declaration: The model; the scorecard may use its features only.
        file: The scorecards.

    Returns:
        Its indicators, and one for each feature with a direction of the marketplace's own columns; none if the model has no
        scorecard.

    Raises:
        BadInputError: An indicator names an unknown feature, direction or number of points.
    """
    content = load_packaged_yaml(file)
    items = (content.get("models") or {}).get(declaration.name) or []
    if not items:
        return ()
    own = [
        Indicator(feature.name, feature.monotone, EXTRA_POINTS, feature.description)
        for feature in declaration.features
        if is_extra(feature) and feature.monotone
    ]
    return (*(_indicator(item, declaration, f"{file.name}, {declaration.name}") for item in items), *own)


def _indicator(item: Any, declaration: Declaration, place: str) -> Indicator:
    feature = item.get("feature")
    if feature not in declaration.columns:
        raise BadInputError(f"{place}: {feature!r} is no feature of the model; its features are in models.yml.")
    if item.get("direction") not in DIRECTIONS:
        raise BadInputError(f"{place}, {feature}: direction is {item.get('direction')!r}; it is high or low.")
    points = item.get("points")
    if not isinstance(points, int | float) or points <= 0:
        raise BadInputError(f"{place}, {feature}: points is {points!r}; it is a number above 0.")
    return Indicator(feature, DIRECTIONS[item["direction"]], float(points), str(item.get("rationale", "")))


def available(indicators: Sequence[Indicator], declaration: Declaration, features: Matrix) -> tuple[Indicator, ...]:
    """Returns the indicators with enough known values that differ.

    Args:
        indicators: The scorecard.
        declaration: The model, whose features are the columns.
        features: Features of the active entities, shape (n, number of features); nan where missing.
    """
    columns = {name: features[:, index] for index, name in enumerate(declaration.columns)}
    return tuple(one for one in indicators if len(_steps(columns[one.feature], one.direction)[0]))


def fit_scorecard(indicators: Sequence[Indicator], names: Sequence[str], features: Matrix) -> bytes:
    """Fits a scorecard to a population.

    Args:
        indicators: The scorecard; indicators of features that are not among `names` are left out.
        names: The features that the booster takes, in order.
        features: Their values for the active entities, shape (n, number of names); nan where missing.

    Returns:
        A booster as UBJ, whose margin is the sum of points times surprise.
    """
    positions = {name: index for index, name in enumerate(names)}
    trees = [
        _stump(tree, positions[one.feature], threshold, one.direction, one.points * rise, below, features.shape)
        for tree, (one, threshold, rise, below) in enumerate(_stumps(indicators, positions, features))
    ]
    return _booster(trees, len(names))


def surprise(values: Floats, direction: int) -> tuple[Floats, Floats]:
    """Returns the distinct known values, from the least to the most extreme, and the surprise of each.

    Args:
        values: Shape (n,); nan where missing.
        direction: 1 if large values are extreme, -1 if small ones are.

    Returns:
        Values and -log10(2 p), from 0 to 3, where p is the share of known values that are more extreme, ties counting half.
    """
    distinct, counts = np.unique(direction * values[~np.isnan(values)], return_counts=True)
    more_extreme = counts[::-1].cumsum()[::-1] - counts
    share = (more_extreme + 0.5 * counts) / max(int(counts.sum()), 1)
    return direction * distinct, np.clip(-np.log10(2.0 * share), 0.0, MOST_SURPRISE)


def _steps(values: Any, direction: int) -> tuple[Floats, Floats]:
    """Returns the least extreme value of each step of surprise, and by how much the surprise rises there."""
    nothing = np.zeros(0), np.zeros(0)
    if np.count_nonzero(~np.isnan(values)) < LEAST_KNOWN:
        return nothing
    distinct, amount = surprise(values.astype(np.float64), direction)
    if len(distinct) < 2:
        return nothing
    stored = np.floor(amount / STEP) * STEP
    rise = np.diff(stored, prepend=0.0)
    return distinct[rise > 0], rise[rise > 0]


def _stumps(
    indicators: Sequence[Indicator], positions: dict[str, int], features: Matrix
) -> Iterator[tuple[Indicator, float, float, int]]:
    """Yields indicator, threshold, rise, and the number of rows that do not reach the threshold."""
    for one in indicators:
        if one.feature not in positions:
            continue
        values = features[:, positions[one.feature]]
        for threshold, rise in zip(*_steps(values, one.direction), strict=True):
            reached = one.direction * values >= one.direction * threshold  # False where missing
            yield one, float(threshold), float(rise), int((~reached).sum())


def _stump(
    number: int, feature: int, threshold: float, direction: int, value: float, below: int, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Returns a tree that adds `value` where a feature reaches a threshold; XGBoost goes left where x < condition."""
    rows, features = shape
    is_high = direction > 0
    condition = np.float32(threshold) if is_high else np.nextafter(np.float32(threshold), np.float32(np.inf))
    left, right = (0.0, value) if is_high else (value, 0.0)
    covers = [rows, below, rows - below] if is_high else [rows, rows - below, below]
    return {
        "base_weights": [0.0, left, right],
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [int(is_high), 0, 0],  # missing values do not reach the threshold
        "id": number,
        "left_children": [1, -1, -1],
        "loss_changes": [1.0, 0.0, 0.0],
        "parents": [2147483647, 0, 0],
        "right_children": [2, -1, -1],
        "split_conditions": [float(condition), left, right],
        "split_indices": [feature, 0, 0],
        "split_type": [0, 0, 0],
        "sum_hessian": [float(cover) for cover in covers],
        "tree_param": {"num_deleted": "0", "num_feature": str(features), "num_nodes": "3", "size_leaf_vector": "1"},
    }


def _booster(trees: list[dict[str, Any]], features: int) -> bytes:
    """Returns trees as a booster, in XGBoost's documented JSON form and then in UBJ."""
    body = {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                    "iteration_indptr": list(range(len(trees) + 1)),
                    "tree_info": [0] * len(trees),
                    "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "[5E-1]",
                "boost_from_average": "0",
                "num_class": "0",
                "num_feature": str(features),
                "num_target": "1",
            },
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": [3, 0, 0],
    }
    return bytes(model.load_booster(json.dumps(body).encode()).save_raw("ubj"))
