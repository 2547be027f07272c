"""Coverage of the signals: which features have values, and which columns of the source contract would give the others some.

Belongs here: what each feature needs (`ml/feature_inputs.yml`), and the comparison with what a marketplace provides. The report
that people read is in `touchstone/casework/coverage.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np

from ml.declarations import SIGNALS, Declaration
from ml.training_set import Matrix
from touchstone.core.yaml import load_packaged_yaml

INPUTS_FILE: Final = Path(__file__).resolve().parent / "feature_inputs.yml"
ALTERNATIVES: Final = " | "
"""Separates inputs of which one is enough."""

Inputs = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By model and feature: columns (`table.column`) and tables that it needs, or alternatives (`a | b`)."""


def read_feature_inputs(file: Path = INPUTS_FILE) -> Inputs:
    """Reads what each feature needs."""
    return {
        model: {name: tuple(needed) for name, needed in features.items()}
        for model, features in load_packaged_yaml(file)["models"].items()
    }


def missing_inputs(needed: Collection[str], provided: Collection[str]) -> list[str]:
    """Returns what a feature needs and a marketplace does not provide.

    Args:
        needed: What the feature needs.
        provided: The tables with rows, and their columns (`table.column`) with values.
    """
    return [one for one in needed if not any(name in provided for name in one.split(ALTERNATIVES))]


def predicted_features(declaration: Declaration, provided: Collection[str], inputs: Inputs) -> set[str]:
    """Returns the features of a model that need nothing but what a marketplace provides."""
    needs = inputs.get(declaration.name, {})
    return {name for name in declaration.columns if not missing_inputs(needs.get(name, ()), provided)}


def measured_features(features: Path, declaration: Declaration, texts: Path | None = None) -> set[str]:
    """Returns the features of a model that tell the active entities apart: they have two different known values or more.

    Args:
        features: `features.parquet` of a date.
        declaration: The model.
        texts: `texts.parquet` of the date; scores of texts tell entities apart if there are two different ones.
    """
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        found = varying_features(connection.read_parquet(str(features), hive_partitioning=False), declaration)
        if texts is None:
            return found
        titles = connection.read_parquet(str(texts), hive_partitioning=False)
        (has_texts,) = titles.aggregate("coalesce(min(title) < max(title), false)").fetchall()[0]
        return found | (set(declaration.columns) - set(declaration.stored_columns) if has_texts else set())


def active_coverage(declaration: Declaration, features: Matrix, provided: Collection[str]) -> dict[str, dict[str, Any]]:
    """Returns the coverage of the signals of one model, as `signal_coverage`, from the features of the active entities.

    Args:
        declaration: The model, whose features are the columns.
        features: Shape (n, number of features); nan where missing.
        provided: The tables with rows, and their columns (`table.column`) with values.
    """
    differs = np.fmin.reduce(features, axis=0, initial=np.nan) < np.fmax.reduce(features, axis=0, initial=np.nan)
    available = {name for name, is_different in zip(declaration.columns, differs, strict=True) if is_different}
    return signal_coverage([declaration], {declaration.name: available}, provided, read_feature_inputs())


def varying_features(rows: duckdb.DuckDBPyRelation, declaration: Declaration) -> set[str]:
    """Returns the features of a model that have two different known values or more."""
    measures = ", ".join(f"coalesce(min({name}) < max({name}), false)" for name in declaration.stored_columns)
    (varies,) = rows.aggregate(measures).fetchall()
    return {name for name, is_varying in zip(declaration.stored_columns, varies, strict=True) if is_varying}


def signal_coverage(
    declarations: Collection[Declaration],
    available: Mapping[str, Collection[str]],
    provided: Collection[str],
    inputs: Inputs,
) -> dict[str, dict[str, Any]]:
    """Returns, for each signal, how many features are available and what would make the others so.

    Args:
        declarations: The models whose features count.
        available: The available features by model.
        provided: The tables with rows, and their columns (`table.column`) with values.
        inputs: What each feature needs.

    Returns:
        By signal: `available` and `features`, their numbers; `missing`, the number of unavailable features by what they need
        and the marketplace does not provide; `constant`, the number of those that lack nothing, but do not tell entities apart.
    """
    result: dict[str, dict[str, Any]] = {}
    for signal in SIGNALS:
        missing: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for declaration in declarations:
            for feature in declaration.features:
                if feature.signal != signal:
                    continue
                counts["features"] += 1
                if feature.name in available[declaration.name]:
                    counts["available"] += 1
                    continue
                lacks = missing_inputs(inputs.get(declaration.name, {}).get(feature.name, ()), provided)
                missing.update(lacks)
                counts["constant"] += not lacks
        if counts["features"]:
            result[signal] = {
                **{name: counts[name] for name in ("available", "features", "constant")},
                "missing": dict(missing),
            }
    return result


def describe_signal(coverage: Mapping[str, Any], *, most_inputs: int = 4) -> str:
    """Describes the coverage of a signal, such as `3 of 20; provide orders (12), brand_products.msrp (5)`."""
    text = f"{coverage['available']} of {coverage['features']}"
    ordered = sorted(coverage["missing"].items(), key=lambda one: (-one[1], one[0]))
    missing = [f"{name.replace(ALTERNATIVES, ' or ')} ({count})" for name, count in ordered]
    if missing:
        more = len(missing) - most_inputs
        text += f"; provide {', '.join(missing[:most_inputs])}{f' and {more} more' if more > 0 else ''}"
    if coverage["constant"]:
        text += f"; {coverage['constant']} the same for all"
    return text
