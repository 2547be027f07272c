"""The model pipeline on simulated files: train, register, score, explain; deterministic, correct against the truth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import rankdata

from ml import score as scoring
from ml.approvals import Champion
from ml.boosting import Parameters, fit_booster
from ml.declarations import Declaration
from ml.explain import EVERYWHERE, Explainer, named_signals
from ml.metrics import Scored, measure
from ml.model import FILES, Scorer, read_model
from ml.registry import Registry
from ml.score import score
from ml.train import Files, TooFewLabels, TrainingResult
from ml.training_set import read_training_set, split_rows
from tests.ml_fixtures import CUTOFF_DATE, FEATURES, LISTINGS, Simulation, simulate, train
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import sha256_file

QUICK = Parameters(rounds=80, forward_blocks=2, forward_groups=2, resamples=50)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
WITHOUT_STARTER = replace(LISTINGS, name="review_brushing")
"""A model for which there is no scorecard in starter.yml."""


def trained(
    home: Path, simulation: Simulation, parameters: Parameters = QUICK, declaration: Declaration = LISTINGS
) -> TrainingResult | TooFewLabels:
    return train(
        declaration,
        Files(simulation.features, simulation.spine, simulation.edges, simulation.scoring),
        as_of=CUTOFF_DATE,
        registry=Registry(home, now=lambda: NOW),
        provenance={"loads_digest": "0" * 64},
        parameters=parameters,
    )


def champion_of(home: Path) -> Champion:
    champion = Registry(home).champion(LISTINGS.name)
    assert champion is not None
    return champion


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("simulation"))


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory, simulation: Simulation) -> Path:
    """A home with one approved version."""
    home = tmp_path_factory.mktemp("home")
    result = trained(home, simulation)
    assert isinstance(result, TrainingResult)
    Registry(home, now=lambda: NOW).approve(LISTINGS.name, 1, who="a reviewer", why="reads well")
    return home


@pytest.fixture(scope="module")
def scored(approved: Path, simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with its champion's scores and reasons."""
    folder = tmp_path_factory.mktemp("scored")
    score(champion_of(approved), simulation.scoring, folder / "scores.parquet", folder / "reasons.parquet")
    return folder


def test_scores_have_the_documented_columns_ranges_and_order(
    approved: Path, simulation: Simulation, scored: Path
) -> None:
    table = pq.read_table(scored / "scores.parquet")
    assert table.column_names == ["listing_id", "score", "own_conduct_score", "margin", "model_digest"]
    assert table["listing_id"].to_pylist() == pq.read_table(simulation.scoring)["listing_id"].to_pylist()
    for name in ("score", "own_conduct_score"):
        values = table[name].to_numpy()
        assert 0 <= values.min() < values.max() <= 100
        assert np.array_equal(values, np.round(values, 4))
    assert set(table["model_digest"].to_pylist()) == {champion_of(approved).model_digest}
    order = np.argsort(table["margin"].to_numpy(), kind="stable")
    assert (np.diff(table["score"].to_numpy()[order]) >= 0).all()


