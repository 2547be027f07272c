"""A challenger is trained, compared with the champion and judged: what a reviewer would refuse is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml import train as training
from ml.boosting import Parameters
from ml.calibrate import Calibration
from ml.compare import calibration_figures
from ml.declarations import Declaration, Feature
from ml.model import read_model
from ml.registry import Registry, Version
from ml.train import Files, TrainingResult
from tests.ml_fixtures import CUTOFF_DATE, FEATURES, LISTINGS, Simulation, simulate, train
from touchstone.core.errors import GateRefusedError

QUICK = Parameters(rounds=80, forward_blocks=2, forward_groups=2, resamples=100)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
HINT = Feature("hint_ratio", "text", "ratio", "Something informative.", "subject", 0, "")
WITH_HINT = replace(LISTINGS, features=(*FEATURES, HINT))
Random = np.random.Generator


def files_of(folder: Path) -> Files:
    return Files(*(folder / f"{name}.parquet" for name in ("features", "spine", "edges", "scoring", "slices")))


def country_of(table: pa.Table) -> np.ndarray:
    number = np.array([int(name[1:]) for name in table["merchant_id"].to_pylist()])
    return np.where(number % 10 == 0, "FR", "DE")


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """A market with a country for each evaluation row."""
    made = simulate(tmp_path_factory.mktemp("simulation"), notice_share=0.8)
    rows = pq.read_table(made.features)
    rows = rows.append_column("country", pa.array(country_of(rows)))
    rows = rows.filter(pc.equal(rows["purpose"], "evaluate"))
    pq.write_table(
        rows.select(["listing_id", "as_of_date", "purpose", "country"]), made.features.parent / "slices.parquet"
    )
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, simulation: Simulation) -> Path:
    """A home with a champion, with which the tests' challengers are compared."""
    home = tmp_path_factory.mktemp("home")
    first = trained(home, files_of(simulation.features.parent))
    assert first.failures == ()
    Registry(home).approve(LISTINGS.name, 1, who="Ada", why="reads well")
    return home


@pytest.fixture
def files(simulation: Simulation, tmp_path: Path) -> Files:
    """The market's files, which a test may change."""
    return files_of(Path(shutil.copytree(simulation.features.parent, tmp_path / "files")))


def trained(home: Path, files: Files, declaration: Declaration = LISTINGS, parameters: Parameters = QUICK) -> Version:
    result = train(
        declaration,
        files,
        as_of=CUTOFF_DATE,
        registry=Registry(home, now=lambda: NOW),
        provenance={"loads_digest": "0" * 64},
        parameters=parameters,
        trained_by="Tim",
    )
    assert isinstance(result, TrainingResult)
    return result.version


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def invert_some_labels(spine: pa.Table) -> pa.Table:
    label = np.array(spine["label"].to_pylist())
    chosen = np.array(pc.equal(spine["purpose"], "train")) & (np.random.default_rng(5).random(len(label)) < 0.2)
    return spine.set_column(spine.column_names.index("label"), "label", pa.array(np.where(chosen, ~label, label)))


def add_hint(files: Files, simulation: Simulation, hint: Callable[[np.ndarray, pa.Table, Random], np.ndarray]) -> None:
    """Adds a feature derived from the truth, as given, to the training and scoring features."""
    truth = dict(
        zip(pq.read_table(simulation.scoring)["listing_id"].to_pylist(), simulation.truth.tolist(), strict=True)
    )
    for path in (files.features, files.active):
        table = pq.read_table(path)
        is_fake = np.array([truth[name] for name in table["listing_id"].to_pylist()])
        values = hint(is_fake, table, np.random.default_rng(6))
        pq.write_table(table.append_column("hint_ratio", pa.array(values.astype(np.float64))), path)


def good_hint(is_fake: np.ndarray, _: pa.Table, random: Random) -> np.ndarray:
    return np.round(np.exp(2.5 * is_fake + random.normal(0, 1, len(is_fake))), 3)


