"""The gate of the review: the checks that a version must pass to be approved without an override (`ml/thresholds.yml`).

It checks the metrics of the training, and the comparison with the champion if there is one. The results are registered with
the version, as sentences for the reviewer. An uncertain estimate fails no check: a limit is exceeded only if the whole 95 %
interval lies outside. Minimums are compared with the point estimate: a model has to prove its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ml.compare import LEAST_POSITIVES, AgainstStarter, Comparison, Figure, Pair
from ml.declarations import Feature
from ml.metrics import Report
from ml.training_set import Matrix
from touchstone.core.errors import BadInputError
from touchstone.core.yaml import InvalidYamlError, load_yaml

THRESHOLDS_FILE: Final = Path(__file__).resolve().parent / "thresholds.yml"
DIGESTS: Final = ("features", "spine", "active", "loads_digest")
"""Required digests: of the training files, and of the loads that they come from."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: The check's key in `ml/thresholds.yml`.
        passed: Whether it passed.
        message: A sentence with the measured value and the limit.
    """

    name: str
    passed: bool
    message: str


@dataclass(frozen=True)
class Judgement:
    """The results of the gate for a version."""

    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """The messages of the failed checks."""
        return tuple(check.message for check in self.checks if not check.passed)

    def as_dict(self) -> dict[str, Any]:
        """Returns the results as JSON-serialisable data."""
        return {"passed": not self.failures, "checks": [asdict(check) for check in self.checks]}


@dataclass(frozen=True)
class Measured:
    """The inputs of the gate.

    Attributes:
        metrics: By name.
        calibration: Estimates with intervals, on the held-out verdicts.
        importances: Share of each feature in the mean absolute attribution.
        out_of_bounds: A sentence for each feature with values outside its declared bounds.
        digests: By name: of the training files, and of the loads.
        comparison: With the champion; why there is none; or None without a champion.
        against_starter: Replaces the comparison if the champion is a starter and there are no rows of later dates.
    """

    metrics: Mapping[str, float]
    calibration: Mapping[str, Figure]
    importances: Mapping[str, float]
    out_of_bounds: tuple[str, ...]
    digests: Mapping[str, str]
    comparison: Comparison | str | None
    against_starter: AgainstStarter | None = None


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a version.

    Attributes:
        report: Metrics.
        calibration: Estimates with intervals, on the held-out verdicts.
        comparison: With the champion; why there is none; or None without a champion.
        judgement: The results of the gate.
    """

    report: Report
    calibration: Mapping[str, Figure]
    comparison: Comparison | str | None
    judgement: Judgement


def read_limits(model: str, thresholds: Path = THRESHOLDS_FILE) -> Mapping[str, Any]:
    """Reads the limits of a model.

    Raises:
        BadInputError: The file has no entry for the model, or an unknown key.
    """
    try:
        content = load_yaml(thresholds) or {}
    except (OSError, InvalidYamlError) as error:
        raise BadInputError(f"{thresholds}: cannot be read as YAML: {error}.") from error
    limits = (content.get("models") or {}).get(model)
    if not limits:
        raise BadInputError(f"{thresholds}: no entry for {model}; it could not be reviewed. Declare its limits.")
    unknown = sorted(set(limits) - set(CHECKS))
    if unknown:
        raise BadInputError(f"{thresholds}, {model}: unknown key {unknown[0]}; it is one of {', '.join(CHECKS)}.")
    return dict(limits)


def judge(measured: Measured, limits: Mapping[str, Any]) -> Judgement:
    """Applies the gate.

    Args:
        measured: The inputs.
        limits: The limits, see `ml/thresholds.yml`.
    """
    checks = [
        check for name, looked_at in CHECKS.items() if name in limits for check in looked_at(measured, limits[name])
    ]
    return Judgement((*checks, *_bounds(measured), *_digests(measured)))


def out_of_bounds(features: tuple[Feature, ...], matrices: Mapping[str, Matrix]) -> tuple[str, ...]:
    """Returns a sentence for each feature with values outside its declared bounds.

    Args:
        features: The features, in the order of the columns.
        matrices: Features of rows, by the name of the rows.
    """
    messages = []
    for index, feature in enumerate(features):
        least, most = feature.bounds
        for rows, matrix in matrices.items():
            known = matrix[:, index][~np.isnan(matrix[:, index])]
            wrong = (known < least) | (known > most)
            if wrong.any():
                messages.append(
                    f"{feature.name} is {float(known[wrong][0]):g} in {int(wrong.sum()):,} of {len(matrix):,} {rows} rows; "
                    f"it lies between {least:g} and {most:g}"
                )
                break
    return tuple(messages)


