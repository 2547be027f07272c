"""`TOUCHSTONE_HOME`: the path of everything in it, its schema version, and its writer lock.

Schema version 3 renamed columns of landed tables, features and marts (for example `matter` to `violation_type`). Loads are
immutable and named by their digests, so a home of an earlier version is not migrated but refused, with instructions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from touchstone.core.errors import BadInputError
from touchstone.core.files import write_bytes
from touchstone.core.lock import writer_lock
from touchstone.core.settings import Settings, quiet_libraries

logger = logging.getLogger("touchstone")
SCHEMA_VERSION = 4
SCHEMA_FILE = "schema_version"
LOCK_FILE = "lock"
AS_OF_PREFIX = "as_of="
# Folders that only runs write, under the lock. Landing and publishing clean up after kills themselves.
REBUILT = (
    "signals",
    "features",
    "training",
    "scores",
    "shadow",
    "reasons",
    "marts",
    "gates",
    "candidates",
    "leads",
    "pinned",
    "models",
    "reports",
    "coverage",
)
DAGSTER_YAML = b"""# Written by Touchstone: nothing leaves this machine, and our log lines show in the UI.
telemetry: {enabled: false}
nux: {enabled: false}
python_logs: {managed_python_loggers: [touchstone], python_log_level: INFO}
# A day's list depends on the list before it, so a backfill rates one day at a time, oldest first.
concurrency:
  runs:
    tag_concurrency_limits: [{key: dagster/backfill, limit: 1, value: {applyLimitPerUniqueValue: true}}]