def evaluation(version: Version) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((version.folder.parent / "evaluation.json").read_text())
    return described


def test_a_challenger_is_compared_with_the_champion(home: Path, files: Files, simulation: Simulation) -> None:
    add_hint(files, simulation, good_hint)
    version = trained(home, files, WITH_HINT)
    assert version.failures == ()
    described = evaluation(version)["comparison"]
    assert described["basis"] == "as it rates"
    gap = described["ranking"]["all"]["average_precision"]["difference"]
    assert gap["low"] > 0
    assert {part["value"] for part in described["slices"] if part["by"] == "country"} == {"DE", "FR"}
    assert {part["by"] for part in described["slices"]} == {"category", "country", "seen"}
    moves = described["list_changes"]
    assert moves["active"] == len(simulation.truth)
    assert moves["challenger_flagged"] - moves["champion_flagged"] == moves["added"] - moves["dropped"]
    assert described["importances"]["hint_ratio"]["champion"] == 0
    assert described["importances"]["hint_ratio"]["challenger"] > 0.1
    assert max(described["stability"].values()) < 0.01  # the active listings are the same
    assert version.status == "challenger"


def test_a_challenger_trained_on_wrong_labels_is_refused(home: Path, files: Files) -> None:
    rewrite(files.spine, invert_some_labels)
    version = trained(home, files)
    assert any(described.startswith("average_precision of all rows is") for described in version.failures), (
        version.failures
    )
    with pytest.raises(GateRefusedError, match="against the champion's"):
        Registry(home).approve(LISTINGS.name, version.version, who="Ada", why="hurry")


def test_a_challenger_with_a_leaking_feature_is_refused(home: Path, files: Files) -> None:
    """A feature that copies the label is only known for labelled rows, where nothing else is needed."""
    spine = pq.read_table(files.spine)
    rewrite(files.features, lambda table: table.append_column("hint_ratio", spine["label"].cast(pa.float64())))
    rewrite(files.active, lambda table: table.append_column("hint_ratio", pa.array(np.zeros(table.num_rows))))
    version = trained(home, files, WITH_HINT)
    assert any(described.startswith("hint_ratio has") for described in version.failures), version.failures