def _minimums(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    for metric, least in limits.items():
        value, low, high = (measured.metrics.get(f"{metric}{end}") for end in ("", "_low", "_high"))
        text = "was not measured" if value is None else f"is {value:.4f}"
        if low is not None and high is not None:
            text += f" (95 %: {low:.4f} to {high:.4f})"
        yield Check("minimums", value is not None and value >= least, f"{metric} {text}, at least {least:g}")


def _calibration(measured: Measured, limits: Mapping[str, tuple[float, float]]) -> Iterator[Check]:
    for metric, (least, most) in limits.items():
        figure = measured.calibration.get(metric, Figure(None, None, None))
        if figure.value is None or figure.low is None or figure.high is None:
            yield Check("calibration", passed=True, message=f"{metric} cannot be measured: too few verdicts")
            continue
        yield Check(
            "calibration",
            figure.high >= least and figure.low <= most,
            f"{metric} is {figure.value:.2f} on the held-out verdicts (95 %: {figure.low:.2f} to {figure.high:.2f}), "
            f"within {least:g} and {most:g}",
        )


def _against_champion(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    comparison = measured.comparison
    if measured.against_starter is not None:
        yield _beats_starter_out_of_fold(measured.against_starter)
        return
    if not isinstance(comparison, Comparison):
        yield Check("against_champion", passed=True, message=comparison or "there is no champion to compare with")
        return
    if comparison.replaces_starter:
        yield _beats_starter(comparison)
        return
    for cell, metrics in comparison.ranking.items():
        for metric, most in limits.items():
            yield _not_worse("against_champion", f"{metric} of {cell} rows", metrics[metric], most)


def _beats_starter(comparison: Comparison) -> Check:
    """Fails unless a trained model ranks the labelled rows of later dates better than the starter that it would replace."""
    pair = comparison.ranking["all"]["average_precision"]
    if pair.difference.value is None:
        message = "too few positives on later dates to show that it ranks better than the starter model"
        return Check("against_champion", passed=False, message=message)
    return Check(
        "against_champion",
        pair.difference.value > 0,
        f"average precision on later dates is {pair.challenger.value:.3f} against the starter model's "
        f"{pair.champion.value:.3f}, which a trained model has to exceed",
    )


def _beats_starter_out_of_fold(found: AgainstStarter) -> Check:
    """The same on the rows of the training, for a marketplace that began to decide a few weeks ago."""
    if found.positives < LEAST_POSITIVES:
        message = "too few positives to show that it ranks better than the starter model"
        return Check("against_champion", passed=False, message=message)
    return Check(
        "against_champion",
        found.trained > found.starter,
        f"average precision out of fold, by merchants that it was not trained on, is {found.trained:.3f} against the starter "
        f"model's {found.starter:.3f}, which a trained model has to exceed",
    )


def _labels(measured: Measured, most: float) -> Iterator[Check]:
    if not isinstance(measured.comparison, Comparison) or measured.comparison.replaces_starter:
        return
    pair = measured.comparison.labels
    gap = pair.difference
    if gap.value is None or gap.high is None:
        yield Check("labels", passed=True, message="labels cannot be compared: too few decisions")
        return
    yield Check(
        "labels",
        not (gap.value < -most and gap.high < 0),
        f"the champion's AUROC on the labels of this version's training is {pair.challenger.value:.3f} against "
        f"{pair.champion.value:.3f} on those of later dates (difference {gap.value:+.3f}, 95 %: {gap.low:+.3f} to "
        f"{gap.high:+.3f}), lower by at most {most:g}: otherwise the labels are wrong, or their meaning has changed",
    )


def _slices(measured: Measured, limits: Mapping[str, float]) -> Iterator[Check]:
    if not isinstance(measured.comparison, Comparison) or measured.comparison.replaces_starter:
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
            message=f"of {len(large)} slices of over {limits['rows']:,} rows none is worse by {limits['worse']:g}",
        )


def _not_worse(name: str, what: str, pair: Pair, most: float) -> Check:
    """Fails if the difference is below the limit and its whole interval is below 0."""
    gap = pair.difference
    if gap.value is None or gap.high is None:
        return Check(name, passed=True, message=f"{what} cannot be compared: too few positives")
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
        yield Check("bounds", passed=False, message=sentence)
    if not measured.out_of_bounds:
        yield Check("bounds", passed=True, message="every feature is within its declared bounds")


def _digests(measured: Measured) -> Iterator[Check]:
    missing = [name for name in DIGESTS if not _SHA256.fullmatch(measured.digests.get(name, ""))]
    text = f"digests are missing: {', '.join(missing)}" if missing else "the digests of the data are complete"
    yield Check("digests", not missing, text)


CHECKS: Final[Mapping[str, Callable[[Measured, Any], Iterator[Check]]]] = {
    "minimums": _minimums,
    "calibration": _calibration,
    "against_champion": _against_champion,
    "labels": _labels,
    "slices": _slices,
    "most_importance": _most_importance,
}
