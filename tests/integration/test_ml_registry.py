"""The review: only the log of approvals decides which model rates, and only with the reviewed bytes."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.alias_requests import reconcile_aliases
from ml.approvals import Champion, Decision
from ml.calibrate import Calibration
from ml.metrics import Report, Scored
from ml.model import FILES, RiskModel, describe
from ml.registry import Registry, Version
from ml.review import Check, Evaluation, Judgement
from tests.ml_fixtures import FEATURES, LISTINGS
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.files import sha256_bytes

MODEL = "listing_counterfeit"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
POPULATION = {
    "active_count": 12_000,
    "flagged_count": 300,
    "between_floor_and_threshold_count": 1_400,
    "held_by_floor_count": 7,
}
METRICS = {"forward_auroc_unseen": 0.8, "evaluate_auroc_all": 0.7}


def risk_model(number: int, name: str = MODEL) -> RiskModel:
    """A model with invalid boosters: the registry never loads them."""
    main, own = f"main {number}".encode(), b"own"
    fitted = Calibration("none", 1.0, 0.0, (), 0, 0, 0, None).as_dict()
    body = describe(LISTINGS, main, own) | {
        "calibration": {"main": fitted, "own": fitted},
        "flagging": {
            "threshold": 50.0,
            "floor": 9.0,
            "exposed_share": 0.0175,
            "basis": "fallback",
            "bands": [],
            "table": [],
        },
        "prevalence": 0.03,
        "baseline": {"": [0.0] * len(FEATURES)},
        "name": name,
    }
    return RiskModel(body, main, own)


PASSES = Judgement((Check("digests", passed=True, message="the digests of the data are there"),))
FAILS = Judgement((*PASSES.checks, Check("bounds", passed=False, message="refund_share is 2 in 3 of 10 rows")))


def register(
    registry: Registry, number: int, judgement: Judgement = PASSES, trained_by: str = "Tim", name: str = MODEL
) -> Version:
    model = risk_model(number, name)
    facts = {
        "as_of": "2026-06-15",
        "training_digest": f"training {number}",
        "data": {"features": "f" * 64},
        "provenance": {"loads_digest": "1" * 64},
        "flagging": model.body["flagging"],
        "calibration": model.body["calibration"],
        "population": POPULATION,
    }
    report = Report(METRICS, {}, {"price_to_msrp_ratio": 0.5}, {"price_to_msrp_ratio": -0.4})
    return registry.register(
        model,
        facts=facts,
        evaluation=Evaluation(report, {}, None, judgement),
        files={"card.html": b"<p>A card", "plots/reliability.png": b"PNG"},
        parameters={"seed": 7},
        trained_by=trained_by,
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three versions; MLflow's store takes seconds to make, so the tests share it and reset the log."""
    home = tmp_path_factory.mktemp("home")
    registry = Registry(home, now=lambda: NOW)
    for number in (1, 2, 3):
        register(registry, number)
    (home / "models" / "log.jsonl").rename(home / "trained.jsonl")
    return home


@pytest.fixture
def registry(shared: Path) -> Registry:
    """The home as of the end of the trainings."""
    shutil.copy(shared / "trained.jsonl", shared / "models" / "log.jsonl")
    registry = Registry(shared, now=lambda: NOW)
    registry.mirror.update(MODEL)
    return registry


def decisions(registry: Registry) -> list[Decision]:
    return [line for line in registry.approvals.decisions() if line.action != "train"]


def test_versions_wait_for_review_and_the_newest_is_the_challenger(registry: Registry) -> None:
    versions = registry.versions(MODEL)
    assert [(version.version, version.status) for version in versions] == [
        (1, "waiting"),
        (2, "waiting"),
        (3, "challenger"),
    ]
    assert [version.model_digest for version in versions] == [risk_model(number).digest for number in (1, 2, 3)]
    assert versions[0].metrics == METRICS
    assert registry.champion(MODEL) is None
    assert [(line.action, line.version, line.who, line.why) for line in registry.approvals.decisions()] == [
        ("train", number, "Tim", "passes the gate") for number in (1, 2, 3)
    ]
    client = registry.mlflow.client()
    assert int(client.get_model_version_by_alias(MODEL, "challenger").version) == 3


