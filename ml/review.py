"""The gate of the review: what a version must hold to be approved without an override, by `ml/thresholds.yml`.

It judges what the training measured, and the comparison with the champion where there is one. What it finds is registered
with the version, in sentences for the reviewer. A figure that is not well known refuses nothing: limits on it are broken only
where its whole 95 % interval lies outside. But minimums are taken at their value: what a model is worth it has to show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ml.compare import Comparison, Figure, Pair
from ml.declarations import Feature
from ml.evaluate import Report
from ml.training_set import Matrix
from touchstone.core.errors import BadInputError
from touchstone.core.yaml import InvalidYamlError, load_yaml

THRESHOLDS_FILE: Final = Path(__file__).resolve().parent / "thresholds.yml"
DIGESTS: Final = ("features", "spine", "live", "loads_digest")
"""What a version must name: the digests of the files that it was trained on and of the loads that they come from."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, as `ml/thresholds.yml` has it.
        passed: Whether it holds.
        says: A sentence with the measured value and the limit.
    """

    name: str
    passed: bool
    says: str


@dataclass(frozen=True)
class Judgement:
    """What the gate found of a version."""

    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each thing that does not hold."""
        return tuple(check.says for check in self.checks if not check.passed)

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {"passed": not self.failures, "checks": [asdict(check) for check in self.checks]}


@dataclass(frozen=True)
class Measured:
    """What a training found out about the version that it gave.

    Attributes:
        metrics: By name.
        calibration: Figures with intervals, on the held-out verdicts.
        importances: Share of each feature in the mean absolute attribution.
        out_of_bounds: A sentence for each feature that has values which its declaration excludes.
        digests: By name: of the files it was trained on, and of the loads.
        comparison: With the champion; None without one, or why there is none.
    """

    metrics: Mapping[str, float]
    calibration: Mapping[str, Figure]
    importances: Mapping[str, float]
    out_of_bounds: tuple[str, ...]
    digests: Mapping[str, str]
    comparison: Comparison | str | None


@dataclass(frozen=True)
class Evaluation:
    """Everything that a training found out about the version that it gave.

    Attributes:
        report: What was measured.
        calibration: Figures with intervals, on the held-out verdicts.
        comparison: With the champion; why there is none; or None without a champion.
        judgement: What the gate found.
    """

    report: Report
    calibration: Mapping[str, Figure]
    comparison: Comparison | str | None
    judgement: Judgement


def read_limits(model: str, thresholds: Path = THRESHOLDS_FILE) -> Mapping[str, Any]:
    """Reads what a model must hold.

    Raises:
        BadInputError: The file declares nothing for the model, or something that is unknown here.
    """
    try:
        content = load_yaml(thresholds) or {}
    except (OSError, InvalidYamlError) as error:
        raise BadInputError(f"{thresholds}: cannot be read as YAML: {error}.") from error
    limits = (content.get("models") or {}).get(model)
    if not limits:
        raise BadInputError(f"{thresholds}: nothing for {model}; it could not be reviewed. Declare what it must hold.")
    unknown = sorted(set(limits) - set(LOOKED_AT))
    if unknown:
        raise BadInputError(f"{thresholds}, {model}: {unknown[0]} is not known; it is one of {', '.join(LOOKED_AT)}.")
    return dict(limits)


def judge(measured: Measured, limits: Mapping[str, Any]) -> Judgement:
    """Judges a version.

    Args:
        measured: What its training found out.
        limits: What must hold, see `ml/thresholds.yml`.
    """
    checks = [
        check for name, looked_at in LOOKED_AT.items() if name in limits for check in looked_at(measured, limits[name])
    ]
    return Judgement((*checks, *_bounds(measured), *_digests(measured)))


def out_of_bounds(features: tuple[Feature, ...], matrices: Mapping[str, Matrix]) -> tuple[str, ...]:
    """Says which features have values that their declaration excludes.

    Args:
        features: The features, in the order of the columns.
        matrices: Features of rows by what the rows are.
    """
    told = []
    for at, feature in enumerate(features):
        least, most = feature.bounds
        for rows, matrix in matrices.items():
            known = matrix[:, at][~np.isnan(matrix[:, at])]
            wrong = (known < least) | (known > most)
            if wrong.any():
                told.append(
                    f"{feature.name} is {float(known[wrong][0]):g} in {int(wrong.sum()):,} of {len(matrix):,} {rows} rows; "
                    f"it lies between {least:g} and {most:g}"
                )
                break
    return tuple(told)


