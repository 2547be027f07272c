"""Shape and features built by the same code from the same loads are cached; any change or a kill invalidates them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import FIRST_DAY, NEXT_DAY, SmallHomes, touchstone

from expectations.contract import load_contract
from orchestration import resources
from orchestration.dbt_results import DbtNode
from orchestration.resources import Warehouse
from touchstone.core.run_record import RunRecord, Stage
from touchstone.core.settings import read_settings
from touchstone.landing.ledger import Ledger, pinned_loads


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    """The warehouse of a rated home, over its own loads."""
    found, contract, landing = Warehouse(read_settings(home=home)), load_contract(), home / "landing"
    found.pin(pinned_loads(Ledger(landing).read(), contract), contract, landing)
    found.set_run(as_of=date.fromisoformat(NEXT_DAY), with_training=False)
    return found


def ask(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(query).fetchall()


def killed_while(building: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> list[DbtNode]:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(resources, "run_dbt", killed)
        with pytest.raises(KeyboardInterrupt):
            building()


def newest_features(home: Path) -> Stage:
    """Returns the features stage of the newest run."""
    (features,) = [stage for stage in RunRecord.read_all(home / "runs")[-1].stages if stage.name == "features"]
    return features


def was_built(nodes: list[DbtNode]) -> bool:
    return any(node.seconds > 0 for node in nodes)


def test_an_up_to_date_shape_returns_its_recorded_nodes_and_any_other_is_built(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    recorded = warehouse.build_shape()
    assert not was_built(recorded)
    assert {node.unique_id for node in recorded} >= {"model.touchstone.int_order_days", "model.touchstone.stg_orders"}
    assert {node.status for node in recorded} == {"success", "pass"}
    everything = "select * exclude (day_digest, events_digest, owner_change) from int_order_days order by all"
    orders = ask(warehouse, everything)
    ask(warehouse, "delete from int_order_days")
    assert not was_built(warehouse.build_shape())

    ask(warehouse, "update landed.shaped set recipe = 'other loads'")
    killed_while(warehouse.build_shape, monkeypatch)
    built = warehouse.build_shape()
    assert was_built(built)
    # The order of independent nodes varies, also between processes.
    assert sorted(node.unique_id for node in built) == sorted(node.unique_id for node in recorded)
    assert ask(warehouse, everything) == orders
    assert not was_built(warehouse.build_shape())


def test_a_changed_project_rebuilds_the_daily_tables(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch):
    commands = []
    monkeypatch.setattr(resources, "run_dbt", lambda _, arguments: commands.append(arguments) or [])
    ask(warehouse, "update landed.shaped set recipe = null")
    warehouse.build_shape()
    ask(warehouse, "update landed.shaped set recipe = null, project = 'another'")
    warehouse.build_shape()
    assert ["--full-refresh" in command for command in commands] == [False, True]


def test_features_are_cached_per_day_and_images_until_their_step_or_shape_is_rebuilt(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    day = date.fromisoformat(NEXT_DAY)

    def cached(as_of: date = day, *, with_training: bool = False) -> list[DbtNode] | None:
        return warehouse.cached_features(as_of, with_training=with_training)

    recorded = cached()
    assert recorded is not None
    assert not was_built(recorded)
    assert {node.unique_id for node in recorded} >= {
        "model.touchstone.listing_features",
        "model.touchstone.rating_dates",
    }
    assert cached(day - timedelta(days=1)) is None
    assert cached(with_training=True) is None, "there are no rows to learn from"

    pictures = warehouse.pinned / "pictures.parquet"
    known = pictures.read_bytes()
    pictures.write_bytes(known + b"more")
    assert cached() is None
    pictures.write_bytes(known)
    assert cached() is not None

    killed_while(lambda: warehouse.build_features(day, with_training=False), monkeypatch)
    assert cached() is None
    warehouse.build_features(day, with_training=False)
    assert cached() is not None
    ask(warehouse, "update landed.shaped set recipe = null")
    killed_while(warehouse.build_shape, monkeypatch)
    assert cached() is None


@pytest.mark.slow
def test_a_day_rated_again_with_cached_features_equals_one_with_rebuilt_features(
    small_homes: SmallHomes, tmp_path: Path
):
    """The run before trained, so the cached features include training rows in addition to those to score."""
    home = tmp_path / "home"
    shutil.copytree(small_homes.rated, home)

    def rated_again() -> dict[str, bytes]:
        days = ("--from", FIRST_DAY, "--to", FIRST_DAY, "--again")
        done = touchstone(home, "backfill", *days, TOUCHSTONE_POLICY=str(small_homes.policy))
        assert done.code == 0, done.stderr
        folders = ("features", "scores", "reasons", "marts", "published")
        files = [file for folder in folders for file in (home / folder).rglob("*.parquet")]
        return {str(file.relative_to(home)): file.read_bytes() for file in files}

    first = rated_again()
    assert len(first) > 40
    assert not newest_features(home).steps, "they were built"
    ask(Warehouse(read_settings(home=home)), "update landed.featured set recipe = null")
    assert rated_again() == first
    assert newest_features(home).steps
