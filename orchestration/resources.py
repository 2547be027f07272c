"""The resources of an asset: the run (its lock, its record and the paths of its files) and the warehouse.

Nothing here decides what is rated or published; it opens, runs, exports and closes.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from expectations.contract import Contract, load_contract
from ml.approvals import Champion
from ml.declarations import Declaration, load_declarations
from ml.extra import Extra, read_extra, with_extra
from ml.model import flagging_under
from ml.registry import Registry
from ml.train import Parameters
from orchestration.dbt_results import Built, DbtNode
from orchestration.dbt_runner import run_dbt, show_previous
from orchestration.exports import CONCURRENT_EXPORTS, ROW_GROUP_ROWS, ExportFolder
from orchestration.history import reduce_disk_waits
from orchestration.process import tune_garbage_collector
from touchstone.core.errors import BadInputError, TouchstoneError
from touchstone.core.files import (
    canonical_json,
    remove_temporaries,
    replacing,
    replacing_directory,
    sha256_bytes,
    sha256_file,
)
from touchstone.core.home import REBUILT, Home, ensure_schema, home_lock
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import ListName
from touchstone.core.revision import code_revision, project_digest
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import LABEL_HORIZON_DAYS, Settings
from touchstone.core.warehouse import removed_if_damaged, warehouse_path
from touchstone.landing.as_of import default_as_of
from touchstone.landing.currencies import base_currency
from touchstone.landing.ledger import Ledger, LoadRecord, PinnedLoads, pinned_loads, verify_loads
from touchstone.landing.sql import literal
from touchstone.landing.views import LoadKey, create_views
from touchstone.maintenance.alerts import alerts_for, send_alerts
from touchstone.publishing.policy import Policy, load_policy
from touchstone.publishing.terms import AppliedTerm, applied_terms

logger = logging.getLogger("touchstone")
AS_OF_TAG = "touchstone/as_of"
PIPELINE_RUN_TAG = "touchstone/pipeline_run"
Step = Literal["shape", "features"]
# The warehouse's tables that say what each step was last built of.
BUILT: Mapping[Step, str] = {"shape": "shaped", "features": "featured"}


def _engine() -> str:
    return f"duckdb {duckdb.__version__}"


def _built_by(loads: Mapping[str, Sequence[str]]) -> str:
    """Returns the digest of what builds the tables: the dbt project, and the phrases that the marketplace adds to its seeds."""
    phrases = loads.get("lexicon", ())
    return sha256_bytes(canonical_json([project_digest(), *phrases])) if phrases else project_digest()


class Warehouse:
    """dbt's DuckDB file: opened late, closed early, rebuildable from the landing zone."""

    def __init__(self, settings: Settings) -> None:
        """Names the file; nothing is opened."""
        self.settings = settings
        self.path = warehouse_path(settings.home)
        self.pinned = Home(settings.home).pinned
        self._open: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yields a connection that is closed before anybody else may want the file.

        To open and close the file takes 50 ms, so whoever asks within another's `with` gets that one's connection.

        Raises:
            WarehouseDamagedError: The file is damaged; it was removed.
        """
        if self._open is not None:
            yield self._open
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with removed_if_damaged(self.settings.home), self._opened() as connection:
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        self._open = duckdb.connect(
            self.path,
            config={
                "threads": self.settings.threads,
                "memory_limit": self.settings.memory_limit,
                "temp_directory": f"{self.path}.tmp",
            },
        )
        try:
            yield self._open
        finally:
            self._open.close()
            self._open = None

    def pin(self, pins: PinnedLoads, contract: Contract, landing: Path) -> None:
        """Shows dbt the pinned loads as views in the schema `landed`, and records which they are."""
        with self.connect() as connection:
            create_views(connection, landing, pins, contract, known_loads=self._known_loads(connection, pins.as_dict()))
            currency = base_currency(connection, contract, self.settings.base_currency)
        with replacing(self.pinned / "loads.json") as temporary:
            pinned = {
                "base_currency": currency,
                "digest": pins.digest,
                "extra": {
                    table: {name: column.model_dump(mode="json") for name, column in columns.items()}
                    for table, columns in pins.extra.items()
                },
                "loads": pins.as_dict(),
                "sighting_days": self.settings.sighting_days,
            }
            temporary.write_bytes(canonical_json(pinned))

    @staticmethod
    def _known_loads(connection: duckdb.DuckDBPyConnection, loads: Mapping[str, Sequence[str]]) -> set[LoadKey]:
        """Returns the loads whose daily sums the warehouse already contains, computed by this code and engine."""
        if not connection.execute("select 1 from duckdb_tables() where table_name = 'int_load_days'").fetchall():
            return set()
        rows = connection.execute(
            "select distinct table_name, content_digest, landed_at from int_load_days "
            "where recipe = $project || ':duckdb ' || version()",
            {"project": _built_by(loads)},
        )
        return set(rows.fetchall())

    def pinned_loads(self) -> dict[str, Any]:
        """Returns the digest and the ids of the loads that the warehouse was shaped from, and how they are read.

        Raises:
            BadInputError: Nothing was shaped yet.
        """
        path = self.pinned / "loads.json"
        if not path.exists():
            raise BadInputError(
                f"{self.settings.home} holds no shaped loads yet. Materialise the landing and shape stages first. "
                + what_is_missing(self.settings.home, "`touchstone run` does both.")
            )
        content: dict[str, Any] = json.loads(path.read_text())
        return {"extra": {}, **content}

    @property
    def extra(self) -> Extra:
        """The marketplace's own columns in the loads that the warehouse was shaped from; none before that."""
        return read_extra(self.pinned_loads()["extra"]) if (self.pinned / "loads.json").exists() else {}

    def set_run(self, *, as_of: date, with_training: bool) -> None:
        """Writes the one-row table with the parameters of the run, and shows it as `landed.run`."""
        pinned = self.pinned_loads()
        columns: dict[str, tuple[str, object]] = {
            "as_of": ("date", as_of),
            "with_training": ("boolean", with_training),
            "label_horizon_days": ("integer", LABEL_HORIZON_DAYS),
            "sighting_days": ("integer", pinned["sighting_days"]),
            "base_currency": ("varchar", pinned["base_currency"]),
            "loads_digest": ("varchar", pinned["digest"]),
            "project_digest": ("varchar", _built_by(pinned["loads"])),
        }
        self.show_row("run", columns)

    def show_row(self, name: str, columns: Mapping[str, tuple[str, object]]) -> None:
        """Writes one row as `pinned/<name>.parquet` and shows it as `landed.<name>`."""
        self.show_rows(
            name, {column: kind for column, (kind, _) in columns.items()}, [[v for _, v in columns.values()]]
        )

    def show_rows(self, name: str, columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> None:
        """Writes rows as `pinned/<name>.parquet`, typed by `columns`, and shows them as `landed.<name>`."""
        target = self.pinned / f"{name}.parquet"
        with self.connect() as connection:
            definition = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            connection.execute(f"create or replace temporary table pinned_rows ({definition})")
            if rows:
                marks = ", ".join("?" for _ in columns)
                connection.executemany(f"insert into pinned_rows values ({marks})", rows)
            with replacing(target) as temporary:
                connection.execute(f"copy pinned_rows to {literal(str(temporary))} (format parquet)")
            self._show(connection, name, target)

    def show_parquet(self, name: str, path: Path | None, empty_columns: Mapping[str, str]) -> None:
        """Shows a Parquet file as `landed.<name>`; where it is absent, an empty relation of the given columns."""
        if path is not None and path.exists():
            with self.connect() as connection:
                self._show(connection, name, path)
        else:
            self.show_query(name, "", empty_columns)

    def show_query(self, name: str, query: str, columns: Mapping[str, str]) -> None:
        """Shows the rows of a query over Parquet files as `landed.<name>`; without a query, an empty relation of the columns."""
        nothing = ", ".join(f"cast(null as {kind}) as {column}" for column, kind in columns.items())
        with self.connect() as connection:
            connection.execute("create schema if not exists landed")
            connection.execute(f"create or replace view landed.{name} as {query or f'select {nothing} where false'}")

    def show_table(self, name: str, table: pa.Table) -> None:
        """Writes a table as `pinned/<name>.parquet` and shows it as `landed.<name>`."""
        target = self.pinned / f"{name}.parquet"
        with replacing(target) as temporary:
            pq.write_table(table, temporary)
        with self.connect() as connection:
            self._show(connection, name, target)

    def build(self, selection: str, *options: str) -> list[DbtNode]:
        """Runs one dbt selection in this process and returns how each node ended.

        Args:
            selection: What dbt selects.
            *options: Further options of `dbt build`.

        Raises:
            TouchstoneError: dbt itself failed: a model does not compile or run. A failed test is no exception.
            WarehouseDamagedError: The warehouse's file is damaged; it was removed.
        """
        with self.connect() as connection:
            show_previous(connection, full_refresh="--full-refresh" in options)
        with removed_if_damaged(self.settings.home):
            return run_dbt(
                self.settings, ["build", "--select", selection, "--exclude-resource-type", "unit_test", *options]
            )

    def build_shape(self) -> list[DbtNode]:
        """Builds the shape step; what the same code built from the same loads is kept, with the metadata of then.

        The daily tables are rebuilt if another version of the project built them, for their columns may differ.
        """
        recipe = self._recipe()
        nodes = self._cached("shape", recipe)
        if nodes is None:
            self._keep("features", Built())  # which are made of it
            nodes = self._build_once("shape", recipe)
        return nodes

    def invalidate_steps(self) -> None:
        """Makes the next run build shape and features again, whatever they were built from."""
        for step in BUILT:
            self._keep(step, Built(self._built(step).project))

    def cached_features(self, as_of: date, *, with_training: bool) -> list[DbtNode] | None:
        """Returns how the features step ended that made what it would make now; None where it has to be built.

        Training rows are in the same files as rows to score, so a step that built both serves scoring too.
        """
        asked = [True] if with_training else [True, False]
        return self._cached("features", *(self._recipe_of_features(as_of, with_training=each) for each in asked))

    def build_features(self, as_of: date, *, with_training: bool) -> list[DbtNode]:
        """Builds the features step of the date that the run is about."""
        return self._build_once("features", self._recipe_of_features(as_of, with_training=with_training))

    def _recipe(self, *further: object) -> str:
        """Returns what a step is made of and by: the loads, how they are read, what else it takes, and the code."""
        pinned = self.pinned_loads()
        extra = [sha256_bytes(canonical_json(pinned["extra"]))] if pinned["extra"] else []
        return " ".join(
            map(str, (pinned["digest"], pinned["base_currency"], *extra, *further, code_revision(), _engine()))
        )

    def _recipe_of_features(self, as_of: date, *, with_training: bool) -> str:
        pictures = [sha256_file(path) for path in sorted(self.pinned.glob("picture*.parquet"))]
        sighting_days = self.pinned_loads()["sighting_days"]
        return self._recipe(as_of, sighting_days, "with training" if with_training else "to score", *pictures)

    def _cached(self, step: Step, *recipes: str) -> list[DbtNode] | None:
        built = self._built(step)
        if built.recipe not in recipes:
            return None
        logger.info("The step %s is up to date with these loads.", step)
        return [DbtNode(**node | {"seconds": 0.0}) for node in json.loads(built.nodes)]

    def _build_once(self, step: Step, recipe: str) -> list[DbtNode]:
        project, project_now = self._built(step).project, f"{_built_by(self.pinned_loads()['loads'])} {_engine()}"
        # Until it is complete again, it is not up to date.
        self._keep(step, Built(project))
        nodes = self.build(f"tag:{step}", *([] if project == project_now else ["--full-refresh"]))
        self._keep(step, Built(project_now, recipe, json.dumps([asdict(node) for node in nodes])))
        return nodes

    def _built(self, step: Step) -> Built:
        """Returns what a step was last built of, which the warehouse itself says."""
        with self.connect() as connection:
            try:
                row = connection.execute(f"select project, recipe, nodes from landed.{BUILT[step]}").fetchone()
            except duckdb.CatalogException:
                row = None
        return Built(*row) if row else Built()

    def _keep(self, step: Step, built: Built) -> None:
        with self.connect() as connection:
            connection.execute("create schema if not exists landed")
            connection.execute(
                f"create or replace table landed.{BUILT[step]} as "
                "select $project::varchar as project, $recipe::varchar as recipe, $nodes::varchar as nodes",
                asdict(built),
            )

    def export(self, folders: Sequence[ExportFolder]) -> dict[str, int]:
        """Writes queries' rows as Parquet files into folders, of which each is replaced as a whole; same rows, same bytes.

        Returns:
            The number of rows by name.
        """
        with self.connect() as connection, ThreadPoolExecutor(CONCURRENT_EXPORTS) as pool:
            rows: dict[str, int] = {}
            for counted in pool.map(functools.partial(self._export, connection), folders):
                rows |= counted
        return rows

    @staticmethod
    def _export(connection: duckdb.DuckDBPyConnection, folder: ExportFolder) -> dict[str, int]:
        rows: dict[str, int] = {}
        with connection.cursor() as cursor, replacing_directory(folder.path) as temporary:
            for name, export in folder.exports.items():
                file = temporary / f"{name}.parquet"
                cursor.execute(
                    f"copy (select * from ({export.query}) order by {export.order_by}) to {literal(str(file))} "
                    f"(format parquet, compression zstd, row_group_size {ROW_GROUP_ROWS})"
                )
                counted = cursor.execute("select count(*) from read_parquet(?)", [str(file)]).fetchone()
                rows[f"{folder.label} {name}".strip()] = int(counted[0]) if counted else 0
        return rows

    @staticmethod
    def _show(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
        connection.execute("create schema if not exists landed")
        connection.execute(
            f"create or replace view landed.{name} as select * from read_parquet({literal(str(path))}, hive_partitioning = false)"
        )


@dataclass
class Run:
    """One run: it holds the home's writer lock from its first step to its last, and keeps the run's record."""

    settings: Settings
    record: RunRecord
    warehouse: Warehouse
    tags: Mapping[str, str]
    pictures: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    """What was drawn of a suite and a list, which both the asset and its gate show."""

    @property
    def as_of_tag(self) -> date | None:
        """The date that the run was started for: its partition, else its tag; None for the last complete day."""
        given = self.tags.get("dagster/partition") or self.tags.get(AS_OF_TAG)
        return date.fromisoformat(given) if given else None

    @property
    def as_of(self) -> date:
        """The date that is rated."""
        return self.as_of_tag or default_as_of(self.landing, self.pins)

    def note(self, text: str) -> None:
        """Keeps a sentence for the run's summary, and logs it."""
        logger.info("%s", text)
        self.record.facts.setdefault("notes", []).append(text)
        self.record.write()

    @property
    def home(self) -> Path:
        """Folder that holds all state."""
        return self.settings.home

    @property
    def paths(self) -> Home:
        """The paths below that folder."""
        return Home(self.home)

    @functools.cached_property
    def contract(self) -> Contract:
        """The source contract."""
        return load_contract()

    @functools.cached_property
    def policy(self) -> Policy:
        """What is done at which score."""
        return load_policy(self.settings.policy)

    @functools.cached_property
    def _contract_declarations(self) -> dict[str, Declaration]:
        """The declarations with the contract's features alone; reading them takes a fifth of a second."""
        return load_declarations()

    @property
    def declarations(self) -> dict[str, Declaration]:
        """What each model is and which features it takes, those of the marketplace's own columns included."""
        return with_extra(self._contract_declarations, self.warehouse.extra)

    @functools.cached_property
    def registry(self) -> Registry:
        """The models, and which of them may rate."""
        return Registry(self.home)

    @property
    def landing(self) -> Path:
        """Folder of the landing zone."""
        return self.paths.landing

    @property
    def ledger(self) -> list[LoadRecord]:
        """Every load that was tried, oldest first."""
        return Ledger(self.landing).read()

    @property
    def pins(self) -> PinnedLoads:
        """The loads that count now."""
        return pinned_loads(self.ledger, self.contract)

    def pin_newest_loads(self) -> None:
        """Shows dbt the loads that count now, having recomputed their digests."""
        verify_loads(self.landing, self.pins)
        self.warehouse.pin(self.pins, self.contract, self.landing)

    def applied_terms(self, list_name: ListName, champion: Champion) -> tuple[AppliedTerm, ...]:
        """Returns what the policy's terms for a list come to by the model that rates."""
        flagging = flagging_under(champion.card, self.policy.assumed_share(list_name))
        return applied_terms(self.policy, list_name, flagging)

    def training_parameters(self, target_precision: float) -> Parameters:
        """Returns the choices of a training: the defaults, this machine's threads and the policy's target."""
        return Parameters(target_precision=target_precision)

    def gate_file(self, suite: str, as_of: date) -> Path:
        """Where the result of a gate at one date is; a gate that judges each list's own files has one a list."""
        return self.paths.gates(as_of) / f"{suite}.json"


def mark_dead_runs(instance: dg.DagsterInstance, runs: Path) -> list[RunRecord]:
    """Marks as failed every run that says it is running and whose process is gone; returns their records.

    Dagster's default launcher never notices that a run's process was killed: its run would stay STARTED for ever.
    """
    active = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    dead = []
    for record in RunRecord.read_dead(runs):
        record.end("killed", "The process was gone when the next run started.")
        for dagster_run_id in record.dagster_run_ids:
            run = instance.get_run_by_id(dagster_run_id)
            if run is not None and run.status in active:
                instance.report_run_failed(run, "The run's process was killed; the next run completes its work.")
        dead.append(record)
    return dead


def open_run(settings: Settings, instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Yields the run of a Dagster run: lock held, dead runs marked, record created or continued.

    Whoever started several Dagster runs as one pipeline run ends its record and sends its alerts; of any other run that
    is done here, for no sensor sees what a job of `dagster job execute` did.
    """
    tune_garbage_collector()
    reduce_disk_waits(Home(settings.home).dagster_history)
    ensure_schema(settings)
    runs = Home(settings.home).runs
    record = RunRecord.start(runs, tags.get(PIPELINE_RUN_TAG, run_id), dagster_run_id=run_id)
    # `dagster job execute` opens the resources once more when the run has ended, to hand out its result.
    is_whole = PIPELINE_RUN_TAG not in tags and record.outcome == "running"
    alerts = []
    try:
        with home_lock(settings, f"run {record.run_id}"):
            for dead in mark_dead_runs(instance, runs):
                logger.warning("Run %s had died; it is marked as failed, and this run completes its work.", dead.run_id)
                alerts += alerts_for(dead)
                for folder in REBUILT:
                    remove_temporaries(settings.home / folder)
            run = Run(settings, record, Warehouse(settings), tags)
            if run.as_of_tag is not None:
                record.facts["as_of"] = str(run.as_of_tag)
            yield run
            if is_whole:
                record.end("failed" if record.has_failed else "refused" if "refused_gates" in record.facts else "done")
                alerts += alerts_for(record)
    except TouchstoneError as error:
        if is_whole:
            record.end("failed", str(error))
            alerts += alerts_for(record)
        raise
    finally:
        send_alerts(settings, alerts)


def run_resource(settings: Settings) -> dg.ResourceDefinition:
    """Returns the resource `run`: a `Run` for as long as the Dagster run lasts."""

    @dg.resource(description="The run: the home's writer lock, its record, and where everything lies.")
    def run(context: dg.InitResourceContext) -> Iterator[Run]:
        if context.instance is None or context.run is None:
            raise TouchstoneError("The resource `run` needs a Dagster run. Start it as a job.")
        yield from open_run(settings, context.instance, context.run.run_id, context.run.tags)

    return run