"""


@dataclass(frozen=True)
class Home:
    """The paths of a home.

    Attributes:
        root: The home's folder.
    """

    root: Path

    @property
    def schema_file(self) -> Path:
        """The file with the schema version."""
        return self.root / SCHEMA_FILE

    @property
    def lock(self) -> Path:
        """The writer lock."""
        return self.root / LOCK_FILE

    @property
    def marketplace(self) -> Path:
        """Folder of the demo marketplace."""
        return self.root / "marketplace"

    @property
    def landing(self) -> Path:
        """The landing zone: accepted loads and the load ledger."""
        return self.root / "landing"

    @property
    def warehouse(self) -> Path:
        """Dbt's database."""
        return self.root / "warehouse.duckdb"

    @property
    def pinned(self) -> Path:
        """Folder of the inputs of dbt that a run pins."""
        return self.root / "pinned"

    @property
    def image_hashes(self) -> Path:
        """Folder of the hashes of images."""
        return self.root / "signals" / "pictures"

    @property
    def picture_readings(self) -> Path:
        """Folder of the logos and text that were read in pictures."""
        return self.root / "signals" / "picture_readings"

    @property
    def candidates(self) -> Path:
        """Folder of the candidates and their verdicts."""
        return self.root / "candidates"

    @property
    def published(self) -> Path:
        """Folder of the published lists."""
        return self.root / "published"

    @property
    def runs(self) -> Path:
        """Folder of the run records."""
        return self.root / "runs"

    @property
    def dagster(self) -> Path:
        """Dagster's home."""
        return self.root / "dagster"

    @property
    def alerts(self) -> Path:
        """Folder of the record of sent alerts."""
        return self.root / "alerts"

    @property
    def backtests(self) -> Path:
        """Folder of the backtests."""
        return self.root / "backtests"

    @property
    def all_features(self) -> Path:
        """Folder of the features of all lists and dates."""
        return self.root / "features"

    @property
    def rebuilt_days(self) -> Path:
        """The home below this one in which backtests build the features of past days."""
        return self.backtests / "home"

    @property
    def training(self) -> Path:
        """Folder of the training rows."""
        return self.root / "training"

    @property
    def dagster_history(self) -> Path:
        """Folder of Dagster's databases."""
        return self.dagster / "history"

    @property
    def dbt_target(self) -> Path:
        """Folder that dbt compiles into."""
        return self.root / "dbt"

    @property
    def mlflow_database(self) -> Path:
        """The database of MLflow."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of MLflow's artifacts."""
        return self.root / "mlflow-artifacts"

    @property
    def models(self) -> Path:
        """Folder of the model versions and the approvals log."""
        return self.root / "models"

    @property
    def approvals_log(self) -> Path:
        """The log of the decisions about model versions."""
        return self.models / "log.jsonl"

    @property
    def unmirrored_approvals(self) -> Path:
        """Marks that MLflow does not show the newest decisions yet."""
        return self.models / "unmirrored"

    @property
    def test_buys(self) -> Path:
        """Folder of the test-buy plans."""
        return self.root / "test_buys"

    @property
    def audits(self) -> Path:
        """Folder of the audit plans."""
        return self.root / "audits"

    @property
    def marts(self) -> Path:
        """Folder of the exported marts."""
        return self.root / "marts"

    @property
    def all_leads(self) -> Path:
        """Folder of the leads of all dates."""
        return self.root / "leads"

    @property
    def all_reports(self) -> Path:
        """Folder of the reports of all dates."""
        return self.root / "reports"

    def features(self, list_name: str, as_of: date | str) -> Path:
        """Returns the file with the features of a list's entities."""
        return self.all_features / list_name / _as_of(as_of) / "features.parquet"

    def texts(self, as_of: date | str) -> Path:
        """Returns the file with the titles of listings that were known by a date."""
        return self.features("listings", as_of).with_name("texts.parquet")

    def training_rows(self, list_name: str, as_of: date | str) -> Path:
        """Returns the folder of the rows of a training: `features`, `spine` and `edges`."""
        return self.training / list_name / _as_of(as_of)

    def features_before(self, list_name: str, as_of: date) -> Path | None:
        """Returns the features file of the last date before `as_of`, or None."""
        return self._last_before(self.all_features / list_name, "features.parquet", as_of)

    def scores(self, model: str, as_of: date | str) -> Path:
        """Returns the file with a model's scores."""
        return self.root / "scores" / model / _as_of(as_of) / "scores.parquet"

    def scores_before(self, model: str, as_of: date) -> Path | None:
        """Returns the scores file of the last date before `as_of`, or None."""
        return self._last_before(self.root / "scores" / model, "scores.parquet", as_of)

    def drift(self, model: str, as_of: date | str) -> Path:
        """Returns the file with what moved since a model was trained."""
        return self.scores(model, as_of).with_name("drift.parquet")

    def reasons(self, model: str, as_of: date | str) -> Path:
        """Returns the file with the reasons of a model's scores."""
        return self.root / "reasons" / model / _as_of(as_of) / "reasons.parquet"

    def score_dates(self, model: str) -> list[date]:
        """Returns the dates that a model rated, ascending."""
        return _dates(self.root / "scores" / model, "scores.parquet")

    def shadow_scores(self, model: str, as_of: date | str, model_digest: str) -> Path:
        """Returns the file with a version's shadow scores."""
        return self.root / "shadow" / model / _as_of(as_of) / f"{model_digest[:12]}.parquet"

    def shadow_dates(self, model: str, model_digest: str) -> list[date]:
        """Returns the dates that a version rated in shadow, ascending."""
        return _dates(self.root / "shadow" / model, f"{model_digest[:12]}.parquet")

    def mart(self, name: str, as_of: date | str) -> Path:
        """Returns the file of an exported mart."""
        return mart_path(self.marts, name, as_of)

    def mart_dates(self, name: str) -> list[date]:
        """Returns the as-of dates of an exported mart, ascending."""
        return _dates(self.marts / name, f"{name}.parquet")

    @property
    def all_gates(self) -> Path:
        """Folder of the gates' results of all dates."""
        return self.root / "gates"

    def gates(self, as_of: date | str) -> Path:
        """Returns the folder of the gates' results of a date."""
        return self.all_gates / str(as_of)

    def leads(self, as_of: date | str) -> Path:
        """Returns the folder of the leads of a date."""
        return self.all_leads / _as_of(as_of)

    def lead_dates(self) -> list[date]:
        """Returns the dates that have leads, ascending."""
        return _dates(self.all_leads, "manifest.json")

    def report(self, as_of: date | str) -> Path:
        """Returns the folder of the report of a date."""
        return self.all_reports / _as_of(as_of)

    def coverage(self, as_of: date | str) -> Path:
        """Returns the file with the coverage of a date."""
        return self.root / "coverage" / _as_of(as_of) / "coverage.json"

    def report_dates(self) -> list[date]:
        """Returns the dates that have a report, ascending."""
        return _dates(self.all_reports, "report.json")

    @staticmethod
    def _last_before(folder: Path, file: str, as_of: date) -> Path | None:
        earlier = [day for day in _dates(folder, file) if day < as_of]
        return folder / _as_of(earlier[-1]) / file if earlier else None


