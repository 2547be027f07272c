"""Finds which columns of the source contract each feature needs, and writes `ml/feature_inputs.yml`.

Every feature of the demo is rebuilt without one optional column or table at a time, in memory, with the compiled dbt models. A
feature needs what it does not survive: without it, the feature has one value for all entities. Tables that can take each other's
place (`GROUPS`) are removed together, and kept one by one.

    touchstone demo --scale 0.006 --days 90 && touchstone run        # in a home of its own
    python benchmarks/feature_inputs.py HOME                         # prints what would change
    python benchmarks/feature_inputs.py HOME --write
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from expectations.contract import Contract, load_contract
from ml.coverage import ALTERNATIVES, INPUTS_FILE, read_feature_inputs, varying_features
from ml.declarations import load_declarations
from orchestration.assets.signals import PICTURES, merchant_rings
from orchestration.dbt_runner import show_previous
from tests.dbt_fixtures import build_models, compile_models
from touchstone.core.home import Home
from touchstone.core.lists import LISTS
from touchstone.core.words import register
from touchstone.landing.views import open_landed_views

GROUPS = (
    ("notices", "test_buys", "moderation_decisions", "enforcement_actions"),
    ("listing_prices", "listings.price"),
    ("orders", "reviews"),
)
"""Tables and columns of which any one may be enough for a feature."""
COUNTERS = "listing_snapshots."
"""Marks the alternatives that are entered by hand."""
REQUIRED_TABLES = ("merchants", "listings")
Feature = tuple[str, str]
"""A model and one of its features."""
HEADER = """\
# Which columns of the source contract each feature needs, in addition to the required columns of merchants and listings. Written
# by benchmarks/feature_inputs.py, which removes each optional column and table of the demo and rebuilds the features: without
# what is named here, the feature has the same value for all entities. Alternatives in listing_snapshots, not in the demo, are
# entered by hand; tests/integration/test_counters.py shows that they are enough.
#
#   table.column   that column
#   table          that table: its required columns are enough
#   a | b          one of both is enough
"""


@dataclass
class Rebuild:
    """The features of a home, rebuilt in memory without some of its source columns.

    Attributes:
        home: The home; a run has built its features.
    """

    home: Path
    contract: Contract = field(default_factory=load_contract)

    def __post_init__(self) -> None:
        self.models = compile_models("tag:shape tag:features")
        self.stale = {node.name for node in self.models}
        self.connection = duckdb.connect(":memory:", config={"threads": 2})
        register(self.connection)
        self.connection.execute("attach ':memory:' as warehouse; use warehouse; set TimeZone = 'UTC'")
        self._copy_inputs()

    def _copy_inputs(self) -> None:
        """Copies the landed tables (all loads as new ones), what the last run had pinned, and the seeds."""
        connection = self.connection
        open_landed_views(connection, self.home, self.contract)
        connection.execute(f"attach '{Home(self.home).warehouse}' as stored (read_only); create schema complete")
        pinned = connection.execute(
            "select view_name from duckdb_views() where database_name = 'stored' and schema_name = 'landed' union "
            "select table_name from duckdb_tables() where database_name = 'stored' and schema_name = 'landed'"
        ).fetchall()
        for name in sorted({*self.contract.tables, *(name for (name,) in pinned)}):
            is_landed = name in self.contract.tables or name == "loads"
            connection.execute(
                f"create table complete.{name} as from {'landed' if is_landed else 'stored.landed'}.{name}"
            )
            connection.execute(f"create or replace view landed.{name} as from complete.{name}")
        for seed in sorted((Path(__file__).parents[1] / "dbt_project" / "seeds").glob("*.csv")):
            connection.execute(f"create table main.{seed.stem} as from stored.main.{seed.stem}")
        connection.execute("update complete.run set with_training = false; detach stored")
        ((self.as_of,),) = connection.execute("select as_of from landed.run").fetchall()
        show_previous(connection, full_refresh=True)

    @contextmanager
    def _without(self, items: frozenset[str]) -> Iterator[None]:
        """Shows dbt the tables without some columns (`table.column`) or rows (`table`)."""
        tables = sorted({item.partition(".")[0] for item in items})
        for table in tables:
            if table in items:
                query = f"from complete.{table} where false"
            else:
                columns = self.contract.tables[table].columns
                nulls = ", ".join(
                    f'cast(null as {columns[item.partition(".")[2]].sql_type}) as "{item.partition(".")[2]}"'
                    for item in sorted(items)
                    if item.startswith(f"{table}.")
                )
                query = f"select * replace ({nulls}) from complete.{table}"
            self.connection.execute(f"create or replace view landed.{table} as {query}")
        try:
            yield
        finally:
            for table in tables:
                self.connection.execute(f"create or replace view landed.{table} as from complete.{table}")

    def available(self, without: frozenset[str] = frozenset()) -> dict[str, set[str]]:
        """Returns the features that differ between the active entities, by model.

        Args:
            without: Columns (`table.column`) and tables that are removed first.
        """
        changed = self._depend_on({item.partition(".")[0] for item in without})
        stale, self.stale = self.stale | changed, changed
        with self._without(without):
            build_models(self.connection, [node for node in self.models if "shape" in node.tags and node.name in stale])
            self._show_signals()
            build_models(
                self.connection, [node for node in self.models if "features" in node.tags and node.name in stale]
            )
        result = {}
        for rated in LISTS.values():
            rows = self.connection.sql(f"from {rated.relation}_features where purpose = 'score'")
            result[rated.model] = varying_features(rows, load_declarations()[rated.model])
        return result

    def lost(self, features: set[Feature], without: set[str]) -> set[Feature]:
        """Returns which of some features are no longer available without some columns and tables."""
        return features - _pairs(self.available(frozenset(without)))

    def _depend_on(self, tables: set[str]) -> set[str]:
        """Returns the names of the models that depend on landed tables, directly or not."""
        if tables & {"merchant_identifiers", "listing_images", "brand_logos", "merchants", "listings"}:
            tables = tables | {"pictures", "picture_matches", "merchant_rings"}
        names = {f"source.touchstone.landed.{table}" for table in tables}
        for node in self.models:
            if names & set(node.depends_on.nodes):
                names.add(node.unique_id)
        return {name.rpartition(".")[2] for name in names}

    def _show_signals(self) -> None:
        """Shows dbt what the pictures and rings would be."""
        connection = self.connection
        connection.execute(f"create or replace table wanted as select sha256 from ({PICTURES}) where len(uris) > 0")
        connection.execute(
            "create or replace view landed.pictures as from complete.pictures semi join wanted using (sha256)"
        )
        connection.execute(
            "create or replace view landed.picture_matches as from complete.picture_matches semi join wanted using (sha256) "
            "where like_sha256 in (select sha256 from wanted)"
        )
        found = merchant_rings(connection, self.as_of, with_training=False)
        connection.register("found", found)
        connection.execute("create or replace view landed.merchant_rings as from found")

    def optional(self, table: str) -> list[str]:
        """Returns the optional columns of a table."""
        described = self.contract.tables[table]
        return [
            f"{table}.{name}"
            for name, column in described.columns.items()
            if not column.required and column.history != "none" and name not in (*described.key, described.event_at)
        ]


def find_inputs(rebuild: Rebuild) -> dict[Feature, list[str]]:
    """Returns what each feature needs; not of the features that are the same for all entities of this home."""
    known = _pairs(rebuild.available())
    needs = {feature: [] for feature in known} | necessary_inputs(rebuild, known)
    for feature, alternatives in alternative_inputs(rebuild, known).items():
        needs[feature].append(alternatives)
    return needs


def necessary_inputs(rebuild: Rebuild, known: set[Feature]) -> dict[Feature, list[str]]:
    """Returns the columns and tables without which a feature is the same for all entities."""
    needs: dict[Feature, list[str]] = {feature: [] for feature in known}
    for table in rebuild.contract.tables:
        lost_with_table = known if table in REQUIRED_TABLES else rebuild.lost(known, {table})
        print(f"{table}: {len(lost_with_table)} features", flush=True)
        for column in rebuild.optional(table) if lost_with_table else ():
            for feature in rebuild.lost(lost_with_table, {column}):
                needs[feature].append(column)
        for feature in lost_with_table if table not in REQUIRED_TABLES else ():
            if not any(one.startswith(f"{table}.") for one in needs[feature]):
                needs[feature].append(table)
    return needs


def alternative_inputs(rebuild: Rebuild, known: set[Feature]) -> dict[Feature, str]:
    """Returns the groups of which a feature needs any one member, and of which several are enough."""
    result = {}
    for group in GROUPS:
        lost = rebuild.lost(known, set(group))
        print(f"{', '.join(group)}: {len(lost)} features", flush=True)
        kept = {member: lost - rebuild.lost(lost, set(group) - {member}) for member in group}
        for feature in lost:
            enough = [member for member in group if feature in kept[member]]
            if len(enough) > 1:
                result[feature] = ALTERNATIVES.join(enough)
    return result


def _pairs(by_model: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    return {(model, name) for model, names in by_model.items() for name in names}


def main() -> None:
    """Prints or writes what each feature needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    began = time.monotonic()
    found = find_inputs(Rebuild(arguments.home))
    print(f"{time.monotonic() - began:.0f} s")
    known = read_feature_inputs()
    result: dict[str, dict[str, list[str]]] = {}
    for model, declared in load_declarations().items():
        result[model] = {}
        for name in declared.columns:
            before = list(known.get(model, {}).get(name, ()))
            if (model, name) not in found:
                print(f"{model}.{name} is the same for all entities of this home: kept as it is")
            by_hand = {one.partition(ALTERNATIVES)[0]: one for one in before if COUNTERS in one}
            result[model][name] = [by_hand.get(one, one) for one in found.get((model, name), before)]
            if result[model][name] != before:
                print(f"{model}.{name}: {', '.join(result[model][name]) or 'nothing'}")
    if arguments.write:
        INPUTS_FILE.write_text(as_yaml(result))


def as_yaml(result: Mapping[str, Mapping[str, list[str]]]) -> str:
    """Returns the content of `ml/feature_inputs.yml`."""
    lines = [HEADER, "models:\n"]
    for model, features in result.items():
        lines.append(f"  {model}:\n")
        for name, needed in features.items():
            lines.append(f"    {name}: {yaml.safe_dump(needed, default_flow_style=True, width=10_000).strip()}\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
