"""A backtest step: its metrics, checked against manual calculations, and variants with too few labels."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml import backtest
from ml.backtest import Variant, measure_step, plot, run_step, without
from ml.train import Files, Parameters
from tests.ml_fixtures import CUTOFF_DATE, LISTINGS, Simulation, simulate
from touchstone.core.errors import BadInputError, VerificationError

QUICK = Parameters(rounds=100, resamples=20, target_precision=0.5)
NO_OUTCOMES = pa.table(
    {
        "entity_id": pa.array([], pa.string()),
        "is_positive": pa.array([], pa.bool_()),
        "inclusion_probability": pa.array([], pa.float64()),
    }
)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("history"), listings=3_000, merchants=300)


@pytest.fixture(scope="module")
def steps(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The steps of a model and of the same model without a feature."""
    folder = tmp_path_factory.mktemp("steps")
    files = Files(simulation.features, simulation.spine, simulation.edges, simulation.scoring)
    variants = [
        Variant("now", LISTINGS, QUICK),
        Variant("without noise", without(LISTINGS, ["noise_ratio"]), QUICK),
    ]
    for variant in variants:
        assert run_step(variant, files, CUTOFF_DATE, folder / variant.name) is None
    return {variant.name: folder / variant.name for variant in variants}


def outcomes(steps: dict[str, Path], simulation: Simulation) -> pa.Table:
    """The truth about every second entity, every fourth of them sampled with probability one in ten."""
    ids = pq.read_table(steps["now"] / "scores.parquet")["listing_id"].to_pylist()
    chosen = range(0, len(ids), 2)
    return pa.table(
        {
            "entity_id": [ids[at] for at in chosen],
            "is_positive": [bool(simulation.truth[at]) for at in chosen],
            "inclusion_probability": [0.1 if at % 4 == 0 else None for at in chosen],
        }
    )


def test_the_metrics_of_a_step_match_manual_calculations(steps: dict[str, Path], simulation: Simulation) -> None:
    found = outcomes(steps, simulation)
    step = measure_step(CUTOFF_DATE, steps, found)
    assert (step.rated, step.outcomes) == (len(simulation.truth), len(found))
    assert step.positive_outcomes == int(simulation.truth[::2].sum())
    flags = []
    for name, folder in steps.items():
        scores = pq.read_table(folder / "scores.parquet")
        model = backtest._model(folder)
        assert model is not None
        flagged = (scores["score"].to_numpy() >= model.threshold) & (
            scores["own_conduct_score"].to_numpy() >= model.floor
        )
        flags.append(flagged)
        result = step.variants[name]
        assert result is not None
        assert result.flagged == int(flagged.sum())
        assert result.recall == round(float(flagged[::2][simulation.truth[::2]].mean()), 4)
        assert result.precision == round(float(simulation.truth[::2][flagged[::2]].mean()), 4)
        assert result.positive_share == round(float(simulation.truth[::4].mean()), 4)
        assert result.expected_share == pytest.approx(scores["score"].to_numpy()[::4].mean() / 100, abs=1e-4)
        assert result.expected_precision == pytest.approx(scores["score"].to_numpy()[flagged].mean() / 100, abs=1e-4)
        assert result.flagged > 0
        assert result.calibration_slope is not None
        assert 0.2 < result.calibration_slope < 5
    assert step.both == (flags[0] & flags[1]).sum()
    assert plot("m", [step, step]).startswith(b"\x89PNG")


def test_without_outcomes_all_metrics_are_none(steps: dict[str, Path]) -> None:
    result = measure_step(CUTOFF_DATE, steps, NO_OUTCOMES).variants["now"]
    assert result is not None
    assert (result.precision, result.recall, result.calibration_slope, result.positive_share) == (None,) * 4


def test_a_variant_with_too_few_labels_is_off(simulation: Simulation, tmp_path: Path) -> None:
    spine = pq.read_table(simulation.spine)
    nothing = spine.set_column(spine.schema.get_field_index("label"), "label", pa.array([False] * len(spine)))
    pq.write_table(nothing, tmp_path / "spine.parquet")
    files = Files(simulation.features, tmp_path / "spine.parquet", simulation.edges, simulation.scoring)
    why = run_step(Variant("now", LISTINGS, QUICK), files, CUTOFF_DATE, tmp_path / "step")
    assert why is not None
    assert "is off: 0 labelled positives" in why
    assert measure_step(CUTOFF_DATE, {"now": tmp_path / "step"}, NO_OUTCOMES).variants == {"now": None}


def test_a_modified_step_is_refused(steps: dict[str, Path], tmp_path: Path) -> None:
    changed = tmp_path / "step"
    changed.mkdir()
    for path in steps["now"].iterdir():
        content = path.read_bytes()
        (changed / path.name).write_bytes(content[:-1] + b"x" if path.name == "main.ubj" else content)
    with pytest.raises(VerificationError, match=r"main\.ubj: its SHA-256"):
        measure_step(CUTOFF_DATE, {"now": changed}, NO_OUTCOMES)


def test_the_digest_of_a_step_covers_its_inputs_and_its_definition() -> None:
    now, inputs = Variant("now", LISTINGS, QUICK), {"loads": "a"}
    digests = {
        now.digest(CUTOFF_DATE, inputs),
        now.digest(date(2026, 6, 1), inputs),
        now.digest(CUTOFF_DATE, {"loads": "b"}),
        Variant("now", LISTINGS, Parameters(rounds=100, resamples=20, target_precision=0.6)).digest(
            CUTOFF_DATE, inputs
        ),
        Variant("now", without(LISTINGS, ["review"]), QUICK).digest(CUTOFF_DATE, inputs),
    }
    assert len(digests) == 5
    assert Variant("another name", LISTINGS, QUICK).digest(CUTOFF_DATE, inputs) in digests


def test_features_are_removed_by_name_or_by_signal() -> None:
    assert {feature.name for feature in LISTINGS.features} - {
        feature.name for feature in without(LISTINGS, ["review", "noise_ratio"]).features
    } == {"complaint_share", "one_star_share", "noise_ratio"}
    with pytest.raises(
        BadInputError, match=r"no feature and no signal 'magic'\. Its signals are merchant, order, price"
    ):
        without(LISTINGS, ["magic"])
    controlled = [feature.name for feature in LISTINGS.features if feature.controlled_by != "third_party"]
    with pytest.raises(BadInputError, match="no feature left that the subject or the platform controls"):
        without(LISTINGS, controlled)


def test_the_mean_of_no_values_is_none() -> None:
    assert backtest._mean(np.zeros(0)) is None