def mart_path(marts: Path, name: str, as_of: date | str) -> Path:
    """Returns the file of an exported mart below a folder of marts."""
    return marts / name / _as_of(as_of) / f"{name}.parquet"


def parse_as_of(path: Path) -> date | None:
    """Returns the date in the name of a folder or JSON file such as `as_of=2026-06-30`, or None."""
    try:
        return date.fromisoformat(path.name.removeprefix(AS_OF_PREFIX).removesuffix(".json"))
    except ValueError:
        return None


def _as_of(as_of: date | str) -> str:
    return f"{AS_OF_PREFIX}{as_of}"


def _dates(folder: Path, file: str) -> list[date]:
    days = (parse_as_of(path.parent) for path in folder.glob(f"{AS_OF_PREFIX}*/{file}"))
    return sorted(day for day in days if day is not None)


def prepare_home(settings: Settings) -> None:
    """Creates the home if it is absent, and configures this process's Dagster to use it.

    Args:
        settings: The settings, which name the home.

    Raises:
        BadInputError: The home has another schema version, or cannot be written.
    """
    ensure_schema(settings)
    dagster_yaml = Home(settings.home).dagster / "dagster.yaml"
    with _usable(settings.home):
        dagster_yaml.parent.mkdir(exist_ok=True)
        if not dagster_yaml.exists():
            write_bytes(dagster_yaml, DAGSTER_YAML)
    quiet_libraries()
    # Each home has its own Dagster, whatever the environment of the shell names.
    os.environ["DAGSTER_HOME"] = str(dagster_yaml.parent)


def ensure_schema(settings: Settings) -> None:
    """Creates the home if it is absent, and checks its schema version.

    Args:
        settings: The settings, which name the home.

    Raises:
        BadInputError: The home has another schema version, or cannot be written.
    """
    home = settings.home
    with _usable(home):
        home.mkdir(parents=True, exist_ok=True)
        if not (home / SCHEMA_FILE).exists():
            write_bytes(home / SCHEMA_FILE, f"{SCHEMA_VERSION}\n".encode())
    if (version := schema_version(home)) != SCHEMA_VERSION:
        raise BadInputError(schema_refusal(home, version))


def schema_version(home: Path) -> int | None:
    """Returns the schema version of a home, or None if its file contains no number.

    Args:
        home: The home's folder.
    """
    text = (home / SCHEMA_FILE).read_text(errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def schema_refusal(home: Path, version: int | None) -> str:
    """Returns why a home cannot be used, and what to do.

    Args:
        home: The home's folder.
        version: Its schema version, which is not the current one.
    """
    if version is None:
        return (
            f"{home / SCHEMA_FILE} contains no version. Restore it from a backup, or use a new home: set TOUCHSTONE_HOME to a "
            "new folder."
        )
    if version in {1, 2, 3}:
        release = "0.2" if version == 3 else "0.1"
        return (
            f"The home {home} has schema version {version}, of Touchstone {release}; this version of Touchstone reads "
            f"{SCHEMA_VERSION}. Columns were renamed since then, so the home cannot be migrated. "
            f"To keep working with it, use Touchstone {release}. To move to this version, set TOUCHSTONE_HOME to a new folder "
            "and run `touchstone run --sources FILE`: it lands the sources again. The files in the old home's `published` stay "
            "readable."
        )
    return (
        f"The home {home} has schema version {version}; this version of Touchstone reads {SCHEMA_VERSION}. Use the version of "
        "Touchstone that created it, or a new home: set TOUCHSTONE_HOME to a new folder."
    )


@contextmanager
def home_lock(settings: Settings, purpose: str) -> Iterator[None]:
    """Holds the home's writer lock; logs whom it waits for.

    Args:
        settings: The settings, which name the home.
        purpose: What the holder does, for the message of waiting processes.

    Raises:
        BadInputError: Another process held the lock too long.
    """
    with writer_lock(
        settings.home / LOCK_FILE,
        purpose=purpose,
        wait_seconds=settings.lock_wait_seconds,
        on_wait=lambda message: logger.warning("%s", message),
    ):
        yield


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInputError(
            f"The home {home} cannot be used: {error}. Set TOUCHSTONE_HOME to another folder, or correct its permissions."
        ) from error
