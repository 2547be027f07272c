"""A whole first run in the tests' process, without Dagster's and dbt's own work: a third of the time of the command.

The stages are the pipeline's own functions and assets. What differs: dbt's models are compiled once for all runs and built by
DuckDB, without their data tests, and no run history is kept. For tests of many small marketplaces; what the command itself does
is tested by running it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import duckdb

from expectations.contract import load_contract
from orchestration.assets.lists import list_assets, publish_list
from orchestration.assets.models import prepare_model, register_model, score_entities
from orchestration.assets.signals import add_pictures, add_rings, read_pictures
from orchestration.assets.sources import land_sources
from orchestration.assets.warehouse import export_features, export_marts, note_currencies, pin_outcomes, pin_scores
from orchestration.automation import daily_partitions
from orchestration.checks import give_verdict_on, judge
from orchestration.coverage import write_coverage
from orchestration.dbt_runner import show_previous
from orchestration.resources import Run, Warehouse
from tests.dbt_fixtures import build_models, compile_models, make_warehouse, run_dbt
from touchstone.core.errors import BadInputError, GateRefusedError
from touchstone.core.home import prepare_home
from touchstone.core.lists import LISTS, ListName
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import Settings
from touchstone.core.words import register
from touchstone.landing.as_of import default_as_of

SEEDS = Path(__file__).parents[1] / "dbt_project" / "seeds"


@cache
def compiled_step(step: str) -> list[Any]:
    """Returns the compiled models of one dbt step, in dependency order."""
    return compile_models(f"tag:{step}")


@cache
def seed_tables() -> Mapping[str, Any]:
    """Returns dbt's seeds as Arrow tables by name, typed as dbt loads them."""
    with TemporaryDirectory() as folder:
        warehouse = make_warehouse(Path(folder), {}, "2026-01-31")
        run_dbt(Path(folder), "seed")
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            names = sorted(file.stem for file in SEEDS.glob("*.csv"))
            return {name: connection.sql(f"from main.{name}").to_arrow_table() for name in names}


@dataclass
class FirstRun:
    """A first run over a home, stage by stage.

    Attributes:
        run: The run, which the pipeline's functions take.
        as_of: The day that is rated.
    """

    run: Run
    as_of: date

    def build(self, step: str) -> None:
        """Builds the models of one dbt step."""
        with self.run.warehouse.connect() as connection:
            register(connection)
            connection.execute("set TimeZone = 'UTC'")
            for name, table in seed_tables().items() if step == "shape" else ():
                connection.register("seed", table)
                connection.execute(f"create table main.{name} as from seed")
                connection.unregister("seed")
            show_previous(connection, full_refresh=True)
            build_models(connection, compiled_step(step))

    def shape_and_features(self) -> None:
        """Builds what the models see."""
        run = self.run
        run.pin_newest_loads()
        run.warehouse.set_run(as_of=self.as_of, with_training=True)
        self.build("shape")
        note_currencies(run)
        add_pictures(run)
        read_pictures(run)
        add_rings(run, self.as_of, with_training=True)
        self.build("features")
        export_features(run, self.as_of, with_training=True)
        write_coverage(run)

    def train(self) -> None:
        """Trains and approves whatever has enough labels, or starts from the scorecard."""
        found = [
            register_model(self.run, prepare_model(self.run, rated), approve_if_passing=True)
            for rated in LISTS.values()
        ]
        if not any(found):
            raise BadInputError("No model could be trained, so nothing can be rated.")

    def rate(self) -> list[ListName]:
        """Scores every list that has a champion, builds the marts and returns the lists' names."""
        run = self.run
        rated_lists = []
        for name, rated in LISTS.items():
            score_entities(run, rated)
            if run.paths.scores(rated.model, self.as_of).exists():
                self.gate("features", name)
                self.gate("scores", name)
                rated_lists.append(name)
        with run.warehouse.connect():
            pin_scores(run, self.as_of)
            pin_outcomes(run, self.as_of)
        self.build("marts")
        export_marts(run, self.as_of)
        return rated_lists

    def publish(self, names: list[ListName]) -> None:
        """Builds, judges and publishes lists."""
        steps: dict[str, Callable[..., Any]] = {
            str(asset.op.name): asset for asset in list_assets(daily_partitions(self.run.settings))
        }
        for name in names:
            self._materialise(steps[f"candidate_{name}"])
            result = self.gate("candidate", name)
            give_verdict_on(self.run, name, result)
            publish_list(self.run, "first", name)

    def gate(self, suite: str, name: ListName) -> Any:
        """Judges by a suite.

        Raises:
            GateRefusedError: It refuses.
        """
        result = judge(self.run, suite, name)
        if not result.success:
            raise GateRefusedError(f"{suite} {name}: {result.refusal()}")
        return result

    def _materialise(self, asset: Callable[..., Any]) -> None:
        with dg.build_asset_context(resources={"run": self.run}, partition_key=str(self.as_of)) as context:
            list(asset(context))


def landed_run(settings: Settings) -> FirstRun:
    """Lands a marketplace's tables in an empty home, and judges them.

    Raises:
        TouchstoneError: What the command would exit with 2 or 3 for.
    """
    prepare_home(settings)
    record = RunRecord.start(settings.home / "runs", "first")
    run = Run(settings, record, Warehouse(settings), {})
    land_sources(run)
    as_of = default_as_of(run.landing, run.pins)
    result = FirstRun(Run(settings, record, run.warehouse, {"dagster/partition": str(as_of)}), as_of)
    result.gate("landed", "listings")
    return result


def first_run(settings: Settings) -> FirstRun:
    """Does what `touchstone run --approve-if-passing` does in an empty home, from landing to publication.

    Raises:
        TouchstoneError: What the command would exit with 2 or 3 for.
    """
    result = landed_run(settings)
    result.shape_and_features()
    result.train()
    result.publish(result.rate())
    return result


def contract_names() -> list[str]:
    """Returns the names of the source contract's tables and columns, which an error about missing data mentions."""
    tables = load_contract().tables
    return [*tables, *(column for table in tables.values() for column in table.columns)]
