"""The shape of the same loads by the same code is not built again; of anything else, and after a kill, it is."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import NEXT_DAY

from expectations.contract import load_contract
from orchestration import dbt_runner
from orchestration.landing.ledger import Ledger, pinned_loads
from orchestration.resources import DbtNode, Warehouse
from orchestration.settings import read_settings


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    """The warehouse of a home that was rated, over its own loads."""
    found, contract, landing = Warehouse(read_settings(home=home)), load_contract(), home / "landing"
    found.pin(pinned_loads(Ledger(landing).read(), contract), contract, landing)
    found.set_run(as_of=date.fromisoformat(NEXT_DAY), with_training=False)
    return found


def ask(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(query).fetchall()


def was_built(nodes: list[DbtNode]) -> bool:
    return any(node.seconds > 0 for node in nodes)


def test_what_stands_is_told_as_it_was_and_what_does_not_is_built(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    stood = warehouse.build_shape()
    assert not was_built(stood)
    assert {node.unique_id for node in stood} >= {"model.touchstone.int_order_days", "model.touchstone.stg_orders"}
    assert {node.status for node in stood} == {"success", "pass"}
    everything = "select * exclude (day_digest, events_digest, owner_change) from int_order_days order by all"
    orders = ask(warehouse, everything)
    ask(warehouse, "delete from int_order_days")
    assert not was_built(warehouse.build_shape())

    ask(warehouse, "update landed.shaped set recipe = 'other loads'")
    with monkeypatch.context() as killing:

        def killed(*_: object) -> list[DbtNode]:
            raise KeyboardInterrupt

        killing.setattr(dbt_runner, "run_dbt", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.build_shape()
    built = warehouse.build_shape()
    assert was_built(built)
    # Which of two nodes that do not wait for one another comes first is chance, and another in each process.
    assert sorted(node.unique_id for node in built) == sorted(node.unique_id for node in stood)
    assert ask(warehouse, everything) == orders
    assert not was_built(warehouse.build_shape())


def test_another_project_builds_the_daily_tables_anew(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch):
    commands = []
    monkeypatch.setattr(dbt_runner, "run_dbt", lambda _, arguments: commands.append(arguments) or [])
    ask(warehouse, "update landed.shaped set recipe = null")
    warehouse.build_shape()
    ask(warehouse, "update landed.shaped set recipe = null, project = 'another'")
    warehouse.build_shape()
    assert ["--full-refresh" in command for command in commands] == [False, True]