def test_a_lost_champion_does_not_prevent_training_another(
    approved: Path, simulation: Simulation, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(approved, home)
    (champion_of(home).folder / "main.ubj").unlink()
    result = trained(home, simulation)
    assert isinstance(result, TrainingResult)
    assert result.version.version == 2
    evaluated = json.loads((result.version.folder.parent / "evaluation.json").read_bytes())
    assert evaluated["comparison"].startswith("the champion is not what was reviewed: ")


def test_an_entity_with_two_ids_is_trained_and_scored_like_one_with_one_id(
    simulation: Simulation, scored: Path, tmp_path: Path
) -> None:
    """Orders and reviews share one key, and either ID may be null; the features have their merchant."""
    reviews = Declaration("review_brushing", "reviews", "review", "brushing", FEATURES)
    renamed = {"listing_id": "review_key"}
    for name in ("features", "scoring", "spine"):
        table = pq.read_table(getattr(simulation, name)).rename_columns(renamed)
        if name == "spine":
            table = table.drop_columns(["merchant_id", "category"])
        else:
            is_order = pc.ends_with(table["review_key"], "0")
            for column, known in (("order_id", is_order), ("review_id", pc.invert(is_order))):
                table = table.append_column(column, pc.if_else(known, table["review_key"], None))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in ("features", "spine", "scoring")}
    result = trained(tmp_path / "home", replace(simulation, **files), declaration=reviews)
    assert isinstance(result, TrainingResult)
    champion = Registry(tmp_path / "home").approve(reviews.name, 1, who="a reviewer", why="reads well")
    score(champion, files["scoring"], tmp_path / "scores.parquet", tmp_path / "reasons.parquet")
    found, expected = pq.read_table(tmp_path / "scores.parquet"), pq.read_table(scored / "scores.parquet")
    assert found.column_names == ["review_key", "order_id", "review_id", *expected.column_names[1:]]
    ids = ["review_key", "order_id", "review_id"]
    assert found.select(ids).to_pylist() == pq.read_table(files["scoring"], columns=ids).to_pylist()
    same = ["score", "own_conduct_score", "margin"]
    assert found.select(same).equals(expected.select(same))
    reasons = pq.read_table(scored / "reasons.parquet").rename_columns(renamed)
    assert pq.read_table(tmp_path / "reasons.parquet").equals(reasons)


def test_scores_are_calibrated_probabilities_among_all_listings(tmp_path: Path) -> None:
    """On three markets, against the truth: slope, prevalence and high scores are accurate, and the ranking is good."""
    described = []
    for seed in (11, 12, 13):
        simulation = simulate(tmp_path / f"in{seed}", seed=seed)
        home = tmp_path / f"home{seed}"
        assert isinstance(trained(home, simulation), TrainingResult)
        champion = Registry(home, now=lambda: NOW).approve(LISTINGS.name, 1, who="w", why="w")
        assert champion.card["calibration"]["main"]["method"] == "platt"
        score(champion, simulation.scoring, home / "scores.parquet", home / "reasons.parquet")
        described.append(_against_truth(home / "scores.parquet", simulation.truth, champion.threshold))
    middle = {name: float(np.median([each[name] for each in described])) for name in described[0]}
    assert 0.8 <= middle["calibration_slope"] <= 1.25
    assert 0.8 <= middle["mean_to_prevalence"] <= 1.2
    assert abs(middle["high_error"]) <= 0.1
    assert middle["brier_skill"] >= 0.3
    assert middle["average_precision"] >= 0.5


def _against_truth(path: Path, truth: npt.NDArray[np.bool_], threshold: float) -> dict[str, float]:
    values = pq.read_table(path)["score"].to_numpy()
    measured = measure(Scored(values, truth, np.ones(len(values)), np.arange(len(values))), threshold)
    high = values >= 50
    return {
        **measured,
        "mean_to_prevalence": values.mean() / 100 / truth.mean(),
        "high_error": values[high].mean() / 100 - truth[high].mean(),
    }


def test_two_homes_produce_the_same_bytes(approved: Path, simulation: Simulation, scored: Path, tmp_path: Path) -> None:
    result = trained(tmp_path / "other" / "home", simulation)
    assert isinstance(result, TrainingResult)
    assert not result.reused
    first, second = champion_of(approved), result.version
    assert first.model_digest == second.model_digest
    for name in FILES:
        assert sha256_file(first.folder / name) == sha256_file(second.folder / name)
    champion = Registry(tmp_path / "other" / "home").approve(LISTINGS.name, 1, who="w", why="w")
    score(champion, simulation.scoring, tmp_path / "scores.parquet", tmp_path / "reasons.parquet")
    for name in ("scores.parquet", "reasons.parquet"):
        assert sha256_file(tmp_path / name) == sha256_file(scored / name)