def test_a_badly_calibrated_challenger_is_refused(home: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated = training.calibrate

    def overconfident(*arguments: Any, **known: Any) -> Calibration:
        found = calibrated(*arguments, **known)
        return replace(found, slope=3 * found.slope, intercept=3 * found.intercept)

    monkeypatch.setattr(training, "calibrate", overconfident)
    version = trained(home, files, parameters=replace(QUICK, seed=8))
    assert any(described.startswith("calibration_slope is 0.4") for described in version.failures), version.failures


def test_a_slope_from_few_random_arm_positives_is_an_upper_bound(home: Path, files: Files) -> None:
    """Only the random arm buys counterfeits that look harmless: with few of them every model looks too flat."""
    champion = Registry(home).champion(LISTINGS.name)
    assert champion is not None
    rows = files.read(LISTINGS, CUTOFF_DATE).rows
    verdicts = rows.take(rows.has_purpose("calibrate"))
    described = {}
    for by_chance in (9, 10):
        is_random_arm = ~verdicts.label | (np.cumsum(verdicts.label) <= by_chance)
        described[by_chance] = calibration_figures(
            read_model(champion.folder, champion.model_digest), replace(verdicts, is_random_arm=is_random_arm), (100, 1)
        )
    few, enough = (described[by_chance]["calibration_slope"] for by_chance in (9, 10))
    assert enough.low is not None
    assert enough.low > 0
    assert (few.value, few.low, few.high) == (enough.value, 0.0, enough.high)
    assert described[9]["brier_skill"] == described[10]["brier_skill"]


def test_a_better_challenger_that_is_much_worse_for_a_country_is_refused(
    home: Path, files: Files, simulation: Simulation
) -> None:
    def except_for_france(is_fake: np.ndarray, table: pa.Table, random: Random) -> np.ndarray:
        return good_hint(np.where(country_of(table) == "FR", ~is_fake, is_fake), table, random)

    add_hint(files, simulation, except_for_france)
    version = trained(home, files, WITH_HINT)
    assert all(described.startswith("average precision where country is FR") for described in version.failures), (
        version.failures
    )
    assert version.failures


def test_a_champion_trained_on_the_evaluation_rows_is_retrained_for_the_comparison(
    tmp_path: Path, files: Files
) -> None:
    known = files_of(Path(shutil.copytree(files.features.parent, tmp_path / "known")))
    for path in (known.spine, known.features):
        rewrite(
            path,
            lambda table: table.set_column(
                table.column_names.index("purpose"),
                "purpose",
                pc.replace_substring(table["purpose"], "evaluate", "train"),
            ),
        )
    trained(tmp_path / "home", replace(known, slices=None))
    champion = Registry(tmp_path / "home").approve(LISTINGS.name, 1, who="Ada", why="x")
    described = evaluation(trained(tmp_path / "home", files))["comparison"]
    assert described["basis"].startswith(
        "trained again on the challenger's rows, because its training rows end before 2026-06-15"
    )
    assert described["champion_digest"] == champion.model_digest  # and not the stand-in's
    gap = described["ranking"]["all"]["average_precision"]
    assert gap["champion"] == gap["challenger"]  # the same declaration and the same rows


def test_a_missing_comparison_is_reported_with_the_reason(
    home: Path, files: Files, simulation: Simulation, tmp_path: Path
) -> None:
    plain = files_of(Path(shutil.copytree(files.features.parent, tmp_path / "plain")))
    add_hint(files, simulation, good_hint)
    better = trained(home, files, WITH_HINT)
    Registry(home).approve(LISTINGS.name, better.version, who="Ada", why="better")
    without = replace(LISTINGS, features=FEATURES[:-1])
    described = evaluation(trained(home, plain, without))["comparison"]
    Registry(home).rollback(LISTINGS.name, who="Ada", why="the others compare with the first")
    assert described == "the champion reads columns that no longer exist: hint_ratio"


def test_the_model_card_is_one_self_contained_file(home: Path, files: Files, simulation: Simulation) -> None:
    add_hint(files, simulation, good_hint)
    version = trained(home, files, WITH_HINT)
    page = (version.folder.parent / "card.html").read_text()
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "http" not in page
    assert "It passes all checks of ml/thresholds.yml" in page
    for head in ("Compared with the champion", "Training data", "Features", "Examples among held-out verdicts"):
        assert f">{head}<" in page
    described = evaluation(version)["comparison"]
    gap = described["ranking"]["all"]["average_precision"]
    for figure in (gap["champion"], gap["challenger"], gap["difference"]):
        assert f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" in page
    assert f"{described['list_changes']['added']:,} would be added" in page
    truth = dict(
        zip(pq.read_table(simulation.scoring)["listing_id"].to_pylist(), simulation.truth.tolist(), strict=True)
    )
    for kind, is_fake in (
        ("True positives", True),
        ("False positives", False),
        ("False negatives", True),
        ("True negatives", False),
    ):
        part = page.partition(f"<h3>{kind}</h3>")[2].partition("<h3>")[0]
        found = re.findall(r"<code>(L\d+)</code>", part)
        assert len(found) == 10, kind
        assert {truth[name] for name in found} == {is_fake}


def test_a_model_card_is_deterministic(home: Path, files: Files, tmp_path: Path) -> None:
    first, again = Registry(home).version(LISTINGS.name, 1), trained(tmp_path / "again", files)
    assert again.model_digest == first.model_digest
    for name in ("card.html", "card.json", "evaluation.json"):
        assert (again.folder.parent / name).read_bytes() == (first.folder.parent / name).read_bytes()
