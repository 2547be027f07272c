"""`touchstone dbt`: any dbt command over a home, and compiled SQL that is independent of the warehouse's content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from conftest import Outcome, SmallHomes, touchstone


@pytest.fixture
def rated(small_homes: SmallHomes, tmp_path: Path) -> Path:
    """A copy of a rated home that a test may change."""
    return shutil.copytree(small_homes.rated, tmp_path / "rated")


def dbt(home: Path, *arguments: str, code: int = 0) -> Outcome:
    done = touchstone(home, "dbt", *arguments)
    assert done.code == code, done.stdout + done.stderr
    return done


def compiled(home: Path) -> dict[str, str]:
    """Returns the compiled SQL of all models and data tests, by path."""
    dbt(home, "compile")
    folder = home / "dbt" / "compiled"
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.sql")}


def test_compiled_sql_does_not_depend_on_the_warehouse(rated: Path, tmp_path: Path):
    """The text is the same before anything landed, after a run, and in a warehouse that lacks half of its tables."""
    empty = tmp_path / "empty"
    before = compiled(empty)
    assert {Path(name).stem for name in before} >= {"int_order_days", "stg_orders", "listing_spine", "rated_listings"}
    assert compiled(rated) == before
    with duckdb.connect(str(rated / "warehouse.duckdb")) as connection:
        connection.execute("drop table int_order_days")
    assert compiled(rated) == before


def test_a_command_runs_on_the_home_and_the_next_run_rebuilds_what_it_changed(rated: Path):
    assert "touchstone.intermediate.int_order_days" in dbt(rated, "ls", "--select", "int_order_days").stdout.split()

    def content() -> list[tuple[object, ...]]:
        with duckdb.connect(str(rated / "warehouse.duckdb"), read_only=True) as connection:
            assert connection.execute("select recipe from landed.shaped").fetchall() == [(None,)]
            return connection.execute("select * from int_order_days order by all").fetchall()

    with duckdb.connect(str(rated / "warehouse.duckdb")) as connection:
        before = connection.execute("select * from int_order_days order by all").fetchall()
        connection.execute("delete from int_order_days where day > date '2026-06-01'")
    assert before
    dbt(rated, "build", "--select", "int_changed_days", "int_order_days", "--exclude-resource-type", "unit_test")
    assert content() == before
    dbt(rated, "run", "--full-refresh", "--select", "int_changed_days", "int_order_days")
    assert content() == before


def test_documentation_is_generated(rated: Path):
    dbt(rated, "docs", "generate")
    catalog = json.loads((rated / "dbt" / "catalog.json").read_text())
    assert "model.touchstone.rated_listings" in catalog["nodes"]
    assert "source.touchstone.landed.orders" in catalog["sources"]


def test_failures_have_distinct_exit_codes(rated: Path):
    assert "No such option" in dbt(rated, "build", "--no-such-option", code=2).stderr
    with duckdb.connect(str(rated / "warehouse.duckdb")) as connection:
        connection.execute("insert into int_order_days from int_order_days")
    dbt(rated, "test", "--select", "one_digest_a_day_int_order_days_", code=4)