def test_an_mlflow_run_has_what_a_reviewer_needs(registry: Registry, shared: Path) -> None:
    version = registry.version(MODEL, 1)
    run = registry.mlflow.client().get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"version": "1", "as_of": "2026-06-15", "gate": "passed", "seed": "7"}
    assert run.data.tags["touchstone.loads_digest"] == "1" * 64
    assert run.data.tags["touchstone.features"] == "f" * 64
    read = run.inputs.dataset_inputs
    assert [(each.dataset.name, each.dataset.digest) for each in read] == [("features", "f" * 36)]
    files = {
        path.relative_to(version.folder.parent).as_posix()
        for path in version.folder.parent.rglob("*")
        if path.is_file()
    }
    assert files == {
        "card.html",
        "card.json",
        "evaluation.json",
        "model/MLmodel",
        "model/input_example.json",
        "model/main.ubj",
        "model/model.json",
        "model/own_conduct.ubj",
        "plots/reliability.png",
    }
    assert version.folder.is_relative_to(shared)
    page = registry.mlflow.client().get_model_version(MODEL, "1")
    assert {name: page.tags[name] for name in POPULATION} == {name: str(count) for name, count in POPULATION.items()}
    assert "1,400 are between floor and threshold" in page.description
    assert "7 are above the threshold but kept off the list by the floor" in page.description
    assert "An estimated 1.8% of the honest merchants reach the floor" in page.description
    rows = page.description.splitlines()
    assert [row for row in rows if row.startswith("|") and row.split("|")[1].strip() == "auroc"]


def test_an_approval_makes_the_champion_and_is_logged(registry: Registry) -> None:
    champion = registry.approve(MODEL, 2, who="Ada", why="reads well")
    assert (champion.version, champion.model_digest) == (2, risk_model(2).digest)
    assert (champion.threshold, champion.floor) == (50.0, 9.0)
    assert registry.champion(MODEL) == champion
    (line,) = decisions(registry)
    assert (line.action, line.who, line.why, line.at) == ("approve", "Ada", "reads well", "2026-07-01T12:00:00+00:00")
    assert set(line.files) == {"model.json", "main.ubj", "own_conduct.ubj", "MLmodel", "input_example.json"}
    assert [version.status for version in registry.versions(MODEL)] == ["waiting", "champion", "challenger"]


def test_the_approval_at_an_earlier_log_head_is_the_one_of_that_time(registry: Registry) -> None:
    first = registry.approve(MODEL, 1, who="Ann", why="looks good")
    head = registry.approvals.head()
    registry.approve(MODEL, 2, who="Ann", why="better")
    registry.rollback(MODEL, who="Bob", why="appeals doubled")
    then, now = (registry.approvals.approval_of(MODEL, first.model_digest, at) for at in (head, None))
    assert [found and (found.action, found.who) for found in (then, now)] == [("approve", "Ann"), ("rollback", "Bob")]
    with pytest.raises(VerificationError, match="a receipt names"):
        registry.approvals.approval_of(MODEL, first.model_digest, "0" * 63 + "1")