def _minimums(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    for metric, least in limits.items():
        value, low, high = (measured.metrics.get(f"{metric}{end}") for end in ("", "_low", "_high"))
        said = "was not measured" if value is None else f"is {value:.4f}"
        if low is not None and high is not None:
            said += f" (95 %: {low:.4f} to {high:.4f})"
        yield Check("minimums", value is not None and value >= least, f"{metric} {said}, at least {least:g}")


def _calibration(measured: Measured, limits: Mapping[str, tuple[float, float]]) -> Iterator[Check]:
    for metric, (least, most) in limits.items():
        figure = measured.calibration.get(metric, Figure(None, None, None))
        if figure.value is None or figure.low is None or figure.high is None:
            yield Check("calibration", passed=True, says=f"{metric} cannot be measured on so few verdicts")
            continue
        yield Check(
            "calibration",
            figure.high >= least and figure.low <= most,
            f"{metric} is {figure.value:.2f} on the held-out verdicts (95 %: {figure.low:.2f} to {figure.high:.2f}), "
            f"within {least:g} and {most:g}",
        )


def _against_champion(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    comparison = measured.comparison
    if not isinstance(comparison, Comparison):
        yield Check("against_champion", passed=True, says=comparison or "there is no champion to compare with")
        return
    for cell, metrics in comparison.ranking.items():
        for metric, most in limits.items():
            yield _not_worse("against_champion", f"{metric} of {cell} rows", metrics[metric], most)


def _labels(measured: Measured, most: float) -> Iterator[Check]:
    if not isinstance(measured.comparison, Comparison):
        return
    pair = measured.comparison.labels
    gap = pair.difference
    if gap.value is None or gap.high is None:
        yield Check("labels", passed=True, says="labels cannot be held against the champion: too few are decided")
        return
    yield Check(
        "labels",
        not (gap.value < -most and gap.high < 0),
        f"the champion's AUROC on the decided labels that this version learned from is {pair.challenger.value:.3f} against "
        f"{pair.champion.value:.3f} on those of later dates (difference {gap.value:+.3f}, 95 %: {gap.low:+.3f} to "
        f"{gap.high:+.3f}), lower by at most {most:g}: else they are wrong, or mean something else than they did",
    )


def _slices(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    if not isinstance(measured.comparison, Comparison):
        return
    large = [part for part in measured.comparison.slices if part.rows > limits["rows"]]
    checks = [
        _not_worse(
            "slices",
            f"average precision where {part.by} is {part.value} ({part.rows:,} rows)",
            part.average_precision,
            limits["worse"],
        )
        for part in large
    ]
    broken = [check for check in checks if not check.passed]
    if broken:
        yield from broken
    else:
        yield Check(
            "slices",
            passed=True,
            says=f"of {len(large)} slices of over {limits['rows']:,} rows none is worse by {limits['worse']:g}",
        )


def _not_worse(name: str, what: str, pair: Pair, most: float) -> Check:
    """Worse is what lies below the champion by more than so much, and whose interval excludes that nothing was lost."""
    gap = pair.difference
    if gap.value is None or gap.high is None:
        return Check(name, passed=True, says=f"{what} cannot be compared: too few positives")
    return Check(
        name,
        not (gap.value < -most and gap.high < 0),
        f"{what} is {pair.challenger.value:.3f} against the champion's {pair.champion.value:.3f} "
        f"(difference {gap.value:+.3f}, 95 %: {gap.low:+.3f} to {gap.high:+.3f}), worse by at most {most:g}",
    )


def _most_importance(measured: Measured, most: float) -> Iterator[Check]:
    name, share = max(measured.importances.items(), key=lambda item: (item[1], item[0]), default=("nothing", 0.0))
    yield Check("most_importance", share <= most, f"{name} has {share:.0%} of the importance, at most {most:.0%}")


def _bounds(measured: Measured) -> Iterator[Check]:
    for sentence in measured.out_of_bounds:
        yield Check("bounds", passed=False, says=sentence)
    if not measured.out_of_bounds:
        yield Check("bounds", passed=True, says="every feature lies within its declared bounds")


def _digests(measured: Measured) -> Iterator[Check]:
    missing = [name for name in DIGESTS if not _SHA256.fullmatch(measured.digests.get(name, ""))]
    said = f"digests are missing: {', '.join(missing)}" if missing else "the digests of the data are there"
    yield Check("digests", not missing, said)


LOOKED_AT: Final[Mapping[str, Callable[[Measured, Any], Iterator[Check]]]] = {
    "minimums": _minimums,
    "calibration": _calibration,
    "against_champion": _against_champion,
    "labels": _labels,
    "slices": _slices,
    "most_importance": _most_importance,
}