def test_results_do_not_depend_on_the_thread_count(
    approved: Path, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = champion_of(approved)
    read = read_training_set(LISTINGS, simulation.features, simulation.spine, simulation.edges, None, CUTOFF_DATE)
    rows = split_rows(read.rows, "listing", QUICK.unseen_share, (5000, 1, 5000), 7).train
    signs = np.array([feature.monotone for feature in FEATURES])
    found = set()
    for number in (1, 2, 3):
        monkeypatch.setattr("ml.boosting.threads", lambda _, number=number: number)
        monkeypatch.setattr("ml.model.ROWS_A_THREAD", len(rows) // number + 1)
        fitted = fit_booster(rows, [0, 1, 2, 3], signs, replace(QUICK, rounds=15))
        margin = Scorer(read_model(champion.folder, champion.model_digest)).margin(rows.features)
        found.add((fitted, margin.tobytes()))
    assert len(found) == 1


def test_every_flagged_entity_has_at_least_one_reason(approved: Path) -> None:
    """Even if all values are typical, so that no signal has an effect; an unflagged one then has no reason."""
    champion = champion_of(approved)
    explainer = Explainer(Scorer(read_model(champion.folder, champion.model_digest)))
    usual = np.array(explainer.scorer.model.body["baseline"][EVERYWHERE], dtype=np.float32)
    described = explainer.reasons(np.stack([usual, usual]), [EVERYWHERE] * 2, np.array([True, False]))
    assert [len(json.loads(reasons)) for reasons in described] == [1, 0]


def test_results_do_not_depend_on_the_batch_size(
    approved: Path, simulation: Simulation, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "BATCH_ROWS", 777)
    score(champion_of(approved), simulation.scoring, tmp_path / "scores.parquet", tmp_path / "reasons.parquet")
    for name in ("scores.parquet", "reasons.parquet"):
        assert sha256_file(tmp_path / name) == sha256_file(scored / name)


def test_row_groups_are_filled_for_any_batch_size(
    approved: Path, simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ROW_GROUP_ROWS", 3000)
    monkeypatch.setattr(scoring, "BATCH_ROWS", 1111)
    score(champion_of(approved), simulation.scoring, tmp_path / "scores.parquet", tmp_path / "reasons.parquet")
    groups = pq.ParquetFile(tmp_path / "scores.parquet").metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [3000, 3000, 3000, 1000]
    assert pq.read_table(tmp_path / "scores.parquet")["listing_id"].to_pylist() == [
        f"L{at:06d}" for at in range(10_000)
    ]


def test_a_repeated_training_returns_its_existing_version(approved: Path, simulation: Simulation) -> None:
    again = trained(approved, simulation)
    assert isinstance(again, TrainingResult)
    assert again.reused
    assert again.version.version == 1
    assert again.version.status == "champion"
    assert again.metrics["evaluate_auroc_all"] > 0.8
    assert len(Registry(approved).versions(LISTINGS.name)) == 1


def test_other_parameters_make_another_training(approved: Path, simulation: Simulation) -> None:
    other = trained(approved, simulation, replace(QUICK, seed=8))
    assert isinstance(other, TrainingResult)
    assert not other.reused
    assert other.version.version == 2
    assert other.version.model_digest != champion_of(approved).model_digest


def test_third_party_features_do_not_change_the_own_conduct_score(
    approved: Path, simulation: Simulation, tmp_path: Path
) -> None:
    table = pq.read_table(simulation.scoring)
    for name in (feature.name for feature in FEATURES if feature.controlled_by == "third_party"):
        table = table.set_column(table.column_names.index(name), name, pa.array(np.linspace(0, 1, table.num_rows)))
    pq.write_table(table, tmp_path / "features.parquet")
    for name, features in (("before", simulation.scoring), ("after", tmp_path / "features.parquet")):
        score(champion_of(approved), features, tmp_path / f"{name}.parquet", tmp_path / "reasons.parquet")
    before, after = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("before", "after"))
    assert before["own_conduct_score"].equals(after["own_conduct_score"])
    assert not before["score"].equals(after["score"])


def test_monotone_constraints_hold(approved: Path, simulation: Simulation) -> None:
    champion = champion_of(approved)
    scorer = Scorer(read_model(champion.folder, champion.model_digest))
    table = pq.read_table(simulation.scoring).slice(0, 300)
    base = scoring.matrix(table, LISTINGS.columns)
    moved = 0.0
    for at, feature in enumerate(FEATURES):
        steps = np.nanquantile(base[:, at], np.linspace(0, 1, 25))
        margins = np.stack([scorer.margin(_with(base, at, value)) for value in np.unique(steps)])
        if feature.monotone:
            assert (feature.monotone * np.diff(margins, axis=0) >= -1e-5).all(), feature.name
            moved += float(np.ptp(margins))
    assert moved > 1.0


def _with(base: npt.NDArray[np.float32], at: int, value: float) -> npt.NDArray[np.float32]:
    changed = base.copy()
    changed[:, at] = value
    return changed


def test_reasons_are_given_for_flagged_and_highest_scores(approved: Path, scored: Path) -> None:
    champion = champion_of(approved)
    scores = pq.read_table(scored / "scores.parquet")
    reasons = pq.read_table(scored / "reasons.parquet")
    assert reasons.column_names == ["listing_id", "reasons", "signal_count"]
    flagged = scores.filter(
        pc.and_(
            pc.greater_equal(scores["score"], champion.threshold),
            pc.greater_equal(scores["own_conduct_score"], champion.floor),
        )
    )
    highest = scores.sort_by([("score", "descending"), ("margin", "descending"), ("listing_id", "ascending")])
    ids = set(flagged["listing_id"].to_pylist()) | set(highest["listing_id"].to_pylist()[:1000])
    assert reasons["listing_id"].to_pylist() == sorted(ids)
    described = dict(
        zip(reasons["listing_id"].to_pylist(), map(json.loads, reasons["reasons"].to_pylist()), strict=True)
    )
    assert all(each for each in described.values())
    effects = [{reason["signal"] for reason in each if reason["effect"] > 0} for each in described.values()]
    assert reasons["signal_count"].to_pylist() == [len(signals) for signals in effects]
    for listing in flagged["listing_id"].to_pylist():
        assert all(
            {"signal", "effect", "attribution", "audiences", "text"} == set(reason) for reason in described[listing]
        )


def test_entities_that_a_policy_may_flag_below_the_threshold_are_fully_explained(
    approved: Path, simulation: Simulation, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "EXPLAINED_ROWS", 1)
    champion, least = champion_of(approved), champion_of(approved).threshold / 3
    files = [tmp_path / "scores.parquet", tmp_path / "reasons.parquet"]
    result = score(champion, simulation.scoring, *files, explain_from=least)
    assert sha256_file(files[0]) == sha256_file(scored / "scores.parquet")
    scores, reasons = (pq.read_table(file).to_pylist() for file in files)
    reached = {
        row["listing_id"] for row in scores if row["own_conduct_score"] >= champion.floor and row["score"] >= least
    }
    flagged = {
        row["listing_id"] for row in scores if row["listing_id"] in reached and row["score"] >= champion.threshold
    }
    assert reached > flagged
    assert reached <= {row["listing_id"] for row in reasons}
    assert result.flagged == len(flagged)
    assert all(
        "attribution" in reason
        for row in reasons
        if row["listing_id"] in reached
        for reason in json.loads(row["reasons"])
    )


def test_a_pair_of_signals_counts_as_both() -> None:
    reasons = [
        {"signal": "price", "effect": 0.2, "with_signal": "text"},
        {"signal": "spec", "effect": 0.0},
        {"signal": "link", "effect": -0.1, "with_signal": "logo"},
    ]
    assert named_signals(json.dumps(reasons)) == {"price", "text"}
    assert named_signals("[]") == set()


def test_an_effect_is_the_margin_drop_when_a_signal_is_set_to_its_baseline(
    approved: Path, simulation: Simulation, scored: Path
) -> None:
    champion = champion_of(approved)
    model = read_model(champion.folder, champion.model_digest)
    reasons = pq.read_table(scored / "reasons.parquet").slice(0, 1)
    name = reasons["listing_id"][0].as_py()
    row = pq.read_table(simulation.scoring).filter(pc.equal(pc.field("listing_id"), name))
    base = scoring.matrix(row, LISTINGS.columns)
    usual = model.body["baseline"][row["category"][0].as_py()]
    scorer = Scorer(model)
    for reason in json.loads(reasons["reasons"][0].as_py()):
        changed = base.copy()
        for at, feature in enumerate(FEATURES):
            if feature.signal == reason["signal"]:
                changed[:, at] = usual[at]
        drop = float((scorer.margin(base) - scorer.margin(changed))[0])
        assert reason["effect"] == pytest.approx(drop, abs=1e-3)


def test_baseline_values_are_medians_of_unlabelled_active_entities(approved: Path, simulation: Simulation) -> None:
    usual = champion_model_body(approved)["baseline"]
    assert set(usual) == {"", "bags", "watches/steel"}
    spine = pq.read_table(simulation.spine)
    positive = set(spine.filter(pc.equal(spine["label"], True))["listing_id"].to_pylist())
    active_rows = pq.read_table(simulation.scoring).to_pylist()
    prices = [
        row["price_to_msrp_ratio"]
        for row in active_rows
        if row["listing_id"] not in positive and row["category"] == "bags"
    ]
    known = [price for price in prices if price is not None]
    assert usual["bags"][0] == pytest.approx(float(np.median(known)), rel=1e-4)


def test_the_model_card_counts_entities_between_floor_and_threshold(
    approved: Path, simulation: Simulation, scored: Path
) -> None:
    champion = champion_of(approved)
    spine = pq.read_table(simulation.spine)
    positive = set(spine.filter(pc.equal(spine["label"], True))["listing_id"].to_pylist())
    rated = [row for row in pq.read_table(scored / "scores.parquet").to_pylist() if row["listing_id"] not in positive]
    high = [row["score"] >= champion.threshold for row in rated]
    own_high = [row["own_conduct_score"] >= champion.floor for row in rated]
    described = json.loads((champion.folder.parent / "card.json").read_text())["population"]
    assert described == {
        "active_count": len(rated),
        "flagged_count": sum(a and b for a, b in zip(high, own_high, strict=True)),
        "between_floor_and_threshold_count": sum(b and not a for a, b in zip(high, own_high, strict=True)),
        "held_by_floor_count": sum(a and not b for a, b in zip(high, own_high, strict=True)),
    }
    assert described["between_floor_and_threshold_count"] > 0


def champion_model_body(home: Path) -> dict[str, dict[str, list[float]]]:
    champion = champion_of(home)
    return dict(read_model(champion.folder, champion.model_digest).body)


def test_features_out_of_order_are_refused(approved: Path, simulation: Simulation, tmp_path: Path) -> None:
    table = pq.read_table(simulation.scoring).slice(0, 3)
    key = table.column_names.index("listing_id")
    cases = {"swapped": "bac", "twice": "aab", "nameless first": " ab", "nameless": "a b", "nameless last": "ab "}
    for name, ids in cases.items():
        broken = table.set_column(key, "listing_id", pa.array([None if one == " " else one for one in ids]))
        pq.write_table(broken, tmp_path / f"{name}.parquet")
        with pytest.raises(BadInputError, match="sorted and unique"):
            score(champion_of(approved), tmp_path / f"{name}.parquet", tmp_path / "s.parquet", tmp_path / "r.parquet")
        assert not (tmp_path / "s.parquet").exists()


def test_a_missing_feature_is_named_before_anything_is_written(
    approved: Path, simulation: Simulation, tmp_path: Path
) -> None:
    pq.write_table(pq.read_table(simulation.scoring).drop_columns(["refund_share"]), tmp_path / "features.parquet")
    with pytest.raises(BadInputError, match="refund_share"):
        score(champion_of(approved), tmp_path / "features.parquet", tmp_path / "s.parquet", tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == [tmp_path / "features.parquet"]


def test_scoring_without_rows_succeeds(approved: Path, simulation: Simulation, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(simulation.scoring).slice(0, 0), tmp_path / "features.parquet")
    result = score(champion_of(approved), tmp_path / "features.parquet", tmp_path / "s.parquet", tmp_path / "r.parquet")
    assert (result.rows, result.flagged, result.explained) == (0, 0, 0)
    assert pq.read_schema(tmp_path / "s.parquet").names == [
        "listing_id",
        "score",
        "own_conduct_score",
        "margin",
        "model_digest",
    ]


def test_an_unknown_category_is_compared_with_all_categories(
    approved: Path, simulation: Simulation, tmp_path: Path
) -> None:
    table = pq.read_table(simulation.scoring).slice(0, 50)
    for value in (None, "never/seen"):
        odd = table.set_column(2, "category", pa.array([value] * 50, pa.string()))
        pq.write_table(odd, tmp_path / "features.parquet")
        result = score(
            champion_of(approved), tmp_path / "features.parquet", tmp_path / "s.parquet", tmp_path / "r.parquet"
        )
        assert result.explained == 50


def test_too_few_labels_turn_the_model_off(tmp_path: Path) -> None:
    simulation = simulate(tmp_path / "in", listings=1000, merchants=100, notice_share=0.2)
    result = trained(tmp_path / "home", simulation, declaration=WITHOUT_STARTER)
    assert isinstance(result, TooFewLabels)
    assert result.positives < 20
    assert "is off" in result.message
    assert Registry(tmp_path / "home").versions() == []


def test_no_training_row_turns_the_model_off(simulation: Simulation, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.parquet" for name in ("features", "spine", "scoring")}
    for name, path in files.items():
        pq.write_table(pq.read_table(getattr(simulation, name)).slice(0, 0), path)
    result = trained(tmp_path / "home", replace(simulation, **files), declaration=WITHOUT_STARTER)
    assert result == TooFewLabels(WITHOUT_STARTER.name, positives=0, components=0)


def test_without_verdicts_a_score_is_a_rank_among_the_active(simulation: Simulation, tmp_path: Path) -> None:
    for name in ("features", "spine"):
        table = pq.read_table(getattr(simulation, name))
        pq.write_table(table.filter(pc.not_equal(table["purpose"], "calibrate")), tmp_path / f"{name}.parquet")
    without = replace(simulation, features=tmp_path / "features.parquet", spine=tmp_path / "spine.parquet")
    result = trained(tmp_path / "home", without)
    assert isinstance(result, TrainingResult)
    champion = Registry(tmp_path / "home").approve(LISTINGS.name, 1, who="w", why="w")
    assert champion.card["calibration"]["main"]["method"] == "ranking"
    score(champion, simulation.scoring, tmp_path / "s.parquet", tmp_path / "r.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    below = rankdata(table["margin"].to_numpy(), "min") - 1
    assert table["score"].to_numpy() == pytest.approx(100 * below / len(table), abs=1.0)
    assert 0 < np.count_nonzero(table["score"].to_numpy() >= champion.threshold) <= 0.06 * len(table)


@pytest.mark.parametrize("name", FILES)
def test_a_modified_model_file_prevents_scoring(
    approved: Path, simulation: Simulation, tmp_path: Path, name: str
) -> None:
    champion = champion_of(approved)
    path = champion.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    try:
        with pytest.raises(VerificationError, match=name):
            score(champion, simulation.scoring, tmp_path / "s.parquet", tmp_path / "r.parquet")
        with pytest.raises(VerificationError, match=name):
            Registry(approved).champion(LISTINGS.name)
    finally:
        path.write_bytes(content)
    assert not (tmp_path / "s.parquet").exists()


def test_scoring_imports_no_registry_server(approved: Path, simulation: Simulation, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from ml.registry import Registry
from ml.score import score
home, features, out = map(Path, sys.argv[1:])
score(Registry(home).champion("listing_counterfeit"), features, out / "scores.parquet", out / "reasons.parquet")
print([name for name in ("mlflow", "matplotlib", "sqlalchemy") if name in sys.modules])
"""
    arguments = [str(approved), str(simulation.scoring), str(tmp_path)]
    described = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert described.stdout.strip() == "[]"
    assert (tmp_path / "scores.parquet").exists()