def test_mlflow_mirrors_the_log(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    registry.approve(MODEL, 3, who="Ada", why="x")
    client = registry.mlflow.client()
    assert int(client.get_model_version_by_alias(MODEL, "champion").version) == 3
    assert client.get_registered_model(MODEL).tags["approvals_log_head"] == registry.approvals.head()
    assert client.get_model_version(MODEL, "1").tags["review"] == "former"


def alias(registry: Registry) -> int | None:
    aliases = registry.mlflow.client().get_registered_model(MODEL).aliases
    return int(aliases["champion"]) if "champion" in aliases else None


def move_alias(registry: Registry, version: int | None) -> None:
    if version is None:
        registry.mlflow.client().delete_registered_model_alias(MODEL, "champion")
    else:
        registry.mlflow.client().set_registered_model_alias(MODEL, "champion", str(version))


def test_moving_an_alias_in_mlflow_alone_changes_nothing(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    move_alias(registry, 2)
    assert version_of(registry.champion_to_rate(MODEL)) == 1


def test_a_moved_alias_is_approved(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    assert reconcile_aliases(registry, may_approve=True) == []
    move_alias(registry, 2)
    (move,) = reconcile_aliases(registry, may_approve=True)
    assert (move.model, move.version, move.outcome) == (MODEL, 2, "approved")
    champion = registry.champion_to_rate(MODEL)
    assert champion is not None
    assert champion.version == 2
    assert champion.approved.who == "mlflow-ui, unauthenticated"
    assert champion.approved.replaces == 1
    assert reconcile_aliases(registry, may_approve=True) == []


def test_a_moved_alias_that_needs_confirmation_waits_for_a_person(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    move_alias(registry, 2)
    (move,) = reconcile_aliases(registry, may_approve=False)
    assert move.outcome == "waits"
    assert f"touchstone models approve {MODEL} 2" in move.message
    assert (version_of(registry.champion_to_rate(MODEL)), alias(registry)) == (1, 1)
    line = registry.approvals.decisions()[-1]
    assert (line.action, line.version, line.who) == ("request", 2, "mlflow-ui, unauthenticated")
    assert [version.status for version in registry.versions(MODEL)] == ["champion", "waiting", "challenger"]
    assert registry.approve(MODEL, 2, who="Ada", why="confirmed").version == 2


@pytest.mark.parametrize("may_approve", [True, False])
@pytest.mark.parametrize(
    ("to", "because"),
    [
        (None, r"removed; version 1 continues to rate"),
        (2, r"rejected by Ada on 2026-07-01T12:00:00\+00:00 \(worse\)"),
        (3, r"main\.ubj: its SHA-256"),
    ],
)
def test_an_invalid_alias_move_is_undone(
    registry: Registry, to: int | None, because: str, *, may_approve: bool
) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    registry.reject(MODEL, 2, who="Ada", why="worse")
    changed = registry.version(MODEL, 3).folder / "main.ubj"
    content = changed.read_bytes()
    changed.write_bytes(content + b"!")
    move_alias(registry, to)
    try:
        (move,) = reconcile_aliases(registry, may_approve=may_approve)
    finally:
        changed.write_bytes(content)
    assert move.outcome == "undone"
    assert re.search(because, move.message)
    assert (version_of(registry.champion_to_rate(MODEL)), alias(registry)) == (1, 1)
    assert registry.approvals.decisions()[-1].action == "request"
    assert re.search(because, registry.approvals.decisions()[-1].why)


def test_an_alias_move_to_a_version_that_fails_the_gate_is_undone(failed: Registry) -> None:
    move_alias(failed, 1)
    (move,) = reconcile_aliases(failed, may_approve=True)
    assert (move.outcome, alias(failed), failed.champion(MODEL)) == ("undone", None, None)
    assert "refund_share is 2 in 3 of 10 rows" in move.message
    assert failed.approvals.decisions()[-1].failures == ("refund_share is 2 in 3 of 10 rows",)


def test_a_model_unknown_to_the_log_is_ignored(registry: Registry) -> None:
    client = registry.mlflow.client()
    client.create_registered_model("somebodys")
    made = client.create_model_version("somebodys", source=str(registry.home / "mlflow-artifacts"))
    client.set_registered_model_alias("somebodys", "champion", made.version)
    try:
        assert reconcile_aliases(registry, may_approve=True) == []
    finally:
        client.delete_registered_model("somebodys")


def test_a_version_rates_in_shadow_until_a_decision(registry: Registry) -> None:
    assert registry.shadowing(MODEL) is None
    with pytest.raises(BadInputError, match="No version of listing_counterfeit rates in shadow"):
        registry.unshadow(MODEL, who="Ada", why="x")
    registry.approve(MODEL, 1, who="Ada", why="x")
    with pytest.raises(BadInputError, match="version 1 is champion: it cannot rate in shadow"):
        registry.shadow(MODEL, 1, who="Ada", why="x")
    for version in (2, 3):
        registry.shadow(MODEL, version, who="Ada", why="x")
        assert version_of(registry.shadowing(MODEL)) == version
    assert [version.status for version in registry.versions(MODEL)] == ["champion", "waiting", "challenger"]
    registry.reject(MODEL, 2, who="Ada", why="x")
    assert version_of(registry.shadowing(MODEL)) == 3
    with pytest.raises(BadInputError, match="version 2 is rejected"):
        registry.shadow(MODEL, 2, who="Ada", why="x")
    registry.unshadow(MODEL, who="Ada", why="x")
    assert registry.shadowing(MODEL) is None
    registry.shadow(MODEL, 3, who="Ada", why="x")
    registry.approve(MODEL, 3, who="Ada", why="x")
    assert registry.shadowing(MODEL) is None
    assert version_of(registry.champion_to_rate(MODEL)) == 3


def test_a_truncated_log_prevents_rating(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    receipts = {"receipt.json": registry.approvals.head()}
    registry.approve(MODEL, 2, who="Ada", why="x")
    assert registry.problems(receipts) == []
    lines = registry.approvals.path.read_text().splitlines(keepends=True)
    for kept in (4, 3, 0):
        registry.approvals.path.write_text("".join(lines[:kept]))
        found = registry.problems(receipts)
        assert ["receipt.json" in problem for problem in found] == ([False] if kept == 4 else [True, False])
        if kept == 0:
            return
        for call in (
            lambda: registry.champion_to_rate(MODEL),
            lambda: reconcile_aliases(registry, may_approve=True),
            lambda: registry.approve(MODEL, 3, who="Ada", why="x"),
        ):
            with pytest.raises(VerificationError, match=r"which MLflow holds for .* its end was cut off"):
                call()


def test_an_approval_interrupted_by_a_kill_is_mirrored_to_mlflow_later(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    kill_before_the_mirror(registry, 2, monkeypatch)
    assert alias(registry) == 1
    assert reconcile_aliases(registry, may_approve=True) == []
    assert (version_of(registry.champion_to_rate(MODEL)), alias(registry)) == (2, 2)
    assert registry.problems({}) == []


def test_an_interrupted_approval_is_mirrored_even_if_another_model_is_registered_first(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    kill_before_the_mirror(registry, 2, monkeypatch)
    register(registry, 9, name="merchant_brushing")
    assert registry.problems({}) == []
    assert (version_of(registry.champion_to_rate(MODEL)), alias(registry)) == (2, 2)


def test_a_restored_older_mlflow_database_prevents_rating(tmp_path: Path) -> None:
    registry = Registry(tmp_path, now=lambda: NOW)
    register(registry, 1)
    registry.approve(MODEL, 1, who="Ada", why="x")
    before = (tmp_path / "mlflow.db").read_bytes()
    register(registry, 2)
    registry.approve(MODEL, 2, who="Ada", why="x")
    now = (tmp_path / "mlflow.db").read_bytes()
    (tmp_path / "mlflow.db").write_bytes(before)
    (problem,) = registry.problems({})
    assert "approve of version 2 by Ada" in problem
    with pytest.raises(VerificationError, match="it was restored from before"):
        registry.champion_to_rate(MODEL)
    with pytest.raises(VerificationError, match="it was restored from before"):
        reconcile_aliases(registry, may_approve=True)
    (tmp_path / "mlflow.db").write_bytes(now)
    assert version_of(registry.champion_to_rate(MODEL)) == 2
    (tmp_path / "mlflow.db").write_bytes(before)
    assert registry.approve(MODEL, 1, who="Ada", why="the other is lost").version == 1
    assert version_of(registry.champion_to_rate(MODEL)) == 1


def test_approving_the_champion_again_logs_nothing(registry: Registry) -> None:
    first = registry.approve(MODEL, 1, who="Ada", why="x")
    assert registry.approve(MODEL, 1, who="Bob", why="y") == first
    assert len(decisions(registry)) == 1


def test_a_rollback_restores_the_previous_champion(registry: Registry) -> None:
    for version in (1, 2, 3):
        registry.approve(MODEL, version, who="Ada", why="x")
    assert registry.rollback(MODEL, who="Bob", why="complaints").version == 2
    assert registry.rollback(MODEL, who="Bob", why="more complaints").version == 1
    with pytest.raises(BadInputError, match="no earlier champion"):
        registry.rollback(MODEL, who="Bob", why="x")
    assert [(line.action, line.version) for line in registry.approvals.decisions()][-2:] == [
        ("rollback", 2),
        ("rollback", 1),
    ]
    assert registry.approve(MODEL, 3, who="Ada", why="fixed").version == 3
    assert registry.rollback(MODEL, who="Bob", why="not fixed").version == 1


def test_a_rejected_version_is_marked_and_the_champion_cannot_be_rejected(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    registry.reject(MODEL, 2, who="Ada", why="worse")
    assert [version.status for version in registry.versions(MODEL)] == ["champion", "rejected", "challenger"]
    with pytest.raises(BadInputError, match="is the champion"):
        registry.reject(MODEL, 1, who="Ada", why="x")
    assert registry.approve(MODEL, 2, who="Bob", why="looked again").version == 2


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("Ada", "  ")])
def test_a_review_requires_who_and_why(registry: Registry, who: str, why: str) -> None:
    with pytest.raises(BadInputError, match="who decided and why"):
        registry.approve(MODEL, 1, who=who, why=why)
    assert registry.champion(MODEL) is None


def test_an_unknown_version_is_named(registry: Registry) -> None:
    with pytest.raises(BadInputError, match=r"no version 9; it has 1, 2, 3"):
        registry.approve(MODEL, 9, who="Ada", why="x")
    with pytest.raises(BadInputError, match="no version 1; it has none"):
        registry.approve("merchant_counterfeit", 1, who="Ada", why="x")


def test_a_modified_version_cannot_be_approved(registry: Registry) -> None:
    path = registry.version(MODEL, 2).folder / "main.ubj"
    content = path.read_bytes()
    path.write_bytes(content + b"!")
    try:
        with pytest.raises(VerificationError, match=r"main\.ubj"):
            registry.approve(MODEL, 2, who="Ada", why="x")
        assert registry.version_of_training(MODEL, "training 2") is None
    finally:
        path.write_bytes(content)
    found = registry.version_of_training(MODEL, "training 2")
    assert found is not None
    assert found.version == 2
    assert decisions(registry) == []


def test_a_model_replaced_by_another_valid_one_does_not_rate(registry: Registry) -> None:
    champion = registry.approve(MODEL, 1, who="Ada", why="x")
    kept = {path.name: path.read_bytes() for path in champion.folder.iterdir()}
    for name, content in risk_model(5).files().items():
        (champion.folder / name).write_bytes(content)
    try:
        with pytest.raises(VerificationError, match="what was reviewed"):
            registry.champion(MODEL)
    finally:
        for name, content in kept.items():
            (champion.folder / name).write_bytes(content)


def test_an_approval_of_an_older_release_holds_and_added_files_are_detected(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in homes of earlier releases."""
    with monkeypatch.context() as patch:
        patch.setattr("ml.approvals.check_files", lambda *_: None)
        patch.setattr(
            "ml.registry.file_digests",
            lambda folder: {name: sha256_bytes((folder / name).read_bytes()) for name in FILES},
        )
        champion = registry.approve(MODEL, 1, who="Ada", why="x")
    assert registry.champion(MODEL) == champion
    planted = champion.folder / "python_model.pkl"
    planted.write_bytes(b"")
    try:
        with pytest.raises(VerificationError, match=r"python_model\.pkl was added"):
            registry.champion(MODEL)
    finally:
        planted.unlink()


def test_an_edited_log_prevents_rating(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    registry.approve(MODEL, 2, who="Ada", why="x")
    lines = registry.approvals.path.read_text().splitlines()
    edited = json.loads(lines[0]) | {"why": "y"}
    registry.approvals.path.write_text("\n".join([json.dumps(edited, sort_keys=True), *lines[1:]]) + "\n")
    for call in (
        lambda: registry.champion(MODEL),
        registry.approvals.decisions,
        lambda: registry.approve(MODEL, 3, who="Ada", why="x"),
    ):
        with pytest.raises(VerificationError, match="chain is broken"):
            call()


def kill_before_the_mirror(registry: Registry, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Approves a version, and is killed before the MLflow mirror."""

    def kill(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry.mirror, "update", kill)
        registry.approve(MODEL, version, who="Ada", why="x")


def version_of(champion: Champion | None) -> int | None:
    return None if champion is None else champion.version


def test_an_approval_truncated_by_a_kill_did_not_happen(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    whole = registry.approvals.path.read_bytes()
    kill_before_the_mirror(registry, 2, monkeypatch)
    cut = registry.approvals.path.read_bytes()[: len(whole) + 40]
    registry.approvals.path.write_bytes(cut)
    assert version_of(registry.champion_to_rate(MODEL)) == 1
    assert registry.approve(MODEL, 3, who="Ada", why="x").version == 3
    assert [line.version for line in decisions(registry)] == [1, 3]


def test_a_moved_home_still_rates(registry: Registry, tmp_path: Path) -> None:
    """Paths in the log are relative to the home."""
    registry.approve(MODEL, 1, who="Ada", why="x")
    moved = tmp_path / "moved"
    for folder in ("models", "mlflow-artifacts"):
        (moved / folder).parent.mkdir(exist_ok=True)
        (moved / folder).symlink_to(registry.home / folder)
    champion = Registry(moved).champion(MODEL)
    assert champion is not None
    assert champion.version == 1


def test_a_first_model_that_passes_the_gate_is_approved(registry: Registry) -> None:
    verdict = registry.approve_if_passing(registry.version(MODEL, 1))
    assert verdict.passed
    assert verdict.champion is not None
    assert verdict.champion.approved.who == "approve-if-passing"
    assert verdict.champion.approved.why == "all checks of ml/thresholds.yml passed"


def test_a_second_model_waits_for_a_person(registry: Registry) -> None:
    registry.approve(MODEL, 1, who="Ada", why="x")
    verdict = registry.approve_if_passing(registry.version(MODEL, 2))
    assert verdict.passed
    assert verdict.champion is not None
    assert verdict.champion.version == 1


@pytest.fixture
def failed(tmp_path: Path) -> Registry:
    """A home with one version that fails the gate."""
    registry = Registry(tmp_path / "home", now=lambda: NOW)
    version = register(registry, 1, FAILS)
    assert version.failures == ("refund_share is 2 in 3 of 10 rows",)
    return registry


def test_a_version_that_fails_the_gate_is_approved_only_by_override(failed: Registry) -> None:
    tags = failed.mlflow.client().get_model_version(MODEL, "1").tags
    assert (tags["gate"], tags["gate_failures"]) == ("failed", "refund_share is 2 in 3 of 10 rows")
    verdict = failed.approve_if_passing(failed.version(MODEL, 1))
    assert (verdict.passed, verdict.champion) == (False, None)
    with pytest.raises(GateRefusedError, match=r"refund_share is 2 in 3 of 10 rows.*--override"):
        failed.approve(MODEL, 1, who="Ada", why="x")
    assert failed.champion(MODEL) is None
    champion = failed.approve(MODEL, 1, who="Ada", why="the three are typing errors", override=True)
    assert champion.approved.is_override
    assert champion.approved.failures == ("refund_share is 2 in 3 of 10 rows",)


def test_overriding_a_passing_version_is_no_override(registry: Registry) -> None:
    assert not registry.approve(MODEL, 1, who="Ada", why="x", override=True).approved.is_override


def test_edited_gate_results_are_detected(failed: Registry) -> None:
    file = failed.version(MODEL, 1).folder.parent / "evaluation.json"
    file.write_text(file.read_text().replace("false", "true"))
    with pytest.raises(VerificationError, match=r"evaluation\.json is not what its training"):
        failed.approve(MODEL, 1, who="Ada", why="x", override=True)
    file.unlink()
    with pytest.raises(VerificationError, match=r"evaluation\.json is not what its training"):
        failed.approve(MODEL, 1, who="Ada", why="x", override=True)


def test_a_version_unknown_to_the_log_is_not_approved(registry: Registry) -> None:
    """For example one registered manually in MLflow, or whose training was killed before its log line."""
    lines = registry.approvals.path.read_text().splitlines(keepends=True)
    registry.approvals.path.write_text("".join(lines[:2]))
    assert [version.status for version in registry.versions(MODEL)] == ["waiting", "challenger", "unfinished"]
    assert registry.version_of_training(MODEL, "training 3") is None
    with pytest.raises(VerificationError, match="the log of approvals has no training"):
        registry.approve(MODEL, 3, who="Ada", why="x")


def test_a_trainer_may_approve_only_if_the_settings_allow_it(registry: Registry) -> None:
    with pytest.raises(BadInputError, match=r"Tim trained .* and a trainer may not approve"):
        registry.approve(MODEL, 1, who="Tim", why="x", by_trainer=False)
    assert registry.approve(MODEL, 1, who="Ada", why="x", by_trainer=False).version == 1
    assert registry.approve(MODEL, 2, who="Tim", why="x").approved.replaces == 1


def test_a_failing_registration_makes_no_version(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(shared, now=lambda: NOW)
    before = len(registry.versions(MODEL))
    client = registry.mlflow.client()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(client, "log_batch", refuse)
    with pytest.raises(OSError, match="disk full"):
        register(registry, 4)
    assert len(registry.versions(MODEL)) == before
    assert registry.version_of_training(MODEL, "training 4") is None


def test_all_plots_are_drawn_without_positives() -> None:
    import numpy as np

    from ml.plots import pictures

    empty = Scored(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0, dtype=int))
    assert set(pictures(Report({}, {"evaluate": empty}, {}, {}), 50.0)) == {
        "reliability.png",
        "precision_recall.png",
        "importances.png",
    }
