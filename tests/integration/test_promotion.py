"""The sensor reconciles a promotion, by command or by MLflow's alias, and has the newest day rated again."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from conftest import NEXT_DAY, Homes, Outcome, published, published_files

from ml.alias_requests import IN_MLFLOW
from ml.registry import Registry
from ml.review import Check, Judgement
from orchestration.automation import PROMOTION_TAG, promotion_sensor
from tests.alert_fixtures import web_server
from tests.ml_fixtures import HOLDS, register_again
from touchstone.core.errors import ExitCode, VerificationError
from touchstone.core.settings import read_settings

MODEL = "listing_counterfeit"
FAILS = Judgement((Check("bounds", passed=False, message="refund_share is 2"),))


def move_alias(home: Path, version: int) -> None:
    """Moves the alias as MLflow's page does with 'Edit aliases'."""
    Registry(home).mlflow.client().set_registered_model_alias(MODEL, "champion", str(version))


class Sensor:
    """The sensor of a home, evaluated as by the daemon: with its stored cursor."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.settings = read_settings(home=home, **settings)
        self.cursor: str | None = None

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        """Returns the sensor's current result."""
        context = dg.build_sensor_context(cursor=self.cursor)
        outcome = promotion_sensor(self.settings)(context)
        assert isinstance(outcome, dg.RunRequest | dg.SkipReason)
        self.cursor = context.cursor
        return outcome


def test_a_promotion_starts_one_run_of_the_newest_day(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    version, sensor = register_again(home, MODEL), Sensor(home)
    assert isinstance(sensor.tick(), dg.SkipReason)
    move_alias(home, version)
    asked = sensor.tick()
    assert isinstance(asked, dg.RunRequest)
    assert asked.partition_key == NEXT_DAY
    assert asked.tags[PROMOTION_TAG] == (
        f"approve {MODEL} version {version} by {IN_MLFLOW}: the alias champion was set on it in MLflow"
    )
    assert isinstance(sensor.tick(), dg.SkipReason)
    back = run_touchstone("models", "rollback", MODEL, "--who", "Ada", "--why", "appeals have doubled")
    assert back.code == 0, back.stderr
    asked = sensor.tick()
    assert isinstance(asked, dg.RunRequest)
    assert asked.tags[PROMOTION_TAG] == f"rollback {MODEL} version 1 by Ada: appeals have doubled"


def test_an_alias_move_before_the_first_tick_is_detected(home: Path) -> None:
    version = register_again(home, MODEL)
    move_alias(home, version)
    assert isinstance(Sensor(home).tick(), dg.RunRequest)


@pytest.mark.parametrize(
    ("judgement", "settings", "outcome"), [(FAILS, {}, "undone"), (HOLDS, {"alias_may_approve": False}, "waits")]
)
def test_a_refused_alias_move_is_undone_and_alerted(
    home: Path, judgement: Judgement, settings: dict[str, object], outcome: str
) -> None:
    version = register_again(home, MODEL, judgement)
    with web_server() as web:
        sensor = Sensor(home, alert_webhook=f"http://{web.address}/hook", **settings)
        sensor.tick()
        move_alias(home, version)
        assert isinstance(sensor.tick(), dg.SkipReason)
    aliases = Registry(home).mlflow.client().get_registered_model(MODEL).aliases
    assert int(aliases["champion"]) == 1
    assert [taken["headline"].endswith(f"alias champion of {MODEL}: {outcome}") for taken in web.posts] == [True]


def test_the_sensor_skips_while_the_home_is_locked(home: Path) -> None:
    version, sensor = register_again(home, MODEL), Sensor(home)
    sensor.tick()
    move_alias(home, version)
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        skipped = sensor.tick()
    assert isinstance(skipped, dg.SkipReason)
    assert "Another process writes to the home" in str(skipped.skip_message)
    assert isinstance(sensor.tick(), dg.RunRequest)


def test_the_log_is_verified_against_mlflow_and_receipts(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    log, database = home / "models" / "log.jsonl", home / "mlflow.db"
    before = database.read_bytes()
    version = register_again(home, MODEL)
    assert run_touchstone("models", "approve", MODEL, str(version), "--who", "Ada", "--why", "reads well").code == 0
    intact, now = log.read_bytes(), database.read_bytes()
    verified = run_touchstone("models", "log", "--verify")
    assert verified.code == ExitCode.DONE
    assert verified.stdout.splitlines()[-1].startswith("The log is consistent with ")
    lines = intact.splitlines(keepends=True)

    def text(content: bytes) -> str:
        log.write_bytes(content)
        found = run_touchstone("models", "log", "--verify")
        log.write_bytes(intact)
        assert found.code == ExitCode.VERIFICATION_FAILED
        return found.stdout

    assert "which MLflow holds for" in text(b"".join(lines[:-1]))
    assert "receipt.json names" in text(b"".join(lines[:2]))
    assert "chain is broken" in text(b"".join(lines[1:]))
    assert "chain is broken" in text(
        intact.replace(b"Ada", b"Eve").replace(lines[0], lines[0].replace(b"passes", b"Passes"))
    )
    assert "which MLflow holds for" in text(b"")
    database.write_bytes(before)
    assert "it was restored from before" in text(intact)
    database.write_bytes(now)
    assert run_touchstone("models", "log", "--verify").code == ExitCode.DONE


def test_a_shadow_version_rates_alongside_the_champion_and_changes_no_list(
    home: Path, homes: Homes, run_touchstone: Callable[..., Outcome]
) -> None:
    version = register_again(home, MODEL)
    begun = run_touchstone("models", "shadow", MODEL, str(version), "--who", "Ada", "--why", "a day of both")
    assert begun.code == 0, begun.stderr
    nothing_yet = run_touchstone("models", "shadow", MODEL)
    assert nothing_yet.code == ExitCode.BAD_INPUT
    assert "No day has been rated" in nothing_yet.stderr
    done = run_touchstone("run", "--as-of", NEXT_DAY)
    assert done.code == 0, done.stdout + done.stderr
    assert published(home) == homes.lists[NEXT_DAY]
    result = run_touchstone("models", "shadow", MODEL, "--json").json
    assert (result["champion"], result["shadow"]) == (1, version)
    (day,) = result["days"]
    assert day["as_of"] == NEXT_DAY
    assert day["rank_correlation"] == 1.0
    assert day["champion"]["flagged"] >= day["shadow"]["flagged"] == day["both"]  # only the threshold is higher
    assert run_touchstone("models", "shadow", MODEL).stdout.count(NEXT_DAY) == 1
    ended = run_touchstone("models", "shadow", MODEL, "--stop", "--who", "Ada", "--why", "seen enough")
    assert ended.code == 0, ended.stderr
    assert "has no version in shadow" in run_touchstone("models", "shadow", MODEL).stderr


def test_a_truncated_log_prevents_rating(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    version, published = register_again(home, MODEL), published_files(home)
    assert run_touchstone("models", "approve", MODEL, str(version), "--who", "Ada", "--why", "reads well").code == 0
    log = home / "models" / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    done = run_touchstone("run", "--as-of", NEXT_DAY)
    assert done.code == ExitCode.VERIFICATION_FAILED, done.stdout + done.stderr
    assert "its end was cut off" in done.stderr
    assert published_files(home) == published
    with pytest.raises(VerificationError, match="its end was cut off"):
        Sensor(home).tick()
